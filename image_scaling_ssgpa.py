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
from dataclasses import dataclass
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


# The options of reading, by name.
READING = ("value_range", "nodata", "bands")


@dataclass(frozen=True)
class Reading:
    """How values of images become colors.

    Args:
        value_range (`tuple[float, float]` or `str`, *optional*): What becomes black and white, or `"percentile"`.
        nodata (`float`, *optional*): The value that stands for no data; by default what a TIFF's own tag says.
        bands (`tuple[int, ...]`, *optional*): Numbers of the bands to show, from 1 on: one, or red, green and blue.

    Raises:
        ValueError: One of them is of another form; the error names it.
    """

    value_range: tuple[float, float] | str | None = None
    nodata: float | None = None
    bands: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        given = self.value_range
        if given is not None and not (isinstance(given, str) and given == PERCENTILE):
            ends = _as_tuple(given)
            numbers = len(ends) == 2 and all(isinstance(end, Real) and math.isfinite(end) for end in ends)
            if not numbers or ends[0] >= ends[1]:
                raise ValueError(
                    f'`value_range` must be (low, high) with low below high, or "percentile"; got {given!r}.'
                )
            object.__setattr__(self, "value_range", (float(ends[0]), float(ends[1])))
        if self.nodata is not None:
            if not isinstance(self.nodata, Real) or isinstance(self.nodata, bool):
                raise ValueError(f"`nodata` must be a number, got {self.nodata!r}.")
            object.__setattr__(self, "nodata", float(self.nodata))
        if self.bands is not None:
            bands = _as_tuple(self.bands)
            if len(bands) not in (1, 3) or not all(isinstance(band, Integral) and band > 0 for band in bands):
                raise ValueError(
                    "`bands` must be one number, or three for red, green and blue, each from 1 on such as (3, 2, 1); "
                    f"got {self.bands!r}."
                )
            object.__setattr__(self, "bands", tuple(int(band) for band in bands))

    @property
    def is_default(self) -> bool:
        """Whether nothing is told."""
        return self == Reading()


def _as_tuple(value: Any) -> tuple:
    """The items of a sequence; of anything else, text included, itself alone."""
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str | bytes) else (value,)


DEFAULT = Reading()


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
    dtype = values.dtype
    if nodata is not None and dtype.kind in "iuf":
        limits = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
        # A comparison in the array's own dtype makes no copy; whole numbers never equal -9999.5.
        if limits.min <= nodata <= limits.max and (dtype.kind == "f" or nodata.is_integer()):
            equal = values == dtype.type(nodata)
            absent = equal if absent is None else absent | equal
    hidden = absent
    if absent is not None and values.ndim == 3:
        hidden = np.broadcast_to(absent.all(-1, keepdims=True), values.shape)
    if broken is not None and broken.any():
        absent = broken if absent is None else absent | broken
        hidden = broken if hidden is None else hidden | broken
    return (absent, hidden) if absent is not None and absent.any() else (None, None)


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
        if value_range == PERCENTILE:
            flat = valid.reshape(-1)
            sample = flat[:: -(-flat.size // SAMPLED)].astype(np.float64)
            low, high = (float(end) for end in np.percentile(sample, (CUT, 100 - CUT)))
            if low >= high:
                # Nearly all values are one: what is left to show are the others.
                low, high = float(sample.min()), float(sample.max())
        else:
            low, high = value_range
        scaled, found = _stretch(values, low, high), f"{found}, drawn from {low:g} to {high:g}"
    else:
        scaled = _scale_by_dtype(values, lowest, highest)
    return (scaled if hidden is None else np.where(hidden, np.uint8(0), scaled)), found


def _scale_by_dtype(values: np.ndarray, lowest: np.generic, highest: np.generic) -> np.ndarray:
    """Scale by the table of `to_8_bit`; `lowest` and `highest` are those of the values that are data."""
    if values.dtype == np.uint8:
        return values
    if values.dtype == bool:
        return values.astype(np.uint8) * 255
    if values.dtype.kind == "f":
        lowest, highest = float(lowest), float(highest)
        white = 1 if highest <= 1 + OVERSHOOT else WHITE_8
        # What overshoots does so by a share of the contrast; normalized values reach as far down as up.
        if highest < 0 or lowest < -OVERSHOOT * min(white, highest):
            raise ValueError(f"values from {lowest:g} to {highest:g} must be finite and not negative; {ADVICE}")
        if highest > white * (1 + OVERSHOOT):
            raise ValueError(
                f"values up to {highest:g} are neither 8 nor 16 bits, nor floats up to 1 or 255; {ADVICE}"
            )
        return _stretch(values, 0, white)
    lowest, highest = int(lowest), int(highest)
    if lowest < 0:
        raise ValueError(f"values from {lowest} to {highest} must be finite and not negative; {ADVICE}")
    if highest > WHITE_16:
        raise ValueError(f"values up to {highest} are neither 8 nor 16 bits; {ADVICE}")
    is_16_bit = highest > WHITE_8 or (values.dtype.kind == "u" and values.dtype.itemsize == 2)
    # No data may lie outside of either range, and is masked afterwards.
    return (np.clip(values, 0, WHITE_16) // 256 if is_16_bit else np.clip(values, 0, WHITE_8)).astype(np.uint8)


def _stretch(values: np.ndarray, low: float, high: float) -> np.ndarray:
    # In double precision row by row: a whole image of them would be eight times its size.
    scaled = np.empty(values.shape, np.uint8)
    with np.errstate(all="ignore"):
        factor = np.float64(WHITE_8) / ((high - low) or 1.0)
        for row, target in zip(values, scaled, strict=True):
            levels = np.nan_to_num((row.astype(np.float64) - low) * factor)
            target[...] = np.rint(np.clip(levels, 0, WHITE_8))
    return scaled


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


__all__ = ["DEFAULT", "READING", "Reading", "find_missing", "is_nearly_one_color", "to_8_bit"]
