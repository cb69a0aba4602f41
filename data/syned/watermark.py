# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""An invisible watermark on made images, for those who pass them on."""

from __future__ import annotations

import importlib
from types import ModuleType

import numpy as np
from PIL import Image


def require_watermark() -> ModuleType:
    """The `imwatermark` package.

    Raises:
        ImportError: If it is missing; no extra brings it, for it needs OpenCV.
    """
    try:
        return importlib.import_module("imwatermark")
    except ImportError as error:
        raise ImportError("a watermark needs one more package: pip install invisible-watermark") from error


def add_watermark(image: Image.Image, text: str) -> Image.Image:
    """A copy with `text` in singular values of its wavelet coefficients ("dwtDctSvd"), which smooth images keep too.

    Args:
        image (`Image.Image`): RGB, at least 256 x 256.
        text (`str`): What `WatermarkDecoder("bytes", 8 * number of bytes)` with "dwtDctSvd" reads again.

    Raises:
        ValueError: If the image is too small to hold a watermark.
    """
    encoder = require_watermark().WatermarkEncoder()
    encoder.set_watermark("bytes", text.encode())
    if image.width * image.height < 256 * 256:
        raise ValueError(f"an image of {image.width} x {image.height} is too small for a watermark")
    blue_first = np.asarray(image)[:, :, ::-1]
    return Image.fromarray(encoder.encode(blue_first, "dwtDctSvd")[:, :, ::-1].copy())
