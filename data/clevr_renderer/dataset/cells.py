# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Auxiliary targets for training from the renderer's object masks: what each cell of a grid shows (ours).

A cell's target is an integer. Bits 0-2 stand for the shapes cube, sphere, cylinder; 3-10 for the colors gray, red,
blue, green, brown, purple, cyan, yellow; 11-12 for rubber, metal; 13-14 for large, small; bit 15 for the changed
object. An object shows in every cell it covers a tenth of, and in the cell that holds most of it.

An object's target is its bits 0-14 and how many of its pixels each cell holds.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ...checks import inner_file
from ...schema import CELL_COLUMNS, NO_CHANGE, OBJECT_COLUMNS, pair_features
from ..scene.geometry import COLORS, MATERIALS, SHAPES, SIZES
from .layout import MASK_FOLDER, SCENES, mask_name, read_scenes


if TYPE_CHECKING:
    from datasets import DatasetDict


COVERED = 0.1
CHANGED_BIT = 15
_BITS = {
    (field, value): bit
    for bit, (field, value) in enumerate(
        (field, value)
        for field, values in (("shape", SHAPES), ("color", COLORS), ("material", MATERIALS), ("size", SIZES))
        for value in values
    )
}


def cell_of_pixels(size: tuple[int, int], grid: tuple[int, int]) -> np.ndarray:
    """Number of the cell, row by row, that each pixel of a (height, width) image lies in."""
    rows, columns = (np.arange(length) * count // length for length, count in zip(size, grid, strict=True))
    return rows[:, None] * grid[1] + columns


def object_bits(thing: dict[str, Any]) -> int:
    """The attribute bits 0-14 of an object of `scenes.jsonl`."""
    return sum(1 << _BITS[field, thing[field]] for field in ("shape", "color", "material", "size"))


def cell_targets(
    ids: np.ndarray, objects: list[dict[str, Any]], changed_ids: Collection[int], grid: tuple[int, int]
) -> list[int]:
    """Auxiliary targets of one image.

    Args:
        ids (`np.ndarray`): Object ids of the pixels, uint8 (height, width).
        objects (`list[dict[str, Any]]`): The image's objects, as in `scenes.jsonl`.
        changed_ids (`Collection[int]`): Ids of the changed objects; none in a pair without a change.
        grid (`tuple[int, int]`): Rows and columns.

    Returns:
        `list[int]`: Rows * columns integers, row by row.

    Raises:
        ValueError: If the grid is finer than the image.
    """
    if not (1 <= grid[0] <= ids.shape[0] and 1 <= grid[1] <= ids.shape[1]):
        raise ValueError(f"a grid of {grid[0]} x {grid[1]} cells does not fit {ids.shape[0]} x {ids.shape[1]} pixels")
    cells = cell_of_pixels(ids.shape, grid)
    count = grid[0] * grid[1]
    area = np.bincount(cells.ravel(), minlength=count)
    targets = np.zeros(count, dtype=np.int64)
    for thing in objects:
        covered = np.bincount(cells[ids == thing["id"]], minlength=count)
        shown = covered >= COVERED * area
        shown[covered.argmax()] = covered.any()
        targets[shown] |= object_bits(thing) | (int(thing["id"] in changed_ids) << CHANGED_BIT)
    return targets.tolist()


def object_targets(ids: np.ndarray, objects: list[dict[str, Any]], grid: tuple[int, int]) -> list[int]:
    """Auxiliary targets of the objects that an image shows.

    Args:
        ids (`np.ndarray`): Object ids of the pixels, uint8 (height, width).
        objects (`list[dict[str, Any]]`): The image's objects, as in `scenes.jsonl`.
        grid (`tuple[int, int]`): Rows and columns.

    Returns:
        `list[int]`: One object after the other: its attribute bits, then its pixels in every cell, row by row.
    """
    cells, count = cell_of_pixels(ids.shape, grid), grid[0] * grid[1]
    targets: list[int] = []
    for thing in objects:
        pixels = np.bincount(cells[ids == thing["id"]], minlength=count)
        if pixels.any():
            targets += [object_bits(thing), *pixels.tolist()]
    return targets


def _pair_targets(
    row: dict[str, Any], folder: Path, scenes: dict[int, dict[str, Any]], grid: tuple[int, int]
) -> list[list[int]]:
    """Targets of the cells before and after of a row of the data set, then those of the objects."""
    record = scenes.get(int(row["scene_id"]))
    if record is None:
        raise ValueError(f"{folder / SCENES} has no scene {row['scene_id']}")
    same = row["change_type"] == NO_CHANGE
    changes = record["changes"] if "changes" in record else [{"object_id": record["changed_object"]}]
    changed_ids = [] if same else [change["object_id"] for change in changes]
    cells, objects = [], []
    for view in ("default", "nonsemantic" if same else "semantic"):
        with Image.open(inner_file(folder, mask_name(view, record["index"]))) as mask:
            ids = np.asarray(mask)
        cells.append(cell_targets(ids, record[view]["objects"], changed_ids, grid))
        objects.append(object_targets(ids, record[view]["objects"], grid))
    return [*cells, *objects]


def add_cell_targets(dataset: DatasetDict, folder: str | Path, grid: tuple[int, int]) -> DatasetDict:
    """Add the columns of cells and of objects to a set read from `folder`.

    Args:
        dataset (`DatasetDict`): What `readers.clevr_change.load_clevr_change` read.
        folder (`str` or `Path`): A folder rendered with object masks.
        grid (`tuple[int, int]`): Rows and columns.

    Returns:
        `DatasetDict`: The same splits with `before_cells` and `after_cells`, lists of rows * columns int32, and
        `before_objects` and `after_objects`, see `object_targets`.

    Raises:
        FileNotFoundError: If the folder has no object masks.
        ValueError: If the grid does not fit the images.
    """
    folder = Path(folder)
    if not (folder / SCENES).is_file() or not (folder / MASK_FOLDER).is_dir():
        raise FileNotFoundError(
            f"{folder} has no object masks; render it with --object_masks to get cell auxiliary targets"
        )
    scenes = read_scenes(inner_file(folder, SCENES))
    features = pair_features(with_cells=True, with_objects=True)
    result = dataset.copy()
    for name, split in dataset.items():
        rows = split.select_columns(["scene_id", "change_type"])
        targets = [_pair_targets(row, folder, scenes, grid) for row in rows]
        for place, column in enumerate((*CELL_COLUMNS, *OBJECT_COLUMNS)):
            split = split.add_column(column, [pair[place] for pair in targets], feature=features[column])
        result[name] = split
    return result
