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

"""Images of any kind, decoded to one kind: upright 8-bit RGB; and their pairs."""

import base64
import stat
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub.utils import httpx
from PIL import Image, ImageOps, UnidentifiedImageError
from transformers.image_utils import ChannelDimension, infer_channel_dimension_format
from transformers.utils import logging

from .image_rasters_ssgpa import (
    check_count,
    driver_of,
    open_image,
    open_raster,
    read_raster,
    tell_bands,
)
from .image_scaling_ssgpa import DEFAULT, READING, Reading, is_nearly_one_color, to_8_bit
from .image_sources_ssgpa import is_data_uri, is_inline, is_url


logger = logging.get_logger(__name__)

# Below this an image shows nothing that could be described.
MIN_SIDE = 8
# Of a file on the web: seconds between two parts of it and in all, and bytes.
DOWNLOAD_SECONDS = 30
MAX_DOWNLOAD_SECONDS = 600
MAX_DOWNLOAD = 512 * 2**20
ORIENTATION = 0x0112
# GDAL's tag of a TIFF that tells which value stands for no data.
NODATA_TAG = 42113
PALETTES = ("P", "PA")
# Of JPEG files with more pixels, no more is decoded than an image of so many times the size that is needed: what
# resizing then averages hides that the decoder averaged before.
DRAFT_PIXELS = 4_000_000
DRAFT_MARGIN = 4


@dataclass(frozen=True)
class ImageFacts:
    """What a decoded image no longer tells of its source.

    Args:
        name (`str`): What errors and warnings call it.
        size (`tuple[int, int]`): Width and height of the upright image before anything made it smaller.
        reading (`Reading`): How its values became colors.
    """

    name: str
    size: tuple[int, int]
    reading: Reading = DEFAULT


def is_image(source: Any) -> bool:
    """Whether `source` is one image, and not a collection of them."""
    if isinstance(source, np.ndarray | torch.Tensor):
        return source.ndim in (2, 3)
    if isinstance(source, Mapping):
        return "bytes" in source or "path" in source
    return isinstance(source, str | Path | bytes | Image.Image)


def load_image(
    source: Any,
    name: str = "image",
    size: tuple[int, int] | None = None,
    value_range: tuple[float, float] | str | None = None,
    nodata: float | None = None,
    bands: tuple[int, ...] | None = None,
) -> Image.Image:
    """Decode one image to upright 8-bit RGB; the same image gives the same pixels whatever carries it.

    EXIF orientation is applied, transparency is laid on white, the first frame counts. Values that are not 8 bits are
    scaled by one rule. Without `value_range` their dtype says which value is white, and black is 0: 65535 for uint16
    (low bits are dropped); 255 for other whole numbers if none is larger, else 65535; 1 for floats if none is larger
    than 1.25, else 255, and a quarter of that range beyond either end is clipped. What fits neither is refused. With
    `value_range`, these two values become black and white whatever the dtype, 8 bits included, and values beyond are
    clipped. What is no data is left out of the scale and drawn black: NaN, infinity, `nodata`, and what a TIFF's tag
    or mask says. An image of nearly one color is told in a warning that names it.

    Args:
        source (`str`, `Path`, `bytes`, `PIL.Image.Image`, `np.ndarray`, `torch.Tensor` or `dict`): A path, a URL or
            the base64 text of a file, the bytes of a file, a decoded image, an array (channels first or last; whole
            numbers or floats), or a row of an undecoded `datasets.Image` column.
        name (`str`): What errors call the image where it has no path.
        size (`tuple[int, int]`, *optional*): Width and height that are needed, in pixels. A JPEG of more than 4
            million pixels is then decoded at a half, a quarter or an eighth of its size, at least four times as large
            as needed, and files of several bands at a whole fraction. By default, the whole.
        value_range (`tuple[float, float]` or `str`, *optional*): The values that become black and white, or
            `"percentile"` for the 2nd and the 98th percentile of this image, all channels together.
        nodata (`float`, *optional*): The value that stands for no data. In color, a pixel is no data where all
            channels hold it.
        bands (`tuple[int, ...]`, *optional*): Numbers of the bands to show, from 1 on: three for red, green and blue,
            or one. Of an array, bands are the shorter of the first and the last axis.

    Returns:
        `PIL.Image.Image`: Mode RGB.

    Raises:
        FileNotFoundError: The path does not exist.
        ValueError: It is no image, is broken, is smaller than 8 pixels a side, or its values fit no range; the error
            names it. An option has another form, or a package that is needed for the file is missing.
    """
    reading = Reading(value_range, nodata, bands) if (value_range, nodata, bands) != (None,) * 3 else DEFAULT
    image, facts = read_image(source, name, size, reading)
    return mark(image, source, facts)


def mark(image: Image.Image, source: Any, facts: ImageFacts) -> Image.Image:
    """Note on a decoded image what it no longer tells; on a copy where it is `source`, the user's own."""
    if getattr(image, "ssgpa_facts", None) == facts:
        return image
    image = image.copy() if image is source else image
    # Not in `info`, which crops carry along.
    image.ssgpa_facts = facts
    return image


def needed_size(image_processor: Any) -> tuple[int, int] | None:
    """Width and height of which an image processor uses no more; None where that depends on more than its size."""
    size = getattr(image_processor, "size", None)
    if not getattr(image_processor, "do_resize", False) or size is None:
        return None
    edge = size.shortest_edge or 0
    width, height = size.width or edge, size.height or edge
    return (width, height) if width and height else None


def cut_out(image: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    """Cut a part out of a decoded image; it is an image of its own, whose values are colors already.

    Args:
        image (`PIL.Image.Image`): What `load_image` returned.
        box (`tuple[int, int, int, int]`): Left, top, right and bottom edge, in pixels.

    Returns:
        `PIL.Image.Image`: The part.
    """
    part = image.crop(box)
    return mark(part, None, replace(image.ssgpa_facts, size=part.size))


def read_image(
    source: Any, name: str, size: tuple[int, int] | None = None, reading: Reading = DEFAULT
) -> tuple[Image.Image, ImageFacts]:
    """Decode as `load_image`, which marks what it returns; an image so marked is not read a second time.

    Args:
        source (`Any`): As for `load_image`.
        name (`str`): What errors call the image where it has no path.
        size (`tuple[int, int]`, *optional*): As for `load_image`.
        reading (`Reading`): The options of `load_image`.

    Returns:
        `tuple[PIL.Image.Image, ImageFacts]`: The image, which may be `source` itself, and what it no longer tells.

    Raises:
        FileNotFoundError: The path does not exist.
        ValueError: As for `load_image`.
    """
    known = getattr(source, "ssgpa_facts", None)
    if known is not None and reading in (DEFAULT, known.reading):
        return source, known
    if isinstance(source, Mapping):
        name = source.get("path") or name
        source = source["bytes"] if source.get("bytes") is not None else source.get("path")
    if isinstance(source, str | Path) and not is_inline(str(source)) and len(str(source)) < 500:
        name = str(source)
    try:
        image, full, found = _decode(source, size, reading)
    except FileNotFoundError:
        raise FileNotFoundError(f"{name}: no such file.") from None
    except IsADirectoryError:
        raise ValueError(f"{name}: cannot be read as an image (it is a folder).") from None
    except UnidentifiedImageError:
        raise ValueError(f"{name}: not an image, or of an unknown kind.") from None
    # Pillow's plugins raise whatever comes to them: RuntimeError, NotImplementedError, struct.error, ...
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{name}: cannot be read as an image ({reason}).") from error
    if min(full) < MIN_SIDE:
        raise ValueError(f"{name}: an image of {full[0]}x{full[1]} pixels is too small; {MIN_SIDE} a side are needed.")
    if is_nearly_one_color(image):
        known = f"; {found}" if found else ""
        hint = '. If it should show more, pass value_range=(low, high) or "percentile"'
        logger.warning_once(f"{name}: is nearly one color{known}{hint if found and not reading.value_range else ''}.")
    return image, ImageFacts(name, full, reading)


Decoded = tuple[Image.Image, tuple[int, int], str]


def _decode(source: Any, size: tuple[int, int] | None, reading: Reading) -> Decoded:
    """The RGB image, its full width and height, and what is to be told of its values."""
    if isinstance(source, Image.Image):
        return _from_open(source, None, None, reading)
    if isinstance(source, np.ndarray | torch.Tensor):
        return _from_array(source, reading)
    if not isinstance(source, str | Path | bytes):
        raise TypeError(f"a {type(source).__name__} is no image")
    content = source if isinstance(source, bytes) else _read(source)
    driver = driver_of(content)
    if reading.bands is not None and driver == "GTiff":
        return _from_raster(content, size, reading)
    try:
        image = open_image(content)
    except UnidentifiedImageError:
        # Several bands, or compressed in a way that Pillow does not know.
        if driver == "GTiff":
            return _from_raster(content, size, reading)
        raise
    with image:
        is_8_bit = image.mode != "F" and not image.mode.startswith("I")
        needs_values = driver is not None and not reading.is_default
        # Of 16-bit color Pillow gives 8 bits.
        if needs_values and is_8_bit and any(";16" in str(tile[3]) for tile in getattr(image, "tile", ())):
            return _from_raster(content, size, reading)
        return _from_open(image, content, size, reading)


def size_of(content: bytes) -> tuple[int, int]:
    """Width and height of a file, as its header tells before anything is decoded.

    Args:
        content (`bytes`): The file.

    Returns:
        `tuple[int, int]`: In pixels, before EXIF orientation.

    Raises:
        OSError: It is no image, or of an unknown kind.
        PIL.Image.DecompressionBombError: It is far too large.
        ImportError: A package that is needed for the file is missing; the error names the extra that brings it.
        ValueError: The header is broken.
    """
    try:
        with open_image(content) as image:
            return image.size
    except UnidentifiedImageError:
        if driver_of(content) != "GTiff":
            raise
        with open_raster(content) as (dataset, _):
            return dataset.width, dataset.height


def _read(source: str | Path) -> bytes:
    text = str(source)
    if is_url(text):
        return _download(text)
    if is_inline(text):
        code = text.partition(",")[2] if is_data_uri(text) else text
        # Long lines are often broken; anything else that is no base64 is a mistake.
        return base64.b64decode("".join(code.split()), validate=True)
    path = Path(source)
    kind = path.stat().st_mode
    # Devices and pipes may never end.
    if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
        raise ValueError("it is no regular file")
    return path.read_bytes()


def _download(address: str) -> bytes:
    """A file on the web, which may be anybody's: neither too large nor without an end."""
    content, end = bytearray(), time.monotonic() + MAX_DOWNLOAD_SECONDS
    with httpx.stream("GET", address, timeout=DOWNLOAD_SECONDS, follow_redirects=True) as response:
        response.raise_for_status()
        for part in response.iter_bytes():
            content += part
            if len(content) > MAX_DOWNLOAD:
                raise ValueError(f"it has more than {MAX_DOWNLOAD:,} bytes")
            if time.monotonic() > end:
                raise ValueError(f"it takes longer than {MAX_DOWNLOAD_SECONDS} seconds")
    return bytes(content)


def _from_raster(content: bytes, size: tuple[int, int] | None, reading: Reading) -> Decoded:
    # Where Pillow refuses a decompression bomb.
    largest = 2 * (Image.MAX_IMAGE_PIXELS or 2**62)
    values, missing, full = read_raster(content, reading.bands, size, DRAFT_MARGIN, largest)
    levels, found = to_8_bit(values, reading.value_range, reading.nodata, missing)
    return Image.fromarray(np.ascontiguousarray(levels)).convert("RGB"), full, found


def _scale(values: np.ndarray, reading: Reading) -> tuple[np.ndarray, str]:
    return to_8_bit(values, reading.value_range, reading.nodata)


def _from_array(array: np.ndarray | torch.Tensor, reading: Reading) -> Decoded:
    if isinstance(array, torch.Tensor):
        array = array.detach().cpu()
        # NumPy has neither bfloat16 nor the floats of 8 bits.
        known = not array.is_floating_point() or array.dtype in (torch.float16, torch.float32, torch.float64)
        array = (array if known else array.float()).numpy()
    if array.size == 0:
        raise ValueError(f"an array of shape {array.shape} has no pixels")
    array, alpha = _split_alpha(array, reading.bands)
    levels, found = _scale(array, reading)
    if alpha is not None:
        levels = np.dstack([levels, to_8_bit(alpha)[0]])
    image = Image.fromarray(np.ascontiguousarray(levels))
    return _flatten(image), image.size, "" if array.dtype == np.uint8 else found


def _split_alpha(array: np.ndarray, bands: tuple[int, ...] | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Gray values (height, width) or colors (height, width, 3), and the opacity where there is one."""
    if array.ndim == 2:
        check_count(bands or (1,), 1)
        return (array if bands is None or len(bands) == 1 else np.dstack([array] * 3)), None
    if array.ndim != 3:
        raise ValueError(f"an array of shape {array.shape} is no image")
    if bands is not None:
        array = array if array.shape[-1] <= array.shape[0] else np.moveaxis(array, 0, -1)
        check_count(bands, array.shape[-1])
        array = array[:, :, [band - 1 for band in bands]]
        return (array[:, :, 0] if len(bands) == 1 else array), None
    if not {array.shape[0], array.shape[2]} & {1, 2, 3, 4}:
        raise ValueError(f"an array of shape {array.shape}: {tell_bands(min(array.shape[0], array.shape[2]))}")
    layout = infer_channel_dimension_format(array, num_channels=(1, 2, 3, 4))
    array = np.moveaxis(array, 0, -1) if layout == ChannelDimension.FIRST else array
    channels = array.shape[2]
    colors = array[:, :, 0] if channels < 3 else array[:, :, :3]
    return colors, array[:, :, -1] if channels in (2, 4) else None


def _from_open(image: Image.Image, content: bytes | None, size: tuple[int, int] | None, reading: Reading) -> Decoded:
    """Decode what Pillow has opened; an image that is a user's own, without `content`, is left as it was."""
    frame = image.tell()
    try:
        if frame:
            image.seek(0)
        turned = image.getexif().get(ORIENTATION, 1) != 1
        full = image.size[::-1] if turned and image.getexif().get(ORIENTATION) in (5, 6, 7, 8) else image.size
        is_large_jpeg = image.format in ("JPEG", "MPO") and full[0] * full[1] > DRAFT_PIXELS
        if content is not None and size is not None and is_large_jpeg:
            needed = size if full == image.size else size[::-1]
            image.draft(None, tuple(DRAFT_MARGIN * side for side in needed))
        upright = ImageOps.exif_transpose(image) if turned else image
        upright.load()
        nodata = reading.nodata
        tagged = getattr(image, "tag_v2", {}).get(NODATA_TAG) if nodata is None else None
        if tagged is not None:
            with suppress(ValueError):
                nodata = float(str(tagged).strip("\0 "))
        colored, found = _to_rgb(upright, Reading(reading.value_range, nodata, reading.bands))
        # A user's image goes back to its frame.
        return (colored.copy() if frame and colored is image else colored), full, found
    finally:
        if frame:
            image.seek(frame)


def _to_rgb(image: Image.Image, reading: Reading) -> tuple[Image.Image, str]:
    if reading.bands is not None:
        # The values of a palette's pixels are places in it, and no bands.
        image = image.convert("RGB") if image.mode in PALETTES else image
        array, _ = _split_alpha(np.asarray(image), reading.bands)
        levels, found = _scale(array, reading)
        return Image.fromarray(np.ascontiguousarray(levels)).convert("RGB"), found
    if image.mode.startswith("I") or image.mode == "F":
        levels, found = _scale(np.asarray(image), reading)
        return Image.fromarray(levels).convert("RGB"), found
    colored = _flatten(image)
    if reading.value_range is None and reading.nodata is None:
        return colored, ""
    levels, found = _scale(np.asarray(colored), reading)
    return Image.fromarray(levels), found


def _flatten(image: Image.Image) -> Image.Image:
    if image.mode in ("RGBA", "LA", "PA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    # A further copy would cost loaders two percent.
    return image if image.mode == "RGB" else image.convert("RGB")


def pair_up(images: Any) -> list[tuple[Any, Any]]:
    """Sort what a user passes as images into (before, after) pairs.

    Args:
        images (`Sequence`): A lone pair, a list of pairs, or a flat list of 2n images, pair after pair. A pair may
            be a dict with the keys `"before"` and `"after"`. Chats nest one level more: a list of pairs for every
            conversation.

    Returns:
        `list[tuple]`: The pairs, undecoded.

    Raises:
        ValueError: A pair does not have two images; names which.
    """
    if is_pair_row(images):
        return [_check_pair(images, 0)]
    if is_image(images) or not isinstance(images, Iterable):
        raise ValueError("One image was given; a change needs two: images=[before, after].")
    items = list(images)
    if not items:
        raise ValueError("No images were given: images=[before, after] or a list of such pairs.")
    if all(is_image(item) for item in items):
        if len(items) % 2:
            raise ValueError(f"{len(items)} image(s) were given; pairs need an even number: before, after, ...")
        return list(zip(items[::2], items[1::2], strict=True))
    pairs = []
    for item in items:
        parts = item if _is_collection(item) else ()
        is_conversation = len(parts) > 0 and all(_is_collection(part) or is_pair_row(part) for part in parts)
        pairs.extend(parts if is_conversation else [item])
    return [_check_pair(pair, index) for index, pair in enumerate(pairs)]


def is_pair_row(item: Any) -> bool:
    """Whether `item` is a dict that names a pair's images, others of its keys are not looked at."""
    return isinstance(item, Mapping) and ("before" in item or "after" in item)


def _is_collection(item: Any) -> bool:
    return isinstance(item, list | tuple) or (isinstance(item, np.ndarray | torch.Tensor) and item.ndim > 3)


def _check_pair(item: Any, index: int) -> tuple[Any, Any]:
    if is_pair_row(item):
        missing = {"before", "after"} - item.keys()
        if missing:
            raise ValueError(f"Pair {index} has no {missing.pop()!r}; a pair as a dict needs both, before and after.")
        return item["before"], item["after"]
    count = len(item) if _is_collection(item) else 1
    if count != 2:
        raise ValueError(f"Pair {index} has {count} image(s); every pair needs two: before and after.")
    return tuple(item)


def concatenate(before: Image.Image, after: Image.Image, layout: str, size_of_pair: str = "before") -> Image.Image:
    """Put both images into one; where their sizes differ, one is resized to the other.

    Args:
        before (`PIL.Image.Image`): The image on top or on the left.
        after (`PIL.Image.Image`): The other one.
        layout (`str`): `"vertical"` for above each other, `"horizontal"` for side by side.
        size_of_pair (`str`, *optional*, defaults to `"before"`): `"before"` or `"after"`, whose size both get.

    Returns:
        `PIL.Image.Image`: Mode RGB, twice as high or twice as wide as that image.
    """
    width, height = {"before": before, "after": after}[size_of_pair].size
    before, after = (
        image if image.size == (width, height) else image.resize((width, height), Image.Resampling.BICUBIC)
        for image in (before, after)
    )
    size, corner = ((width, 2 * height), (0, height)) if layout == "vertical" else ((2 * width, height), (width, 0))
    canvas = Image.new("RGB", size)
    canvas.paste(before, (0, 0))
    canvas.paste(after, corner)
    return canvas


__all__ = [
    "READING",
    "ImageFacts",
    "Reading",
    "concatenate",
    "cut_out",
    "is_image",
    "is_pair_row",
    "load_image",
    "mark",
    "needed_size",
    "pair_up",
    "read_image",
    "size_of",
]
