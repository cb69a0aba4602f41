# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Scenes of the CLEVR-Change world and the rules for placing objects (source: the public generator)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .geometry import CAMERA, COLORS, LIGHTS, MATERIALS, SHAPES, SIZES, Point, advance, ground_directions


MIN_OBJECTS, MAX_OBJECTS = 3, 10
GROUND = 3.0
MIN_GAP = 0.25
MIN_ADVANCE = 0.4
PLACING_TRIES = 50
LIGHT_JITTER = 1.0


@dataclass(frozen=True)
class SceneObject:
    """One object: `id` stays the same in the three images of a scene; `position` is its center on the ground."""

    id: int
    shape: str
    size: str
    color: str
    material: str
    position: tuple[float, float]
    rotation: float

    @property
    def radius(self) -> float:
        """Half its height, in scene units."""
        return SIZES[self.size]


@dataclass(frozen=True)
class Scene:
    """Objects on the ground, seen by one camera under three area lights."""

    objects: tuple[SceneObject, ...]
    lights: dict[str, Point]
    camera: Point

    def find(self, object_id: int) -> SceneObject | None:
        """The object with this id, None where it is absent."""
        return next((thing for thing in self.objects if thing.id == object_id), None)


def jittered(generator: np.random.Generator, place: Point, jitter: float) -> Point:
    """A place moved by U(-jitter, jitter) on each axis."""
    x, y, z = (np.asarray(place) + generator.uniform(-jitter, jitter, 3)).tolist()
    return (x, y, z)


def find_place(
    generator: np.random.Generator,
    radius: float,
    others: list[SceneObject],
    directions: dict[str, tuple[float, float]],
) -> tuple[float, float] | None:
    """A place on the ground that keeps the gaps to `others`; None after 50 tries."""
    for _ in range(PLACING_TRIES):
        x, y = generator.uniform(-GROUND, GROUND, 2).tolist()
        if all(
            math.dist((x, y), other.position) - radius - other.radius >= MIN_GAP
            and abs(advance(other.position, (x, y), directions["left"])) > MIN_ADVANCE
            and abs(advance(other.position, (x, y), directions["behind"])) > MIN_ADVANCE
            for other in others
        ):
            return (x, y)
    return None


def _pick(generator: np.random.Generator, options: tuple[str, ...] | dict[str, object]) -> str:
    names = tuple(options)
    return names[int(generator.integers(len(names)))]


def sample_object(
    generator: np.random.Generator,
    object_id: int,
    others: list[SceneObject],
    directions: dict[str, tuple[float, float]],
) -> SceneObject | None:
    """A random object in a free place; None if there is none."""
    size = _pick(generator, SIZES)
    position = find_place(generator, SIZES[size], others, directions)
    if position is None:
        return None
    shape, color, material = (_pick(generator, table) for table in (SHAPES, COLORS, MATERIALS))
    return SceneObject(object_id, shape, size, color, material, position, float(generator.uniform(0, 2 * math.pi)))


def populate(generator: np.random.Generator, camera: Point) -> Scene:
    """A scene of 3 to 10 objects seen from `camera`; each of the three lights is moved at random on each axis."""
    lights = {name: jittered(generator, light[0], LIGHT_JITTER) for name, light in LIGHTS.items()}
    count = int(generator.integers(MIN_OBJECTS, MAX_OBJECTS + 1))
    objects: list[SceneObject] = []
    directions = ground_directions(camera)
    while len(objects) < count:
        thing = sample_object(generator, len(objects), objects, directions)
        # Where an object finds no place, the scene starts anew.
        objects = [] if thing is None else [*objects, thing]
    return Scene(tuple(objects), lights, camera)


def sample_scene(generator: np.random.Generator, camera_jitter: float) -> Scene:
    """A scene as `populate` makes it, from the nominal camera moved by U(-camera_jitter, camera_jitter)."""
    return populate(generator, jittered(generator, CAMERA, camera_jitter))
