# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Sets in CLEVR-DC's released layout: blocks of ids by type, and the same parts of each block in each split."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from ....utils.files import write_json, write_json_lines
from ...schema import NO_CHANGE, SIDES
from ..captions.sentences import no_change_captions
from ..captions.viewpoint_captions import viewpoint_captions
from ..scene.changes import apply_changes
from ..scene.geometry import CHANGE_TYPES
from ..scene.scenes import populate
from .drawing import Drawing, Layout, records
from .layout import MASK_FOLDER, PAIR_CAPTIONS, PAIR_FOLDERS, PAIR_SPLIT, SCENES
from .settings import RenderSettings
from .triples import scene_record, visible_ids


# The blocks of ids of the release, in its order.
PAIR_TYPES = (*CHANGE_TYPES, NO_CHANGE)


def draw(settings: RenderSettings, index: int) -> Drawing:
    """Draw the two scenes of an index until all objects show in both images; its type is that of its block.

    Where an object is gone or new, the image without it must show its place too: otherwise nobody could distinguish an
    object that is gone from one that is out of sight.
    """
    change_type = PAIR_TYPES[index * len(PAIR_TYPES) // settings.scenes]
    generator = np.random.default_rng([settings.seed, index])
    views = settings.views
    while True:
        before = populate(generator, views.first_camera(generator))
        changed = apply_changes(before, [] if change_type == NO_CHANGE else [change_type], generator)
        if changed is None:
            continue
        after, changes = changed
        after = views.next_view(after, before.camera, generator)
        scenes = [before, after]
        if len(before.objects) != len(after.objects):
            scenes += [replace(before, camera=after.camera), replace(after, camera=before.camera)]
        ids = visible_ids(scenes, settings.size, settings.backend)
        if ids is None:
            continue
        changed_id = changes[0].object_id if changes else None
        if changed_id is None:
            captions = no_change_captions(generator)
        else:
            captions = viewpoint_captions(before, after, changed_id, change_type, generator)
        if captions:
            break
    record = {"index": index, "change_type": change_type, "changed_object": changed_id, "captions": captions}
    # The first two of `ids`: the others, of the crossed views, were a check.
    for side, scene, own in zip(SIDES, (before, after), ids, strict=False):
        record[side] = scene_record(scene, own) | {"lights": scene.lights}
    return Drawing((before, after), (ids[0], ids[1]), record)


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
    folders=PAIR_FOLDERS,
    merged=(PAIR_CAPTIONS, PAIR_SPLIT, SCENES),
    images=lambda index: [f"{folder}/{index}.png" for folder in PAIR_FOLDERS],
    masks=lambda index: [f"{MASK_FOLDER}/{folder}_{index}.png" for folder in PAIR_FOLDERS],
    draw=draw,
    merge=merge,
)
