# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Images and object ids of a scene: numba where it is installed, numpy otherwise."""

from __future__ import annotations

import importlib
from functools import lru_cache
from types import ModuleType

import numpy as np

from ..scene.geometry import COLORS, SHAPES, SIZES, area_light_rows, camera_basis, focal_length
from ..scene.scenes import Scene


BACKENDS = ("numba", "numpy")
BACKGROUND = 255
SUBRAYS = 2
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
    rows = np.empty((len(scene.objects), 10))
    for row, thing in zip(rows, scene.objects, strict=True):
        row[:4] = SHAPES.index(thing.shape), *thing.position, SIZES[thing.size]
        row[4:7] = np.cos(thing.rotation), np.sin(thing.rotation), thing.material == "metal"
        row[7:] = np.asarray(COLORS[thing.color]) / 255
    return rows


@lru_cache(maxsize=8)
def _camera_rays(width: int, height: int, subrays: int) -> tuple[np.ndarray, np.ndarray]:
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
    width, height = size
    rays, samples = _camera_rays(width, height, SUBRAYS)
    colors = _caster(backend).trace(
        _object_rows(scene), area_light_rows(scene.lights), camera_basis(scene.camera), rays, samples
    )
    return _encode(EXPOSURE * np.minimum(colors, 4.0).reshape(height, width, SUBRAYS**2, 3).mean(axis=2))


def object_ids(scene: Scene, size: tuple[int, int], backend: str | None = None) -> np.ndarray:
    """Id (`SceneObject.id`) of the object in the middle of each pixel, 255 for the floor: uint8 (height, width)."""
    width, height = size
    rays, _ = _camera_rays(width, height, 1)
    index = _caster(backend).hits(_object_rows(scene), camera_basis(scene.camera), rays)
    ids = np.array([thing.id for thing in scene.objects] + [BACKGROUND], dtype=np.uint8)
    return ids[index].reshape(height, width)
