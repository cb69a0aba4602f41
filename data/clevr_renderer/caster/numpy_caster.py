# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The ray caster over arrays of rays, with numpy alone."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ..scene.geometry import focal_length
from .kernels import BRIGHTEST, FAR, HORIZON, LIFT, Vector, along, dot, hit_distance, may_hit, normal_at, unit
from .looks import Surfaces
from .shading import (
    ALL_SHADOWS,
    MIRRORED_AMBIENT,
    NO_GLOSS,
    NO_SHADOWS,
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
SUBRAYS = 2
Sample = tuple[np.ndarray, np.ndarray]


def _take(vector: Vector, rays: np.ndarray) -> Vector:
    return (vector[0][rays], vector[1][rays], vector[2][rays])


def _back(direction: Vector) -> Vector:
    return (-direction[0], -direction[1], -direction[2])


def _nearest(objects: np.ndarray, origin: Vector, direction: Vector) -> tuple[np.ndarray, np.ndarray]:
    best = np.full(direction[0].shape, FAR)
    index = np.full(direction[0].shape, -1)
    for i in range(len(objects)):
        rays = np.flatnonzero(may_hit(objects, i, origin, direction, best))
        distance = hit_distance(objects, i, _take(origin, rays), _take(direction, rays))
        closer = distance < best[rays]
        best[rays[closer]] = distance[closer]
        index[rays[closer]] = i
    return best, index


def _surface(objects: np.ndarray, index: np.ndarray, point: Vector) -> tuple[Vector, Vector, np.ndarray]:
    """Normals, colors and rows of the objects that rays hit, `index` (M,) all >= 0."""
    normal = np.empty((3, index.size))
    for i in np.unique(index):
        rays = np.flatnonzero(index == i)
        normal[:, rays] = normal_at(objects, i, _take(point, rays))
    rows = objects[index]
    return (normal[0], normal[1], normal[2]), (rows[:, 7], rows[:, 8], rows[:, 9]), rows


def _floor(
    look: Surfaces, objects: np.ndarray, lights: np.ndarray, point: Vector, view: Vector, sample: Sample, base: float
) -> Vector:
    diffuse, _ = gather_light(look, objects, lights, point, UP, view, sample, NO_GLOSS, ALL_SHADOWS)
    return floor_color(look, point, diffuse, base * contact(look, objects, point, ALL_SHADOWS))


def _mirrored(
    look: Surfaces, objects: np.ndarray, lights: np.ndarray, origin: Vector, direction: Vector, sample: Sample
) -> np.ndarray:
    colors = np.empty((3, direction[0].size))
    distance, index = _nearest(objects, origin, direction)
    point = along(origin, direction, distance)
    hit = np.flatnonzero(index >= 0)
    normal, color, rows = _surface(objects, index[hit], _take(point, hit))
    light = gather_light(
        look,
        objects,
        lights,
        _take(point, hit),
        normal,
        _take(_back(direction), hit),
        _pick(sample, hit),
        SECOND_WIDTH,
        NO_SHADOWS,
    )
    colors[:, hit] = second_color(color, rows[:, 6], normal, *light)

    down = np.flatnonzero((index < 0) & (direction[2] < -1e-6))
    start, fall = _take(origin, down), _take(direction, down)
    ground = along(start, fall, -start[2] / fall[2])
    colors[:, down] = _floor(look, objects, lights, ground, _back(fall), _pick(sample, down), MIRRORED_AMBIENT)

    rest = np.flatnonzero((index < 0) & (direction[2] >= -1e-6))
    glow = lamp_glow(lights, _take(origin, rest), _take(direction, rest))
    colors[:, rest] = np.stack(glow) + environment(look, _take(direction, rest))
    return colors


def _pick(sample: Sample, rays: np.ndarray) -> Sample:
    return sample[0][rays], sample[1][rays]


def _objects_color(
    look: Surfaces,
    objects: np.ndarray,
    lights: np.ndarray,
    index: np.ndarray,
    point: Vector,
    direction: Vector,
    sample: Sample,
) -> np.ndarray:
    colors = np.empty((3, index.size))
    normal, color, rows = _surface(objects, index, point)
    view = _back(direction)

    matte = np.flatnonzero(rows[:, 6] < 0.5)
    place, face, eye = _take(point, matte), _take(normal, matte), _take(view, matte)
    light = gather_light(look, objects, lights, place, face, eye, _pick(sample, matte), look.rubber_width, ALL_SHADOWS)
    colors[:, matte] = rubber_color(look, _take(color, matte), place[2] / rows[matte, 3], face, eye, *light)

    metal = np.flatnonzero(rows[:, 6] >= 0.5)
    place, face, eye = _take(point, metal), _take(normal, metal), _take(view, metal)
    _, glossy = gather_light(
        look, objects, lights, place, face, eye, _pick(sample, metal), look.metal_width, ALL_SHADOWS
    )
    ray = _take(direction, metal)
    bounce = along(ray, face, -2.0 * dot(ray, face))
    mirrored = _mirrored(look, objects, lights, along(place, face, LIFT), bounce, _pick(sample, metal))
    colors[:, metal] = metal_color(look, _take(color, metal), face, eye, tuple(mirrored), glossy)
    return colors


@lru_cache(maxsize=8)
def _image_plane(width: int, height: int, subrays: int) -> tuple[np.ndarray, np.ndarray]:
    """Image-plane places (M, 2) and light samples (M, 2) of all rays, pixel by pixel."""
    y, x, v, u = np.meshgrid(
        np.arange(height), np.arange(width), np.arange(subrays), np.arange(subrays), indexing="ij"
    )
    focal = focal_length(width)
    right = (x + (u + 0.5) / subrays - width / 2) / focal
    up = (height / 2 - y - (v + 0.5) / subrays) / focal
    # Neighboring pixels look at different places of a stratum, so that two by two pixels cover the lamp evenly.
    light_u = (2 * u + x % 2 + 0.5) / subrays - 1
    light_v = (2 * v + y % 2 + 0.5) / subrays - 1
    rays = np.stack([right, up], axis=-1).reshape(-1, 2)
    return rays, np.stack([light_u, light_v], axis=-1).reshape(-1, 2)


def _camera_rays(camera: np.ndarray, rays: np.ndarray) -> tuple[Vector, Vector]:
    x, y = rays[:, 0], rays[:, 1]
    direction = unit(tuple(camera[3, k] + x * camera[1, k] + y * camera[2, k] for k in range(3)))
    origin = tuple(np.broadcast_to(camera[0, k], x.shape) for k in range(3))
    return origin, direction


def draw(
    look: Surfaces, objects: np.ndarray, lights: np.ndarray, camera: np.ndarray, width: int, height: int
) -> np.ndarray:
    """Radiance of the pixels of an image, the mean of two by two rays each.

    Args:
        look (`Surfaces`): Numbers of the shading.
        objects (`np.ndarray`): (N, 10) rows, see `kernels`.
        lights (`np.ndarray`): (3, 15) rows of `geometry.area_light_rows`.
        camera (`np.ndarray`): (4, 3) of `geometry.camera_basis`.
        width (`int`): Of the image, in pixels.
        height (`int`): Likewise.

    Returns:
        `np.ndarray`: (height, width, 3) linear red, green, blue.
    """
    rays, samples = _image_plane(width, height, SUBRAYS)
    origin, direction = _camera_rays(camera, rays)
    sample = (samples[:, 0], samples[:, 1])
    distance, index = _nearest(objects, origin, direction)
    with np.errstate(divide="ignore"):
        ground = np.where(direction[2] < -1e-6, np.minimum(-origin[2] / direction[2], HORIZON), HORIZON)
    point = along(origin, direction, np.where(index >= 0, distance, ground))

    colors = np.empty((3, index.size))
    hit, miss = np.flatnonzero(index >= 0), np.flatnonzero(index < 0)
    colors[:, hit] = _objects_color(
        look, objects, lights, index[hit], _take(point, hit), _take(direction, hit), _pick(sample, hit)
    )
    view = _take(_back(direction), miss)
    colors[:, miss] = _floor(look, objects, lights, _take(point, miss), view, _pick(sample, miss), 1.0)
    return np.minimum(colors.T, BRIGHTEST).reshape(height, width, SUBRAYS**2, 3).mean(axis=2)


def hits(objects: np.ndarray, camera: np.ndarray, width: int, height: int) -> np.ndarray:
    """Row of the object in the middle of each pixel, -1 for the floor: int64 (height, width)."""
    origin, direction = _camera_rays(camera, _image_plane(width, height, 1)[0])
    return _nearest(objects, origin, direction)[1].reshape(height, width)
