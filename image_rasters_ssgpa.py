# Copyright 2026 The ssgpa authors. All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Images that Pillow does not read in full: many bands, 16-bit color (rasterio), and HEIC (pillow-heif)."""

import importlib
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image


# What rasterio may open, by the first bytes of a file: formats that hold their pixels themselves.
DRIVERS = {
    b"II*\0": "GTiff",
    b"MM\0*": "GTiff",
    b"II+\0": "GTiff",
    b"MM\0+": "GTiff",
    b"\x89PNG": "PNG",
    b"\0\0\0\x0cjP  ": "JP2OpenJPEG",
    b"\xffO\xffQ": "JP2OpenJPEG",
}
# What Pillow hands to another program, Ghostscript or a library of Windows, to be run.
PROGRAMS = ("EPS", "WMF")
# Brands of the boxes that HEIC files begin with.
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
# What a file of a driver is called while its bytes are in memory.
MEMORY_NAME = re.compile(r"\S*[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\S*")


def driver_of(content: bytes) -> str | None:
    """The driver of rasterio for a file's bytes; None where it is of another format."""
    return next((name for start, name in DRIVERS.items() if content.startswith(start)), None)


def _require(module: str, package: str, extra: str, why: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f'{why} needs {package}: pip install "ssgpa[{extra}]"') from error


def open_image(content: bytes) -> Image.Image:
    """Open a file with Pillow, which learns to read HEIC with the first such file.

    Args:
        content (`bytes`): The file.

    Returns:
        `PIL.Image.Image`: Not decoded yet.

    Raises:
        ImportError: The file is HEIC and pillow-heif is missing; the error names the extra that brings it.
        PIL.UnidentifiedImageError: It is no image, or of an unknown kind.
        ValueError: It is a program that draws something, which is not run.
    """
    if content[4:8] == b"ftyp" and content[8:12] in HEIC_BRANDS:
        _require("pillow_heif", "pillow-heif", "heif", "a HEIC image").register_heif_opener()
    image = Image.open(io.BytesIO(content))
    if image.format in PROGRAMS:
        raise ValueError(f"{image.format} files are programs, which are not run; save it as PNG")
    return image


def read_raster(
    content: bytes, bands: tuple[int, ...] | None, size: tuple[int, int] | None, margin: int, largest: int
) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """Read bands of a TIFF, PNG or JPEG 2000 file in their own dtype.

    Args:
        content (`bytes`): The file.
        bands (`tuple[int, ...]`, *optional*): Numbers of one band, or of red, green and blue, from 1 on; by default
            those of a file that has no others.
        size (`tuple[int, int]`, *optional*): Width and height that are needed; a file of more than `margin` times as
            much is read at a whole fraction of its size, each pixel the mean of those it covers.
        margin (`int`): See `size`.
        largest (`int`): Pixels of an image above which it is not read in full.

    Returns:
        `tuple`: Values `(height, width)` or `(height, width, 3)`, a mask of the same shape that is True where there is
        no data, and the width and height of the file.

    Raises:
        ImportError: rasterio is missing; the error names the extra that brings it.
        ValueError: The file is broken, holds other bands than asked for, or more than can be told apart unasked.
    """
    with open_raster(content) as (dataset, resampling):
        has_palette = [kind.name for kind in dataset.colorinterp] == ["palette"]
        if has_palette:
            chosen = (1,)
        elif bands is not None:
            check_count(bands, dataset.count)
            chosen = bands
        else:
            # The mask tells of the alpha band already.
            chosen = [index for index, kind in enumerate(dataset.colorinterp, 1) if kind.name != "alpha"]
            if len(chosen) not in (1, 3):
                raise ValueError(tell_bands(dataset.count))
        full = (dataset.width, dataset.height)
        step = 1 if size is None else max(1, min(full[0] // (margin * size[0]), full[1] // (margin * size[1])))
        width, height = (-(-side // step) for side in full)
        if width * height > largest:
            raise ValueError(f"{full[0]}x{full[1]} pixels are too many; at most {largest:,} are read")
        values = dataset.read(
            list(chosen),
            masked=True,
            out_shape=(len(chosen), height, width),
            # Between two places of a palette lies a color of its own.
            resampling=resampling.average if step > 1 and not has_palette else resampling.nearest,
        )
        if has_palette:
            values = _colored(values, dataset.colormap(1), bands or (1, 2, 3))
    missing = np.ma.getmaskarray(values)
    single = len(values) == 1
    array, missing = (part[0] if single else np.moveaxis(part, 0, -1) for part in (values.data, missing))
    return array, missing, full


@contextmanager
def open_raster(content: bytes) -> Iterator[tuple[Any, Any]]:
    """Open a TIFF, PNG or JPEG 2000 file with rasterio.

    Args:
        content (`bytes`): The file.

    Yields:
        `tuple`: The data set of rasterio, and rasterio's ways of resampling.

    Raises:
        ImportError: rasterio is missing; the error names the extra that brings it.
        ValueError: The file is broken.
    """
    rasterio = _require("rasterio", "rasterio", "geo", "an image of several bands or of 16-bit color")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            with rasterio.MemoryFile(content) as memory, memory.open(driver=driver_of(content)) as dataset:
                yield dataset, rasterio.enums.Resampling
    except rasterio.errors.RasterioError as error:
        # The cause tells more, behind the name that the bytes had in memory.
        raise ValueError(MEMORY_NAME.sub("", str(error.__cause__ or error)).strip(" :")) from error


def _colored(values: np.ma.MaskedArray, colors: dict[int, tuple], bands: tuple[int, ...]) -> np.ma.MaskedArray:
    """The bands of red, green and blue that the places `(1, height, width)` of a palette stand for."""
    palette = np.zeros((max(colors) + 1, 3), np.uint8)
    for place, color in colors.items():
        palette[place] = color[:3]
    check_count(bands, palette.shape[1])
    places = values.data[0]
    if places.max() >= len(palette):
        raise ValueError(f"a pixel is {places.max()}, and the palette has {len(palette)} colors")
    shown = palette[places][..., [band - 1 for band in bands]]
    return np.ma.masked_array(np.moveaxis(shown, -1, 0), np.repeat(np.ma.getmaskarray(values), len(bands), axis=0))


def check_count(bands: tuple[int, ...], count: int) -> None:
    """Refuse numbers of bands that an image does not have.

    Raises:
        ValueError: One is too large.
    """
    if max(bands) > count:
        raise ValueError(f"it has {count} band(s), and bands={bands} asks for band {max(bands)}")


def tell_bands(count: int) -> str:
    """What to do about an image of several bands."""
    return f"it has {count} bands; say which to show, as bands=(3, 2, 1) for red, green and blue, or one alone"


__all__ = [
    "check_count",
    "driver_of",
    "open_image",
    "open_raster",
    "read_raster",
    "tell_bands",
]
