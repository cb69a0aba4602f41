# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Formulas of the ray caster, written once for single rays (compiled by numba) and for arrays of rays (numpy).

Vectors are triples `(x, y, z)` of floats or of equally long arrays. An object is a row of ten numbers: shape (index
into `SHAPES`), x, y, radius, cos and sin of its turn, 1 for metal, linear red, green, blue. An area light is a row of
`geometry.area_light_rows`. Geometry and lamps follow CLEVR's base scene; the shading model is ours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


try:
    from numba.extending import overload, register_jitable

    HAS_NUMBA = True
except ImportError:
    HAS_NUMBA = False

Real = Any  # a float or a float64 array
Vector = tuple[Real, Real, Real]

FAR = 1e30
NEAR = 1e-4
LIFT = 2e-3
HORIZON = 60.0
SUN_SPREAD = 0.03
# A ray counts for no more, so that mirrored lamps have soft edges.
BRIGHTEST = 4.0
# Where normals begin to bend, in radii from the middle.
CUBE_BEND, CYLINDER_BEND = 0.91, 0.94
# A mask of objects (`bit_of`) for a lamp that is hidden altogether.
DARK = 1 << 62
BOUNDS = (1.7321, 1.0, 1.4143)


def _shared(function: Callable) -> Callable:
    """Keep `function` plain Python for arrays and let compiled code call it for single rays."""
    return register_jitable(error_model="numpy")(function) if HAS_NUMBA else function


def choose(condition: Real, yes: Real, no: Real) -> Real:
    """`yes` where `condition` holds, else `no`."""
    return np.where(condition, yes, no)


@_shared
def dot(a: Vector, b: Vector) -> Real:
    """Inner product."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@_shared
def along(origin: Vector, direction: Vector, distance: Real) -> Vector:
    """The point `distance` beyond `origin`."""
    return (
        origin[0] + distance * direction[0],
        origin[1] + distance * direction[1],
        origin[2] + distance * direction[2],
    )


@_shared
def unit(a: Vector) -> Vector:
    """`a` scaled to length one."""
    scale = 1.0 / np.sqrt(dot(a, a) + 1e-18)
    return (a[0] * scale, a[1] * scale, a[2] * scale)


@_shared
def to_local(objects: np.ndarray, i: int, a: Vector, origin: Vector) -> Vector:
    """Vector from `origin` to `a` in the object's turned frame, in units of its radius."""
    x, y, z = a[0] - origin[0], a[1] - origin[1], a[2] - origin[2]
    return (
        (objects[i, 4] * x + objects[i, 5] * y) / objects[i, 3],
        (objects[i, 4] * y - objects[i, 5] * x) / objects[i, 3],
        z / objects[i, 3],
    )


@_shared
def may_hit(objects: np.ndarray, i: int, origin: Vector, direction: Vector, limit: Real) -> Real:
    """Whether a ray meets the object's bounding sphere before `limit`."""
    reach = objects[i, 3] * BOUNDS[int(objects[i, 0])]
    center = (objects[i, 1] - origin[0], objects[i, 2] - origin[1], objects[i, 3] - origin[2])
    ahead = dot(center, direction)
    gap = reach * reach - (dot(center, center) - ahead * ahead)
    half = np.sqrt(np.maximum(gap, 0.0))
    return (gap >= 0.0) & (ahead + half > NEAR) & (ahead - half < limit)


@_shared
def _hit_sphere(o: Vector, d: Vector) -> Real:
    a, b, c = dot(d, d), dot(o, d), dot(o, o) - 1.0
    inside = b * b - a * c
    distance = (-b - np.sqrt(np.maximum(inside, 0.0))) / a
    return choose((inside > 0.0) & (distance > NEAR), distance, FAR)


@_shared
def _slab(o: Real, d: Real) -> tuple[Real, Real]:
    step = 1.0 / choose(np.abs(d) < 1e-9, 1e-9, d)
    return -o * step - np.abs(step), -o * step + np.abs(step)


@_shared
def _hit_cube(o: Vector, d: Vector) -> Real:
    x0, x1 = _slab(o[0], d[0])
    y0, y1 = _slab(o[1], d[1])
    z0, z1 = _slab(o[2], d[2])
    enter = np.maximum(x0, np.maximum(y0, z0))
    leave = np.minimum(x1, np.minimum(y1, z1))
    return choose((enter <= leave) & (enter > NEAR), enter, FAR)


@_shared
def _hit_cylinder(o: Vector, d: Vector) -> Real:
    a = d[0] * d[0] + d[1] * d[1] + 1e-18
    b = o[0] * d[0] + o[1] * d[1]
    inside = b * b - a * (o[0] * o[0] + o[1] * o[1] - 1.0)
    side = (-b - np.sqrt(np.maximum(inside, 0.0))) / a
    on_side = (inside > 0.0) & (side > NEAR) & (np.abs(o[2] + side * d[2]) <= 1.0)
    fall = choose(np.abs(d[2]) < 1e-9, 1e-9, d[2])
    cap = (choose(fall < 0.0, 1.0, -1.0) - o[2]) / fall
    x, y = o[0] + cap * d[0], o[1] + cap * d[1]
    on_cap = (cap > NEAR) & (x * x + y * y <= 1.0)
    return np.minimum(choose(on_side, side, FAR), choose(on_cap, cap, FAR))


@_shared
def hit_distance(objects: np.ndarray, i: int, origin: Vector, direction: Vector) -> Real:
    """Distance along the ray to the object's surface, FAR where it misses."""
    center = (objects[i, 1], objects[i, 2], objects[i, 3])
    o = to_local(objects, i, origin, center)
    d = to_local(objects, i, direction, (0.0, 0.0, 0.0))
    if objects[i, 0] == 1.0:
        return _hit_sphere(o, d)
    if objects[i, 0] == 0.0:
        return _hit_cube(o, d)
    return _hit_cylinder(o, d)


@_shared
def _beyond(value: Real, start: float) -> Real:
    return choose(value < 0.0, -1.0, 1.0) * np.maximum(np.abs(value) - start, 0.0) / (1.0 - start)


@_shared
def normal_at(objects: np.ndarray, i: int, point: Vector) -> Vector:
    """Unit normal of the object at a surface point, bent near edges to stand in for bevels."""
    q = to_local(objects, i, point, (objects[i, 1], objects[i, 2], objects[i, 3]))
    if objects[i, 0] == 1.0:
        n = unit(q)
    elif objects[i, 0] == 0.0:
        n = unit((_beyond(q[0], CUBE_BEND), _beyond(q[1], CUBE_BEND), _beyond(q[2], CUBE_BEND)))
    else:
        ring = np.sqrt(q[0] * q[0] + q[1] * q[1]) + 1e-9
        outward = _beyond(ring, CYLINDER_BEND) / ring
        n = unit((q[0] * outward, q[1] * outward, _beyond(q[2], CYLINDER_BEND)))
    return (objects[i, 4] * n[0] - objects[i, 5] * n[1], objects[i, 5] * n[0] + objects[i, 4] * n[1], n[2])


@_shared
def bit_of(i: int) -> int:
    """The bit of an object in a mask of objects."""
    return 1 << i


def occluded(
    objects: np.ndarray, origin: Vector, direction: Vector, limit: Real, active: Real, candidates: int
) -> Real:
    """Whether any of the `candidates`, a mask of `bit_of`, stands within `limit` along each `active` ray."""
    blocked = ~np.broadcast_to(active, np.shape(origin[0]))
    for i in range(len(objects)):
        if candidates & bit_of(i):
            rays = np.flatnonzero(~blocked & may_hit(objects, i, origin, direction, limit))
            o, d = tuple(v[rays] for v in origin), tuple(v[rays] for v in direction)
            blocked[rays] = hit_distance(objects, i, o, d) < limit[rays]
    return blocked


def _occluded_one(
    objects: np.ndarray, origin: Vector, direction: Vector, limit: float, active: bool, candidates: int
) -> bool:
    if not active:
        return True
    if candidates == 0:
        return False
    for i in range(objects.shape[0]):
        if (
            candidates & bit_of(i)
            and may_hit(objects, i, origin, direction, limit)
            and hit_distance(objects, i, origin, direction) < limit
        ):
            return True
    return False


if HAS_NUMBA:
    overload(choose)(lambda condition, yes, no: lambda condition, yes, no: yes if condition else no)
    overload(occluded, jit_options={"error_model": "numpy"}, strict=False)(
        lambda objects, origin, direction, limit, active, candidates: _occluded_one
    )
