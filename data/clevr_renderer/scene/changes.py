# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The five changes of CLEVR-Change: color, material, add, drop, move (source: the public generator; move is ours)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from .geometry import COLORS, MATERIALS, ground_directions
from .scenes import PLACING_TRIES, Scene, SceneObject, find_place, sample_object


MIN_MOVE = 1.0

Changed = tuple[Scene, int]
Taken = frozenset[int]


def _pick_object(scene: Scene, generator: np.random.Generator, taken: Taken) -> SceneObject:
    objects = [thing for thing in scene.objects if thing.id not in taken]
    return objects[int(generator.integers(len(objects)))]


def _swap(scene: Scene, new: SceneObject) -> Changed:
    objects = tuple(new if thing.id == new.id else thing for thing in scene.objects)
    return replace(scene, objects=objects), new.id


def _change_color(scene: Scene, generator: np.random.Generator, taken: Taken) -> Changed:
    thing = _pick_object(scene, generator, taken)
    others = [color for color in COLORS if color != thing.color]
    return _swap(scene, replace(thing, color=others[int(generator.integers(len(others)))]))


def _change_material(scene: Scene, generator: np.random.Generator, taken: Taken) -> Changed:
    thing = _pick_object(scene, generator, taken)
    return _swap(scene, replace(thing, material=MATERIALS[1 - MATERIALS.index(thing.material)]))


def _add_object(scene: Scene, generator: np.random.Generator, taken: Taken) -> Changed | None:
    new_id = 1 + max(taken.union(thing.id for thing in scene.objects))
    thing = sample_object(generator, new_id, list(scene.objects), ground_directions(scene.camera))
    return None if thing is None else (replace(scene, objects=(*scene.objects, thing)), new_id)


def _drop_object(scene: Scene, generator: np.random.Generator, taken: Taken) -> Changed:
    gone = _pick_object(scene, generator, taken)
    return replace(scene, objects=tuple(thing for thing in scene.objects if thing.id != gone.id)), gone.id


def _move_object(scene: Scene, generator: np.random.Generator, taken: Taken) -> Changed | None:
    thing = _pick_object(scene, generator, taken)
    others = [other for other in scene.objects if other.id != thing.id]
    directions = ground_directions(scene.camera)
    for _ in range(PLACING_TRIES):
        position = find_place(generator, thing.radius, others, directions)
        if position is not None and math.dist(position, thing.position) >= MIN_MOVE:
            return _swap(scene, replace(thing, position=position))
    return None


_OPERATIONS: dict[str, Callable[[Scene, np.random.Generator, Taken], Changed | None]] = {
    "color": _change_color,
    "material": _change_material,
    "add": _add_object,
    "drop": _drop_object,
    "move": _move_object,
}


def apply_change(
    scene: Scene, change_type: str, generator: np.random.Generator, taken: Taken = frozenset()
) -> Changed | None:
    """The changed scene and the id of the changed object.

    Places obey the same gaps as in the scene, seen from its camera; a move covers at least one scene unit.

    Args:
        scene (`Scene`): The scene as it is.
        change_type (`str`): One of `geometry.CHANGE_TYPES`.
        generator (`np.random.Generator`): Draws the object and what becomes of it.
        taken (`Taken`, *optional*, defaults to `frozenset()`): Ids of objects that earlier changes touched; they stay
            as they are.

    Returns:
        `Changed`: None if the change cannot be placed.

    Raises:
        ValueError: For a change type that is not in `geometry.CHANGE_TYPES`.
    """
    if change_type not in _OPERATIONS:
        raise ValueError(f"change_type must be one of {', '.join(_OPERATIONS)}, not {change_type!r}")
    if change_type != "add" and all(thing.id in taken for thing in scene.objects):
        return None
    return _OPERATIONS[change_type](scene, generator, taken)


@dataclass(frozen=True)
class Change:
    """What happened to which object."""

    change_type: str
    object_id: int


def apply_changes(
    scene: Scene, change_types: list[str], generator: np.random.Generator
) -> tuple[Scene, tuple[Change, ...]] | None:
    """The scene after several changes of different objects, and these changes; None if one cannot be placed."""
    changes: list[Change] = []
    for change_type in change_types:
        changed = apply_change(scene, change_type, generator, frozenset(change.object_id for change in changes))
        if changed is None:
            return None
        scene, object_id = changed
        changes.append(Change(change_type, object_id))
    return scene, tuple(changes)
