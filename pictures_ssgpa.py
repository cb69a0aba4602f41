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
"""Pictures of any kind, decoded to one kind: upright 8-bit RGB."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from transformers.image_utils import ChannelDimension, infer_channel_dimension_format, load_image


# Below this a picture shows nothing that could be described.
MIN_SIDE = 8


def is_picture(source: Any) -> bool:
    """Whether `source` is one picture, and not a collection of them."""
    if isinstance(source, np.ndarray | torch.Tensor):
        return source.ndim in (2, 3)
    return isinstance(source, str | Path | bytes | Image.Image | Mapping)


def load_picture(source: Any, name: str = "picture") -> Image.Image:
    """Decode one picture to upright 8-bit RGB; the same picture gives the same pixels whatever carries it.

    EXIF orientation is applied, transparency is laid on white, 16 bits are scaled to 8, the first frame counts.

    Args:
        source (`str`, `Path`, `bytes`, `PIL.Image.Image`, `np.ndarray`, `torch.Tensor` or `dict`): A path or URL, the
            bytes of a file, a decoded picture, an array (channels first or last; integers, or floats in [0, 1] or
            [0, 255]), or a row of an undecoded `datasets.Image` column.
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
    name = str(source) if isinstance(source, str | Path) and len(str(source)) < 500 else name
    try:
        picture = _to_rgb(_open(source))
    except FileNotFoundError:
        raise FileNotFoundError(f"{name}: no such file.") from None
    except (OSError, SyntaxError, ValueError, TypeError, Image.DecompressionBombError) as error:
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
    if isinstance(source, bytes):
        return Image.open(io.BytesIO(source))
    if isinstance(source, str) and source.startswith(("http://", "https://", "data:")):
        return load_image(source)
    if not isinstance(source, str | Path):
        raise TypeError(f"a {type(source).__name__} is no picture")
    path = Path(source)
    if not path.exists():
        raise FileNotFoundError(path)
    return Image.open(io.BytesIO(path.read_bytes()))


def _to_8_bit(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    if array.dtype == bool:
        return array.astype(np.uint8) * 255
    if not np.isfinite(array).all() or array.min() < 0:
        raise ValueError("values must be finite and not negative; undo any normalisation")
    if np.issubdtype(array.dtype, np.integer):
        scale = 1 / 257 if array.max() > 255 or array.dtype == np.uint16 else 1
    else:
        scale = 255 if array.max() <= 1 else 1
    scaled = np.rint(array.astype(np.float64) * scale)
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
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture.convert("RGB")


__all__ = ["is_picture", "load_picture"]
