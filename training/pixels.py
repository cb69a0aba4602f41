# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Images as bytes until the model needs them: a quarter of what workers hand over and of what goes to the device."""

from typing import Any

import numpy as np
import torch
from torch import Tensor


class PixelNormalizer:
    """What a processor makes of 8-bit images of the model's size, bit for bit, on whatever device they are.

    Args:
        image_processor (`Any`): The processor's part for images; it rescales and normalizes.
    """

    def __init__(self, image_processor: Any) -> None:
        # What the processor makes of each level (channels, 256): looked up, it rounds as the processor does.
        levels = np.broadcast_to(np.arange(256, dtype=np.uint8).reshape(16, 16), (3, 16, 16))
        made = image_processor(levels, do_resize=False, do_center_crop=False, return_tensors="np")["pixel_values"][0]
        self.levels = torch.from_numpy(made.reshape(3, 256).astype(np.float32))

    def __call__(self, pixels: Tensor) -> Tensor:
        """Normalize.

        Args:
            pixels (`torch.Tensor` of shape `(..., 3, height, width)`): Levels of 8 bits, RGB, of any integer dtype.

        Returns:
            `torch.Tensor`: The same shape, float32.
        """
        self.levels = self.levels.to(pixels.device)
        made = torch.empty(pixels.shape, dtype=torch.float32, device=pixels.device)
        for channel, levels in enumerate(self.levels):
            index = pixels[..., channel, :, :].int()
            made[..., channel, :, :] = levels.index_select(0, index.flatten()).view(index.shape)
        return made


__all__ = ["PixelNormalizer"]
