# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The interface between the two layouts and the writer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..scene.scenes import Scene
from .layout import PARTS


@dataclass(frozen=True)
class Drawing:
    """The scenes of one index, their object ids, and the record that is kept of them."""

    scenes: tuple[Scene, ...]
    ids: tuple[np.ndarray, ...]
    record: dict


@dataclass(frozen=True)
class Layout:
    """A folder's layout.

    Args:
        folders (`tuple[str, ...]`): Folders of the images.
        merged (`tuple[str, ...]`): Files that are made of all records.
        images (`Callable[[int], list[str]]`): Paths of the images of an index, view by view.
        masks (`Callable[[int], list[str]]`): Paths of its masks.
        draw (`Callable[..., Drawing]`): Draws an index.
        merge (`Callable[..., None]`): Writes the merged files.
    """

    folders: tuple[str, ...]
    merged: tuple[str, ...]
    images: Callable[[int], list[str]]
    masks: Callable[[int], list[str]]
    draw: Callable[..., Drawing]
    merge: Callable[..., None]


def part(folder: Path, index: int) -> Path:
    """The record of an index while the set is not finished."""
    return folder / PARTS / f"{index:06d}.json"


def records(folder: Path, scenes: int) -> Iterator[dict]:
    """The records of all indices."""
    for index in range(scenes):
        yield json.loads(part(folder, index).read_text(encoding="utf-8"))
