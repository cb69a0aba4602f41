# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Two views of one scene in which nothing has changed, made of one image (ours).

What differs between them is what differs between two photographs of the same scene: exposure, focus, the sensor's
noise, compression, and where the camera stands. All of it is too weak to be told as a change of the scene. Hue and
saturation stay, since captions name colors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
from PIL import Image, ImageFilter

from .augment import compress


# Exponent of brightness, and factor of exposure: a middle gray of 128 stays between 110 and 148.
GAMMA = (0.9, 1.1)
GAIN = (0.92, 1.08)
# Slope of brightness at a middle gray is 1 plus half of this.
CONTRAST = (-0.2, 0.2)
# Radius as a share of the shorter side.
BLUR_RADIUS = (0.001, 0.004)
JPEG_QUALITY = (60, 95)
# Standard deviation, of 255 levels.
NOISE = (0.5, 3.0)
# As shares of width and height, in degrees, and as a factor: an edge moves by at most a twentieth of the longer side.
SHIFT = 0.02
ROTATION = 1.0
ZOOM = 0.02
REACH = 0.05
SIDES_ALTERED = ((True, False), (False, True), (True, True))


@dataclass(frozen=True)
class HarmlessChanges:
    """Alters two images of a scene at random, each as a second photograph would be.

    One of the two stays as it is in two of three cases. Each argument is the probability that an image which is not
    left as it is gets that alteration; with all at 0 nothing is altered.

    Args:
        exposure (`float`, *optional*, defaults to `0.5`): Brightness of the whole image by a factor of .92 to 1.08, an
            exponent of .9 to 1.1 and a curve of contrast, hue and saturation kept.
        blur (`float`, *optional*, defaults to `0.3`): Gaussian blur; radius .1 to .4 % of the shorter side.
        jpeg (`float`, *optional*, defaults to `0.3`): JPEG compression; quality 60 to 95, colors at full resolution.
        noise (`float`, *optional*, defaults to `0.3`): Gaussian noise of every value; standard deviation .5 to 3 of
            255 levels.
        motion (`float`, *optional*, defaults to `0.5`): The camera shifted by up to 2 % of the sides, turned by up to
            1 degree and zoomed by up to 2 %; edges are drawn out.

    Raises:
        ValueError: A probability lies outside 0 to 1.
    """

    exposure: float = 0.5
    blur: float = 0.3
    jpeg: float = 0.3
    noise: float = 0.3
    motion: float = 0.5

    def __post_init__(self) -> None:
        for item in fields(self):
            if not 0 <= getattr(self, item.name) <= 1:
                raise ValueError(f"The probability of {item.name} must be 0 to 1, not {self!r}.")

    def __call__(
        self, images: tuple[np.ndarray, np.ndarray], rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Alter a pair; of one image twice it makes a pair in which nothing has changed.

        Args:
            images (`tuple[np.ndarray, np.ndarray]`): Before and after, (3, height, width), uint8; they are left as
                they are.
            rng (`np.random.Generator`): Decides everything.

        Returns:
            `tuple[np.ndarray, np.ndarray]`: Of the same shapes and dtype; one that is not altered is the image itself.
        """
        altered = SIDES_ALTERED[rng.integers(len(SIDES_ALTERED))]
        return tuple(
            self._alter(image, rng) if wanted else image for image, wanted in zip(images, altered, strict=True)
        )

    def _alter(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Alter an image in the order in which a camera does."""
        values = image.transpose(1, 2, 0)
        if rng.random() < self.motion:
            values = _move(values, rng)
        if rng.random() < self.blur:
            radius = rng.uniform(*BLUR_RADIUS) * min(values.shape[:2])
            values = np.asarray(Image.fromarray(values).filter(ImageFilter.GaussianBlur(radius)))
        if rng.random() < self.exposure:
            values = _expose(values, rng)
        if rng.random() < self.noise:
            noisy = values + rng.normal(0, rng.uniform(*NOISE), values.shape)
            values = noisy.round().clip(0, 255).astype(np.uint8)
        if rng.random() < self.jpeg:
            values = np.asarray(compress(Image.fromarray(values), JPEG_QUALITY, rng, subsampling=0))
        return np.ascontiguousarray(values.transpose(2, 0, 1))


def _expose(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change the largest of a pixel's three values (height, width, 3) by a curve, the others in proportion.

    The curve has contrast, exponent and factor in this order; contrast and exponent leave black and white where they
    are. Hue and saturation of HSV do not change.
    """
    level = np.arange(256) / 255
    curve = level + rng.uniform(*CONTRAST) * level * (1 - level) * (2 * level - 1)
    curve = np.minimum(rng.uniform(*GAIN) * curve ** rng.uniform(*GAMMA), 1)
    factor = np.divide(curve, level, out=np.ones(256), where=level > 0).astype(np.float32)
    return (values * factor[values.max(axis=2, keepdims=True)]).round().astype(np.uint8)


def _move(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shift, turn and zoom an image (height, width, 3) about its center; the edge's pixels fill the rest."""
    height, width = values.shape[:2]
    angle, zoom = math.radians(rng.uniform(-ROTATION, ROTATION)), rng.uniform(1 - ZOOM, 1 + ZOOM)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]) / zoom
    center = np.array([width, height]) / 2
    margin = math.ceil(REACH * max(width, height)) + 1
    shift = center - turn @ center + rng.uniform(-SHIFT, SHIFT, 2) * (width, height) + margin
    padded = np.pad(values, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    places = (*turn[0], shift[0], *turn[1], shift[1])
    moved = Image.fromarray(padded).transform(
        (width, height), Image.Transform.AFFINE, places, resample=Image.Resampling.BICUBIC
    )
    return np.asarray(moved)


__all__ = ["HarmlessChanges"]
