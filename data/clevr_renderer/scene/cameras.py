# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Positions of the cameras of one scene, and the lights that move with them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from .geometry import CAMERA, Point
from .scenes import Scene, jittered


INDEPENDENT, CHAINED, ANYWHERE = CAMERAS = ("independent", "chained", "anywhere")
# Distance from the origin on the ground and height, in scene units, of cameras that stand anywhere (ours).
ANYWHERE_DISTANCE = (6.5, 11.5)
ANYWHERE_HEIGHT = (4.0, 7.0)


@dataclass(frozen=True)
class CameraPreset:
    """How cameras are drawn and how far each axis moves."""

    cameras: str
    jitter: float


# As the release's box overlaps say (their mean is .508), as the public generator's scripts say, as CLEVR-DC shows.
PRESETS = {
    "as_released": CameraPreset(INDEPENDENT, 1.5),
    "as_code": CameraPreset(CHAINED, 1.0),
    "anywhere": CameraPreset(ANYWHERE, 0.0),
}


@dataclass(frozen=True)
class Views:
    """How the views of one scene differ.

    Args:
        cameras (`str`, *optional*, defaults to `INDEPENDENT`): "independent" moves every camera by U(-jitter, jitter)
            on each axis from the nominal place; "chained" moves the first one so and the others likewise from the
            first one's place; "anywhere" puts each anywhere around the scene, 6.5 to 11.5 units off and 4 to 7 high,
            and moves it from there.
        jitter (`float`, *optional*, defaults to `1.5`): In scene units.
        light_jitter (`float`, *optional*, defaults to `0.0`): Each axis of each lamp is moved by U(-light_jitter,
            light_jitter) in every view but the first.
    """

    cameras: str = INDEPENDENT
    jitter: float = 1.5
    light_jitter: float = 0.0

    def first_camera(self, generator: np.random.Generator) -> Point:
        """The camera of the first view."""
        return jittered(generator, self._nominal(generator), self.jitter)

    def next_view(self, scene: Scene, first: Point, generator: np.random.Generator) -> Scene:
        """The scene from another camera, and in other light if lights move."""
        place = first if self.cameras == CHAINED else self._nominal(generator)
        seen = replace(scene, camera=jittered(generator, place, self.jitter))
        if not self.light_jitter:
            return seen
        lights = {name: jittered(generator, place, self.light_jitter) for name, place in scene.lights.items()}
        return replace(seen, lights=lights)

    def _nominal(self, generator: np.random.Generator) -> Point:
        if self.cameras != ANYWHERE:
            return CAMERA
        angle = generator.uniform(0, 2 * math.pi)
        distance, height = generator.uniform(*ANYWHERE_DISTANCE), generator.uniform(*ANYWHERE_HEIGHT)
        return (distance * math.cos(angle), distance * math.sin(angle), height)
