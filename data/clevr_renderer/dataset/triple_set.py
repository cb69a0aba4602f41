# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Sets in CLEVR-Change's released layout."""

from __future__ import annotations

from pathlib import Path

from ....utils.files import write_json, write_json_lines, write_text
from ..scene.geometry import CHANGE_TYPES
from ..scene.overlaps import sorted_overlaps, view_overlap
from ..scene.splits import balanced_splits
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
    caption_key,
    image_name,
    mask_name,
)
from .settings import RenderSettings
from .triples import draw_triple, triple_record


_CAPTION_KEYS = ("change_captions", "no_change_captions")


def draw(settings: RenderSettings, index: int) -> Drawing:
    """Draw the three scenes of an index."""
    triple = draw_triple(
        settings.seed, index, settings.size, settings.backend, settings.views, tuple(settings.changes)
    )
    return Drawing(triple.scenes, triple.ids, triple_record(triple))


def _boxes(record: dict, changed: int) -> dict:
    sides = {"bbox_before": record["default"], "bbox_after": record["semantic"]}
    return {
        side: next((thing["bbox"] for thing in view["objects"] if thing["id"] == changed), None)
        for side, view in sides.items()
    }


def _write_captions(folder: Path, settings: RenderSettings) -> None:
    captions: dict[str, dict] = {key: {} for key in _CAPTION_KEYS}
    for record in records(folder, settings.scenes):
        for key in _CAPTION_KEYS:
            captions[key][caption_key(record["index"])] = record[key]
    write_json(folder / CHANGE_CAPTIONS, captions["change_captions"])
    write_json(folder / NO_CHANGE_CAPTIONS, captions["no_change_captions"])


def _write_facts(folder: Path, settings: RenderSettings) -> None:
    """Types, boxes and overlaps; scenes with several changes have neither one type nor one box."""
    boxes, overlaps = {}, {}
    types: dict[str, list[str]] = {change_type: [] for change_type in CHANGE_TYPES}
    for record in records(folder, settings.scenes):
        index = record["index"]
        overlaps[index] = view_overlap(record["default"]["objects"], record["semantic"]["objects"])
        if "changes" not in record:
            boxes[str(index)] = _boxes(record, record["changed_object"])
            types[record["change_type"]].append(f"{index:06d}.png")
    splits = balanced_splits(settings.scenes, settings.seed, settings.splits)
    write_json(folder / BOXES, boxes)
    write_json(folder / TYPE_MAPPING, types)
    write_json(folder / SPLITS, splits)
    write_json(folder / OVERLAPS, {str(index): overlap for index, overlap in overlaps.items()})
    write_text(folder / SORTED_OVERLAPS, sorted_overlaps(overlaps, splits["test"]))


def merge(folder: Path, settings: RenderSettings) -> None:
    """Write the released JSON files, `iou_sorted.txt` and `scenes.jsonl` from the records of all scenes."""
    _write_captions(folder, settings)
    _write_facts(folder, settings)
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
