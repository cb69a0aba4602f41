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
"""What differs between two images, told without a model: where and how large, never what (ours).

Both images are laid over each other (`registration_ssgpa.py`), given one exposure, and compared pixel by pixel. It
holds for any two images, and names nothing.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from .registration_ssgpa import Registration, clipping, corners_moved, register


Box = tuple[int, int, int, int]
NOTHING, PLACE, TOO_MUCH = "nothing", "place", "too much"
# The longer side at which images are compared, in pixels.
WORKING_SIDE = 256
# The guard: pixels that still differ by more than 30 of 255 in more than a quarter of the image. Images of one view
# have less in 97 of 100 pairs; beyond, several things changed, or the scene is another.
GUARD_LEVEL, GUARD_SHARE = 30 / 255, 0.25
# What counts as different: more than 20 of 255, and more than so many robust deviations of the whole.
LEAST_LEVEL, DEVIATIONS = 20 / 255, 5.0
# Side of the cells that parts are put together from, in pixels of the working size; a cell differs where most does.
CELL, FILLED = 4, 0.5
# The smallest part that is told, in cells.
LEAST_CELLS = 3
# A corner's way, as a share of the sides, from which on the view is called another one.
VIEW_MOVED = 0.02
# Factors of brightness from which on the light is called another one.
BRIGHTER = 1.15
ROWS, COLUMNS = ("top", "middle", "bottom"), ("left", "center", "right")
SIZES = ((0.02, "small"), (0.1, "medium-sized"), (1.0, "large"))


@dataclass(frozen=True)
class ImageDifference:
    """What differs between two images of one scene.

    Args:
        kind (`str`): `"nothing"`, `"place"` (something differs at a place) or `"too much"` (more than can be one
            change).
        cell (`tuple[int, int]`, *optional*): Row and column of the place in 3 x 3, from 0 on; None without a place.
        box_before (`tuple[int, int, int, int]`, *optional*): Left, top, right and bottom of the place, in pixels of
            the image before.
        box_after (`tuple[int, int, int, int]`, *optional*): The same of the image after.
        share (`float`): How much of the image differs, from 0 to 1; of a place, its own share.
        places (`int`): Places that differ.
        view_changed (`bool`): Whether the camera moved.
        brightness (`float`): How much brighter the image after is, as a factor.
        identical (`bool`, *optional*, defaults to `False`): Whether both have the same pixels.
    """

    kind: str
    cell: tuple[int, int] | None
    box_before: Box | None
    box_after: Box | None
    share: float
    places: int
    view_changed: bool
    brightness: float
    identical: bool = False

    @property
    def where(self) -> str | None:
        """The place in words, such as `top left`."""
        if self.cell is None:
            return None
        row, column = ROWS[self.cell[0]], COLUMNS[self.cell[1]]
        return "center" if (row, column) == ("middle", "center") else f"{row} {column}"

    @property
    def size(self) -> str | None:
        """How large the place is, in a word."""
        return None if self.cell is None else next(word for least, word in SIZES if self.share <= least)

    @property
    def sentence(self) -> str:
        """All of it in a sentence or two."""
        if self.identical:
            return "Nothing differs: both images are the same."
        share = f"{max(100 * self.share, 1):.0f} %"
        if self.kind == TOO_MUCH:
            return f"Too much differs to say where ({share} of the image): several changes, or another scene or view."
        notes = ["the view moved"] if self.view_changed else []
        if self.brightness >= BRIGHTER or self.brightness <= 1 / BRIGHTER:
            notes.append(f"it became {'brighter' if self.brightness > 1 else 'darker'}")
        rest = f" ({' and '.join(notes)})" if notes else ""
        if self.kind == NOTHING:
            return f"Nothing differs visibly{rest}."
        more = f", and at {self.places - 1} more place{'s' * (self.places > 2)}" if self.places > 1 else ""
        return f"Something {self.size} differs at the {self.where} of the image, about {share} of it{more}{rest}."

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON takes it, words included."""
        return {**asdict(self), "where": self.where, "size": self.size, "sentence": self.sentence}


def same_pixels(before: Image.Image, after: Image.Image) -> bool:
    """Whether two decoded images are exactly equal.

    Args:
        before (`PIL.Image.Image`): Upright, RGB.
        after (`PIL.Image.Image`): Upright, RGB.
    """
    return before.size == after.size and before.mode == after.mode and before.tobytes() == after.tobytes()


@torch.no_grad()
def difference(
    before: Image.Image, after: Image.Image, sizes: Sequence[tuple[int, int]] | None = None
) -> ImageDifference:
    """Say what differs between two images of one scene, whatever they show.

    Args:
        before (`PIL.Image.Image`): Upright, RGB.
        after (`PIL.Image.Image`): Upright, RGB, of any size; it is stretched to the sides of the one before.
        sizes (`Sequence[tuple[int, int]]`, *optional*): Widths and heights that boxes are told in, where these images
            are smaller copies; by default their own.

    Returns:
        `ImageDifference`: Where and how large.
    """
    if same_pixels(before, after):
        return ImageDifference(NOTHING, None, None, None, 0.0, 0, False, 1.0, identical=True)
    scale = WORKING_SIDE / max(before.size)
    size = tuple(max(16, round(side * scale)) for side in before.size)
    first, second = (_pixels(image, size) for image in (before, after))
    found = register(first, second)
    view_changed, brightness = corners_moved(found.view) > VIEW_MOVED, found.gain
    unlike = _unlike(first, found)
    share = _share(unlike > GUARD_LEVEL, found.valid)
    if share > GUARD_SHARE:
        return ImageDifference(TOO_MUCH, None, None, None, share, 0, view_changed, brightness)
    parts = _parts(unlike, found)
    if not parts:
        return ImageDifference(NOTHING, None, None, None, 0.0, 0, view_changed, brightness)
    cells = np.array(parts[0])
    (top, left), (bottom, right) = cells.min(0), cells.max(0) + 1
    height, width = unlike.shape
    # In shares of the sides, from 0 to 1.
    edges = [
        min(CELL * edge / side, 1) for edge, side in ((left, width), (top, height), (right, width), (bottom, height))
    ]
    center = (edges[1] + edges[3]) / 2, (edges[0] + edges[2]) / 2
    return ImageDifference(
        PLACE,
        tuple(min(int(3 * place), 2) for place in center),
        _box(edges, sizes[0] if sizes else before.size),
        _box(_seen_from(edges, found.view), sizes[1] if sizes else after.size),
        len(cells) * CELL * CELL / (height * width),
        len(parts),
        view_changed,
        brightness,
    )


def _pixels(image: Image.Image, size: tuple[int, int]) -> Tensor:
    """An image at the working size, (3, height, width) in [0, 1]."""
    resized = image.convert("RGB").resize(
        size, Image.Resampling.BOX if min(image.size) > max(size) else Image.Resampling.BICUBIC
    )
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1).float() / 255


def _unlike(before: Tensor, found: Registration) -> Tensor:
    """How far each pixel lies outside of what the other image has around it, (height, width).

    What lies within the range of the 3 x 3 pixels around the same place is no difference: views never fit exactly.
    """
    one, other = (F.avg_pool2d(image[None], 3, 1, 1, count_include_pad=False)[0] for image in (before, found.after))
    outside = torch.zeros_like(one)
    for image, around in ((one, other), (other, one)):
        high = F.max_pool2d(around[None], 3, 1, 1)[0]
        low = -F.max_pool2d(-around[None], 3, 1, 1)[0]
        outside = torch.maximum(outside, torch.maximum(image - high, low - image))
    # Nor is what an exposure cut off at white or black, and the other image shows beyond.
    gap = before - found.after
    cut = (found.clipped * gap > 0) | (clipping(before) * gap < 0)
    outside = outside.masked_fill(cut, 0)
    # At the border of what both show, there is nothing around.
    inside = -F.max_pool2d(-F.pad(found.valid.float()[None, None], (3, 3, 3, 3)), 7, 1)[0, 0]
    return outside.amax(0) * inside


def _share(chosen: Tensor, valid: Tensor) -> float:
    return (chosen & valid).sum().item() / max(valid.sum().item(), 1)


def _parts(unlike: Tensor, found: Registration) -> list[list[tuple[int, int]]]:
    """Cells that differ, as connected parts, the most different first."""
    level = max(LEAST_LEVEL, DEVIATIONS * found.residual)
    height, width = unlike.shape
    padded = F.pad((unlike > level).float()[None, None], (0, -width % CELL, 0, -height % CELL))
    filled = F.avg_pool2d(padded, CELL)[0, 0] >= FILLED
    weight = F.avg_pool2d(F.pad(unlike[None, None], (0, -width % CELL, 0, -height % CELL)), CELL)[0, 0]
    parts = [part for part in _connected(filled.numpy()) if len(part) >= LEAST_CELLS]
    return sorted(parts, key=lambda part: -sum(weight[place].item() for place in part))


def _connected(filled: np.ndarray) -> list[list[tuple[int, int]]]:
    """Sets of cells that touch, at corners too, or have one empty cell between them."""
    left, parts = set(map(tuple, np.argwhere(filled).tolist())), []
    while left:
        part, waiting = [], [left.pop()]
        while waiting:
            row, column = waiting.pop()
            part.append((row, column))
            near = {(row + down, column + across) for down in range(-2, 3) for across in range(-2, 3)} & left
            left -= near
            waiting += near
        parts.append(part)
    return parts


def _seen_from(edges: Sequence[float], view: Tensor) -> list[float]:
    """The box around what a box of the image before is in the image after, in shares of the sides."""
    left, top, right, bottom = (2 * edge - 1 for edge in edges)
    corners = torch.tensor([[x, y, 1.0] for x in (left, right) for y in (top, bottom)])
    corners = corners.to(view.dtype) @ view.T
    places = (corners[:, :2] / corners[:, 2:] + 1) / 2
    return [*places.amin(0).tolist(), *places.amax(0).tolist()]


def _box(edges: Sequence[float], size: tuple[int, int]) -> Box:
    return tuple(round(min(max(edge, 0), 1) * side) for edge, side in zip(edges, (*size, *size), strict=True))


__all__ = ["ImageDifference", "difference", "same_pixels"]
