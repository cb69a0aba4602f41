# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The ray caster's loop over single rays, compiled by numba."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numba import njit

from .kernels import FAR, HORIZON, LIFT, Real, Vector, _shared, along, dot, hit_distance, may_hit, normal_at, unit
from .shading import (
    METAL_WIDTH,
    NO_GLOSS,
    RUBBER_WIDTH,
    SECOND_WIDTH,
    contact,
    environment,
    floor_color,
    gather_light,
    lamp_glow,
    metal_color,
    rubber_color,
    second_color,
)


UP = (0.0, 0.0, 1.0)


@_shared
def _back(direction: Vector) -> Vector:
    return (-direction[0], -direction[1], -direction[2])


@_shared
def _nearest(objects: np.ndarray, origin: Vector, direction: Vector) -> tuple[float, int]:
    best, index = FAR, -1
    for i in range(objects.shape[0]):
        if may_hit(objects, i, origin, direction, best):
            distance = hit_distance(objects, i, origin, direction)
            if distance < best:
                best, index = distance, i
    return best, index


@_shared
def _mirrored(
    objects: np.ndarray, lights: np.ndarray, origin: Vector, direction: Vector, sample: tuple[Real, Real]
) -> Vector:
    distance, index = _nearest(objects, origin, direction)
    if index >= 0:
        point = along(origin, direction, distance)
        normal = normal_at(objects, index, point)
        diffuse, glossy = gather_light(objects, lights, point, normal, _back(direction), sample, SECOND_WIDTH, False)
        return second_color(
            (objects[index, 7], objects[index, 8], objects[index, 9]), objects[index, 6], normal, diffuse, glossy
        )
    if direction[2] < -1e-6:
        point = along(origin, direction, -origin[2] / direction[2])
        diffuse, glossy = gather_light(objects, lights, point, UP, _back(direction), sample, NO_GLOSS, True)
        return floor_color(diffuse, 0.12 * contact(objects, point))
    glow = lamp_glow(lights, origin, direction)
    gray = environment(direction)
    return (glow[0] + gray, glow[1] + gray, glow[2] + gray)


@_shared
def _object_color(
    objects: np.ndarray,
    lights: np.ndarray,
    index: int,
    point: Vector,
    direction: Vector,
    sample: tuple[Real, Real],
) -> Vector:
    color = (objects[index, 7], objects[index, 8], objects[index, 9])
    normal = normal_at(objects, index, point)
    view = _back(direction)
    if objects[index, 6] < 0.5:
        diffuse, glossy = gather_light(objects, lights, point, normal, view, sample, RUBBER_WIDTH, True)
        return rubber_color(color, point[2] / objects[index, 3], normal, view, diffuse, glossy)
    diffuse, glossy = gather_light(objects, lights, point, normal, view, sample, METAL_WIDTH, True)
    bounce = along(direction, normal, -2.0 * dot(direction, normal))
    mirrored = _mirrored(objects, lights, along(point, normal, LIFT), bounce, sample)
    return metal_color(color, normal, view, mirrored, glossy)


@_shared
def _camera_ray(camera: np.ndarray, x: float, y: float) -> Vector:
    return unit(
        (
            camera[3, 0] + x * camera[1, 0] + y * camera[2, 0],
            camera[3, 1] + x * camera[1, 1] + y * camera[2, 1],
            camera[3, 2] + x * camera[1, 2] + y * camera[2, 2],
        )
    )


@_shared
def _radiance(
    objects: np.ndarray,
    lights: np.ndarray,
    origin: Vector,
    direction: Vector,
    sample: tuple[Real, Real],
) -> Vector:
    distance, index = _nearest(objects, origin, direction)
    if index >= 0:
        return _object_color(objects, lights, index, along(origin, direction, distance), direction, sample)
    distance = HORIZON
    if direction[2] < -1e-6:
        distance = min(-origin[2] / direction[2], HORIZON)
    point = along(origin, direction, distance)
    diffuse, _ = gather_light(objects, lights, point, UP, _back(direction), sample, NO_GLOSS, True)
    return floor_color(diffuse, 0.16 * contact(objects, point))


def _digest() -> int:
    folder = Path(__file__).parent
    return zlib.crc32(b"".join((folder / name).read_bytes() for name in ("kernels.py", "shading.py")))


# Numba judges by this file alone whether its cache is stale, and by closed-over values: the digest of the formulas'
# files makes a change there count.
def _compile_trace(digest: int) -> Callable:
    @njit(cache=True, error_model="numpy")
    def trace(
        objects: np.ndarray, lights: np.ndarray, camera: np.ndarray, rays: np.ndarray, samples: np.ndarray
    ) -> np.ndarray:
        colors = np.full((rays.shape[0], 3), float(digest))
        origin = (camera[0, 0], camera[0, 1], camera[0, 2])
        for i in range(rays.shape[0]):
            direction = _camera_ray(camera, rays[i, 0], rays[i, 1])
            color = _radiance(objects, lights, origin, direction, (samples[i, 0], samples[i, 1]))
            colors[i, 0], colors[i, 1], colors[i, 2] = color
        return colors

    return trace


def _compile_hits(digest: int) -> Callable:
    @njit(cache=True, error_model="numpy")
    def hits(objects: np.ndarray, camera: np.ndarray, rays: np.ndarray) -> np.ndarray:
        index = np.full(rays.shape[0], digest)
        origin = (camera[0, 0], camera[0, 1], camera[0, 2])
        for i in range(rays.shape[0]):
            index[i] = _nearest(objects, origin, _camera_ray(camera, rays[i, 0], rays[i, 1]))[1]
        return index

    return hits


trace = _compile_trace(_digest())
hits = _compile_hits(_digest())
