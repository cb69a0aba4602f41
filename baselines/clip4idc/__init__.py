# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""CLIP4IDC: CLIP adapted to pairs of images, with a caption model over the tokens of both."""

from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, AutoProcessor

from ...processing_ssgpa import SSGPAProcessor
from .configuration_clip4idc import CLIP4IDCConfig
from .modeling_clip4idc import (
    CLIP4IDCForConditionalGeneration,
    CLIP4IDCForPairTextRetrieval,
    CLIP4IDCModel,
    CLIP4IDCPreTrainedModel,
)


AutoConfig.register("clip4idc", CLIP4IDCConfig, exist_ok=True)
AutoModel.register(CLIP4IDCConfig, CLIP4IDCModel, exist_ok=True)
AutoModelForImageTextToText.register(CLIP4IDCConfig, CLIP4IDCForConditionalGeneration, exist_ok=True)
AutoProcessor.register(CLIP4IDCConfig, SSGPAProcessor, exist_ok=True)

__all__ = [
    "CLIP4IDCConfig",
    "CLIP4IDCForConditionalGeneration",
    "CLIP4IDCForPairTextRetrieval",
    "CLIP4IDCModel",
    "CLIP4IDCPreTrainedModel",
]
