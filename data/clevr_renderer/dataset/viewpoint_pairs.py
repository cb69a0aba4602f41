# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""One index of a set in the manner of CLEVR-DC: a pair before and after, cameras anywhere, changed or not."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..captions.sentences import no_change_captions
from ..captions.viewpoint_captions import viewpoint_captions
from ..scene.cameras import Views
from ..scene.changes import Change, apply_changes
from ..scene.geometry import CHANGE_TYPES
from ..scene.scenes import Scene, populate
from .triples import scene_record, visible_ids


NONE = "none"
# The blocks of ids of the release, in its order.
PAIR_TYPES = (*CHANGE_TYPES, NONE)
SIDES = ("before", "after")


@dataclass(frozen=True)
class Pair:
    """The two scenes of one index, in the order of `SIDES`, with their object ids and captions."""

    index: int
    change: Change | None
    scenes: tuple[Scene, Scene]
    ids: tuple[np.ndarray, np.ndarray]
    captions: list[str]


def _visible_from_both(
    before: Scene, after: Scene, size: tuple[int, int], backend: str | None
) -> tuple[np.ndarray, np.ndarray] | None:
    """Object ids of both images; None if an object hides there, or an object that is gone or new would in the other.

    Otherwise nobody could tell an object that is gone from one that is out of sight.
    """
    crossed = (replace(before, camera=after.camera), replace(after, camera=before.camera))
    ids = []
    for scene in (before, after, *(crossed if len(before.objects) != len(after.objects) else ())):
        ids.append(visible_ids(scene, size, backend))
        if ids[-1] is None:
            return None
    return ids[0], ids[1]


def _try_pair(
    index: int,
    change_type: str,
    generator: np.random.Generator,
    size: tuple[int, int],
    backend: str | None,
    views: Views,
) -> Pair | None:
    before = populate(generator, views.first_camera(generator))
    changed = apply_changes(before, [] if change_type == NONE else [change_type], generator)
    if changed is None:
        return None
    after = views.next_view(changed[0], before.camera, generator)
    ids = _visible_from_both(before, after, size, backend)
    if ids is None:
        return None
    change = changed[1][0] if changed[1] else None
    if change is None:
        captions = no_change_captions(generator)
    else:
        captions = viewpoint_captions(before, after, change.object_id, change_type, generator)
    return Pair(index, change, (before, after), ids, captions) if captions else None


def draw_pair(
    seed: int,
    index: int,
    change_type: str,
    size: tuple[int, int],
    backend: str | None = None,
    views: Views | None = None,
) -> Pair:
    """Index `index` of the set made from `seed`, drawn anew until all objects show in both images.

    Args:
        seed (`int`): Seed of the set.
        index (`int`): Number of the pair.
        change_type (`str`): One of `PAIR_TYPES`.
        size (`tuple[int, int]`): Width and height of the images, which the visibility rule depends on.
        backend (`str`, *optional*): "numba" or "numpy"; the faster one that is installed by default.
        views (`Views`, *optional*): Cameras and lights; by default cameras anywhere.
    """
    generator = np.random.default_rng([seed, index])
    pair = None
    while pair is None:
        pair = _try_pair(index, change_type, generator, size, backend, views or Views("anywhere", 0.0))
    return pair


def pair_record(pair: Pair) -> dict:
    """What the data set keeps of a pair besides its images, ready for JSON."""
    change = pair.change
    views = zip(SIDES, pair.scenes, pair.ids, strict=True)
    return {
        "index": pair.index,
        "change_type": change.change_type if change else NONE,
        "changed_object": change.object_id if change else None,
        "captions": pair.captions,
        **{side: scene_record(scene, ids) | {"lights": scene.lights} for side, scene, ids in views},
    }
