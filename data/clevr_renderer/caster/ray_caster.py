# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Images and object ids of a scene: numba where it is installed, numpy otherwise."""

from __future__ import annotations

import importlib
from functools import lru_cache
from types import ModuleType

import numpy as np

from ..scene.geometry import COLORS, SHAPES, SIZES, area_light_rows, camera_basis
from ..scene.scenes import Scene


BACKENDS = ("numba", "numpy")
BACKGROUND = 255
# As many as a mask of objects has bits (`kernels.bit_of`).
MAX_OBJECTS = 62
EXPOSURE = 1.05


@lru_cache
def default_backend() -> str:
    """`"numba"` if it is installed, else `"numpy"`."""
    try:
        importlib.import_module("numba")
    except ImportError:
        return "numpy"
    return "numba"


def _caster(backend: str | None) -> ModuleType:
    name = default_backend() if backend is None else backend
    if name not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, not {name!r}")
    return importlib.import_module({"numba": ".compiled_caster", "numpy": ".numpy_caster"}[name], __package__)


def _object_rows(scene: Scene) -> np.ndarray:
    if len(scene.objects) > MAX_OBJECTS:
        raise ValueError(f"a scene holds at most {MAX_OBJECTS} objects, not {len(scene.objects)}")
    rows = np.empty((len(scene.objects), 10))
    for row, thing in zip(rows, scene.objects, strict=True):
        row[:4] = SHAPES.index(thing.shape), *thing.position, SIZES[thing.size]
        row[4:7] = np.cos(thing.rotation), np.sin(thing.rotation), thing.material == "metal"
        row[7:] = np.asarray(COLORS[thing.color]) / 255
    return rows


def _encode(linear: np.ndarray) -> np.ndarray:
    """Linear light to 8-bit sRGB."""
    clipped = np.clip(linear, 0.0, 1.0)
    curve = np.where(clipped <= 0.0031308, 12.92 * clipped, 1.055 * clipped ** (1 / 2.4) - 0.055)
    return (curve * 255 + 0.5).astype(np.uint8)


def render(scene: Scene, size: tuple[int, int], backend: str | None = None) -> np.ndarray:
    """Image of a scene, two by two rays a pixel.

    Args:
        scene (`Scene`): The objects, lights and camera.
        size (`tuple[int, int]`): Width and height in pixels.
        backend (`str`, *optional*): "numba" or "numpy"; the faster one that is installed by default.

    Returns:
        `np.ndarray`: Uint8 (height, width, 3), sRGB.
    """
    lights = area_light_rows(scene.lights)
    return _encode(EXPOSURE * _caster(backend).draw(_object_rows(scene), lights, camera_basis(scene.camera), *size))


def object_ids(scene: Scene, size: tuple[int, int], backend: str | None = None) -> np.ndarray:
    """Id (`SceneObject.id`) of the object in the middle of each pixel, 255 for the floor: uint8 (height, width)."""
    index = _caster(backend).hits(_object_rows(scene), camera_basis(scene.camera), *size)
    return np.array([thing.id for thing in scene.objects] + [BACKGROUND], dtype=np.uint8)[index]
