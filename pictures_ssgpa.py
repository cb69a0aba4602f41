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

"""Pictures of any kind, decoded to one kind: upright 8-bit RGB; and their pairs."""

import base64
import io
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub.utils import httpx
from PIL import Image, ImageOps, UnidentifiedImageError
from transformers.image_utils import ChannelDimension, infer_channel_dimension_format


# Below this a picture shows nothing that could be described.
MIN_SIDE = 8
DOWNLOAD_SECONDS = 30
# What decoders raise on bytes that are no picture, or a broken one.
BROKEN = (
    OSError,
    ValueError,
    TypeError,
    SyntaxError,
    EOFError,
    OverflowError,
    struct.error,
    httpx.HTTPError,
    httpx.InvalidURL,
    Image.DecompressionBombError,
)


def is_picture(source: Any) -> bool:
    """Whether `source` is one picture, and not a collection of them."""
    if isinstance(source, np.ndarray | torch.Tensor):
        return source.ndim in (2, 3)
    return isinstance(source, str | Path | bytes | Image.Image | Mapping)


def load_picture(source: Any, name: str = "picture") -> Image.Image:
    """Decode one picture to upright 8-bit RGB; the same picture gives the same pixels whatever carries it.

    EXIF orientation is applied, transparency is laid on white, 16 bits are scaled to 8, the first frame counts.

    Args:
        source (`str`, `Path`, `bytes`, `PIL.Image.Image`, `np.ndarray`, `torch.Tensor` or `dict`): A path, a URL or
            the base64 text of a file, the bytes of a file, a decoded picture, an array (channels first or last;
            integers, or floats in [0, 1] or [0, 255]), or a row of an undecoded `datasets.Image` column.
        name (`str`): What errors call the picture where it has no path.

    Returns:
        `PIL.Image.Image`: Mode RGB.

    Raises:
        FileNotFoundError: The path does not exist.
        ValueError: It is no picture, is broken, or is smaller than 8 pixels a side.
    """
    if isinstance(source, Mapping):
        name = source.get("path") or name
        source = source["bytes"] if source.get("bytes") is not None else source.get("path")
    if isinstance(source, str | Path) and not str(source).startswith("data:") and len(str(source)) < 500:
        name = str(source)
    try:
        picture = _to_rgb(_open(source))
    except FileNotFoundError:
        raise FileNotFoundError(f"{name}: no such file.") from None
    except UnidentifiedImageError:
        raise ValueError(f"{name}: not a picture, or of an unknown kind.") from None
    except BROKEN as error:
        raise ValueError(f"{name}: cannot be read as a picture ({error}).") from error
    if min(picture.size) < MIN_SIDE:
        width, height = picture.size
        raise ValueError(f"{name}: a picture of {width}x{height} pixels is too small; {MIN_SIDE} a side are needed.")
    return picture


def _open(source: Any) -> Image.Image:
    if isinstance(source, Image.Image):
        return source
    if isinstance(source, np.ndarray | torch.Tensor):
        return _from_array(np.asarray(source.detach().cpu() if isinstance(source, torch.Tensor) else source))
    if not isinstance(source, str | Path | bytes):
        raise TypeError(f"a {type(source).__name__} is no picture")
    return Image.open(io.BytesIO(source if isinstance(source, bytes) else _read(source)))


def _read(source: str | Path) -> bytes:
    text = str(source)
    if text.startswith(("http://", "https://")):
        response = httpx.get(text, timeout=DOWNLOAD_SECONDS, follow_redirects=True)
        return response.raise_for_status().content
    if text.startswith("data:"):
        return base64.b64decode(text.partition(",")[2], validate=True)
    # No file name is that long, and the characters of base64 hold no dot.
    if len(text) > 255 and "." not in text:
        return base64.b64decode(text)
    return Path(source).read_bytes()


def _to_8_bit(array: np.ndarray) -> np.ndarray:
    if array.size == 0:
        raise ValueError(f"an array of shape {array.shape} has no pixels")
    if array.dtype == np.uint8:
        return array
    if array.dtype == bool:
        return array.astype(np.uint8) * 255
    if not np.isfinite(array).all() or array.min() < 0:
        raise ValueError("values must be finite and not negative; undo any normalisation")
    if array.dtype.kind in "iu":
        is_16_bit = array.max() > 255 or (array.dtype.kind == "u" and array.dtype.itemsize == 2)
        scaled = array // 256 if is_16_bit else array
    else:
        scaled = np.rint(array.astype(np.float64) * (255 if array.max() <= 1 else 1))
    if scaled.max() > 255:
        raise ValueError(f"values up to {array.max()} are neither 8 nor 16 bits")
    return scaled.astype(np.uint8)


def _from_array(array: np.ndarray) -> Image.Image:
    array = _to_8_bit(array)
    if array.ndim == 3:
        layout = infer_channel_dimension_format(array, num_channels=(1, 2, 3, 4))
        array = np.moveaxis(array, 0, -1) if layout == ChannelDimension.FIRST else array
        array = array[:, :, 0] if array.shape[2] == 1 else array
    return Image.fromarray(np.ascontiguousarray(array))


def _to_rgb(picture: Image.Image) -> Image.Image:
    picture = ImageOps.exif_transpose(picture)
    picture.load()
    if picture.mode.startswith("I") or picture.mode == "F":
        picture = Image.fromarray(_to_8_bit(np.asarray(picture)))
    if picture.mode in ("RGBA", "LA", "PA", "RGBa") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    # A copy by now: a second one would cost loaders two per cent.
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def pair_up(images: Any) -> list[tuple[Any, Any]]:
    """Sort what a user passes as images into (before, after) pairs.

    Args:
        images (`Sequence`): A lone pair, a list of pairs, or a flat list of 2n pictures, pair after pair. Chats nest
            one level more: a list of pairs for every conversation.

    Returns:
        `list[tuple]`: The pairs, undecoded.

    Raises:
        ValueError: A pair does not have two pictures; names which.
    """
    if is_picture(images) or not isinstance(images, Iterable):
        raise ValueError("One picture was given; a change needs two: images=[before, after].")
    items = list(images)
    if not items:
        raise ValueError("No pictures were given: images=[before, after] or a list of such pairs.")
    if all(is_picture(item) for item in items):
        if len(items) % 2:
            raise ValueError(f"{len(items)} picture(s) were given; pairs need an even number: before, after, ...")
        return list(zip(items[::2], items[1::2], strict=True))
    items = [pair for item in items for pair in (item if _holds_pairs(item) else [item])]
    return [_check_pair(item, index) for index, item in enumerate(items)]


def _is_collection(item: Any) -> bool:
    return isinstance(item, list | tuple) or (isinstance(item, np.ndarray | torch.Tensor) and item.ndim > 3)


def _holds_pairs(item: Any) -> bool:
    return _is_collection(item) and len(item) > 0 and all(_is_collection(element) for element in item)


def _check_pair(item: Any, index: int) -> tuple[Any, Any]:
    count = len(item) if _is_collection(item) else 1
    if count != 2:
        raise ValueError(f"Pair {index} has {count} picture(s); every pair needs two: before and after.")
    return tuple(item)


def concatenate(before: Image.Image, after: Image.Image, layout: str) -> Image.Image:
    """Put both pictures into one; where their sizes differ, the second is resized to the first.

    Args:
        before (`PIL.Image.Image`): The picture on top or on the left.
        after (`PIL.Image.Image`): The other one.
        layout (`str`): `"vertical"` for above each other, `"horizontal"` for side by side.

    Returns:
        `PIL.Image.Image`: Mode RGB, twice as high or twice as wide as `before`.
    """
    after = after.resize(before.size, Image.Resampling.BICUBIC) if after.size != before.size else after
    width, height = before.size
    size, corner = ((width, 2 * height), (0, height)) if layout == "vertical" else ((2 * width, height), (width, 0))
    canvas = Image.new("RGB", size)
    canvas.paste(before, (0, 0))
    canvas.paste(after, corner)
    return canvas


__all__ = ["concatenate", "is_picture", "load_picture", "pair_up"]
