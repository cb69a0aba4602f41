# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Renders chosen scenes of a set; used by the writer and by its worker processes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from ....utils.files import write_json, write_png
from ..caster.looks import NOMINAL, Look, random_look
from ..caster.ray_caster import object_ids, render
from ..scene.scenes import Scene, sample_scene
from . import pair_set, triple_set
from .drawing import Layout, part
from .layout import CLEVR_CHANGE, CLEVR_DC
from .settings import RenderSettings


# Level 6 takes more than twice the time for a fifth less space.
PNG_LEVEL = 3
# Third words of the seeds of random numbers that are not those of scenes, which are seeded by (seed, index).
LOOK, GRAIN, HAS_LOOK = 1, 2, 4
_LAYOUTS = {CLEVR_CHANGE: triple_set.LAYOUT, CLEVR_DC: pair_set.LAYOUT}


def layout_of(settings: RenderSettings) -> Layout:
    """The layout that the settings name."""
    return _LAYOUTS[settings.layout]


def look_of(settings: RenderSettings, index: int) -> Look:
    """The look of the images of a scene, which depends on the seed and the index alone."""
    # Whether a scene has one is drawn apart, so that a look does not depend on the share.
    drawn = np.random.default_rng([settings.seed, index, HAS_LOOK]).random()
    if drawn >= settings.random_look:
        return NOMINAL
    return random_look(np.random.default_rng([settings.seed, index, LOOK]))


def draw_image(settings: RenderSettings, index: int, view: int, scene: Scene) -> np.ndarray:
    """One image of an index, as the set holds it.

    Args:
        settings (`RenderSettings`): Of the set.
        index (`int`): The index.
        view (`int`): Which of its images.
        scene (`Scene`): What that one shows.

    Returns:
        `np.ndarray`: Uint8 (height, width, 3), sRGB.
    """
    grain = np.random.default_rng([settings.seed, index, GRAIN, view])
    return render(scene, settings.size, settings.backend, look_of(settings, index), grain)


def render_scene(folder: Path, settings: RenderSettings, index: int, with_record: bool) -> None:
    """Write the images of a scene that are not there yet, then its record, which marks the scene as complete."""
    layout = layout_of(settings)
    drawing = layout.draw(settings, index)
    for view, (name, scene) in enumerate(zip(layout.images(index), drawing.scenes, strict=True)):
        if not (folder / name).is_file():
            write_png(folder / name, Image.fromarray(draw_image(settings, index, view, scene)), PNG_LEVEL)
    for name, ids in zip(layout.masks(index) if settings.object_masks else (), drawing.ids, strict=False):
        if not (folder / name).is_file():
            write_png(folder / name, Image.fromarray(ids))
    if with_record:
        write_json(part(folder, index), drawing.record)


def pending_scenes(folder: Path, settings: RenderSettings, with_record: bool) -> list[int]:
    """Scenes that lack an image, or a record if one is wanted."""
    layout = layout_of(settings)
    pending = []
    for index in range(settings.scenes):
        files = [folder / name for name in layout.images(index)]
        files += [folder / name for name in layout.masks(index)] if settings.object_masks else []
        files += [part(folder, index)] if with_record else []
        if not all(path.is_file() for path in files):
            pending.append(index)
    return pending


def warm_up(settings: RenderSettings) -> None:
    """Compile once, so that workers find the compiled code."""
    scene = sample_scene(np.random.default_rng(0), 0.0)
    object_ids(scene, (4, 4), settings.backend)
    render(scene, (4, 4), settings.backend)
