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
from ..clevr_renderer.dataset.layout import CHANGE_CAPTIONS, NO_CHANGE_CAPTIONS, OVERLAPS, SPLITS, TYPE_MAPPING
from ..clevr_renderer.scene.geometry import CHANGE_TYPES
from .clevr_change import read_captions, read_splits, read_types
from .clevr_change_released import FIGURES, WORDS


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


def _vocabulary(captions: list[Captions]) -> dict[str, Any]:
    """Words as captions are written, a mark at their end stripped."""
    texts = (text for table in captions for found in table.values() for text in found)
    words = {word.rstrip(".,") for text in texts for word in text.lower().split()}
    return {
        "words": len(words),
        "not_released": sorted(words - set(WORDS)),
        "released_only": sorted(set(WORDS) - words),
    }


def _types(splits: dict[str, list[int]], types: dict[int, str]) -> dict[str, dict[str, int]]:
    return {
        kind: {split: sum(types.get(index) == kind for index in ids) for split, ids in splits.items()}
        for kind in CHANGE_TYPES
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
    return {
        "scenes": sum(len(ids) for ids in splits.values()),
        "splits": {name: len(ids) for name, ids in splits.items()},
        "types": _types(splits, types) if types else None,
        "change_captions": _lengths(changes),
        "no_change_captions": _lengths(no_changes),
        "vocabulary": _vocabulary([changes, no_changes]),
        "overlap": _overlaps(folder / OVERLAPS, splits["test"]),
        "released": FIGURES,
    }
