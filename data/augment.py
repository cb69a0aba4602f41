# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Augmentation of training pairs that never changes the answer (ours).

Blur and JPEG compression leave the change itself alone; a warp moves both images alike and cuts nothing off; the
captions of a mirrored pair still hold where none of them names a side or writing. Augmentations that could change the
answer are refused with the reason. Another way to get more pairs, the distractor in place of the image before, is
`distractor_swap` of the training arguments.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np
from PIL import Image, ImageFilter


# Radius as a share of the shorter side: small objects stay recognizable.
BLUR_RADIUS = (0.002, 0.01)
JPEG_QUALITY = (40, 95)
# Standard deviation, in pixels, of a kernel of 3 x 3.
SLIGHT_BLUR = (0.1, 0.5)
# How far a corner moves inwards at most, as a share of the side.
WARP = 0.08
# Sides, turns and writing: a mirror changes them.
MIRRORED = re.compile(
    r"\b(left|right|east|west|clockwise|counterclockwise|anticlockwise|text|letter|word|writ(e|ing|ten)\b)",
    re.IGNORECASE,
)
REFUSED = {
    "crop": "a crop can cut off the object that changed",
    "color_jitter": "captions name colors, and a color that differs between the images is a change",
    "flip_vertical": "captions name what is above, behind or in front, and light falls from above",
    "rotate": "a rotation turns what is left of or behind an object; `warp` is the mild form",
}

Images = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class PairAugmentation:
    """Random alterations of pairs, each with its probability.

    Args:
        blur (`float`, *optional*, defaults to `0.0`): Gaussian blur of an image, each on its own; radius .2 to 1 % of
            the shorter side.
        jpeg (`float`, *optional*, defaults to `0.0`): JPEG compression of an image, each on its own; quality 40 to 95.
        warp (`float`, *optional*, defaults to `0.0`): One projective warp of both images, whose corners move inwards
            by up to 8 %; edges are drawn out.
        flip (`float`, *optional*, defaults to `0.0`): Both images mirrored; only for sets whose captions name neither
            sides nor writing.
        slight_blur (`float`, *optional*, defaults to `0.0`): Gaussian blur of both images by one kernel of 3 x 3
            pixels, standard deviation .1 to .5 pixels, as in BLIP2IDC's released code.

    Raises:
        ValueError: A probability lies outside 0 to 1.
    """

    blur: float = 0.0
    jpeg: float = 0.0
    warp: float = 0.0
    flip: float = 0.0
    slight_blur: float = 0.0

    def __post_init__(self) -> None:
        for item in fields(self):
            if not 0 <= getattr(self, item.name) <= 1:
                raise ValueError(f"augment: the probability of {item.name} must be 0 to 1, not {self!r}")

    @classmethod
    def parse(cls, items: Iterable[str]) -> PairAugmentation:
        """Read "blur=0.3" and the like.

        Raises:
            ValueError: An entry is unknown, refused, given twice, or its probability is no number.
        """
        known = [item.name for item in fields(cls)]
        values: dict[str, float] = {}
        for text in items:
            name, _, number = text.partition("=")
            if name in REFUSED:
                raise ValueError(f"augment: {name} would change the answer: {REFUSED[name]}")
            if name not in known or name in values:
                raise ValueError(f"augment: {text!r} is unknown or given twice; known are {', '.join(known)}")
            try:
                values[name] = float(number)
            except ValueError:
                raise ValueError(f"augment: expected a probability such as {name}=0.3, not {text!r}") from None
        return cls(**values)

    def check_captions(self, captions: Iterable[tuple[str, list[str]]]) -> None:
        """Refuse to mirror pairs whose captions a mirror would make wrong.

        Args:
            captions (`Iterable[tuple[str, list[str]]]`): Id and captions of all pairs.

        Raises:
            ValueError: A flip is wanted and a caption names a side or writing; the error names the pair and quotes it.
        """
        if not self.flip:
            return
        for pair_id, texts in captions:
            named = next((text for text in texts if MIRRORED.search(text)), None)
            if named is not None:
                raise ValueError(f"augment: flip would make captions wrong, pair {pair_id!r} has {named!r}")

    @property
    def moves(self) -> bool:
        """Whether what a place shows may change."""
        return bool(self.warp or self.flip)

    def __call__(self, images: Images, rng: np.random.Generator) -> Images:
        """Alter a pair.

        Args:
            images (`Images`): Before and after, uint8 (3, height, width) each; they are left as they are.
            rng (`np.random.Generator`): Decides everything.

        Returns:
            `Images`: New images of the same sizes.
        """
        before, after = (Image.fromarray(image.transpose(1, 2, 0)) for image in images)
        if rng.random() < self.warp:
            corners = rng.uniform(0, WARP, (4, 2))
            before, after = _warp(before, corners), _warp(after, corners)
        if rng.random() < self.flip:
            before, after = (image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for image in (before, after))
        if self.slight_blur and rng.random() < self.slight_blur:
            sigma = rng.uniform(*SLIGHT_BLUR)
            before, after = _blur(before, sigma), _blur(after, sigma)
        return tuple(np.asarray(self._degrade(image, rng)).transpose(2, 0, 1).copy() for image in (before, after))

    def _degrade(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        if rng.random() < self.blur:
            image = image.filter(ImageFilter.GaussianBlur(rng.uniform(*BLUR_RADIUS) * min(image.size)))
        if rng.random() < self.jpeg:
            image = compress(image, JPEG_QUALITY, rng)
        return image


def compress(image: Image.Image, qualities: tuple[int, int], rng: np.random.Generator, **options: int) -> Image.Image:
    """Compress an image as JPEG, and decode it again.

    Args:
        image (`PIL.Image.Image`): Mode RGB.
        qualities (`tuple[int, int]`): The lowest and the highest.
        rng (`np.random.Generator`): Draws the quality.
        **options (`int`, *optional*): Of Pillow's encoder.

    Returns:
        `PIL.Image.Image`: A new image.
    """
    file = io.BytesIO()
    image.save(file, format="JPEG", quality=int(rng.integers(qualities[0], qualities[1] + 1)), **options)
    return Image.open(file).convert("RGB")


def _blur(image: Image.Image, sigma: float) -> Image.Image:
    """Blur by a Gaussian kernel of 3 x 3 pixels; what lies beyond an edge is its mirror image."""
    side = math.exp(-0.5 / sigma**2)
    values = np.pad(np.asarray(image, dtype=np.float32), ((1, 1), (1, 1), (0, 0)), mode="reflect")
    for axis in (0, 1):
        size = values.shape[axis] - 2
        left, middle, right = (np.take(values, range(start, start + size), axis) for start in range(3))
        values = (middle + side * (left + right)) / (1 + 2 * side)
    return Image.fromarray(values.round().astype(np.uint8))


def _projection(targets: np.ndarray, sources: np.ndarray) -> list[float]:
    """The eight numbers of Pillow's perspective transform that takes four points (x, y) to four others."""
    rows, values = [], []
    for (x, y), (u, v) in zip(targets.tolist(), sources.tolist(), strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    return np.linalg.solve(np.array(rows), np.array(values)).tolist()


def _warp(image: Image.Image, corners: np.ndarray) -> Image.Image:
    """Move the corners inwards by `corners`, (4, 2) shares of width and height; the edge's pixels fill the rest."""
    size = np.array(image.size)
    signs = np.array([(0, 0), (1, 0), (1, 1), (0, 1)])
    sources = signs * size
    targets = sources + np.where(signs, -1, 1) * corners * size
    # What lies outside the image in the warped frame is at most this far away.
    margin = math.ceil(3 * WARP * size.max())
    padded = np.pad(np.asarray(image), ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    return Image.fromarray(padded).transform(
        image.size,
        Image.Transform.PERSPECTIVE,
        _projection(targets, sources + margin),
        resample=Image.Resampling.BILINEAR,
    )


__all__ = ["REFUSED", "PairAugmentation", "compress"]
