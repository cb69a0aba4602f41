# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Sets in CLEVR-DC's released layout: blocks of ids by type, and the same parts of each block in each split."""

from __future__ import annotations

from pathlib import Path

from ....utils.files import write_json, write_json_lines
from .drawing import Drawing, Layout, records
from .layout import PAIR_CAPTIONS, PAIR_FOLDERS, PAIR_SPLIT, SCENES, pair_image_name, pair_mask_name
from .settings import RenderSettings
from .viewpoint_pairs import PAIR_TYPES, SIDES, draw_pair, pair_record


def draw(settings: RenderSettings, index: int) -> Drawing:
    """Draw the two scenes of an index; its type is that of its block."""
    change_type = PAIR_TYPES[index * len(PAIR_TYPES) // settings.scenes]
    pair = draw_pair(settings.seed, index, change_type, settings.size, settings.backend, settings.views)
    return Drawing(pair.scenes, pair.ids, pair_record(pair))


def block_splits(scenes: int, shares: tuple[float, float, float]) -> dict[str, list[int]]:
    """Of each block of a sixth of the ids, the first ones are train, the next val, the last test.

    Args:
        scenes (`int`): A multiple of six.
        shares (`tuple[float, float, float]`): Shares of train, val, test.

    Returns:
        `dict[str, list[int]]`: Ascending ids under "train", "val" and "test".
    """
    block = scenes // len(PAIR_TYPES)
    test = round(block * shares[2])
    train = block - test - round(block * shares[1])
    bounds = {"train": (0, train), "val": (train, block - test), "test": (block - test, block)}
    starts = range(0, scenes, block)
    return {name: [start + i for start in starts for i in range(low, high)] for name, (low, high) in bounds.items()}


def merge(folder: Path, settings: RenderSettings) -> None:
    """Write `captions.json`, `split.json` and `scenes.jsonl` from the records of all pairs."""
    captions = {str(record["index"]): record["captions"] for record in records(folder, settings.scenes)}
    write_json(folder / PAIR_CAPTIONS, captions)
    write_json(folder / PAIR_SPLIT, block_splits(settings.scenes, settings.splits))
    found = records(folder, settings.scenes)
    write_json_lines(folder / SCENES, ({k: v for k, v in record.items() if k != "captions"} for record in found))


LAYOUT = Layout(
    folders=tuple(PAIR_FOLDERS.values()),
    merged=(PAIR_CAPTIONS, PAIR_SPLIT, SCENES),
    images=lambda index: [pair_image_name(side, index) for side in SIDES],
    masks=lambda index: [pair_mask_name(side, index) for side in SIDES],
    draw=draw,
    merge=merge,
)
