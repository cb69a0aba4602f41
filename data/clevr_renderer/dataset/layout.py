# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Names in the released folders of CLEVR-Change and CLEVR-DC and of the files we add; their scenes and splits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...checks import parse_json, read_json_object


CLEVR_CHANGE, CLEVR_DC = LAYOUTS = ("clevr_change", "clevr_dc")

VIEWS = ("default", "semantic", "nonsemantic")
IMAGE_FOLDERS = {"default": "images", "semantic": "sc_images", "nonsemantic": "nsc_images"}
MASK_FOLDER = "object_masks"
CHANGE_CAPTIONS = "change_captions.json"
NO_CHANGE_CAPTIONS = "no_change_captions.json"
SPLITS = "splits.json"
SPLIT_KEYS = {"train": "train", "validation": "val", "test": "test"}
TYPE_MAPPING = "type_mapping.json"
BOXES = "change_captions_with_bbox.json"
OVERLAPS = "change_captions_by_IOU.json"
SORTED_OVERLAPS = "iou_sorted.txt"

PAIR_FOLDERS = ("bef", "aft")
PAIR_CAPTIONS = "captions.json"
PAIR_SPLIT = "split.json"

SCENES = "scenes.jsonl"
SETTINGS = "render_settings.json"
PARTS = ".parts"


def image_name(view: str, index: int) -> str:
    """Path of an image in the folder, such as `sc_images/CLEVR_semantic_000012.png`."""
    return f"{IMAGE_FOLDERS[view]}/CLEVR_{view}_{index:06d}.png"


def mask_name(view: str, index: int) -> str:
    """Path of an object mask in the folder, such as `object_masks/semantic_000012.png`."""
    return f"{MASK_FOLDER}/{view}_{index:06d}.png"


def read_scenes(path: Path) -> dict[int, dict[str, Any]]:
    """The records of `scenes.jsonl` by scene number.

    Raises:
        ValueError: A line is no such record; the error names it.
    """
    records = {}
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            record = parse_json(line, f"{path}, line {number}")
            if not isinstance(record, dict) or not isinstance(record.get("index"), int):
                raise ValueError(f"{path}, line {number} is no scene: it has no `index`")
            records[record["index"]] = record
    return records


def read_splits(path: Path) -> dict[str, list[int]]:
    """Ascending scene numbers of train, validation and test, from `splits.json`.

    Raises:
        ValueError: If a split is missing or holds something else, or a scene occurs twice.
    """
    table = read_json_object(path)
    if sorted(table) != sorted(SPLIT_KEYS.values()):
        raise ValueError(f"{path}: expected the splits {', '.join(SPLIT_KEYS.values())}, found {', '.join(table)}")
    split_of: dict[int, str] = {}
    for name, ids in table.items():
        if not isinstance(ids, list) or not all(type(index) is int and 0 <= index < 10**6 for index in ids):
            raise ValueError(f"{path}, {name}: expected a list of scene numbers")
        for index in ids:
            if index in split_of:
                raise ValueError(f"{path}: scene {index} occurs in {split_of[index]} and {name}")
            split_of[index] = name
    return {split: sorted(table[key]) for split, key in SPLIT_KEYS.items()}
