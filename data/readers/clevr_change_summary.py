# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""What a folder with CLEVR-Change's released layout holds, in figures; images are not looked at."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from ..checks import read_json_object
from ..clevr_renderer.dataset.layout import (
    CHANGE_CAPTIONS,
    NO_CHANGE_CAPTIONS,
    OVERLAPS,
    SPLITS,
    TYPE_MAPPING,
    read_splits,
)
from ..clevr_renderer.scene.geometry import CHANGE_TYPES
from .clevr_change import read_captions, read_types


# Figures of the released CLEVR-Change, to compare a rendered set with. Splits, types and overlaps were counted in the
# index files of the release (`splits.json`, `type_mapping.json`, `change_captions_by_IOU.json`); the words are
# those of a published vocabulary of 72 words and four special ones; the longest caption is what the official
# configuration allows, less its start token; the number of captions was printed by a third party.
_WORDS = """
    a added appeared as ball became been before behind big block blue brown change changed cube cyan cylinder
    difference different disappeared front gone gray green has identical in is its large left location longer made
    matte metal metallic missing modified moved newly no nothing object occurred of on placed purple red remains right
    rubber same scene scenes seem shiny side small sphere that the there thing tiny to turned two was yellow
"""
WORDS = tuple(_WORDS.split())

FIGURES = {
    "scenes": 39_803,
    "splits": {"train": 33_830, "validation": 1988, "test": 3985},
    "types": {
        "color": {"train": 6764, "validation": 397, "test": 797},
        "material": {"train": 6768, "validation": 398, "test": 797},
        "add": {"train": 6771, "validation": 398, "test": 797},
        "drop": {"train": 6766, "validation": 398, "test": 797},
        "move": {"train": 6761, "validation": 397, "test": 797},
    },
    "captions": 493_735,
    "longest_caption": 22,
    "vocabulary": len(WORDS),
    "overlap": {
        "all": {"mean": 0.508, "q05": 0.281, "q25": 0.408, "q50": 0.502, "q75": 0.605, "q95": 0.755},
        "test": {"mean": 0.510, "q05": 0.287, "q25": 0.406, "q50": 0.505, "q75": 0.607, "q95": 0.756},
    },
}

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

Captions = dict[int, list[str]]


def _lengths(captions: Captions) -> dict[str, Any]:
    words = [len(caption.split()) for texts in captions.values() for caption in texts]
    return {
        "captions": len(words),
        "per_scene": len(words) / len(captions),
        "mean_words": float(np.mean(words)),
        "shortest": min(words),
        "longest": max(words),
        "by_length": {str(length): count for length, count in sorted(Counter(words).items())},
    }


def _spread(values: list[float]) -> dict[str, float] | None:
    if not values:
        return None
    names = [f"q{round(100 * share):02d}" for share in QUANTILES]
    quantiles = dict(zip(names, np.quantile(values, QUANTILES).tolist(), strict=True))
    return {"mean": float(np.mean(values)), **quantiles, "least": min(values), "most": max(values)}


def _overlaps(path: Path, test: list[int]) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    table = read_json_object(path)
    wrong = [key for key, value in table.items() if not isinstance(value, float | int) or not math.isfinite(value)]
    if wrong or not all(key.isdecimal() for key in table):
        raise ValueError(f"{path}: expected scene numbers with one overlap each, found {(wrong or list(table))[0]!r}")
    known = {str(index) for index in test}
    return {
        "all": _spread(list(table.values())),
        "test": _spread([value for key, value in table.items() if key in known]),
    }


def describe_clevr_change(folder: str | Path) -> dict[str, Any]:
    """Figures of a set: splits by type, caption lengths, vocabulary, box overlaps.

    Args:
        folder (`str` or `Path`): Holds the two caption files and `splits.json`; types and overlaps are null where
            their files are missing.

    Returns:
        `dict[str, Any]`: What JSON can hold, with the figures of the release under "released".

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If one is malformed, naming it.
    """
    folder = Path(folder)
    splits = read_splits(folder / SPLITS)
    changes, no_changes = (read_captions(folder / name) for name in (CHANGE_CAPTIONS, NO_CHANGE_CAPTIONS))
    types = read_types(folder / TYPE_MAPPING)
    by_type = {
        kind: {split: sum(types.get(index) == kind for index in ids) for split, ids in splits.items()}
        for kind in CHANGE_TYPES
    }
    texts = (text for table in (changes, no_changes) for found in table.values() for text in found)
    # Words as captions are written, a mark at their end stripped.
    words = {word.rstrip(".,") for text in texts for word in text.lower().split()}
    return {
        "scenes": sum(len(ids) for ids in splits.values()),
        "splits": {name: len(ids) for name, ids in splits.items()},
        "types": by_type if types else None,
        "change_captions": _lengths(changes),
        "no_change_captions": _lengths(no_changes),
        "vocabulary": {
            "words": len(words),
            "not_released": sorted(words - set(WORDS)),
            "released_only": sorted(set(WORDS) - words),
        },
        "overlap": _overlaps(folder / OVERLAPS, splits["test"]),
        "released": FIGURES,
    }
