# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Reader of CLEVR-Change's released layout (Park et al., ICCV 2019): the release itself, or a set rendered here."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..checks import check_captions, check_picture, inner_file, read_json_object
from ..extras import require_datasets
from ..schema import NO_CHANGE, pair_features
from .geometry import CHANGE_TYPES
from .layout import CHANGE_CAPTIONS, NO_CHANGE_CAPTIONS, SPLITS, TYPE_MAPPING, VIEWS, image_name


if TYPE_CHECKING:
    from datasets import DatasetDict


SPLIT_KEYS = {"train": "train", "validation": "val", "test": "test"}
NAMED = 5

_CAPTION_KEY = re.compile(r"CLEVR_default_(\d{6})\.png")
_TYPE_ENTRY = re.compile(r"(\d{6})\.png")


def _index(pattern: re.Pattern[str], name: Any, path: Path) -> int:
    match = pattern.fullmatch(name) if isinstance(name, str) else None
    if match is None:
        raise ValueError(f"{path}: {name!r:.80} is not the name of an image of the set")
    return int(match[1])


def read_captions(path: Path) -> dict[int, list[str]]:
    """Captions by scene, from `change_captions.json` or `no_change_captions.json`.

    Raises:
        ValueError: For an unknown image name, an empty list, or a caption that is empty or no string.
    """
    entries = read_json_object(path).items()
    return {_index(_CAPTION_KEY, name, path): check_captions(found, f"{path}, {name}") for name, found in entries}


def _check_ids(ids: Any, where: str) -> list[int]:
    if not isinstance(ids, list) or not all(type(index) is int and 0 <= index < 10**6 for index in ids):
        raise ValueError(f"{where}: expected a list of scene numbers")
    return ids


def read_splits(path: Path) -> dict[str, list[int]]:
    """Ascending scene numbers of train, validation and test.

    Raises:
        ValueError: If a split is missing or holds something else, or a scene occurs twice.
    """
    table = read_json_object(path)
    if sorted(table) != sorted(SPLIT_KEYS.values()):
        raise ValueError(f"{path}: expected the splits {', '.join(SPLIT_KEYS.values())}, found {', '.join(table)}")
    split_of: dict[int, str] = {}
    for name, ids in table.items():
        for index in _check_ids(ids, f"{path}, {name}"):
            if index in split_of:
                raise ValueError(f"{path}: scene {index} occurs in {split_of[index]} and {name}")
            split_of[index] = name
    return {split: sorted(table[key]) for split, key in SPLIT_KEYS.items()}


def read_types(path: Path) -> dict[int, str]:
    """Change types by scene from `type_mapping.json`; empty where the file is missing, scenes may be left out.

    Raises:
        ValueError: For an unknown type or image name, or a scene with two types.
    """
    if not path.is_file():
        return {}
    types: dict[int, str] = {}
    for change_type, names in read_json_object(path).items():
        if change_type not in CHANGE_TYPES or not isinstance(names, list):
            raise ValueError(f"{path}: expected lists under {', '.join(CHANGE_TYPES)}, found {change_type!r}")
        for name in names:
            index = _index(_TYPE_ENTRY, name, path)
            if types.setdefault(index, change_type) != change_type:
                raise ValueError(f"{path}: {name} is listed under {types[index]} and {change_type}")
    return types


def _named(scenes: list[int]) -> str:
    more = f" and {len(scenes) - NAMED} more" if len(scenes) > NAMED else ""
    return ", ".join(f"{index:06d}" for index in scenes[:NAMED]) + more


def _check_covered(wanted: Iterable[int], found: Callable[[int], bool], what: str) -> None:
    lacking = [index for index in wanted if not found(index)]
    if lacking:
        raise ValueError(f"{what} for {_named(lacking)}, which {SPLITS} lists")


def _check_known(path: Path, captions: Iterable[int], listed: set[int]) -> None:
    """Refuse captions of scenes that are in no split and have no image: their numbers must be wrong."""
    spare = (index for index in captions if index not in listed)
    unknown = [index for index in spare if not (path.parent / image_name("default", index)).is_file()]
    if unknown:
        raise ValueError(f"{path} has captions for {_named(unknown)}, which {SPLITS} does not list and no image shows")


def _picture(folder: Path, view: str, index: int, verify: bool) -> dict[str, Any]:
    path = inner_file(folder, image_name(view, index))
    return {"path": str(check_picture(path) if verify else path), "bytes": None}


def _scene_rows(
    folder: Path, index: int, captions: tuple[list[str], list[str]], change_type: str | None, verify: bool
) -> list[dict[str, Any]]:
    default, semantic, distractor = (_picture(folder, view, index, verify) for view in VIEWS)
    scene = {"scene_id": f"{index:06d}", "before": default}
    changed = {"pair_id": f"{index:06d}.png", "after": semantic, "captions": captions[0], "change_type": change_type}
    same = {"pair_id": f"{index:06d}.png_n", "after": distractor, "captions": captions[1], "change_type": NO_CHANGE}
    return [scene | changed, scene | same]


def load_clevr_change(folder: str | Path, verify_pictures: bool = True) -> DatasetDict:
    """Read a folder with CLEVR-Change's released layout.

    Args:
        folder: Holds `images`, `sc_images`, `nsc_images`, the two caption files, `splits.json` and, if types are
            known, `type_mapping.json`. Scenes are found by file name, never by their place in a listing.
        verify_pictures: Whether every picture of the splits is checked for damage.

    Returns:
        Splits train, validation, test with the columns of `ssgpa.data.schema.pair_features`, two rows a scene:
        (default, semantic) as "000000.png" and (default, nonsemantic) as "000000.png_n" of type "none".

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is malformed or damaged, naming it and the entry.
    """
    folder = Path(folder)
    splits = read_splits(folder / SPLITS)
    paths = (folder / CHANGE_CAPTIONS, folder / NO_CHANGE_CAPTIONS)
    changes, no_changes = (read_captions(path) for path in paths)
    types = read_types(folder / TYPE_MAPPING)
    wanted = [index for ids in splits.values() for index in ids]
    for path, captions in zip(paths, (changes, no_changes), strict=True):
        _check_covered(wanted, captions.__contains__, f"{path} has no captions")
        _check_known(path, captions, set(wanted))
    for view in VIEWS:
        _check_covered(
            wanted, lambda i, view=view: (folder / image_name(view, i)).is_file(), f"{folder}: no {view} image"
        )

    hf = require_datasets()
    features = pair_features()
    result = {}
    for split, ids in splits.items():
        rows = [
            row
            for index in ids
            for row in _scene_rows(
                folder, index, (changes[index], no_changes[index]), types.get(index), verify_pictures
            )
        ]
        result[split] = hf.Dataset.from_dict(
            {name: [row[name] for row in rows] for name in features}, features=features
        )
    return hf.DatasetDict(result)
