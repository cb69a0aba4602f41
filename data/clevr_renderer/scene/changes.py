# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The five changes of CLEVR-Change: color, material, add, drop, move (source: the public generator; move is ours)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from .geometry import CHANGE_TYPES, COLORS, MATERIALS, ground_directions
from .scenes import PLACING_TRIES, Scene, SceneObject, find_place, sample_object


MIN_MOVE = 1.0

Changed = tuple[Scene, int]
Taken = frozenset[int]


def apply_change(
    scene: Scene, change_type: str, generator: np.random.Generator, taken: Taken = frozenset()
) -> Changed | None:
    """The changed scene and the id of the changed object.

    Places obey the same gaps as in the scene, seen from its camera; a move covers at least one scene unit.

    Args:
        scene (`Scene`): The scene as it is.
        change_type (`str`): One of `geometry.CHANGE_TYPES`.
        generator (`np.random.Generator`): Draws the object and its new attribute or place.
        taken (`Taken`, *optional*, defaults to `frozenset()`): Ids of objects that earlier changes touched; they stay
            as they are.

    Returns:
        `Changed`: None if the change cannot be placed.

    Raises:
        ValueError: For a change type that is not in `geometry.CHANGE_TYPES`.
    """
    if change_type not in CHANGE_TYPES:
        raise ValueError(f"change_type must be one of {', '.join(CHANGE_TYPES)}, not {change_type!r}")
    directions = ground_directions(scene.camera)
    if change_type == "add":
        new_id = 1 + max(taken.union(thing.id for thing in scene.objects))
        thing = sample_object(generator, new_id, list(scene.objects), directions)
        return None if thing is None else (replace(scene, objects=(*scene.objects, thing)), new_id)
    candidates = [thing for thing in scene.objects if thing.id not in taken]
    if not candidates:
        return None
    thing = candidates[int(generator.integers(len(candidates)))]
    others = [other for other in scene.objects if other.id != thing.id]
    if change_type == "drop":
        return replace(scene, objects=tuple(others)), thing.id
    if change_type == "color":
        colors = [color for color in COLORS if color != thing.color]
        changed = replace(thing, color=colors[int(generator.integers(len(colors)))])
    elif change_type == "material":
        changed = replace(thing, material=MATERIALS[1 - MATERIALS.index(thing.material)])
    else:
        changed = _moved(thing, others, directions, generator)
        if changed is None:
            return None
    return replace(scene, objects=tuple(changed if other is thing else other for other in scene.objects)), thing.id


def _moved(
    thing: SceneObject,
    others: list[SceneObject],
    directions: dict[str, tuple[float, float]],
    generator: np.random.Generator,
) -> SceneObject | None:
    for _ in range(PLACING_TRIES):
        position = find_place(generator, thing.radius, others, directions)
        if position is not None and math.dist(position, thing.position) >= MIN_MOVE:
            return replace(thing, position=position)
    return None


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
