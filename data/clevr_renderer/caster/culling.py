# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Which objects rays and shadows of the compiled caster can meet at all, as masks (`kernels.bit_of`).

A row of masks has one for each lamp, one for the sun and one for ambient light, as `shading.ALL_SHADOWS` has. Masks
may hold objects that are not met; they never lack one that is.
"""

from __future__ import annotations

import numpy as np

from .kernels import (
    BOUNDS,
    CUBE_BEND,
    CYLINDER_BEND,
    DARK,
    FAR,
    HORIZON,
    Vector,
    _shared,
    along,
    bit_of,
    dot,
    to_local,
    unit,
)
from .looks import Surfaces
from .shading import ALL_SHADOWS, CONTACT


# More than half the spread of the sun's rays, and room for rounding in scene units.
SUN_CONE = 0.07
ROOM = 0.01
# Half the edge of the square of ground whose cells know their shadows, and the edge of a cell, in scene units.
GROUND = 7.0
CELL = 1.0
EVERYTHING = DARK - 1

# Left, right, low and high end of a part of the image plane, in focal lengths.
Part = tuple[float, float, float, float]
Four = tuple[Vector, Vector, Vector, Vector]


@_shared
def camera_ray(camera: np.ndarray, x: float, y: float) -> Vector:
    """Unit direction of the ray through a place of the image plane, in focal lengths."""
    return unit(
        (
            camera[3, 0] + x * camera[1, 0] + y * camera[2, 0],
            camera[3, 1] + x * camera[1, 1] + y * camera[2, 1],
            camera[3, 2] + x * camera[1, 2] + y * camera[2, 2],
        )
    )


@_shared
def floor_distance(origin: Vector, direction: Vector) -> float:
    """How far the floor is along a ray, at most `HORIZON`."""
    return min(-origin[2] / direction[2], HORIZON) if direction[2] < -1e-6 else HORIZON


@_shared
def lamp_shaders(
    look: Surfaces, objects: np.ndarray, lights: np.ndarray, lamp: int, center: Vector, reach: float, candidates: int
) -> int:
    """Mask of the `candidates` that can stand between a lamp and a point at most `reach` from `center`, or `DARK`.

    Such a ray leaves the line from the center to the middle of the lamp by no more than (1 - share) * reach + share *
    extent, share being how far it has come.
    """
    toward, extent = (look.sun_x, look.sun_y, look.sun_z), SUN_CONE
    if lamp == lights.shape[0]:
        toward = unit(toward)
    else:
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
def object_shaders(look: Surfaces, objects: np.ndarray, lights: np.ndarray) -> np.ndarray:
    """What can shade each object: int64 (N, lamps + 2)."""
    masks = np.zeros((objects.shape[0], lights.shape[0] + 2), dtype=np.int64)
    for i in range(objects.shape[0]):
        center = (objects[i, 1], objects[i, 2], objects[i, 3])
        reach = objects[i, 3] * BOUNDS[int(objects[i, 0])]
        for lamp in range(lights.shape[0] + 1):
            masks[i, lamp] = lamp_shaders(look, objects, lights, lamp, center, reach, EVERYTHING)
    return masks


@_shared
def screen_boxes(objects: np.ndarray, camera: np.ndarray) -> np.ndarray:
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
def seen_in(boxes: np.ndarray, part: Part) -> int:
    """Mask of the objects whose `screen_boxes` reach a part of the image plane."""
    left, right, low, high = part
    mask = 0
    for i in range(boxes.shape[0]):
        if boxes[i, 0] < right and boxes[i, 1] > left and boxes[i, 2] < high and boxes[i, 3] > low:
            mask |= bit_of(i)
    return mask


@_shared
def shade_floor(
    look: Surfaces, objects: np.ndarray, lights: np.ndarray, center: Vector, reach: float, masks: np.ndarray
) -> None:
    """Set `masks` to what can shade the floor at most `reach` from `center`."""
    for lamp in range(lights.shape[0] + 1):
        masks[lamp] = lamp_shaders(look, objects, lights, lamp, center, reach, EVERYTHING)
    masks[-1] = 0
    for i in range(objects.shape[0]):
        x, y = center[0] - objects[i, 1], center[1] - objects[i, 2]
        if x * x + y * y < (CONTACT * objects[i, 3] + reach) ** 2:
            masks[-1] |= bit_of(i)


@_shared
def shade_ground(look: Surfaces, objects: np.ndarray, lights: np.ndarray) -> np.ndarray:
    """What can shade each cell of the ground where objects stand: int64 (C, C, lamps + 2)."""
    cells = int(2 * GROUND / CELL)
    masks = np.empty((cells, cells, lights.shape[0] + 2), dtype=np.int64)
    for row in range(cells):
        for column in range(cells):
            center = ((row + 0.5) * CELL - GROUND, (column + 0.5) * CELL - GROUND, 0.0)
            shade_floor(look, objects, lights, center, 0.75 * CELL, masks[row, column])
    return masks


@_shared
def ground_masks(ground: np.ndarray, point: Vector) -> np.ndarray:
    """The masks of the cell of `shade_ground` that a point lies in; all objects beyond them."""
    if abs(point[0]) < GROUND and abs(point[1]) < GROUND:
        return ground[int((point[0] + GROUND) / CELL), int((point[1] + GROUND) / CELL)]
    return ALL_SHADOWS


@_shared
def shade_part(
    look: Surfaces, objects: np.ndarray, lights: np.ndarray, camera: np.ndarray, part: Part, masks: np.ndarray
) -> None:
    """Set `masks` to what can shade the floor in a part of the image plane: anything where that has no end."""
    origin = (camera[0, 0], camera[0, 1], camera[0, 2])
    x, y = np.empty(4), np.empty(4)
    masks[:] = -1
    for corner in range(4):
        direction = camera_ray(camera, part[corner & 1], part[2 + (corner >> 1)])
        distance = floor_distance(origin, direction)
        if distance >= HORIZON:
            return
        x[corner], y[corner] = origin[0] + distance * direction[0], origin[1] + distance * direction[1]
    center = (x.mean(), y.mean(), 0.0)
    reach = np.sqrt(((x - center[0]) ** 2 + (y - center[1]) ** 2).max())
    shade_floor(look, objects, lights, center, reach, masks)


@_shared
def middle_of(points: Four) -> tuple[Vector, float]:
    """The mean of four points and how far they are from it."""
    center = (
        0.25 * (points[0][0] + points[1][0] + points[2][0] + points[3][0]),
        0.25 * (points[0][1] + points[1][1] + points[2][1] + points[3][1]),
        0.25 * (points[0][2] + points[1][2] + points[2][2] + points[3][2]),
    )
    reach = 0.0
    for point in points:
        gap = along(point, center, -1.0)
        reach = max(reach, dot(gap, gap))
    return center, np.sqrt(reach)


@_shared
def may_shade_itself(objects: np.ndarray, index: int, point: Vector) -> bool:
    """Whether a lit point of an object can lie in its own shadow: only near edges, where its normal is bent."""
    if objects[index, 0] == 1.0:
        return False
    x, y, z = to_local(objects, index, point, (objects[index, 1], objects[index, 2], objects[index, 3]))
    if objects[index, 0] == 0.0:
        return (abs(x) > CUBE_BEND) + (abs(y) > CUBE_BEND) + (abs(z) > CUBE_BEND) > 1
    return x * x + y * y > CYLINDER_BEND * CYLINDER_BEND and abs(z) > CYLINDER_BEND


@_shared
def shade_points(
    look: Surfaces,
    objects: np.ndarray,
    lights: np.ndarray,
    index: int,
    points: Four,
    candidates: np.ndarray,
    masks: np.ndarray,
) -> None:
    """Set `masks` to those of `candidates`, a row of `object_shaders`, that can shade four points of an object."""
    center, reach = middle_of(points)
    bent = False
    for point in points:
        bent = bent or may_shade_itself(objects, index, point)
    itself = bit_of(index)
    for lamp in range(lights.shape[0] + 1):
        others = candidates[lamp] & ~itself
        if others != 0 and others != DARK:
            others = lamp_shaders(look, objects, lights, lamp, center, reach, others)
        masks[lamp] = others | itself if bent and others != DARK else others
