# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Sets in CLEVR-Change's released layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ....utils.files import write_json, write_json_lines, write_text
from ..scene.geometry import CHANGE_TYPES
from .drawing import Drawing, Layout, records
from .layout import (
    BOXES,
    CHANGE_CAPTIONS,
    IMAGE_FOLDERS,
    NO_CHANGE_CAPTIONS,
    OVERLAPS,
    SCENES,
    SORTED_OVERLAPS,
    SPLITS,
    TYPE_MAPPING,
    VIEWS,
    image_name,
    mask_name,
)
from .settings import RenderSettings
from .triples import draw_triple, triple_record


_CAPTION_KEYS = ("change_captions", "no_change_captions")
# Keeps the shuffle apart from the generators of the scenes, [seed, index].
_SPLIT_STREAM = (0x5F11, 0)


def draw(settings: RenderSettings, index: int) -> Drawing:
    """Draw the three scenes of an index."""
    triple = draw_triple(
        settings.seed, index, settings.size, settings.backend, settings.views, tuple(settings.changes), settings.twins
    )
    return Drawing(triple.scenes, triple.ids, triple_record(triple))


def view_overlap(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> float:
    """How far the viewpoint moves: the mean overlap of the objects of two views, as `scenes.jsonl` lists them.

    The release gives one number a scene and not its formula. In it, moved objects do not lower the number; so ours is
    the mean intersection over union of the boxes [x, y, width, height] of all objects that are in both images at the
    same place, and 0 if there is none.
    """
    places = {thing["id"]: thing for thing in after}
    overlaps = []
    for thing in before:
        other = places.get(thing["id"])
        if other is None or other["position"] != thing["position"]:
            continue
        one, two = thing["bbox"], other["bbox"]
        widths = [min(one[i] + one[i + 2], two[i] + two[i + 2]) - max(one[i], two[i]) for i in (0, 1)]
        shared = max(widths[0], 0) * max(widths[1], 0)
        overlaps.append(shared / (one[2] * one[3] + two[2] * two[3] - shared))
    return sum(overlaps) / len(overlaps) if overlaps else 0.0


def _share(scenes: int, part: float) -> int:
    return 0 if part == 0 or scenes < 3 else max(1, round(scenes * part))


def balanced_splits(scenes: int, seed: int, shares: tuple[float, float, float]) -> dict[str, list[int]]:
    """Random splits in which the change types differ by one scene at most.

    Args:
        scenes (`int`): Number of scenes, index i being of type i % 5.
        seed (`int`): Seed of the set.
        shares (`tuple[float, float, float]`): Shares of train, val, test; a share above 0 gets a scene at least where
            there are three or more.

    Returns:
        `dict[str, list[int]]`: Ascending indices under "train", "val" and "test".
    """
    generator = np.random.default_rng([seed, *_SPLIT_STREAM])
    kinds = len(CHANGE_TYPES)
    columns = [generator.permutation(np.arange(kind, scenes, kinds)) for kind in range(kinds)]
    # Rounds of one scene of each type, so that any stretch is balanced.
    order = [int(column[i]) for i in range(len(columns[0])) for column in columns if i < len(column)]
    test, val = _share(scenes, shares[2]), _share(scenes, shares[1])
    parts = {"train": order[test + val :], "val": order[test : test + val], "test": order[:test]}
    return {name: sorted(indices) for name, indices in parts.items()}


def merge(folder: Path, settings: RenderSettings) -> None:
    """Write the released JSON files, `iou_sorted.txt` and `scenes.jsonl` from the records of all scenes.

    Scenes with several changes have neither one type nor one box.
    """
    captions: dict[str, dict[str, list[str]]] = {key: {} for key in _CAPTION_KEYS}
    boxes: dict[str, dict[str, list[int] | None]] = {}
    overlaps: dict[int, float] = {}
    types: dict[str, list[str]] = {change_type: [] for change_type in CHANGE_TYPES}
    for record in records(folder, settings.scenes):
        index, before, after = record["index"], record["default"]["objects"], record["semantic"]["objects"]
        for key in _CAPTION_KEYS:
            captions[key][f"CLEVR_default_{index:06d}.png"] = record[key]
        overlaps[index] = view_overlap(before, after)
        if "changes" not in record:
            types[record["change_type"]].append(f"{index:06d}.png")
            boxes[str(index)] = {
                side: next((thing["bbox"] for thing in objects if thing["id"] == record["changed_object"]), None)
                for side, objects in (("bbox_before", before), ("bbox_after", after))
            }
    splits = balanced_splits(settings.scenes, settings.seed, settings.splits)
    hardest_first = sorted(splits["test"], key=lambda index: (overlaps[index], index))
    write_json(folder / CHANGE_CAPTIONS, captions["change_captions"])
    write_json(folder / NO_CHANGE_CAPTIONS, captions["no_change_captions"])
    write_json(folder / BOXES, boxes)
    write_json(folder / TYPE_MAPPING, types)
    write_json(folder / SPLITS, splits)
    write_json(folder / OVERLAPS, {str(index): overlap for index, overlap in overlaps.items()})
    write_text(
        folder / SORTED_OVERLAPS,
        "".join(f"{index:06d}.png\t{overlaps[index]:.6f}\n" for index in hardest_first),
    )
    found = records(folder, settings.scenes)
    write_json_lines(folder / SCENES, ({k: v for k, v in one.items() if k not in _CAPTION_KEYS} for one in found))


LAYOUT = Layout(
    folders=tuple(IMAGE_FOLDERS.values()),
    merged=(CHANGE_CAPTIONS, NO_CHANGE_CAPTIONS, BOXES, TYPE_MAPPING, SPLITS, OVERLAPS, SORTED_OVERLAPS, SCENES),
    images=lambda index: [image_name(view, index) for view in VIEWS],
    masks=lambda index: [mask_name(view, index) for view in VIEWS],
    draw=draw,
    merge=merge,
)
