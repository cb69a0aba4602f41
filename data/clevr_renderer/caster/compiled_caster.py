# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The ray caster's loop over pixels, compiled by numba.

It draws what `numpy_caster` draws, two by two rays a pixel, and leaves out work that cannot show:

- The image is drawn in tiles. A tile's rays are tested against the objects whose boxes on the screen reach it, and the
  shadows of its floor against the objects that can stand between it and a lamp; so are an object's shadows.
- Floor that no shadow can reach is smooth: one ray in the middle of the pixel, at the middle of its four places on the
  lamps.
- Where all four rays meet one object, the two on a diagonal decide: their mean stands if they are alike. Their places
  on the lamps have the same middle as those of all four.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numba import njit

from ..scene.geometry import focal_length
from .kernels import (
    BOUNDS,
    BRIGHTEST,
    CUBE_BEND,
    CYLINDER_BEND,
    DARK,
    FAR,
    HORIZON,
    LIFT,
    SUN,
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
    to_local,
    unit,
)
from .shading import (
    ALL_SHADOWS,
    METAL_WIDTH,
    NO_GLOSS,
    NO_SHADOWS,
    RUBBER_WIDTH,
    CONTACT,
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


UP = (0.0, 0.0, 1.0)
TILE = 8
# Radiance that two rays of a pixel may differ by, at most and per unit of their sum, for their mean to stand.
ALIKE = 0.0015
ALIKE_SHARE = 0.012
# Share of a radiance that shows as a third of a level of 150, about.
LEVEL = 0.004
# Half the spread of the sun's rays, with room to spare, and room for rounding in scene units.
SUN_CONE = 0.06
SUN_RAY = tuple(float(x) for x in np.asarray(SUN) / np.linalg.norm(SUN))
ROOM = 0.01
# The two rays on a diagonal of a pixel, then the others.
ORDER = (0, 3, 1, 2)
# Half the edge of the square of ground whose cells know their shadows, and the edge of a cell, in scene units.
GROUND = 7.0
CELL = 1.0
EVERYTHING = DARK - 1


@_shared
def _back(direction: Vector) -> Vector:
    return (-direction[0], -direction[1], -direction[2])


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
def _mirrored(
    objects: np.ndarray,
    lights: np.ndarray,
    origin: Vector,
    direction: Vector,
    sample: tuple[Real, Real],
    ground: np.ndarray,
) -> Vector:
    distance, index = _nearest(objects, origin, direction, EVERYTHING)
    if index >= 0:
        point = along(origin, direction, distance)
        normal = normal_at(objects, index, point)
        view = _back(direction)
        diffuse, glossy = gather_light(objects, lights, point, normal, view, sample, SECOND_WIDTH, NO_SHADOWS)
        return second_color(
            (objects[index, 7], objects[index, 8], objects[index, 9]), objects[index, 6], normal, diffuse, glossy
        )
    if direction[2] < -1e-6:
        point = along(origin, direction, -origin[2] / direction[2])
        masks = _ground_masks(ground, point)
        diffuse, _ = gather_light(objects, lights, point, UP, _back(direction), sample, NO_GLOSS, masks)
        return floor_color(diffuse, 0.12 * contact(objects, point, masks))
    glow = lamp_glow(lights, origin, direction)
    gray = environment(direction)
    return (glow[0] + gray, glow[1] + gray, glow[2] + gray)


@_shared
def _surface_light(
    objects: np.ndarray,
    lights: np.ndarray,
    index: int,
    point: Vector,
    normal: Vector,
    view: Vector,
    sample: tuple[Real, Real],
    masks: np.ndarray,
) -> tuple[Vector, Vector]:
    width = RUBBER_WIDTH if objects[index, 6] < 0.5 else METAL_WIDTH
    return gather_light(objects, lights, point, normal, view, sample, width, masks)


@_shared
def _surface_color(
    objects: np.ndarray,
    lights: np.ndarray,
    index: int,
    point: Vector,
    normal: Vector,
    view: Vector,
    sample: tuple[Real, Real],
    light: tuple[Vector, Vector],
    ground: np.ndarray,
) -> Vector:
    """Radiance of an object under `light`, what `_surface_light` gave."""
    color = (objects[index, 7], objects[index, 8], objects[index, 9])
    if objects[index, 6] < 0.5:
        return rubber_color(color, point[2] / objects[index, 3], normal, view, light[0], light[1])
    bounce = along(_back(view), normal, 2.0 * dot(view, normal))
    mirrored = _mirrored(objects, lights, along(point, normal, LIFT), bounce, sample, ground)
    return metal_color(color, normal, view, mirrored, light[1])


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
def _floor_distance(origin: Vector, direction: Vector) -> float:
    return min(-origin[2] / direction[2], HORIZON) if direction[2] < -1e-6 else HORIZON


@_shared
def _shaders(
    objects: np.ndarray, lights: np.ndarray, lamp: int, center: Vector, reach: float, candidates: int
) -> int:
    """Mask of the objects that can stand between a lamp and a point at most `reach` from `center`, or `DARK`.

    Such a ray leaves the line from the center to the middle of the lamp by no more than (1 - share) * reach + share *
    extent, share being how far it has come.
    """
    toward, extent = SUN_RAY, SUN_CONE
    if lamp < lights.shape[0]:
        toward = (lights[lamp, 0] - center[0], lights[lamp, 1] - center[1], lights[lamp, 2] - center[2])
        # The half edges are of one length; samples lie within three quarters of it.
        edge = (lights[lamp, 3], lights[lamp, 4], lights[lamp, 5])
        extent = 0.75 * np.sqrt(2.0 * dot(edge, edge))
    inverse = 1.0 / dot(toward, toward)
    step = np.sqrt(inverse)
    mask = 0
    for i in range(objects.shape[0]):
        if not candidates & bit_of(i):
            continue
        offset = (objects[i, 1] - center[0], objects[i, 2] - center[1], objects[i, 3] - center[2])
        bound = objects[i, 3] * BOUNDS[int(objects[i, 0])]
        middle = dot(offset, toward) * inverse
        first, last = max(middle - bound * step, 0.0), max(middle + bound * step, 0.0)
        share = max(middle, 0.0)
        if lamp < lights.shape[0]:
            first, last, share = min(first, 1.0), min(last, 1.0), min(share, 1.0)
            wander = max(reach + first * (extent - reach), reach + last * (extent - reach))
        else:
            wander = reach + last * extent
        gap = along(offset, toward, -share)
        distance = dot(gap, gap)
        if distance <= (bound + wander + ROOM) ** 2:
            # Every shape holds a ball of its radius.
            inner = objects[i, 3] - wander - ROOM
            if inner > 0.0 and distance < inner * inner and share == middle:
                return DARK
            mask |= bit_of(i)
    return mask


@_shared
def _object_shaders(objects: np.ndarray, lights: np.ndarray) -> np.ndarray:
    """For each object and each lamp, the objects that can shade it: int64 (N, lamps + 1)."""
    masks = np.zeros((objects.shape[0], lights.shape[0] + 2), dtype=np.int64)
    for i in range(objects.shape[0]):
        center = (objects[i, 1], objects[i, 2], objects[i, 3])
        for lamp in range(lights.shape[0] + 1):
            reach = objects[i, 3] * BOUNDS[int(objects[i, 0])]
            masks[i, lamp] = _shaders(objects, lights, lamp, center, reach, EVERYTHING)
    return masks


@_shared
def _screen_boxes(objects: np.ndarray, camera: np.ndarray) -> np.ndarray:
    """Left, right, low and high end of each object on the image plane, in focal lengths: float64 (N, 4).

    They are those of a box around the object, turned as it is, or of the whole plane if part of that box is not in
    front of the camera.
    """
    boxes = np.empty((objects.shape[0], 4))
    for i in range(objects.shape[0]):
        boxes[i] = FAR, -FAR, FAR, -FAR
        for corner in range(8):
            x, y = 1.0 - 2.0 * (corner & 1), 1.0 - (corner & 2)
            offset = (
                objects[i, 1] + objects[i, 3] * (objects[i, 4] * x - objects[i, 5] * y) - camera[0, 0],
                objects[i, 2] + objects[i, 3] * (objects[i, 5] * x + objects[i, 4] * y) - camera[0, 1],
                objects[i, 3] * (2.0 if corner & 4 else 0.0) - camera[0, 2],
            )
            depth = dot(offset, (camera[3, 0], camera[3, 1], camera[3, 2]))
            if depth < 0.1:
                boxes[i] = -FAR, FAR, -FAR, FAR
                break
            right = dot(offset, (camera[1, 0], camera[1, 1], camera[1, 2])) / depth
            up = dot(offset, (camera[2, 0], camera[2, 1], camera[2, 2])) / depth
            boxes[i, 0], boxes[i, 1] = min(boxes[i, 0], right), max(boxes[i, 1], right)
            boxes[i, 2], boxes[i, 3] = min(boxes[i, 2], up), max(boxes[i, 3], up)
    return boxes


@_shared
def _seen(boxes: np.ndarray, left: float, right: float, low: float, high: float) -> int:
    """Mask of the objects whose boxes reach a part of the image plane."""
    mask = 0
    for i in range(boxes.shape[0]):
        if boxes[i, 0] < right and boxes[i, 1] > left and boxes[i, 2] < high and boxes[i, 3] > low:
            mask |= bit_of(i)
    return mask


@_shared
def _shade_floor(
    objects: np.ndarray, lights: np.ndarray, center: Vector, reach: float, masks: np.ndarray
) -> None:
    """Find which objects can shade the floor at most `reach` from `center`."""
    for lamp in range(lights.shape[0] + 1):
        masks[lamp] = _shaders(objects, lights, lamp, center, reach, EVERYTHING)
    masks[-1] = 0
    for i in range(objects.shape[0]):
        x, y = center[0] - objects[i, 1], center[1] - objects[i, 2]
        if x * x + y * y < (CONTACT * objects[i, 3] + reach) ** 2:
            masks[-1] |= bit_of(i)


@_shared
def _shade_ground(objects: np.ndarray, lights: np.ndarray) -> np.ndarray:
    """What can shade each cell of the ground where objects stand, for points met in mirrors: int64 (C, C, lamps + 2)."""
    cells = int(2 * GROUND / CELL)
    masks = np.empty((cells, cells, lights.shape[0] + 2), dtype=np.int64)
    for row in range(cells):
        for column in range(cells):
            center = ((row + 0.5) * CELL - GROUND, (column + 0.5) * CELL - GROUND, 0.0)
            _shade_floor(objects, lights, center, 0.75 * CELL, masks[row, column])
    return masks


@_shared
def _ground_masks(ground: np.ndarray, point: Vector) -> np.ndarray:
    row, column = int((point[0] + GROUND) / CELL), int((point[1] + GROUND) / CELL)
    if abs(point[0]) < GROUND and abs(point[1]) < GROUND:
        return ground[row, column]
    return ALL_SHADOWS


@_shared
def _shade_tile(
    objects: np.ndarray, lights: np.ndarray, camera: np.ndarray, tile: tuple[float, float, float, float], masks: np.ndarray
) -> None:
    """Find which objects can shade the floor that shows in a tile (left, right, low, high); any where it has no end."""
    origin = (camera[0, 0], camera[0, 1], camera[0, 2])
    x, y = np.empty(4), np.empty(4)
    masks[:] = -1
    for corner in range(4):
        direction = _camera_ray(camera, tile[corner & 1], tile[2 + (corner >> 1)])
        distance = _floor_distance(origin, direction)
        if distance >= HORIZON:
            return
        x[corner], y[corner] = origin[0] + distance * direction[0], origin[1] + distance * direction[1]
    center = (x.mean(), y.mean(), 0.0)
    reach = np.sqrt(((x - center[0]) ** 2 + (y - center[1]) ** 2).max())
    _shade_floor(objects, lights, center, reach, masks)


@_shared
def _darkest(color: Vector) -> Vector:
    return (min(color[0], BRIGHTEST), min(color[1], BRIGHTEST), min(color[2], BRIGHTEST))


@_shared
def _radiance(
    objects: np.ndarray,
    lights: np.ndarray,
    origin: Vector,
    direction: Vector,
    hit: tuple[float, int],
    sample: tuple[Real, Real],
    shaders: np.ndarray,
    ground: np.ndarray,
    masks: np.ndarray,
) -> Vector:
    distance, index = hit
    view = _back(direction)
    if index >= 0:
        point = along(origin, direction, distance)
        normal = normal_at(objects, index, point)
        light = _surface_light(objects, lights, index, point, normal, view, sample, shaders[index])
        return _darkest(_surface_color(objects, lights, index, point, normal, view, sample, light, ground))
    point = along(origin, direction, _floor_distance(origin, direction))
    diffuse, _ = gather_light(objects, lights, point, UP, view, sample, NO_GLOSS, masks)
    return floor_color(diffuse, 0.16 * contact(objects, point, masks))


@_shared
def _alike(a: Vector, b: Vector) -> bool:
    for k in range(3):
        if abs(a[k] - b[k]) > ALIKE + ALIKE_SHARE * (a[k] + b[k]):
            return False
    return True


@_shared
def _floor_pixel(
    objects: np.ndarray,
    lights: np.ndarray,
    points: tuple[Vector, Vector, Vector, Vector],
    middle: tuple[float, float],
    masks: np.ndarray,
) -> Vector:
    """Mean radiance of four points of the floor, neighbors in one pixel.

    Light is smooth where no shadow ends: there the middle stands for all four.
    """
    center = (
        0.25 * (points[0][0] + points[1][0] + points[2][0] + points[3][0]),
        0.25 * (points[0][1] + points[1][1] + points[2][1] + points[3][1]),
        0.25 * (points[0][2] + points[1][2] + points[2][2] + points[3][2]),
    )
    reach = 0.0
    for point in points:
        reach = max(reach, (point[0] - center[0]) ** 2 + (point[1] - center[1]) ** 2)
    reach = np.sqrt(reach)
    diffuse = (0.0, 0.0, 0.0)
    for lamp in range(lights.shape[0] + 1):
        mask = masks[lamp]
        if mask != 0 and mask != DARK:
            mask = _shaders(objects, lights, lamp, center, reach, mask)
        if mask == 0:
            direction, _, strength = lamp_ray(lights, lamp, middle[0], middle[1], center)
            diffuse = scaled_sum(diffuse, max(direction[2], 0.0), strength)
        elif mask != DARK:
            for k in range(4):
                point = points[k]
                direction, distance, strength = lamp_ray(
                    lights, lamp, middle[0] - 0.5 + (k & 1), middle[1] - 0.5 + (k >> 1), point
                )
                start = (point[0], point[1], point[2] + LIFT)
                lit = direction[2] > 0.0 and strength[0] > 0.0
                if not occluded(objects, start, direction, distance, lit, mask):
                    diffuse = scaled_sum(diffuse, 0.25 * direction[2], strength)
    return floor_color(diffuse, 0.16 * contact(objects, center, masks))


@_shared
def _pixel(objects, lights, camera, origin, right, up, quarter, middle, seen, shaders, ground, masks, own):
    rays = (
        _camera_ray(camera, right + quarter, up - quarter),
        _camera_ray(camera, right + 3 * quarter, up - quarter),
        _camera_ray(camera, right + quarter, up - 3 * quarter),
        _camera_ray(camera, right + 3 * quarter, up - 3 * quarter),
    )
    h0 = _nearest(objects, origin, rays[0], seen)
    h1 = _nearest(objects, origin, rays[1], seen)
    h2 = _nearest(objects, origin, rays[2], seen)
    h3 = _nearest(objects, origin, rays[3], seen)
    same = h0[1] == h1[1] and h0[1] == h2[1] and h0[1] == h3[1]
    if same:
        floor = h0[1] < 0
        points = (
            along(origin, rays[0], _floor_distance(origin, rays[0]) if floor else h0[0]),
            along(origin, rays[1], _floor_distance(origin, rays[1]) if floor else h1[0]),
            along(origin, rays[2], _floor_distance(origin, rays[2]) if floor else h2[0]),
            along(origin, rays[3], _floor_distance(origin, rays[3]) if floor else h3[0]),
        )
        if floor:
            return _floor_pixel(objects, lights, points, middle, masks)
        return _object_pixel(objects, lights, rays, points, h0[1], middle, shaders[h0[1]], ground, own)
    total = (0.0, 0.0, 0.0)
    hits = (h0, h1, h2, h3)
    for k in range(4):
        sample = (middle[0] - 0.5 + (k & 1), middle[1] - 0.5 + (k >> 1))
        color = _radiance(objects, lights, origin, rays[k], hits[k], sample, shaders, ground, masks)
        total = scaled_sum(total, 0.25, color)
    return total


@_shared
def _bent(objects: np.ndarray, index: int, point: Vector) -> bool:
    """Whether the normal may be bent at a point: elsewhere a lit surface cannot shade itself."""
    if objects[index, 0] == 1.0:
        return False
    x, y, z = to_local(objects, index, point, (objects[index, 1], objects[index, 2], objects[index, 3]))
    if objects[index, 0] == 0.0:
        return (abs(x) > CUBE_BEND) + (abs(y) > CUBE_BEND) + (abs(z) > CUBE_BEND) > 1
    return x * x + y * y > CYLINDER_BEND * CYLINDER_BEND and abs(z) > CYLINDER_BEND


@_shared
def _shade_pixel(
    objects: np.ndarray,
    lights: np.ndarray,
    index: int,
    points: tuple[Vector, Vector, Vector, Vector],
    masks: np.ndarray,
    own: np.ndarray,
) -> None:
    """Find which of the objects in `masks` can shade four points of an object."""
    center = (
        0.25 * (points[0][0] + points[1][0] + points[2][0] + points[3][0]),
        0.25 * (points[0][1] + points[1][1] + points[2][1] + points[3][1]),
        0.25 * (points[0][2] + points[1][2] + points[2][2] + points[3][2]),
    )
    reach, bent = 0.0, False
    for point in points:
        gap = along(point, center, -1.0)
        reach = max(reach, dot(gap, gap))
        bent = bent or _bent(objects, index, point)
    reach = np.sqrt(reach)
    itself = bit_of(index)
    for lamp in range(lights.shape[0] + 1):
        others = masks[lamp] & ~itself
        if others != 0 and others != DARK:
            others = _shaders(objects, lights, lamp, center, reach, others)
        own[lamp] = others if others == DARK or not bent else others | itself


@_shared
def _object_pixel(
    objects: np.ndarray,
    lights: np.ndarray,
    rays: tuple[Vector, Vector, Vector, Vector],
    points: tuple[Vector, Vector, Vector, Vector],
    index: int,
    middle: tuple[float, float],
    masks: np.ndarray,
    ground: np.ndarray,
    own: np.ndarray,
) -> Vector:
    """Mean radiance of four points of an object, neighbors in one pixel.

    Where the first and the last one are lit alike, they stand for the others, but not for what metal mirrors.
    """
    _shade_pixel(objects, lights, index, points, masks, own)
    rubber = objects[index, 6] < 0.5
    total, zero = (0.0, 0.0, 0.0), (0.0, 0.0, 0.0)
    first, light = (zero, zero), (zero, zero)
    alike = False
    for turn in range(4):
        k = ORDER[turn]
        sample = (middle[0] - 0.5 + (k & 1), middle[1] - 0.5 + (k >> 1))
        point, view = points[k], _back(rays[k])
        normal = normal_at(objects, index, point)
        if not alike:
            light = _surface_light(objects, lights, index, point, normal, view, sample, own)
        color = _darkest(_surface_color(objects, lights, index, point, normal, view, sample, light, ground))
        total = scaled_sum(total, 0.25, color)
        if turn == 0:
            first = (color, light[1])
        elif turn == 1 and rubber and _alike(first[0], color):
            return scaled_sum(total, 1.0, total)
        elif turn == 1 and not rubber:
            alike = _alike(first[1], light[1])
            if alike:
                light = (zero, scaled_sum(zero, 0.5, scaled_sum(first[1], 1.0, light[1])))
    return total


@_shared
def _open_floor(
    objects: np.ndarray,
    lights: np.ndarray,
    camera: np.ndarray,
    x: float,
    y: float,
    sample: tuple[float, float],
    masks: np.ndarray,
) -> Vector:
    origin = (camera[0, 0], camera[0, 1], camera[0, 2])
    direction = _camera_ray(camera, x, y)
    point = along(origin, direction, _floor_distance(origin, direction))
    diffuse, _ = gather_light(objects, lights, point, UP, _back(direction), sample, NO_GLOSS, masks)
    return floor_color(diffuse, 0.16 * contact(objects, point, masks))


@_shared
def _open_tile(
    objects: np.ndarray,
    lights: np.ndarray,
    camera: np.ndarray,
    tile: tuple[float, float, float, float],
    masks: np.ndarray,
    image: np.ndarray,
    first_x: int,
    first_y: int,
) -> bool:
    """Draw a tile of floor that nothing shades, between its corners; False, and nothing, where that is not enough."""
    left, right, low, high = tile
    corners = (
        _open_floor(objects, lights, camera, left, high, (0.0, 0.0), masks),
        _open_floor(objects, lights, camera, right, high, (0.0, 0.0), masks),
        _open_floor(objects, lights, camera, left, low, (0.0, 0.0), masks),
        _open_floor(objects, lights, camera, right, low, (0.0, 0.0), masks),
    )
    x, y = 0.5 * (left + right), 0.5 * (low + high)
    center = _open_floor(objects, lights, camera, x, y, (0.0, 0.0), masks)
    across = _open_floor(objects, lights, camera, x, y, (0.25, 0.0), masks)
    along_v = _open_floor(objects, lights, camera, x, y, (0.0, 0.25), masks)
    for k in range(3):
        mean = 0.25 * (corners[0][k] + corners[1][k] + corners[2][k] + corners[3][k])
        if abs(mean - center[k]) > LEVEL * center[k]:
            return False
    for row in range(min(TILE, image.shape[0] - first_y)):
        v = (row + 0.5) / TILE
        for column in range(min(TILE, image.shape[1] - first_x)):
            u = (column + 0.5) / TILE
            turn_u = 2.0 * ((first_x + column) % 2) - 1.0
            turn_v = 2.0 * ((first_y + row) % 2) - 1.0
            for k in range(3):
                image[first_y + row, first_x + column, k] = (
                    (1.0 - v) * ((1.0 - u) * corners[0][k] + u * corners[1][k])
                    + v * ((1.0 - u) * corners[2][k] + u * corners[3][k])
                    + turn_u * (across[k] - center[k])
                    + turn_v * (along_v[k] - center[k])
                )
    return True


@_shared
def _tile(x: int, y: int, width: int, height: int, focal: float) -> tuple[float, float, float, float]:
    """Left, right, low and high end of the tile whose first pixel is (x, y), on the image plane in focal lengths."""
    return (
        (x - 0.5 * width) / focal,
        (x + TILE - 0.5 * width) / focal,
        (0.5 * height - y - TILE) / focal,
        (0.5 * height - y) / focal,
    )


def _digest() -> int:
    folder = Path(__file__).parent
    return zlib.crc32(b"".join((folder / name).read_bytes() for name in ("kernels.py", "shading.py")))


# Numba judges by this file alone whether its cache is stale, and by closed-over values: the digest of the formulas'
# files makes a change there count.
def _compile_draw(digest: int) -> Callable:
    @njit(cache=True, error_model="numpy")
    def draw(
        objects: np.ndarray, lights: np.ndarray, camera: np.ndarray, width: int, height: int, focal: float
    ) -> np.ndarray:
        image = np.full((height, width, 3), np.float32(digest))
        origin = (camera[0, 0], camera[0, 1], camera[0, 2])
        shaders = _object_shaders(objects, lights)
        boxes = _screen_boxes(objects, camera)
        ground = _shade_ground(objects, lights)
        masks = np.zeros(lights.shape[0] + 2, dtype=np.int64)
        own = np.zeros(masks.size, dtype=np.int64)
        for tile_y in range(0, height, TILE):
            for tile_x in range(0, width, TILE):
                tile = _tile(tile_x, tile_y, width, height, focal)
                seen = _seen(boxes, tile[0], tile[1], tile[2], tile[3])
                _shade_tile(objects, lights, camera, tile, masks)
                if (
                    seen == 0
                    and not masks.any()
                    and _open_tile(objects, lights, camera, tile, masks, image, tile_x, tile_y)
                ):
                    continue
                for y in range(tile_y, min(tile_y + TILE, height)):
                    for x in range(tile_x, min(tile_x + TILE, width)):
                        right, up = (x - 0.5 * width) / focal, (0.5 * height - y) / focal
                        middle = 0.5 * (x % 2) - 0.25, 0.5 * (y % 2) - 0.25
                        color = _pixel(
                            objects, lights, camera, origin, right, up, 0.25 / focal, middle, seen, shaders, ground, masks, own
                        )
                        image[y, x, 0], image[y, x, 1], image[y, x, 2] = color
        return image

    return draw


def _compile_hits(digest: int) -> Callable:
    @njit(cache=True, error_model="numpy")
    def hits(objects: np.ndarray, camera: np.ndarray, width: int, height: int, focal: float) -> np.ndarray:
        index = np.full((height, width), digest)
        origin = (camera[0, 0], camera[0, 1], camera[0, 2])
        boxes = _screen_boxes(objects, camera)
        for tile_y in range(0, height, TILE):
            for tile_x in range(0, width, TILE):
                left, right, low, high = _tile(tile_x, tile_y, width, height, focal)
                seen = _seen(boxes, left, right, low, high)
                for y in range(tile_y, min(tile_y + TILE, height)):
                    for x in range(tile_x, min(tile_x + TILE, width)):
                        if seen == 0:
                            index[y, x] = -1
                            continue
                        ray = _camera_ray(camera, (x + 0.5 - width / 2) / focal, (height / 2 - y - 0.5) / focal)
                        index[y, x] = _nearest(objects, origin, ray, seen)[1]
        return index

    return hits


_draw = _compile_draw(_digest())
_hits = _compile_hits(_digest())


def draw(objects: np.ndarray, lights: np.ndarray, camera: np.ndarray, width: int, height: int) -> np.ndarray:
    """Radiance of the pixels of an image, as `numpy_caster.draw` gives it within a level."""
    return _draw(objects, lights, camera, width, height, focal_length(width))


def hits(objects: np.ndarray, camera: np.ndarray, width: int, height: int) -> np.ndarray:
    """Row of the object in the middle of each pixel, -1 for the floor: int64 (height, width)."""
    return _hits(objects, camera, width, height, focal_length(width))
