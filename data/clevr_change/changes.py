# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The five changes of CLEVR-Change: color, material, add, drop, move (source: the public generator; move is ours)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from .geometry import COLORS, MATERIALS, ground_directions
from .scenes import PLACING_TRIES, Scene, SceneObject, find_place, sample_object


MIN_MOVE = 1.0

Changed = tuple[Scene, int]


def _pick_object(scene: Scene, generator: np.random.Generator) -> SceneObject:
    return scene.objects[int(generator.integers(len(scene.objects)))]


def _swap(scene: Scene, new: SceneObject) -> Changed:
    objects = tuple(new if thing.id == new.id else thing for thing in scene.objects)
    return replace(scene, objects=objects), new.id


def _change_color(scene: Scene, generator: np.random.Generator) -> Changed:
    thing = _pick_object(scene, generator)
    others = [color for color in COLORS if color != thing.color]
    return _swap(scene, replace(thing, color=others[int(generator.integers(len(others)))]))


def _change_material(scene: Scene, generator: np.random.Generator) -> Changed:
    thing = _pick_object(scene, generator)
    return _swap(scene, replace(thing, material=MATERIALS[1 - MATERIALS.index(thing.material)]))


def _add_object(scene: Scene, generator: np.random.Generator) -> Changed | None:
    new_id = len(scene.objects)
    thing = sample_object(generator, new_id, list(scene.objects), ground_directions(scene.camera))
    return None if thing is None else (replace(scene, objects=(*scene.objects, thing)), new_id)


def _drop_object(scene: Scene, generator: np.random.Generator) -> Changed:
    gone = _pick_object(scene, generator)
    return replace(scene, objects=tuple(thing for thing in scene.objects if thing.id != gone.id)), gone.id


def _move_object(scene: Scene, generator: np.random.Generator) -> Changed | None:
    thing = _pick_object(scene, generator)
    others = [other for other in scene.objects if other.id != thing.id]
    directions = ground_directions(scene.camera)
    for _ in range(PLACING_TRIES):
        position = find_place(generator, thing.radius, others, directions)
        if position is not None and math.dist(position, thing.position) >= MIN_MOVE:
            return _swap(scene, replace(thing, position=position))
    return None


_OPERATIONS: dict[str, Callable[[Scene, np.random.Generator], Changed | None]] = {
    "color": _change_color,
    "material": _change_material,
    "add": _add_object,
    "drop": _drop_object,
    "move": _move_object,
}


def apply_change(scene: Scene, change_type: str, generator: np.random.Generator) -> Changed | None:
    """The changed scene and the id of the changed object.

    Places obey the same gaps as in the scene, seen from its camera; a move covers at least one scene unit.

    Returns:
        None if the change cannot be placed.

    Raises:
        ValueError: For a change type that is not in `geometry.CHANGE_TYPES`.
    """
    if change_type not in _OPERATIONS:
        raise ValueError(f"change_type must be one of {', '.join(_OPERATIONS)}, not {change_type!r}")
    return _OPERATIONS[change_type](scene, generator)
