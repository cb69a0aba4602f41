# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Render a CLEVR-Change set into a folder with the released layout; an interrupted run can be taken up again."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread

import numpy as np
from PIL import Image
from tqdm import tqdm

from ..files import write_json, write_json_lines, write_png
from .geometry import CHANGE_TYPES
from .layout import (
    BOXES,
    CHANGE_CAPTIONS,
    IMAGE_FOLDERS,
    MASK_FOLDER,
    NO_CHANGE_CAPTIONS,
    PARTS,
    SCENES,
    SPLITS,
    TYPE_MAPPING,
    VIEWS,
    caption_key,
    image_name,
    mask_name,
)
from .ray_caster import object_ids, render
from .scenes import sample_scene
from .settings import RenderSettings, mark_folder, open_folder
from .splits import balanced_splits
from .triples import Triple, draw_triple, triple_record


MERGED = (CHANGE_CAPTIONS, NO_CHANGE_CAPTIONS, BOXES, TYPE_MAPPING, SPLITS, SCENES)
CHUNK = 4
_CAPTION_KEYS = ("change_captions", "no_change_captions")


def _part(folder: Path, index: int) -> Path:
    return folder / PARTS / f"{index:06d}.json"


def _pictures(index: int, settings: RenderSettings) -> list[tuple[str, int, bool]]:
    """Path, number of the view and whether it is a mask, for all picture files of a scene."""
    pictures = [(image_name(view, index), number, False) for number, view in enumerate(VIEWS)]
    if settings.object_masks:
        pictures += [(mask_name(view, index), number, True) for number, view in enumerate(VIEWS)]
    return pictures


def _picture(triple: Triple, view: int, is_mask: bool, settings: RenderSettings) -> Image.Image:
    if is_mask:
        return Image.fromarray(triple.ids[view])
    return Image.fromarray(render(triple.scenes[view], settings.size, settings.backend))


def _render_scene(folder: Path, settings: RenderSettings, index: int, with_record: bool) -> None:
    """Write the pictures of a scene that are not there yet, then its record, which marks the scene as complete."""
    triple = draw_triple(settings.seed, index, settings.size, settings.camera_jitter, settings.backend)
    for name, view, is_mask in _pictures(index, settings):
        if not (folder / name).is_file():
            write_png(folder / name, _picture(triple, view, is_mask, settings))
    if with_record:
        write_json(_part(folder, index), triple_record(triple))


def _render_chunk(folder: Path, settings: RenderSettings, indices: list[int], with_record: bool) -> int:
    for index in indices:
        _render_scene(folder, settings, index, with_record)
    return len(indices)


def _pending(folder: Path, settings: RenderSettings, with_record: bool) -> list[int]:
    return [
        index
        for index in range(settings.scenes)
        if (with_record and not _part(folder, index).is_file())
        or not all((folder / name).is_file() for name, *_ in _pictures(index, settings))
    ]


def _end_with_parent() -> None:
    """Let a worker end when the run that started it is killed."""

    def watch() -> None:
        parent_process().join()
        os._exit(1)

    Thread(target=watch, daemon=True).start()


def _warm_up(settings: RenderSettings) -> None:
    """Compile once, so that workers find the compiled code."""
    scene = sample_scene(np.random.default_rng(0), 0.0)
    object_ids(scene, (4, 4), settings.backend)
    render(scene, (4, 4), settings.backend)


def _in_parallel(
    folder: Path, settings: RenderSettings, indices: list[int], with_record: bool, workers: int
) -> Iterator[int]:
    _warm_up(settings)
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_end_with_parent) as pool:
        jobs = [
            pool.submit(_render_chunk, folder, settings, indices[start : start + CHUNK], with_record)
            for start in range(0, len(indices), CHUNK)
        ]
        try:
            for job in as_completed(jobs):
                yield job.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _one_by_one(folder: Path, settings: RenderSettings, indices: list[int], with_record: bool) -> Iterator[int]:
    for index in indices:
        yield _render_chunk(folder, settings, [index], with_record)


def _records(folder: Path, settings: RenderSettings) -> Iterator[dict]:
    for index in range(settings.scenes):
        yield json.loads(_part(folder, index).read_text(encoding="utf-8"))


def _boxes(record: dict) -> dict:
    sides = {"bbox_before": record["default"], "bbox_after": record["semantic"]}
    return {
        side: next((thing["bbox"] for thing in view["objects"] if thing["id"] == record["changed_object"]), None)
        for side, view in sides.items()
    }


def _merge(folder: Path, settings: RenderSettings) -> None:
    """Write the released JSON files and `scenes.jsonl` from the records of all scenes."""
    captions: dict[str, dict] = {key: {} for key in _CAPTION_KEYS}
    boxes, types = {}, {change_type: [] for change_type in CHANGE_TYPES}
    for record in _records(folder, settings):
        index = record["index"]
        for key in _CAPTION_KEYS:
            captions[key][caption_key(index)] = record[key]
        boxes[str(index)] = _boxes(record)
        types[record["change_type"]].append(f"{index:06d}.png")
    write_json(folder / CHANGE_CAPTIONS, captions["change_captions"])
    write_json(folder / NO_CHANGE_CAPTIONS, captions["no_change_captions"])
    write_json(folder / BOXES, boxes)
    write_json(folder / TYPE_MAPPING, types)
    write_json(folder / SPLITS, balanced_splits(settings.scenes, settings.seed, settings.splits))
    scenes = ({k: v for k, v in record.items() if k not in _CAPTION_KEYS} for record in _records(folder, settings))
    write_json_lines(folder / SCENES, scenes)


def render_dataset(folder: str | Path, settings: RenderSettings, workers: int = 1, progress: bool = True) -> Path:
    """Render a set, or what is missing of one that an earlier run with the same settings left behind.

    The bytes written depend on the settings alone, not on the number of workers or on interruptions.

    Args:
        folder: Output folder; new, empty, or left by an earlier run.
        settings: What to render.
        workers: Number of processes.
        progress: Whether to show a progress bar.

    Returns:
        The folder.

    Raises:
        FileExistsError: If the folder holds something else.
        ValueError: If it was begun with other settings, or `workers` is below 1.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, not {workers}")
    folder = Path(folder)
    complete = open_folder(folder, settings) and all((folder / name).is_file() for name in MERGED)
    names = [*IMAGE_FOLDERS.values(), *([MASK_FOLDER] if settings.object_masks else []), PARTS]
    for name in names:
        (folder / name).mkdir(exist_ok=True)

    indices = _pending(folder, settings, with_record=not complete)
    if min(workers, len(indices)) > 1:
        steps = _in_parallel(folder, settings, indices, not complete, workers)
    else:
        steps = _one_by_one(folder, settings, indices, not complete)
    with tqdm(
        total=settings.scenes, initial=settings.scenes - len(indices), unit="scene", disable=not progress
    ) as bar:
        for done in steps:
            bar.update(done)
    if not complete:
        _merge(folder, settings)
        mark_folder(folder, settings, complete=True)
    shutil.rmtree(folder / PARTS)
    return folder
