# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The ray caster's loop over pixels, compiled by numba.

It draws what `numpy_caster` draws, two by two rays a pixel, and leaves out work that cannot show or hardly does:

- The image is drawn in tiles. A tile's rays and its floor's shadows are tested against the objects that they can meet
  (`culling`), and so are the shadows on objects and on floor that metal mirrors.
- Floor that nothing shades is drawn with one ray a pixel.
- In a pixel of floor alone, a lamp that is seen or hidden as a whole is taken once, in the middle.
- In a pixel of one object alone, the two rays on a diagonal stand for all four if they are alike. The middle of their
  places on the lamps is that of all four. What metal mirrors is still looked up by all four.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numba import njit

from ..scene.geometry import focal_length
from .culling import (
    EVERYTHING,
    Four,
    Part,
    camera_ray,
    floor_distance,
    ground_masks,
    lamp_shaders,
    middle_of,
    object_shaders,
    screen_boxes,
    seen_in,
    shade_ground,
    shade_part,
    shade_points,
)
from .kernels import (
    BRIGHTEST,
    DARK,
    FAR,
    LIFT,
    Real,
    Vector,
    _shared,
    along,
    bit_of,
    dot,
    hit_distance,
    may_hit,
    normal_at,
    occluded,
)
from .looks import Surfaces
from .shading import (
    MIRRORED_AMBIENT,
    NO_GLOSS,
    NO_SHADOWS,
    SECOND_WIDTH,
    contact,
    environment,
    floor_color,
    gather_light,
    lamp_glow,
    lamp_ray,
    metal_color,
    rubber_color,
    scaled_sum,
    second_color,
)


FORMULAS = ("kernels.py", "shading.py", "culling.py")
UP = (0.0, 0.0, 1.0)
BLACK = (0.0, 0.0, 0.0)
TILE = 8
# Radiance that two rays of a pixel may differ by, at most and per unit of their sum, for their mean to stand.
ALIKE = 0.0015
ALIKE_SHARE = 0.012
# The two rays on a diagonal of a pixel, then the others.
ORDER = (0, 3, 1, 2)

Sample = tuple[Real, Real]


class World(NamedTuple):
    """What mirrors show, and little else: it is copied wherever it is passed to."""

    look: np.void
    objects: np.ndarray
    lights: np.ndarray
    ground: np.ndarray


class View(NamedTuple):
    """Camera, boxes of objects on its image plane, what can shade each object, and room for two rows of masks."""

    camera: np.ndarray
    boxes: np.ndarray
    shaders: np.ndarray
    floor_masks: np.ndarray
    own_masks: np.ndarray


@_shared
def _back(direction: Vector) -> Vector:
    return (-direction[0], -direction[1], -direction[2])


@_shared
def _origin(camera: np.ndarray) -> Vector:
    return (camera[0, 0], camera[0, 1], camera[0, 2])


@_shared
def _sample(middle: tuple[float, float], k: int) -> Sample:
    """Place on the lamps of the k-th ray of a pixel, each in [-1, 1]."""
    return (middle[0] - 0.5 + (k & 1), middle[1] - 0.5 + (k >> 1))


@_shared
def _nearest(objects: np.ndarray, origin: Vector, direction: Vector, candidates: int) -> tuple[float, int]:
    best, index = FAR, -1
    for i in range(objects.shape[0]):
        if candidates & bit_of(i) and may_hit(objects, i, origin, direction, best):
            distance = hit_distance(objects, i, origin, direction)
            if distance < best:
                best, index = distance, i
    return best, index


@_shared
def _floor(world: World, point: Vector, view: Vector, sample: Sample, share: float, masks: np.ndarray) -> Vector:
    """Radiance of the floor with a share of its ambient light."""
    diffuse, _ = gather_light(world.look, world.objects, world.lights, point, UP, view, sample, NO_GLOSS, masks)
    return floor_color(world.look, point, diffuse, share * contact(world.look, world.objects, point, masks))


@_shared
def _mirrored(world: World, origin: Vector, direction: Vector, sample: Sample) -> Vector:
    objects = world.objects
    distance, index = _nearest(objects, origin, direction, EVERYTHING)
    view = _back(direction)
    if index >= 0:
        point = along(origin, direction, distance)
        normal = normal_at(objects, index, point)
        diffuse, glossy = gather_light(
            world.look, objects, world.lights, point, normal, view, sample, SECOND_WIDTH, NO_SHADOWS
        )
        color = (objects[index, 7], objects[index, 8], objects[index, 9])
        return second_color(color, objects[index, 6], normal, diffuse, glossy)
    if direction[2] < -1e-6:
        point = along(origin, direction, -origin[2] / direction[2])
        return _floor(world, point, view, sample, MIRRORED_AMBIENT, ground_masks(world.ground, point))
    glow = lamp_glow(world.lights, origin, direction)
    gray = environment(world.look, direction)
    return (glow[0] + gray, glow[1] + gray, glow[2] + gray)


@_shared
def _surface_light(
    world: World, index: int, point: Vector, normal: Vector, view: Vector, sample: Sample, masks: np.ndarray
) -> tuple[Vector, Vector]:
    width = world.look.rubber_width if world.objects[index, 6] < 0.5 else world.look.metal_width
    return gather_light(world.look, world.objects, world.lights, point, normal, view, sample, width, masks)


@_shared
def _surface_color(
    world: World,
    index: int,
    point: Vector,
    normal: Vector,
    view: Vector,
    sample: Sample,
    light: tuple[Vector, Vector],
) -> Vector:
    """Radiance of an object under `light`, what `_surface_light` gave."""
    objects = world.objects
    color = (objects[index, 7], objects[index, 8], objects[index, 9])
    if objects[index, 6] < 0.5:
        found = rubber_color(world.look, color, point[2] / objects[index, 3], normal, view, light[0], light[1])
    else:
        bounce = along(_back(view), normal, 2.0 * dot(view, normal))
        mirrored = _mirrored(world, along(point, normal, LIFT), bounce, sample)
        found = metal_color(world.look, color, normal, view, mirrored, light[1])
    return (min(found[0], BRIGHTEST), min(found[1], BRIGHTEST), min(found[2], BRIGHTEST))


@_shared
def _radiance(world: World, eye: View, direction: Vector, hit: tuple[float, int], sample: Sample) -> Vector:
    """Radiance along a camera ray that meets what `_nearest` found."""
    origin, view = _origin(eye.camera), _back(direction)
    distance, index = hit
    if index < 0:
        point = along(origin, direction, floor_distance(origin, direction))
        return _floor(world, point, view, sample, 1.0, eye.floor_masks)
    point = along(origin, direction, distance)
    normal = normal_at(world.objects, index, point)
    light = _surface_light(world, index, point, normal, view, sample, eye.shaders[index])
    return _surface_color(world, index, point, normal, view, sample, light)


@_shared
def _alike(a: Vector, b: Vector) -> bool:
    most = (
        ALIKE + ALIKE_SHARE * (a[0] + b[0]),
        ALIKE + ALIKE_SHARE * (a[1] + b[1]),
        ALIKE + ALIKE_SHARE * (a[2] + b[2]),
    )
    return abs(a[0] - b[0]) <= most[0] and abs(a[1] - b[1]) <= most[1] and abs(a[2] - b[2]) <= most[2]


@_shared
def _floor_pixel(world: World, points: Four, middle: tuple[float, float], masks: np.ndarray) -> Vector:
    """Mean radiance of four points of the floor, neighbors in one pixel."""
    look, objects, lights = world.look, world.objects, world.lights
    center, reach = middle_of(points)
    diffuse = BLACK
    for lamp in range(lights.shape[0] + 1):
        mask = masks[lamp]
        if mask != 0 and mask != DARK:
            mask = lamp_shaders(look, objects, lights, lamp, center, reach, mask)
        if mask == 0:
            direction, _, strength = lamp_ray(look, lights, lamp, middle[0], middle[1], center)
            diffuse = scaled_sum(diffuse, max(direction[2], 0.0), strength)
        elif mask != DARK:
            for k in range(4):
                sample = _sample(middle, k)
                direction, distance, strength = lamp_ray(look, lights, lamp, sample[0], sample[1], points[k])
                lit = direction[2] > 0.0 and strength[0] > 0.0
                if not occluded(objects, along(points[k], UP, LIFT), direction, distance, lit, mask):
                    diffuse = scaled_sum(diffuse, 0.25 * direction[2], strength)
    return floor_color(look, center, diffuse, contact(look, objects, center, masks))


@_shared
def _object_pixel(
    world: World, eye: View, rays: Four, points: Four, index: int, middle: tuple[float, float]
) -> Vector:
    """Mean radiance of four points of an object, neighbors in one pixel."""
    shade_points(world.look, world.objects, world.lights, index, points, eye.shaders[index], eye.own_masks)
    rubber = world.objects[index, 6] < 0.5
    total, first_color, first_gloss, light = BLACK, BLACK, BLACK, (BLACK, BLACK)
    alike = False
    for turn in range(4):
        k = ORDER[turn]
        point, view, sample = points[k], _back(rays[k]), _sample(middle, k)
        normal = normal_at(world.objects, index, point)
        if not alike:
            light = _surface_light(world, index, point, normal, view, sample, eye.own_masks)
        color = _surface_color(world, index, point, normal, view, sample, light)
        total = scaled_sum(total, 0.25, color)
        if turn == 0:
            first_color, first_gloss = color, light[1]
        elif turn == 1 and rubber and _alike(first_color, color):
            return scaled_sum(total, 1.0, total)
        elif turn == 1 and not rubber and _alike(first_gloss, light[1]):
            alike = True
            light = (BLACK, scaled_sum(BLACK, 0.5, scaled_sum(first_gloss, 1.0, light[1])))
    return total


@_shared
def _point(origin: Vector, direction: Vector, hit: tuple[float, int]) -> Vector:
    return along(origin, direction, hit[0] if hit[1] >= 0 else floor_distance(origin, direction))


@_shared
def _pixel(
    world: World, eye: View, right: float, up: float, quarter: float, middle: tuple[float, float], seen: int
) -> Vector:
    """Mean radiance of the four rays of a pixel whose upper left corner is at `right`, `up` on the image plane."""
    origin = _origin(eye.camera)
    rays = (
        camera_ray(eye.camera, right + quarter, up - quarter),
        camera_ray(eye.camera, right + 3 * quarter, up - quarter),
        camera_ray(eye.camera, right + quarter, up - 3 * quarter),
        camera_ray(eye.camera, right + 3 * quarter, up - 3 * quarter),
    )
    hits = (
        _nearest(world.objects, origin, rays[0], seen),
        _nearest(world.objects, origin, rays[1], seen),
        _nearest(world.objects, origin, rays[2], seen),
        _nearest(world.objects, origin, rays[3], seen),
    )
    index = hits[0][1]
    if hits[1][1] == index and hits[2][1] == index and hits[3][1] == index:
        points = (
            _point(origin, rays[0], hits[0]),
            _point(origin, rays[1], hits[1]),
            _point(origin, rays[2], hits[2]),
            _point(origin, rays[3], hits[3]),
        )
        if index < 0:
            return _floor_pixel(world, points, middle, eye.floor_masks)
        return _object_pixel(world, eye, rays, points, index, middle)
    total = BLACK
    for k in range(4):
        total = scaled_sum(total, 0.25, _radiance(world, eye, rays[k], hits[k], _sample(middle, k)))
    return total


@_shared
def _tile(x: int, y: int, width: int, height: int, focal: float) -> Part:
    """The part of the image plane of the tile whose first pixel is (x, y)."""
    return (
        (x - 0.5 * width) / focal,
        (x + TILE - 0.5 * width) / focal,
        (0.5 * height - y - TILE) / focal,
        (0.5 * height - y) / focal,
    )


@_shared
def _open_floor(world: World, eye: View, x: float, y: float, sample: Sample) -> Vector:
    return _radiance(world, eye, camera_ray(eye.camera, x, y), (FAR, -1), sample)


@_shared
def _draw_tile(world: World, eye: View, image: np.ndarray, left: int, top: int, focal: float) -> None:
    height, width = image.shape[:2]
    part = _tile(left, top, width, height, focal)
    seen = seen_in(eye.boxes, part)
    shade_part(world.look, world.objects, world.lights, eye.camera, part, eye.floor_masks)
    bare = seen == 0 and not eye.floor_masks.any()
    for y in range(top, min(top + TILE, height)):
        for x in range(left, min(left + TILE, width)):
            right, up = (x - 0.5 * width) / focal, (0.5 * height - y) / focal
            middle = (0.5 * (x % 2) - 0.25, 0.5 * (y % 2) - 0.25)
            if bare:
                color = _open_floor(world, eye, right + 0.5 / focal, up - 0.5 / focal, middle)
            else:
                color = _pixel(world, eye, right, up, 0.25 / focal, middle, seen)
            image[y, x, 0], image[y, x, 1], image[y, x, 2] = color


def _digest() -> int:
    folder = Path(__file__).parent
    return zlib.crc32(b"".join((folder / name).read_bytes() for name in FORMULAS))


# Numba judges by this file alone whether its cache is stale, and by closed-over values: the digest of the formulas'
# files makes a change there count.
def _compile_draw(digest: int) -> Callable:
    @njit(cache=True, error_model="numpy")
    def draw(
        look: np.void,
        objects: np.ndarray,
        lights: np.ndarray,
        camera: np.ndarray,
        size: tuple[int, int],
        focal: float,
    ) -> np.ndarray:
        width, height = size
        image = np.full((height, width, 3), np.float32(digest))
        masks = np.zeros((2, lights.shape[0] + 2), dtype=np.int64)
        world = World(look, objects, lights, shade_ground(look, objects, lights))
        shaders = object_shaders(look, objects, lights)
        eye = View(camera, screen_boxes(objects, camera), shaders, masks[0], masks[1])
        for top in range(0, height, TILE):
            for left in range(0, width, TILE):
                _draw_tile(world, eye, image, left, top, focal)
        return image

    return draw


def _compile_hits(digest: int) -> Callable:
    @njit(cache=True, error_model="numpy")
    def hits(objects: np.ndarray, camera: np.ndarray, width: int, height: int, focal: float) -> np.ndarray:
        index = np.full((height, width), digest)
        origin = _origin(camera)
        boxes = screen_boxes(objects, camera)
        for top in range(0, height, TILE):
            for left in range(0, width, TILE):
                seen = seen_in(boxes, _tile(left, top, width, height, focal))
                for y in range(top, min(top + TILE, height)):
                    for x in range(left, min(left + TILE, width)):
                        ray = camera_ray(camera, (x + 0.5 - width / 2) / focal, (height / 2 - y - 0.5) / focal)
                        index[y, x] = _nearest(objects, origin, ray, seen)[1]
        return index

    return hits


_draw = _compile_draw(_digest())
_hits = _compile_hits(_digest())


def draw(
    look: Surfaces, objects: np.ndarray, lights: np.ndarray, camera: np.ndarray, width: int, height: int
) -> np.ndarray:
    """Radiance of the pixels of an image, as `numpy_caster.draw` gives it within a level: float32."""
    return _draw(look.record(), objects, lights, camera, (width, height), focal_length(width))


def hits(objects: np.ndarray, camera: np.ndarray, width: int, height: int) -> np.ndarray:
    """Row of the object in the middle of each pixel, -1 for the floor: int64 (height, width)."""
    return _hits(objects, camera, width, height, focal_length(width))
