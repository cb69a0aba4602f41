# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""A VLM given two images, without SSGPA's parts: what plain LoRA trains, for comparison."""

from typing import Any

import torch
from torch import Tensor

from ssgpa.vlm.configuration_ssgpa_vlm import SSGPAVLMConfig
from ssgpa.vlm.modeling_ssgpa_vlm import NEW_PARTS, SSGPAForVLM, SSGPAVLMImageFeatures


class PlainVLM(SSGPAForVLM):
    """[`SSGPAForVLM`] without adapter, alignment and their losses: the same VLM, prompts and caption loss."""

    def __init__(self, config: SSGPAVLMConfig) -> None:
        super().__init__(config)
        for part in NEW_PARTS:
            delattr(self, part.rstrip("."))

    def get_image_features(self, pixel_values: torch.FloatTensor, **kwargs: Any) -> SSGPAVLMImageFeatures:
        """Encode the images of each pair by the VLM alone.

        Args:
            pixel_values (`torch.FloatTensor` of shape `(batch_size, 2, num_channels, height, width)`): The pairs.
            kwargs (`Any`, *optional*): Not used.

        Returns:
            `SSGPAVLMImageFeatures`: Without evidence.
        """
        features = self.encode_images(pixel_values)
        return SSGPAVLMImageFeatures(pooler_output=features.pooler_output, vlm_features=features)

    def losses(self, logits: Tensor, labels: Tensor, *_: Any, **kwargs: Any) -> dict[str, Tensor]:
        """The caption's cross-entropy alone."""
        return super().losses(logits, labels, None, None, **kwargs)

    def _warped_matching(self, *_: Any) -> None:
        return None


__all__ = ["PlainVLM"]
