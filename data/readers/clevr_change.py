# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Reader of CLEVR-Change's released layout (Park et al., ICCV 2019): the release itself, or a set rendered here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..checks import inner_file, read_json_object
from ..clevr_renderer.dataset.layout import (
    CHANGE_CAPTIONS,
    NO_CHANGE_CAPTIONS,
    SPLITS,
    TYPE_MAPPING,
    VIEWS,
    image_name,
    read_splits,
)
from ..clevr_renderer.scene.geometry import CHANGE_TYPES
from ..findings import Findings, name_some
from ..reading import Pair, Source, build_splits, clean_captions, place_of
from ..schema import NO_CHANGE


if TYPE_CHECKING:
    from datasets import DatasetDict


_CAPTION_KEY = re.compile(r"CLEVR_default_(\d{6})\.png")
_TYPE_ENTRY = re.compile(r"(\d{6})\.png")


def _index(pattern: re.Pattern[str], name: Any, path: Path) -> int:
    match = pattern.fullmatch(name) if isinstance(name, str) else None
    if match is None:
        raise ValueError(f"{path}: {name!r:.80} is not the name of an image of the set")
    return int(match[1])


def read_captions(path: Path) -> dict[int, Any]:
    """Captions by scene as they are, from `change_captions.json` or `no_change_captions.json`.

    Raises:
        ValueError: For an unknown image name.
    """
    return {_index(_CAPTION_KEY, name, path): found for name, found in read_json_object(path).items()}


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
    return name_some(f"{index:06d}" for index in scenes)


def _scene_pairs(
    index: int, split: str, captions: dict[Path, dict[int, Any]], change_type: str | None, findings: Findings
) -> list[Pair]:
    """The changed and the unchanged pair of a scene, of which `captions` holds one table each."""
    default, *others = (image_name(view, index) for view in VIEWS)
    scene = f"{index:06d}"
    names, types = (f"{scene}.png", f"{scene}.png_n"), (change_type, NO_CHANGE)
    return [
        Pair(
            name,
            scene,
            default,
            other,
            clean_captions(table[index], f"{path}, scene {scene}", findings, place_of(split, name)),
            kind,
        )
        for name, other, kind, (path, table) in zip(names, others, types, captions.items(), strict=True)
    ]


def load_clevr_change(folder: str | Path, findings: Findings | None = None, verify_images: bool = True) -> DatasetDict:
    """Read a folder with CLEVR-Change's released layout.

    Args:
        folder (`str` or `Path`): Holds `images`, `sc_images`, `nsc_images`, the two caption files, `splits.json` and,
            if types are known, `type_mapping.json`. Scenes are found by file name, never by their place in a listing.
        findings (`Findings`, *optional*): Gets what is noticed; by default faults are errors.
        verify_images (`bool`, *optional*, defaults to `True`): Whether every image of the splits is checked for
            damage.

    Returns:
        `DatasetDict`: Splits train, validation, test with the columns of `ssgpa.data.schema.pair_features`, two rows a
        scene: (default, semantic) as "000000.png" and (default, nonsemantic) as "000000.png_n" of type "none".

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is malformed or damaged, naming it and the entry.
    """
    folder, findings = Path(folder), Findings() if findings is None else findings
    splits = read_splits(inner_file(folder, SPLITS))
    paths = [inner_file(folder, name) for name in (CHANGE_CAPTIONS, NO_CHANGE_CAPTIONS)]
    captions = {path: read_captions(path) for path in paths}
    types = read_types(inner_file(folder, TYPE_MAPPING)) if (folder / TYPE_MAPPING).is_file() else {}
    wanted = {index: None for ids in splits.values() for index in ids}
    for path, table in captions.items():
        lacking = [index for index in wanted if index not in table]
        if lacking:
            raise ValueError(f"{path} has no captions for {_named(lacking)}, which {SPLITS} lists")
        # Captions of scenes that are in no split and have no image: their numbers must be wrong.
        unlisted = [index for index in table if index not in wanted]
        unknown = [index for index in unlisted if not (folder / image_name("default", index)).is_file()]
        if unknown:
            raise ValueError(
                f"{path} has captions for {_named(unknown)}, which {SPLITS} does not list and no image shows"
            )
    pairs = {
        split: [pair for index in ids for pair in _scene_pairs(index, split, captions, types.get(index), findings)]
        for split, ids in splits.items()
    }
    return build_splits(folder, pairs, findings, verify_images)


CLEVR_CHANGE = Source(
    title="CLEVR-Change",
    load=load_clevr_change,
    layout=(
        "images/, sc_images/, nsc_images/, change_captions.json, no_change_captions.json, splits.json and, if the "
        "types are known, type_mapping.json"
    ),
    counts={"train": 67_660, "validation": 3_976, "test": 7_970},
    url="https://github.com/Seth-Park/RobustChangeCaptioning",
    citation="""@inproceedings{park2019robust,
  title     = {Robust Change Captioning},
  author    = {Park, Dong Huk and Darrell, Trevor and Rohrbach, Anna},
  booktitle = {Proceedings of the IEEE/CVF International Conference on Computer Vision},
  year      = {2019}
}""",
    about=(
        "Rendered scenes of simple objects. Each scene gives a changed pair and a distractor, in which only the "
        "camera has moved."
    ),
)
