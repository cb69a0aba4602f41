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
"""Large pairs as aligned tiles: where to cut, which tiles have changed, and how their maps join."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from PIL import Image, ImageChops


# Where the training's images are not known: what training on usual data sets shrinks by.
AUTO_SHRINK = 2
# The share of a tile that it reaches into each neighbor, so that what lies on a border is seen whole once.
OVERLAP = 0.125
# Evidence is called strong from odds of 20 to 1 on; in nats, as the scores are.
CHANGED_FROM = math.log(20)
Box = tuple[int, int, int, int]


def tile_grid(
    tiles: Any, size: tuple[int, int], model: tuple[int, int] | None, processor: Any = None, overlap: float = OVERLAP
) -> tuple[int, int]:
    """Rows and columns of tiles.

    Args:
        tiles (`tuple[int, int]` or `str`): Rows and columns, or `"auto"` for as many that no tile is shrunk more than
            the images of the training were, or by more than 2 where the processor does not tell their size.
        size (`tuple[int, int]`): Width and height of the larger image, in pixels.
        model (`tuple[int, int]`, *optional*): Width and height of what the model sees; `"auto"` needs it.
        processor (`SSGPAProcessor`, *optional*): Tells the size of the training's images.
        overlap (`float`): How far a tile reaches into its neighbors, as a share of its own side.

    Returns:
        `tuple[int, int]`: Rows and columns.

    Raises:
        ValueError: `tiles` is neither, or a tile would be empty.
    """
    if isinstance(tiles, str) and tiles == "auto":
        if model is None:
            raise ValueError('The processor does not tell its size; give `tiles` as (rows, columns), not "auto".')
        trained = getattr(processor, "trained_size", None)
        shrink = max(trained["width"] / model[0], trained["height"] / model[1], 1) if trained else AUTO_SHRINK
        columns, rows = (_count(side, shrink * seen, overlap) for side, seen in zip(size, model, strict=True))
        return rows, columns
    grid = tuple(tiles) if isinstance(tiles, tuple | list) else ()
    if len(grid) != 2 or not all(isinstance(count, int) and count > 0 for count in grid):
        raise ValueError(f'`tiles` must be (rows, columns), from 1 on, or "auto"; got {tiles!r}.')
    return grid


def _count(side: int, most: float, overlap: float) -> int:
    """Tiles along a side, none of which is longer than `most` with what it takes of its neighbors."""
    return 1 if side <= most else math.ceil(side * (1 + 2 * overlap) / most)


def tile_boxes(size: tuple[int, int], grid: tuple[int, int], overlap: float = OVERLAP) -> list[Box]:
    """Cut an image into tiles that lie at the same place of an image of any other size.

    Args:
        size (`tuple[int, int]`): Width and height, in pixels.
        grid (`tuple[int, int]`): Rows and columns.
        overlap (`float`): How far a tile reaches into its neighbors, as a share of its own side, in [0, 1).

    Returns:
        `list[tuple]`: Left, top, right and bottom of each tile, in pixels, row by row.

    Raises:
        ValueError: The image is too small for so many tiles, or `overlap` is out of range.
    """
    if not 0 <= overlap < 1:
        raise ValueError(f"`tile_overlap` must be in [0, 1), got {overlap}.")
    (width, height), (rows, columns) = size, grid
    if width < columns or height < rows:
        raise ValueError(f"An image of {width}x{height} pixels has no {rows} rows and {columns} columns of tiles.")
    spans = [
        [
            (max(0, round((place - overlap) * side / count)), min(side, round((place + 1 + overlap) * side / count)))
            for place in range(count)
        ]
        for side, count in ((height, rows), (width, columns))
    ]
    return [(left, top, right, bottom) for top, bottom in spans[0] for left, right in spans[1]]


def lay_in(canvas: Image.Image, drawn: Image.Image, box: Box) -> None:
    """Add a tile's change map to the map of the whole image; where tiles overlap, the stronger evidence counts.

    Args:
        canvas (`PIL.Image.Image`): The map of the whole image, mode L; it is changed.
        drawn (`PIL.Image.Image`): The tile's, mode L, of the box's size.
        box (`tuple[int, int, int, int]`): Where the tile lies.
    """
    canvas.paste(ImageChops.lighter(canvas.crop(box), drawn), box)


def join_captions(tiles: Iterable[Mapping[str, Any]]) -> str:
    """One line a changed tile; where none has changed, the caption that most tiles have; of a lone tile, its caption.

    Args:
        tiles (`Iterable[Mapping]`): Tiles with `row`, `column`, `generated_text` and `changed`.

    Returns:
        `str`: The lines.
    """
    tiles = list(tiles)
    lines = [f"row {t['row']}, column {t['column']}: {t['generated_text']}" for t in tiles if t["changed"]]
    captions = [tile["generated_text"] for tile in tiles]
    return "\n".join(lines) if lines and len(tiles) > 1 else max(dict.fromkeys(captions), key=captions.count)


__all__ = ["join_captions", "lay_in", "tile_boxes", "tile_grid"]
