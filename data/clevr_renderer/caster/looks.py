# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""What a scene looks like besides its objects: surfaces, lamps and film, as they are and drawn at random (ours).

The random ranges hold our own look and, as far as a ray caster has words for it, that of scenes rendered by Cycles
from the public generator's files: softer and brighter shadows, a floor that darkens towards the back, less clean
mirrors, a wider pixel filter, grain.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ..scene.geometry import LIGHTS, Point, area_light_rows


class Surfaces(NamedTuple):
    """Numbers of the formulas in `shading`, all of them floats, which compiled code needs."""

    # The sun: where it stands (not of length one) and its irradiance face on.
    sun_x: float = 0.405
    sun_y: float = -0.230
    sun_z: float = 0.885
    sun_strength: float = 0.45
    # The floor: share of light it reflects, ambient light on it, what it keeps of that at objects' feet, how much
    # brighter it is far away, and the strength, waves per scene unit in radians, and phase of its pattern.
    floor_red: float = 0.8
    floor_green: float = 0.8
    floor_blue: float = 0.8
    floor_ambient: float = 0.16
    contact: float = 0.72
    fade: float = 0.0
    pattern: float = 0.0
    pattern_x: float = 1.0
    pattern_y: float = 0.0
    pattern_phase: float = 0.0
    # What mirrors show above the floor.
    sky: float = 0.02
    glow: float = 0.17
    # Rubber: diffuse share, ambient light, gloss face on and what it gains at the rim, squared Blender roughness.
    rubber_diffuse: float = 0.92
    rubber_ambient: float = 1.0
    rubber_shine: float = 0.03
    rubber_rim: float = 0.22
    rubber_width: float = 0.36
    # Metal: shares of the sharp and of the blurred mirror image, gain at the rim, roughness, ambient light.
    metal_mirror: float = 0.80
    metal_blur: float = 0.42
    metal_rim: float = 0.5
    metal_width: float = 0.22
    metal_ambient: float = 1.0

    def record(self) -> np.void:
        """The same as one record, which compiled code passes on without copying it."""
        return np.array(tuple(self), dtype=[(name, np.float64) for name in self._fields])[()]


@dataclass(frozen=True)
class Film:
    """What the camera makes of light.

    Args:
        exposure (`float`, *optional*, defaults to `1.05`): Factor of all light.
        balance (`tuple[float, float, float]`, *optional*, defaults to `(1.0, 1.0, 1.0)`): Factors of red, green, blue.
        contrast (`float`, *optional*, defaults to `0.0`): Share of an S-shaped curve in the tone curve, which is sRGB
            at 0.
        blur (`float`, *optional*, defaults to `0.0`): Weight of each of two neighbors along an axis; below 0 it
            sharpens.
        noise (`float`, *optional*, defaults to `0.0`): Standard deviation of noise in levels of mid gray.
    """

    exposure: float = 1.05
    balance: tuple[float, float, float] = (1.0, 1.0, 1.0)
    contrast: float = 0.0
    blur: float = 0.0
    noise: float = 0.0


@dataclass(frozen=True)
class Lamp:
    """How an area light differs from CLEVR's.

    Args:
        shift (`Point`, *optional*, defaults to `(0.0, 0.0, 0.0)`): Added to its place, in scene units.
        power (`float`, *optional*, defaults to `1.0`): Factor of its light.
        tint (`tuple[float, float, float]`, *optional*, defaults to `(1.0, 1.0, 1.0)`): Factors of red, green, blue.
        edge (`float`, *optional*, defaults to `1.0`): Factor of its edge; its light stays the same.
    """

    shift: Point = (0.0, 0.0, 0.0)
    power: float = 1.0
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    edge: float = 1.0


@dataclass(frozen=True)
class Look:
    """Surfaces, lamps (by the names of `geometry.LIGHTS`) and film of a scene."""

    surfaces: Surfaces = field(default_factory=Surfaces)
    lamps: dict[str, Lamp] = field(default_factory=lambda: dict.fromkeys(LIGHTS, Lamp()))
    film: Film = Film()

    def light_rows(self, places: dict[str, Point]) -> np.ndarray:
        """The area lights of a scene in this look, as `geometry.area_light_rows` gives them."""
        moved = {
            name: tuple(a + b for a, b in zip(place, self.lamps[name].shift, strict=True))
            for name, place in places.items()
        }
        rows = area_light_rows(moved)
        for row, name in zip(rows, LIGHTS, strict=True):
            lamp = self.lamps[name]
            row[3:9] *= lamp.edge
            row[9:12] *= lamp.power * np.asarray(lamp.tint)
        return rows


NOMINAL = Look()
# Ranges of `random_look`, as they stand in data/clevr_renderer/README.md.
SURFACE_RANGES = {
    "sun_strength": (0.2, 0.8),
    "floor_ambient": (0.08, 0.40),
    "contact": (0.4, 0.85),
    "fade": (-0.4, 0.3),
    "sky": (0.0, 0.08),
    "glow": (0.08, 0.35),
    "rubber_diffuse": (0.8, 1.0),
    "rubber_ambient": (0.6, 2.0),
    "rubber_shine": (0.01, 0.06),
    "rubber_rim": (0.10, 0.30),
    "rubber_width": (0.2, 0.5),
    "metal_mirror": (0.6, 0.9),
    "metal_blur": (0.25, 0.6),
    "metal_rim": (0.3, 0.7),
    "metal_width": (0.12, 0.35),
    "metal_ambient": (0.6, 2.0),
}
FLOOR = (0.55, 0.95)
FLOOR_TINT = 0.05
PATTERN = 0.05
PATTERN_WAVES = (0.5, 4.0)
SUN_TURN = math.radians(40)
SUN_HEIGHT = (0.6, 1.2)
LAMP_SHIFT = 0.7
LAMP_POWER = 1.5
LAMP_EDGE = 2.0
# Warm to cool: factors of red and, the other way, of blue.
LAMP_WARMTH = 0.10
FILM_WARMTH = 0.05
STOPS = 0.35
CONTRAST = (-0.25, 0.35)
BLUR = (-0.06, 0.22)
NOISE = 2.5


def _between(generator: np.random.Generator, factor: float) -> float:
    """A factor from 1 / `factor` to `factor`, as often below 1 as above."""
    return float(factor ** generator.uniform(-1.0, 1.0))


def _warmth(generator: np.random.Generator, most: float) -> tuple[float, float, float]:
    warm = float(generator.uniform(-most, most))
    return (1.0 + warm, 1.0, 1.0 - warm)


def _random_lamp(generator: np.random.Generator) -> Lamp:
    x, y, z = generator.uniform(-LAMP_SHIFT, LAMP_SHIFT, 3).tolist()
    power, tint = _between(generator, LAMP_POWER), _warmth(generator, LAMP_WARMTH)
    return Lamp((x, y, z), power, tint, _between(generator, LAMP_EDGE))


def _random_surfaces(generator: np.random.Generator) -> Surfaces:
    drawn = {name: float(generator.uniform(*ends)) for name, ends in SURFACE_RANGES.items()}
    turn, height = generator.uniform(-SUN_TURN, SUN_TURN), generator.uniform(*SUN_HEIGHT)
    x, y = Surfaces().sun_x, Surfaces().sun_y
    drawn["sun_x"] = float(math.cos(turn) * x - math.sin(turn) * y)
    drawn["sun_y"] = float(math.sin(turn) * x + math.cos(turn) * y)
    drawn["sun_z"] = float(height)
    gray = generator.uniform(*FLOOR)
    red, green, blue = (gray * (1.0 + generator.uniform(-FLOOR_TINT, FLOOR_TINT, 3))).tolist()
    drawn |= {"floor_red": red, "floor_green": green, "floor_blue": blue}
    # Half of the floors are plain.
    drawn["pattern"] = float(max(generator.uniform(-PATTERN, PATTERN), 0.0))
    angle, waves = generator.uniform(0.0, math.pi), generator.uniform(*PATTERN_WAVES)
    drawn |= {"pattern_x": float(waves * math.cos(angle)), "pattern_y": float(waves * math.sin(angle))}
    drawn["pattern_phase"] = float(generator.uniform(0.0, 2.0 * math.pi))
    return Surfaces(**drawn)


def random_look(generator: np.random.Generator) -> Look:
    """A look from the ranges above, in which the colors of objects stay tellable.

    Args:
        generator (`np.random.Generator`): Not that of the scene, so that scenes are the same in every look.
    """
    surfaces = _random_surfaces(generator)
    lamps = {name: _random_lamp(generator) for name in LIGHTS}
    film = Film(
        exposure=Film().exposure * float(2.0 ** generator.uniform(-STOPS, STOPS)),
        balance=_warmth(generator, FILM_WARMTH),
        contrast=float(generator.uniform(*CONTRAST)),
        blur=float(generator.uniform(*BLUR)),
        # Half of the images are clean, as ours are.
        noise=float(max(generator.uniform(-NOISE, NOISE), 0.0)),
    )
    return Look(surfaces, lamps, film)
