# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""One index of the data set: default scene, changed scene, distractor, and their captions, from one seed."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import numpy as np

from ..captions.sentences import ALL_ATTRIBUTES, CAPTIONS_PER_CHANGE, change_captions, matches, no_change_captions
from ..caster.ray_caster import object_ids
from ..scene.cameras import Views
from ..scene.changes import Change, apply_changes
from ..scene.geometry import CHANGE_TYPES
from ..scene.scenes import Scene, populate
from .layout import VIEWS


RELEASED_PIXELS = 480 * 320
RELEASED_VISIBLE = 200
# As CARD's release joins the sentences of a pair of Spot-the-Diff.
JOINT = ". "
DRAWS = 60
# Third word of the seed that decides whether a scene has twins, which the scene itself does not depend on.
_TWIN_STREAM = 3

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Triple:
    """The three scenes of one index, in the order of `layout.VIEWS`, with their object ids and captions."""

    index: int
    changes: tuple[Change, ...]
    scenes: tuple[Scene, Scene, Scene]
    ids: tuple[np.ndarray, np.ndarray, np.ndarray]
    change_captions: list[str]
    no_change_captions: list[str]


def min_visible_pixels(size: tuple[int, int]) -> int:
    """The release's 200 pixels of 480 x 320, scaled to an image of `size` (width, height), rounded up."""
    return math.ceil(RELEASED_VISIBLE * size[0] * size[1] / RELEASED_PIXELS)


def visible_ids(scenes: Iterable[Scene], size: tuple[int, int], backend: str | None = None) -> list[np.ndarray] | None:
    """The object-id images of scenes, or None if an object shows too few pixels in one of them."""
    images = []
    for scene in scenes:
        ids = object_ids(scene, size, backend)
        counts = np.bincount(ids.ravel(), minlength=256)
        if any(counts[thing.id] < min_visible_pixels(size) for thing in scene.objects):
            return None
        images.append(ids)
    return images


def captions_of_changes(
    before: Scene, after: Scene, changes: tuple[Change, ...], generator: np.random.Generator
) -> list[str]:
    """Up to seven distinct captions that name all changes, in any order; of one change, those of `change_captions`.

    Several changes make one sentence each, joined into one caption (ours).

    Returns:
        `list[str]`: An empty list where one of the changed objects cannot be denoted alone.
    """
    options = [change_captions(before, after, change.object_id, change.change_type, generator) for change in changes]
    if len(options) == 1 or not all(options):
        return options[0] if len(options) == 1 else []
    captions: dict[str, None] = {}
    for number in range(DRAWS):
        sentences = [option[number % len(option)] for option in options]
        captions[JOINT.join(sentences[i] for i in generator.permutation(len(sentences)))] = None
        if len(captions) == CAPTIONS_PER_CHANGE:
            break
    return list(captions)


def has_twin(before: Scene, after: Scene, change: Change) -> bool:
    """Whether another object has the four attributes of the changed one, where captions describe that one.

    Args:
        before (`Scene`): It is described here,
        after (`Scene`): or here, if it has been added.
        change (`Change`): Names it.
    """
    scene = before if before.find(change.object_id) else after
    changed = scene.find(change.object_id)
    return sum(matches(thing, changed, ALL_ATTRIBUTES) for thing in scene.objects) > 1


def draw_triple(
    seed: int,
    index: int,
    size: tuple[int, int],
    backend: str | None = None,
    views: Views | None = None,
    counts: tuple[int, int] = (1, 1),
    twins: float = 0.0,
) -> Triple:
    """Index `index` of the set made from `seed`: the same whatever else is drawn.

    Everything is drawn anew until every object shows enough pixels in all three images, the changes have a place,
    and at least one caption denotes each changed object alone.

    Args:
        seed (`int`): Seed of the set.
        index (`int`): Its first change has the `index % 5`-th type of `geometry.CHANGE_TYPES`.
        size (`tuple[int, int]`): Width and height of the images, which the visibility rule depends on.
        backend (`str`, *optional*): "numba" or "numpy"; the faster one that is installed by default.
        views (`Views`, *optional*): Cameras and lights; by default independent cameras that move by 1.5 and lights
            drawn once.
        counts (`tuple[int, int]`, *optional*, defaults to `(1, 1)`): Fewest and most changes. With (low, high),
            blocks of five indices have low, low + 1, ..., high, low, ... changes; the types of all but the first are
            random.
        twins (`float`, *optional*, defaults to `0.0`): Probability that the first changed object surely `has_twin`.
    """
    generator = np.random.default_rng([seed, index])
    views = views or Views()
    kinds = len(CHANGE_TYPES)
    count = counts[0] + index // kinds % (counts[1] - counts[0] + 1)
    wants_twin = np.random.default_rng([seed, index, _TWIN_STREAM]).random() < twins
    while True:
        default = populate(generator, views.first_camera(generator))
        others = [CHANGE_TYPES[int(generator.integers(kinds))] for _ in range(count - 1)]
        changed = apply_changes(default, [CHANGE_TYPES[index % kinds], *others], generator)
        if changed is None:
            continue
        after, changes = changed
        if wants_twin and not has_twin(default, after, changes[0]):
            continue
        semantic, distractor = (views.next_view(scene, default.camera, generator) for scene in (after, default))
        scenes = (default, semantic, distractor)
        ids = visible_ids(scenes, size, backend)
        if ids is None:
            continue
        captions = captions_of_changes(default, semantic, changes, generator)
        if captions:
            return Triple(index, changes, scenes, tuple(ids), captions, no_change_captions(generator))


def bounding_box(ids: np.ndarray, object_id: int) -> Box | None:
    """Box [x, y, width, height] of an object's visible pixels; None if none shows."""
    rows, columns = np.nonzero(ids == object_id)
    if rows.size == 0:
        return None
    x, y = int(columns.min()), int(rows.min())
    return (x, y, int(columns.max()) - x + 1, int(rows.max()) - y + 1)


def scene_record(scene: Scene, ids: np.ndarray) -> dict:
    """Camera and objects of a view with their boxes, ready for JSON."""
    objects = [asdict(thing) | {"bbox": bounding_box(ids, thing.id)} for thing in scene.objects]
    return {"camera": scene.camera, "objects": objects}


def triple_record(triple: Triple) -> dict:
    """What the data set keeps of a triple besides its images, ready for JSON.

    A single change is stored under "change_type" and "changed_object", several ones as a list under "changes"; lights
    that move are stored under "view_lights".
    """
    views = dict(zip(VIEWS, zip(triple.scenes, triple.ids, strict=True), strict=True))
    if len(triple.changes) == 1:
        change = triple.changes[0]
        changes = {"change_type": change.change_type, "changed_object": change.object_id}
    else:
        changes = {"changes": [asdict(change) for change in triple.changes]}
    lights = {view: scene.lights for view, (scene, _) in views.items()}
    moved = {"view_lights": lights} if any(places != triple.scenes[0].lights for places in lights.values()) else {}
    return {
        "index": triple.index,
        **changes,
        "change_captions": triple.change_captions,
        "no_change_captions": triple.no_change_captions,
        "lights": triple.scenes[0].lights,
        **moved,
        **{view: scene_record(scene, ids) for view, (scene, ids) in views.items()},
    }
