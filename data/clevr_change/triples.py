# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""One index of the data set: default scene, changed scene, distractor, and their captions, from one seed."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np

from .captions import change_captions, no_change_captions
from .changes import apply_change
from .geometry import CHANGE_TYPES
from .layout import VIEWS
from .ray_caster import object_ids
from .scenes import Scene, sample_camera, sample_scene, seen_from


RELEASED_PIXELS = 480 * 320
RELEASED_VISIBLE = 200

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Triple:
    """The three scenes of one index, in the order of `layout.VIEWS`, with their object ids and captions."""

    index: int
    change_type: str
    changed_id: int
    scenes: tuple[Scene, Scene, Scene]
    ids: tuple[np.ndarray, np.ndarray, np.ndarray]
    change_captions: list[str]
    no_change_captions: list[str]


def min_visible_pixels(size: tuple[int, int]) -> int:
    """The release's 200 pixels of 480 x 320, scaled to a picture of `size` (width, height), rounded up."""
    return math.ceil(RELEASED_VISIBLE * size[0] * size[1] / RELEASED_PIXELS)


def visible_ids(scene: Scene, size: tuple[int, int], backend: str | None = None) -> np.ndarray | None:
    """The object-id picture of a scene, or None if one of its objects shows too few pixels."""
    ids = object_ids(scene, size, backend)
    counts = np.bincount(ids.ravel(), minlength=256)
    shown = all(counts[thing.id] >= min_visible_pixels(size) for thing in scene.objects)
    return ids if shown else None


def _try_triple(
    index: int, generator: np.random.Generator, size: tuple[int, int], camera_jitter: float, backend: str | None
) -> Triple | None:
    change_type = CHANGE_TYPES[index % len(CHANGE_TYPES)]
    default = sample_scene(generator, camera_jitter)
    changed = apply_change(default, change_type, generator)
    if changed is None:
        return None
    after, changed_id = changed
    semantic = seen_from(after, sample_camera(generator, camera_jitter))
    distractor = seen_from(default, sample_camera(generator, camera_jitter))
    scenes = (default, semantic, distractor)
    ids = []
    for scene in scenes:
        ids.append(visible_ids(scene, size, backend))
        if ids[-1] is None:
            return None
    captions = change_captions(default, semantic, changed_id, change_type, generator)
    if not captions:
        return None
    return Triple(index, change_type, changed_id, scenes, tuple(ids), captions, no_change_captions(generator))


def draw_triple(
    seed: int, index: int, size: tuple[int, int], camera_jitter: float = 1.5, backend: str | None = None
) -> Triple:
    """Index `index` of the set made from `seed`: the same whatever else is drawn.

    Its change type is the `index % 5`-th of `geometry.CHANGE_TYPES`. The three cameras are drawn independently around
    the nominal one, the lights once. Everything is drawn anew until every object shows enough pixels in all three
    pictures, the change has a place, and at least one caption denotes the changed object alone.
    """
    generator = np.random.default_rng([seed, index])
    triple = None
    while triple is None:
        triple = _try_triple(index, generator, size, camera_jitter, backend)
    return triple


def bounding_box(ids: np.ndarray, object_id: int) -> Box | None:
    """Box [x, y, width, height] of an object's visible pixels; None if none shows."""
    rows, columns = np.nonzero(ids == object_id)
    if rows.size == 0:
        return None
    x, y = int(columns.min()), int(rows.min())
    return (x, y, int(columns.max()) - x + 1, int(rows.max()) - y + 1)


def _scene_record(scene: Scene, ids: np.ndarray) -> dict:
    objects = [asdict(thing) | {"bbox": bounding_box(ids, thing.id)} for thing in scene.objects]
    return {"camera": scene.camera, "objects": objects}


def triple_record(triple: Triple) -> dict:
    """What the data set keeps of a triple besides its pictures, ready for JSON."""
    views = dict(zip(VIEWS, zip(triple.scenes, triple.ids, strict=True), strict=True))
    return {
        "index": triple.index,
        "change_type": triple.change_type,
        "changed_object": triple.changed_id,
        "change_captions": triple.change_captions,
        "no_change_captions": triple.no_change_captions,
        "lights": triple.scenes[0].lights,
        **{view: _scene_record(scene, ids) for view, (scene, ids) in views.items()},
    }
