# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Images and object ids of a scene: numba where it is installed, numpy otherwise."""

from __future__ import annotations

import importlib
from functools import lru_cache
from types import ModuleType

import numpy as np

from ..scene.geometry import COLORS, SHAPES, SIZES, camera_basis
from ..scene.scenes import Scene
from .looks import NOMINAL, Film, Look


BACKENDS = ("numba", "numpy")
BACKGROUND = 255
# As many as a mask of objects has bits (`kernels.bit_of`).
MAX_OBJECTS = 62


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


def _blurred(image: np.ndarray, weight: float) -> np.ndarray:
    """Each pixel with `weight` of both neighbors along each axis; those of the border repeat."""
    for axis in (0, 1):
        padded = np.pad(image, [(1, 1) if a == axis else (0, 0) for a in range(3)], mode="edge")
        ends = np.take(padded, range(image.shape[axis]), axis) + np.take(padded, range(2, image.shape[axis] + 2), axis)
        image = (1 - 2 * weight) * image + weight * ends
    return image


def _developed(linear: np.ndarray, film: Film, grain: np.random.Generator | None) -> np.ndarray:
    """What the film makes of linear light: 8-bit."""
    if film.blur:
        linear = _blurred(linear, film.blur)
    light = np.clip(linear * np.asarray(film.exposure * np.asarray(film.balance), dtype=linear.dtype), 0.0, 1.0)
    curve = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    if film.contrast:
        curve = curve + film.contrast * (curve * curve * (3 - 2 * curve) - curve)
    if film.noise:
        # As the error of a mean over samples of light, seen through the tone curve.
        spread = film.noise / 255 * (0.4 + 1.2 * np.sqrt(curve))
        curve = np.clip(curve + spread * grain.standard_normal(curve.shape, dtype=np.float32), 0.0, 1.0)
    return (curve * 255 + 0.5).astype(np.uint8)


def render(
    scene: Scene,
    size: tuple[int, int],
    backend: str | None = None,
    look: Look = NOMINAL,
    grain: np.random.Generator | None = None,
) -> np.ndarray:
    """Image of a scene, two by two rays a pixel.

    Args:
        scene (`Scene`): The objects, lights and camera.
        size (`tuple[int, int]`): Width and height in pixels.
        backend (`str`, *optional*): "numba" or "numpy"; the faster one that is installed by default.
        look (`Look`, *optional*, defaults to `NOMINAL`): Surfaces, lamps and film.
        grain (`np.random.Generator`, *optional*): Draws the noise of a film that has some.

    Returns:
        `np.ndarray`: Uint8 (height, width, 3), sRGB.

    Raises:
        ValueError: For an unknown backend, or a film with noise without `grain`.
    """
    if look.film.noise and grain is None:
        raise ValueError("a film with noise needs a generator `grain`")
    lights, camera = look.light_rows(scene.lights), camera_basis(scene.camera)
    linear = _caster(backend).draw(look.surfaces, _object_rows(scene), lights, camera, *size)
    return _developed(linear, look.film, grain)


def object_ids(scene: Scene, size: tuple[int, int], backend: str | None = None) -> np.ndarray:
    """Id (`SceneObject.id`) of the object in the middle of each pixel, 255 for the floor: uint8 (height, width)."""
    index = _caster(backend).hits(_object_rows(scene), camera_basis(scene.camera), *size)
    return np.array([thing.id for thing in scene.objects] + [BACKGROUND], dtype=np.uint8)[index]
