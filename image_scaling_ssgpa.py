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
"""The rule by which values of any kind become 8 bits: by dtype, or by a range that is told."""

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from PIL import Image


PERCENTILE = "percentile"
# What a percentile stretch cuts off at either end, in percent.
CUT = 2
# Of larger images, every so manieth value is enough for a percentile.
SAMPLED = 1_000_000
# How far floats may leave their range, as a share of it: bicubic resizing overshoots by up to a fifth.
OVERSHOOT = 0.25
WHITE_8, WHITE_16 = 255, 65535
ADVICE = 'undo any normalization, or say which values are black and white: value_range=(low, high) or "percentile"'
# An image is nearly one color where in each channel so many of its pixels lie within so many levels.
ONE_COLOR_SHARE, ONE_COLOR_LEVELS = 0.999, 16
PROBE = (32, 32)


def check_value_range(value: Any) -> tuple[float, float] | str | None:
    """Return a value range in its usual form.

    Args:
        value (`tuple[float, float]` or `str`, *optional*): Lowest and highest value, or `"percentile"`.

    Raises:
        ValueError: It is neither, or the lowest value is not below the highest.
    """
    if value is None or (isinstance(value, str) and value == PERCENTILE):
        return value
    pair = list(value) if isinstance(value, Sequence) and not isinstance(value, str | bytes) else []
    if len(pair) != 2 or not all(isinstance(end, Real) and math.isfinite(end) for end in pair) or pair[0] >= pair[1]:
        raise ValueError(f'`value_range` must be (low, high) with low below high, or "percentile"; got {value!r}.')
    return float(pair[0]), float(pair[1])


def check_nodata(value: Any) -> float | None:
    """Return the value that stands for no data, as a number.

    Raises:
        ValueError: It is no number.
    """
    if value is not None and (not isinstance(value, Real) or isinstance(value, bool)):
        raise ValueError(f"`nodata` must be a number, got {value!r}.")
    return None if value is None else float(value)


def check_bands(value: Any) -> tuple[int, ...] | None:
    """Return the numbers of bands as a tuple.

    Raises:
        ValueError: They are not one or three whole numbers from 1 on.
    """
    if value is None:
        return None
    bands = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str | bytes) else (value,)
    if len(bands) not in (1, 3) or not all(isinstance(band, Integral) and band > 0 for band in bands):
        raise ValueError(
            "`bands` must be one number, or three for red, green and blue, each from 1 on such as (3, 2, 1); got "
            f"{value!r}."
        )
    return tuple(int(band) for band in bands)


def find_missing(
    values: np.ndarray, nodata: float | None = None, missing: np.ndarray | None = None
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Find what is no data: the value that stands for it, NaN and infinity, and what a mask says.

    Args:
        values (`np.ndarray` of shape `(height, width)` or `(height, width, channels)`): The values.
        nodata (`float`, *optional*): What stands for no data.
        missing (`np.ndarray`, *optional*): Mask of the values' shape.

    Returns:
        `tuple`: Two masks of the values' shape, each None where it would be empty: what no scale is taken from, and
        what is drawn black. A pixel of which only some channels are no data is drawn as it is: 255 may stand for no
        data, and red is (255, 0, 0). NaN and infinity are always drawn black.
    """
    broken = ~np.isfinite(values) if values.dtype.kind == "f" else None
    absent = missing if missing is not None and missing.any() else None
    # A comparison in the array's own dtype makes no copy; whole numbers never equal -9999.5.
    if nodata is not None and _holds(values.dtype, nodata):
        equal = values == values.dtype.type(nodata)
        absent = equal if absent is None else absent | equal
    hidden = absent
    if absent is not None and values.ndim == 3:
        hidden = np.broadcast_to(absent.all(-1, keepdims=True), values.shape)
    if broken is not None and broken.any():
        absent = broken if absent is None else absent | broken
        hidden = broken if hidden is None else hidden | broken
    return (absent, hidden) if absent is not None and absent.any() else (None, None)


def _holds(dtype: np.dtype, value: float) -> bool:
    if dtype.kind == "f":
        return math.isfinite(value) and abs(value) <= np.finfo(dtype).max
    if dtype.kind not in "iu" or not value.is_integer():
        return False
    limits = np.iinfo(dtype)
    return limits.min <= value <= limits.max


def to_8_bit(
    values: np.ndarray,
    value_range: tuple[float, float] | str | None = None,
    nodata: float | None = None,
    missing: np.ndarray | None = None,
) -> tuple[np.ndarray, str]:
    """Scale values to 0 to 255; what is no data becomes 0.

    Without `value_range` the dtype says which value is white, black is 0:

    | dtype | white |
    |---|---|
    | bool | True |
    | uint8 | 255 |
    | uint16 | 65535 |
    | other whole numbers | 255 if none is larger, else 65535 |
    | floats | 1 if none is larger than 1.25, else 255; up to a quarter beyond either end is clipped |

    Args:
        values (`np.ndarray` of shape `(height, width)` or `(height, width, channels)`): Any real dtype.
        value_range (`tuple[float, float]` or `str`, *optional*): What becomes 0 and 255, whatever the dtype; values
            beyond are clipped. `"percentile"` takes the 2nd and the 98th percentile of all channels together.
        nodata (`float`, *optional*): The value that stands for no data; NaN and infinity always do.
        missing (`np.ndarray`, *optional*): Mask of the values' shape, True where a file says that there is no data.

    Returns:
        `tuple[np.ndarray, str]`: uint8 of the same shape, and what was found, for messages.

    Raises:
        TypeError: The dtype is not one of real numbers.
        ValueError: There are no values, none is data, or they fit no range.
    """
    if values.dtype.kind not in "biuf":
        raise TypeError(f"values of dtype {values.dtype} are no numbers of an image")
    if values.size == 0:
        raise ValueError(f"an array of shape {values.shape} has no pixels")
    excluded, hidden = find_missing(values, nodata, missing)
    valid = values if excluded is None else values[~excluded]
    if valid.size == 0:
        raise ValueError("no value is finite and data")
    lowest, highest = valid.min(), valid.max()
    found = f"its {values.dtype} values run from {lowest:g} to {highest:g}"
    if value_range is not None:
        low, high = _percentiles(valid) if value_range == PERCENTILE else value_range
        scaled, found = _stretch(values, low, high), f"{found}, drawn from {low:g} to {high:g}"
    elif values.dtype == np.uint8:
        scaled = values
    elif values.dtype == bool:
        scaled = values.astype(np.uint8) * 255
    elif values.dtype.kind == "f":
        scaled = _stretch(values, 0, _white_of_floats(float(lowest), float(highest)))
    else:
        scaled = _scale_integers(values, int(lowest), int(highest))
    return (scaled if hidden is None else np.where(hidden, np.uint8(0), scaled)), found


def _percentiles(valid: np.ndarray) -> tuple[float, float]:
    flat = valid.reshape(-1)
    sample = flat[:: -(-flat.size // SAMPLED)].astype(np.float64)
    low, high = (float(end) for end in np.percentile(sample, (CUT, 100 - CUT)))
    # Nearly all values are one: what is left to show are the others.
    return (low, high) if low < high else (float(sample.min()), float(sample.max()))


def _stretch(values: np.ndarray, low: float, high: float) -> np.ndarray:
    # In double precision row by row: a whole image of them would be eight times its size.
    scaled = np.empty(values.shape, np.uint8)
    with np.errstate(all="ignore"):
        factor = np.float64(WHITE_8) / ((high - low) or 1.0)
        for row, target in zip(values, scaled, strict=True):
            levels = np.nan_to_num((row.astype(np.float64) - low) * factor)
            target[...] = np.rint(np.clip(levels, 0, WHITE_8))
    return scaled


def _white_of_floats(lowest: float, highest: float) -> int:
    white = 1 if highest <= 1 + OVERSHOOT else WHITE_8
    # What overshoots does so by a share of the contrast; normalized values reach as far down as up.
    if highest < 0 or lowest < -OVERSHOOT * min(white, highest):
        raise ValueError(f"values from {lowest:g} to {highest:g} must be finite and not negative; {ADVICE}")
    if highest > white * (1 + OVERSHOOT):
        raise ValueError(f"values up to {highest:g} are neither 8 nor 16 bits, nor floats up to 1 or 255; {ADVICE}")
    return white


def _scale_integers(values: np.ndarray, lowest: int, highest: int) -> np.ndarray:
    if lowest < 0:
        raise ValueError(f"values from {lowest} to {highest} must be finite and not negative; {ADVICE}")
    if highest > WHITE_16:
        raise ValueError(f"values up to {highest} are neither 8 nor 16 bits; {ADVICE}")
    is_16_bit = highest > WHITE_8 or (values.dtype.kind == "u" and values.dtype.itemsize == 2)
    # No data may lie outside of either range, and is masked afterwards.
    return (np.clip(values, 0, WHITE_16) // 256 if is_16_bit else np.clip(values, 0, WHITE_8)).astype(np.uint8)


def is_nearly_one_color(image: Image.Image) -> bool:
    """Whether an image shows next to nothing: in each channel, 99.9 % of its pixels lie within 16 of 256 levels.

    Args:
        image (`PIL.Image.Image`): Mode RGB.
    """
    # Some pixels tell of nearly every image that it is not; they cost a hundredth of its decoding.
    probe = np.asarray(image.resize(PROBE, Image.Resampling.NEAREST)).reshape(-1, 3)
    edge = len(probe) // 100
    ordered = np.sort(probe, axis=0).astype(int)
    if (ordered[-1 - edge] - ordered[edge] >= ONE_COLOR_LEVELS).any():
        return False
    counts = np.array(image.histogram(), dtype=np.int64).reshape(3, 256).cumsum(1)
    below = np.concatenate([np.zeros((3, 1), np.int64), counts], 1)
    within = below[:, ONE_COLOR_LEVELS:] - below[:, :-ONE_COLOR_LEVELS]
    return bool((within.max(1) >= ONE_COLOR_SHARE * counts[:, -1]).all())


__all__ = ["check_bands", "check_nodata", "check_value_range", "find_missing", "is_nearly_one_color", "to_8_bit"]
