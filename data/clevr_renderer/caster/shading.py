# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Light, floor, rubber and metal of the ray caster, for single rays and arrays of rays alike (see `kernels`; ours)."""

from __future__ import annotations

import math

import numpy as np

from .kernels import (
    DARK,
    FAR,
    LIFT,
    SUN_SPREAD,
    Real,
    Vector,
    _shared,
    along,
    bit_of,
    choose,
    dot,
    occluded,
    unit,
)
from .looks import Surfaces


NO_GLOSS = 0.0
SECOND_WIDTH = 0.35
HIGHLIGHT_LIMIT = 40.0
# Share of the floor's ambient light that its mirror image has.
MIRRORED_AMBIENT = 0.75
# Squared distance from the middle at which the floor has half of its fading.
FADE_SQUARE = 64.0
# How far from an object's middle it keeps ambient light off the floor, in radii.
CONTACT = 2.2
BACKDROP = (-0.754, 0.656)
# Masks (`kernels.bit_of`) of the objects that may shade a point: one for each lamp, for the sun and for ambient light.
NO_SHADOWS, ALL_SHADOWS = np.zeros(5, dtype=np.int64), np.full(5, -1, dtype=np.int64)


@_shared
def scaled_sum(a: Vector, k: Real, b: Vector) -> Vector:
    """`a + k b`."""
    return (a[0] + k * b[0], a[1] + k * b[1], a[2] + k * b[2])


@_shared
def lamp_ray(
    look: Surfaces, lights: np.ndarray, lamp: int, su: Real, sv: Real, point: Vector
) -> tuple[Vector, Real, Vector]:
    """Unit direction to one place (`su`, `sv` in [-1, 1]) of a lamp, its distance, and its irradiance face on."""
    if lamp == lights.shape[0]:
        sun = (look.sun_x + SUN_SPREAD * su, look.sun_y + SUN_SPREAD * sv, look.sun_z + 0.0 * su)
        full = look.sun_strength + 0.0 * point[0]
        return unit(sun), FAR + 0.0 * point[0], (full, full, full)
    place = (
        lights[lamp, 0] + su * lights[lamp, 3] + sv * lights[lamp, 6] - point[0],
        lights[lamp, 1] + su * lights[lamp, 4] + sv * lights[lamp, 7] - point[1],
        lights[lamp, 2] + su * lights[lamp, 5] + sv * lights[lamp, 8] - point[2],
    )
    inverse = 1.0 / np.sqrt(dot(place, place))
    direction = (place[0] * inverse, place[1] * inverse, place[2] * inverse)
    cosine = np.maximum(-dot(direction, (lights[lamp, 12], lights[lamp, 13], lights[lamp, 14])), 0.0)
    k = cosine * inverse * inverse
    return direction, 1.0 / inverse, (lights[lamp, 9] * k, lights[lamp, 10] * k, lights[lamp, 11] * k)


@_shared
def highlight(normal: Vector, view: Vector, light: Vector, width: float) -> Real:
    """GGX-like lobe of a rough glossy surface; `width` is the squared Blender roughness."""
    half = unit((light[0] + view[0], light[1] + view[1], light[2] + view[2]))
    cosine = np.maximum(dot(half, normal), 0.0)
    square = width * width
    spread = cosine * cosine * (square - 1.0) + 1.0
    lobe = square / (math.pi * spread * spread) * 0.25 / np.maximum(0.25, np.abs(dot(view, normal)))
    return np.minimum(lobe, HIGHLIGHT_LIMIT)


@_shared
def gather_light(
    look: Surfaces,
    objects: np.ndarray,
    lights: np.ndarray,
    point: Vector,
    normal: Vector,
    view: Vector,
    sample: tuple[Real, Real],
    width: float,
    candidates: np.ndarray,
) -> tuple[Vector, Vector]:
    """Irradiance and glossy radiance (r, g, b) from three area lights and the sun.

    `candidates` holds masks of the objects that may shade the points, as `ALL_SHADOWS` does.
    """
    zero = 0.0 * point[0]
    diffuse, glossy = (zero, zero, zero), (zero, zero, zero)
    start = along(point, normal, LIFT)
    for lamp in range(lights.shape[0] + 1):
        if candidates[lamp] == DARK:
            continue
        direction, distance, strength = lamp_ray(look, lights, lamp, sample[0], sample[1], point)
        cosine = np.maximum(dot(direction, normal), 0.0)
        lit = (cosine > 0.0) & (strength[0] > 0.0)
        if candidates[lamp] != 0:
            lit = choose(occluded(objects, start, direction, distance, lit, candidates[lamp]), False, lit)
        share = choose(lit, 1.0, 0.0)
        diffuse = scaled_sum(diffuse, share * cosine, strength)
        if width > 0.0:
            glossy = scaled_sum(glossy, share * highlight(normal, view, direction, width), strength)
    return diffuse, glossy


@_shared
def contact(look: Surfaces, objects: np.ndarray, point: Vector, candidates: np.ndarray) -> Real:
    """Share of ambient light left on the floor near the feet of objects."""
    share = 1.0 + 0.0 * point[0]
    if candidates[-1] == 0:
        return share
    for i in range(objects.shape[0]):
        if candidates[-1] & bit_of(i):
            x, y = point[0] - objects[i, 1], point[1] - objects[i, 2]
            near = np.maximum(1.0 - np.sqrt(x * x + y * y) / (CONTACT * objects[i, 3]), 0.0)
            share = share * (1.0 - look.contact * near * near)
    return np.maximum(share, 0.2)


@_shared
def floor_color(look: Surfaces, point: Vector, diffuse: Vector, ambient: Real) -> Vector:
    """Radiance of the floor under `diffuse` irradiance and a share `ambient` of its ambient light."""
    k = 1.0 / math.pi
    if look.fade != 0.0:
        square = point[0] * point[0] + point[1] * point[1]
        k = k * (1.0 + look.fade * square / (square + FADE_SQUARE))
    if look.pattern != 0.0:
        across = look.pattern_x * point[0] + look.pattern_y * point[1] + look.pattern_phase
        beside = look.pattern_x * point[1] - look.pattern_y * point[0]
        k = k * (1.0 + look.pattern * np.sin(across) * np.sin(1.3 * beside))
    light = ambient * look.floor_ambient
    return (
        (diffuse[0] + light) * k * look.floor_red,
        (diffuse[1] + light) * k * look.floor_green,
        (diffuse[2] + light) * k * look.floor_blue,
    )


@_shared
def environment(look: Surfaces, direction: Vector) -> Real:
    """Gray radiance of the backdrop that curves up behind the scene, seen by rays that leave it upwards."""
    back = 0.5 + 0.5 * (direction[0] * BACKDROP[0] + direction[1] * BACKDROP[1])
    low = np.maximum(1.0 - direction[2] / 0.85, 0.0)
    return look.sky + look.glow * low * (0.35 + 0.65 * back)


@_shared
def lamp_glow(lights: np.ndarray, origin: Vector, direction: Vector) -> Vector:
    """Radiance of the area lights as a polished surface mirrors them, their edges softened."""
    glow = (0.0 * origin[0], 0.0 * origin[0], 0.0 * origin[0])
    for lamp in range(lights.shape[0]):
        aim = (lights[lamp, 12], lights[lamp, 13], lights[lamp, 14])
        place = (lights[lamp, 0] - origin[0], lights[lamp, 1] - origin[1], lights[lamp, 2] - origin[2])
        toward = np.minimum(dot(direction, aim), -1e-6)
        meet = scaled_sum((-place[0], -place[1], -place[2]), dot(place, aim) / toward, direction)
        u, v = (lights[lamp, 3], lights[lamp, 4], lights[lamp, 5]), (lights[lamp, 6], lights[lamp, 7], lights[lamp, 8])
        area = dot(u, u)
        edge = np.maximum(np.abs(dot(meet, u)), np.abs(dot(meet, v))) / area
        share = np.minimum(np.maximum(1.6 - edge, 0.0), 1.0) * choose(dot(place, direction) > 0.0, 1.0, 0.0)
        glow = scaled_sum(glow, share / (4.0 * area), (lights[lamp, 9], lights[lamp, 10], lights[lamp, 11]))
    return glow


@_shared
def rubber_color(
    look: Surfaces, color: Vector, rise: Real, normal: Vector, view: Vector, diffuse: Vector, glossy: Vector
) -> Vector:
    """Radiance of matte rubber; `rise` is the height above the floor in radii."""
    around = 0.17 + 0.16 * (1.0 - normal[2])
    ambient = look.rubber_ambient * around * (0.55 + 0.45 * np.minimum(rise / 1.2, 1.0))
    k = look.rubber_diffuse / math.pi
    shine = look.rubber_shine + look.rubber_rim * (1.0 - np.maximum(dot(view, normal), 0.0)) ** 5
    return (
        color[0] * (diffuse[0] + ambient) * k + shine * (glossy[0] + 0.09),
        color[1] * (diffuse[1] + ambient) * k + shine * (glossy[1] + 0.09),
        color[2] * (diffuse[2] + ambient) * k + shine * (glossy[2] + 0.09),
    )


@_shared
def _metal_channel(look: Surfaces, tint: Real, grazing: Real, mirrored: Real, blurred: Real) -> Real:
    return (tint + (1.0 - tint) * grazing) * (look.metal_mirror * mirrored + look.metal_blur * blurred)


@_shared
def metal_color(
    look: Surfaces, color: Vector, normal: Vector, view: Vector, mirrored: Vector, glossy: Vector
) -> Vector:
    """Radiance of metal: a sharp mirror image and a blurred one, both tinted."""
    grazing = look.metal_rim * (1.0 - np.maximum(dot(view, normal), 0.0)) ** 5
    around = look.metal_ambient * (0.08 + 0.04 * (1.0 - normal[2]))
    return (
        _metal_channel(look, color[0], grazing, mirrored[0], glossy[0] + around),
        _metal_channel(look, color[1], grazing, mirrored[1], glossy[1] + around),
        _metal_channel(look, color[2], grazing, mirrored[2], glossy[2] + around),
    )


@_shared
def second_color(color: Vector, metal: Real, normal: Vector, diffuse: Vector, glossy: Vector) -> Vector:
    """Radiance of an object seen in a mirror, where metal is not mirrored again."""
    ambient = 0.25 * (1.0 - 0.5 * normal[2])
    base = choose(metal > 0.5, 0.13, ambient / math.pi)
    matte = choose(metal > 0.5, 0.3, 1.0) / math.pi
    shine = choose(metal > 0.5, 0.5, 0.03)
    return (
        color[0] * (base + diffuse[0] * matte + shine * glossy[0]),
        color[1] * (base + diffuse[1] * matte + shine * glossy[1]),
        color[2] * (base + diffuse[2] * matte + shine * glossy[2]),
    )
