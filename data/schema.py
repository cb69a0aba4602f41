# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The columns that every data set of image pairs is read into, and the checks on their rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..utils.extras import require_datasets
from .checks import check_captions


if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict, Features


SPLITS = ("train", "validation", "test")
COLUMNS = ("pair_id", "scene_id", "before", "after", "captions", "change_type")
SIDES = ("before", "after")
CELL_COLUMNS = ("before_cells", "after_cells")
OBJECT_COLUMNS = ("before_objects", "after_objects")
NO_CHANGE = "none"
# Of captions that were retrieved for a pair; no prepared set has it, see `retrieved.py`.
RETRIEVED = "retrieved"


def pair_features(with_cells: bool = False, with_objects: bool = False) -> Features:
    """Features of a data set of pairs.

    Args:
        with_cells (`bool`, *optional*, defaults to `False`): Adds `before_cells` and `after_cells`, lists of int32,
            see `clevr_renderer.dataset.cells`.
        with_objects (`bool`, *optional*, defaults to `False`): Adds `before_objects` and `after_objects`, likewise.

    Returns:
        `pair_id` and `scene_id` string, `before` and `after` image, `captions` list of strings, `change_type` string
        ("none" where nothing changed, null where unknown).
    """
    hf = require_datasets()
    features = {
        "pair_id": hf.Value("string"),
        "scene_id": hf.Value("string"),
        "before": hf.Image(),
        "after": hf.Image(),
        "captions": hf.List(hf.Value("string")),
        "change_type": hf.Value("string"),
    }
    if with_cells:
        features |= {name: hf.List(hf.Value("int32")) for name in CELL_COLUMNS}
    if with_objects:
        features |= {name: hf.List(hf.Value("int32")) for name in OBJECT_COLUMNS}
    return hf.Features(features)


def check_features(dataset: Dataset, where: str) -> None:
    """Check that a split has the columns of `pair_features`, with auxiliary targets or without.

    Raises:
        ValueError: Naming `where` and the columns that are missing or differ.
    """
    has_cells, has_objects = (
        any(name in dataset.features for name in names) for names in (CELL_COLUMNS, OBJECT_COLUMNS)
    )
    expected = pair_features(has_cells, has_objects)
    wrong = [name for name, feature in expected.items() if dataset.features.get(name) != feature]
    extra = [name for name in dataset.features if name not in expected]
    if wrong or extra:
        raise ValueError(f"{where}: columns missing or of another type: {wrong}; unknown columns: {extra}")


def check_pairs(dataset: DatasetDict, where: str) -> None:
    """Check the splits of a data set: names, columns, captions, and that no pair or scene occurs in two places.

    Raises:
        ValueError: Naming `where`, the split and the pair.
    """
    if tuple(sorted(dataset)) != tuple(sorted(SPLITS)):
        raise ValueError(f"{where}: the splits must be {', '.join(SPLITS)}, found {', '.join(dataset)}")
    if not any(map(len, dataset.values())):
        raise ValueError(f"{where}: there are no pairs, or none is left")
    seen: set[str] = set()
    split_of: dict[str, str] = {}
    for name in SPLITS:
        check_features(dataset[name], f"{where}, {name}")
        for row in dataset[name].select_columns(["pair_id", "scene_id", "captions"]):
            pair_id, scene_id, place = row["pair_id"], row["scene_id"], f"{where}, {name}, pair {row['pair_id']!r}"
            if not pair_id or not scene_id:
                raise ValueError(f"{place}: pair_id and scene_id must not be empty")
            if pair_id in seen:
                raise ValueError(f"{place}: the pair occurs twice")
            seen.add(pair_id)
            check_captions(row["captions"], place)
            if split_of.setdefault(scene_id, name) != name:
                raise ValueError(f"{where}: scene {scene_id!r} occurs in {split_of[scene_id]} and {name}")
