# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Measures of the CLEVR-Change world: attribute tables, camera, lights, directions (source: CLEVR's base scene)."""

from __future__ import annotations

import math

import numpy as np


SHAPES = ("cube", "sphere", "cylinder")
MATERIALS = ("rubber", "metal")
SIZES = {"large": 0.7, "small": 0.35}
COLORS = {
    "gray": (87, 87, 87),
    "red": (173, 35, 35),
    "blue": (42, 75, 215),
    "green": (29, 105, 20),
    "brown": (129, 74, 25),
    "purple": (129, 38, 192),
    "cyan": (41, 208, 208),
    "yellow": (255, 238, 51),
}
CHANGE_TYPES = ("color", "material", "add", "drop", "move")

CAMERA = (7.4811, -6.5076, 5.3437)
HORIZONTAL_FIELD = math.radians(49.1343421)
# Area lights, all aimed at the origin: place, edge (m), power (W), color.
LIGHTS = {
    "key": ((6.4467, -2.9052, 4.2584), 0.5, 78.5, (1.0, 0.932, 0.817)),
    "back": ((-1.1685, 2.6460, 5.8157), 1.0, 39.27, (1.0, 1.0, 1.0)),
    "fill": ((-4.6711, -4.0136, 3.0112), 0.5, 23.56, (0.762, 0.818, 1.0)),
}

Point = tuple[float, float, float]


def focal_length(width: int) -> float:
    """Focal length in pixels of an image `width` pixels wide."""
    return width / 2 / math.tan(HORIZONTAL_FIELD / 2)


def camera_basis(camera: Point) -> np.ndarray:
    """Place, right, up and forward of a camera that looks at the origin: float64 (4, 3)."""
    place = np.asarray(camera, dtype=np.float64)
    forward = -place / np.linalg.norm(place)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    return np.stack([place, right, np.cross(right, forward), forward])


def ground_directions(camera: Point) -> dict[str, tuple[float, float]]:
    """Unit vectors on the ground for "left", "right", "behind" and "front" as seen from `camera`."""
    _, right, _, forward = camera_basis(camera)
    behind = forward[:2] / np.linalg.norm(forward[:2])
    right = right[:2] / np.linalg.norm(right[:2])
    vectors = {"left": -right, "right": right, "behind": behind, "front": -behind}
    return {name: (float(vector[0]), float(vector[1])) for name, vector in vectors.items()}


def advance(origin: tuple[float, float], target: tuple[float, float], direction: tuple[float, float]) -> float:
    """How far `target` lies beyond `origin` along a unit ground direction, in scene units."""
    return (target[0] - origin[0]) * direction[0] + (target[1] - origin[1]) * direction[1]


def area_light_rows(places: dict[str, Point]) -> np.ndarray:
    """Area lights as the ray caster reads them: float64 (3, 15) of place, two half edges, intensity (W/sr), aim."""
    rows = []
    for name, (_, edge, power, color) in LIGHTS.items():
        place = np.asarray(places[name], dtype=np.float64)
        aim = -place / np.linalg.norm(place)
        across = np.cross(aim, (0.0, 0.0, 1.0))
        across /= np.linalg.norm(across)
        along = np.cross(across, aim)
        intensity = np.asarray(color) * power / math.pi
        rows.append(np.concatenate([place, across * edge / 2, along * edge / 2, intensity, aim]))
    return np.stack(rows)
