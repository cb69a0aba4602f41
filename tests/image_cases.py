# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Images that several tests of images share: scenes that show something, in every format that can be written."""

import io
import warnings

import numpy as np
import pytest
from PIL import Image


# Formats that Pillow writes and reads, with what their images must be.
FORMATS = {
    "AVIF": "RGB",
    "BLP": "P",
    "BMP": "RGB",
    "DDS": "RGBA",
    "DIB": "RGB",
    "GIF": "P",
    "ICNS": "RGBA",
    "ICO": "RGBA",
    "IM": "RGB",
    "JPEG": "RGB",
    "JPEG2000": "RGB",
    "MPO": "RGB",
    "MSP": "1",
    "PCX": "RGB",
    "PNG": "RGB",
    "PPM": "RGB",
    "QOI": "RGB",
    "SGI": "RGB",
    "SPIDER": "F",
    "TGA": "RGB",
    "TIFF": "RGB",
    "WEBP": "RGB",
    "XBM": "1",
}
OPTIONS = {"TIFF": {"compression": "tiff_lzw"}, "PPM": {}, "JPEG": {"quality": 90}}


def scene(width=32, height=32, seed=0):
    """Blocks of many colors, uint8 (height, width, 3), that no format makes one color of."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return np.kron(blocks, np.ones((8, 8, 1), np.uint8))[:height, :width].copy()


def encoded(kind, pixels=None, **options):
    """A file's bytes in a format of `FORMATS`."""
    image = Image.fromarray(scene() if pixels is None else pixels).convert(FORMATS[kind])
    file = io.BytesIO()
    image.save(file, kind, **(OPTIONS.get(kind, {}) | options))
    return file.getvalue()


def tiff(array, **tags):
    """A TIFF of one band, any dtype that Pillow writes; `nodata` sets GDAL's tag."""
    file = io.BytesIO()
    nodata = tags.get("nodata")
    info = {} if nodata is None else {42113: str(nodata)}
    Image.fromarray(array).save(file, "TIFF", tiffinfo=info)
    return file.getvalue()


def geotiff(array, **profile):
    """A TIFF of several bands, written by rasterio; `array` is (bands, height, width)."""
    rasterio = pytest.importorskip("rasterio")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.MemoryFile() as memory:
            options = {"driver": "GTiff", "count": len(array), "dtype": array.dtype.name} | profile
            with memory.open(height=array.shape[1], width=array.shape[2], **options) as file:
                file.write(array)
            return bytes(memory.read())
