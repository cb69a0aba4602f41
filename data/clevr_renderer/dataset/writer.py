# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Render a set into a folder with a released layout; an interrupted run can be resumed."""

from __future__ import annotations

import shutil
from pathlib import Path

from tqdm import tqdm

from ....utils.files import holding_output
from .layout import MASK_FOLDER, PARTS
from .rendering import layout_of, pending_scenes, render_scene
from .settings import RenderSettings, mark_folder, open_folder
from .workers import render_in_workers


def render_dataset(folder: str | Path, settings: RenderSettings, workers: int = 1, progress: bool = True) -> Path:
    """Render a set, or resume an interrupted run with the same settings.

    The bytes written depend on the settings alone, not on the number of workers or on interruptions.

    Args:
        folder (`str` or `Path`): Output folder; new, empty, or left by an earlier run.
        settings (`RenderSettings`): What to render.
        workers (`int`, *optional*, defaults to `1`): Number of processes.
        progress (`bool`, *optional*, defaults to `True`): Whether to show a progress bar.

    Returns:
        `Path`: The folder.

    Raises:
        FileExistsError: If the folder holds something else, or another run writes to it.
        OSError: If a file cannot be written or a worker was killed; the run can be resumed.
        ValueError: If it was begun with other settings, or `workers` is below 1.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, not {workers}")
    folder = Path(folder)
    with holding_output(folder):
        _render(folder, settings, workers, progress)
    return folder


def _render(folder: Path, settings: RenderSettings, workers: int, progress: bool) -> None:
    layout = layout_of(settings)
    complete = open_folder(folder, settings) and all((folder / name).is_file() for name in layout.merged)
    for name in (*layout.folders, *([MASK_FOLDER] if settings.object_masks else []), PARTS):
        (folder / name).mkdir(exist_ok=True)

    indices = pending_scenes(folder, settings, with_record=not complete)
    done = settings.scenes - len(indices)
    with tqdm(total=settings.scenes, initial=done, unit="scene", disable=not progress) as bar:
        if min(workers, len(indices)) > 1:
            for count in render_in_workers(folder, settings, indices, not complete, workers):
                bar.update(count)
        else:
            for index in indices:
                render_scene(folder, settings, index, with_record=not complete)
                bar.update()
    if not complete:
        layout.merge(folder, settings)
        mark_folder(folder, settings, complete=True)
    shutil.rmtree(folder / PARTS)
