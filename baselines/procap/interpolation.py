# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Frames between the two images of a pair: a cross-fade, or a learned interpolator that a run names."""

import importlib
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


# Of one to seven, as the paper's interpolator makes them in three rounds.
INNER_FRAMES = 7
LEVELS = 255

Interpolator = Callable[[Tensor, Tensor, int], Tensor]


def cross_fade(before: Tensor, after: Tensor, count: int = INNER_FRAMES) -> Tensor:
    """Fade from one image to the other in equal steps (ours; it takes no weights and runs anywhere).

    Args:
        before (`torch.Tensor` of shape `(channels, height, width)`): In [0, 1].
        after (`torch.Tensor` of the same shape): In [0, 1].
        count (`int`): Frames between the two, 1 at least.

    Returns:
        `torch.Tensor` of shape `(count, channels, height, width)`: Frame i of 1 to `count` is
        `before + i / (count + 1) * (after - before)`.

    Raises:
        ValueError: The shapes differ, or there is no frame to make.
    """
    if before.shape != after.shape:
        raise ValueError(f"Images of shapes {tuple(before.shape)} and {tuple(after.shape)} do not fade into another.")
    if count < 1:
        raise ValueError(f"There must be 1 frame between two images at least, got {count}.")
    shares = torch.arange(1, count + 1, dtype=before.dtype, device=before.device) / (count + 1)
    return torch.lerp(before, after, shares.view(-1, *[1] * before.dim()))


CROSS_FADE = f"{__name__.partition('.')[0]}.baselines.procap.interpolation.{cross_fade.__name__}"


def inner_frames(
    interpolator: Interpolator, before: np.ndarray, after: np.ndarray, count: int = INNER_FRAMES
) -> np.ndarray:
    """All frames between two images.

    Args:
        interpolator (`Callable`): Called with two images (channels, height, width), float32 in [0, 1], and the number
            of frames. It returns them all, (count, channels, height, width), or the one in the middle, (channels,
            height, width); then each half is filled in the same way, from 1 frame to 3 to 7.
        before (`np.ndarray` of shape `(channels, height, width)`): uint8.
        after (`np.ndarray` of the same shape): uint8.
        count (`int`): Frames between the two.

    Returns:
        `np.ndarray` of shape `(count, channels, height, width)`: uint8, rounded once, at the end.

    Raises:
        ValueError: The interpolator gives something else, values outside [0, 1] or no numbers; or it gives the middle
            frame alone and `count` is not 1, 3, 7, ...
    """
    first, last = (torch.tensor(image, dtype=torch.float32) / LEVELS for image in (before, after))
    with torch.inference_mode():
        frames = _fill(interpolator, first, last, count)
    # A network's last layer may leave the range by a rounding error.
    if not ((frames > -1 / LEVELS) & (frames < 1 + 1 / LEVELS)).all():
        raise ValueError("The interpolator gives frames outside [0, 1], the range of the images that it gets.")
    return (frames.clamp(0, 1) * LEVELS).round().to(torch.uint8).numpy()


def _fill(interpolator: Interpolator, before: Tensor, after: Tensor, count: int) -> Tensor:
    made = interpolator(before, after, count).detach().float().cpu()
    if made.shape == (count, *before.shape):
        return made
    if made.shape != before.shape:
        raise ValueError(
            f"The interpolator gives {tuple(made.shape)}; wanted are {(count, *before.shape)}, all frames, or "
            f"{tuple(before.shape)}, the one in the middle."
        )
    if count & (count + 1):
        raise ValueError(f"An interpolator of the middle frame makes 1, 3, 7, ... frames, and not {count}.")
    if count == 1:
        return made.unsqueeze(0)
    half = count // 2
    halves = _fill(interpolator, before, made, half), _fill(interpolator, made, after, half)
    return torch.cat([halves[0], made.unsqueeze(0), halves[1]])


def load_interpolator(path: str = CROSS_FADE, options: Mapping[str, Any] | None = None) -> tuple[Interpolator, str]:
    """What a class path names, and what tells its frames from those of another.

    Args:
        path (`str`): A function, or a class that is made with `options` and then called, as `package.module.Name`.
            Sides that a network cannot take, or a GPU, are its own affair: it pads, crops and moves.
        options (`Mapping[str, Any]`, *optional*): Keyword arguments of the class.

    Returns:
        `tuple[Callable, str]`: The interpolator, as of `inner_frames`; and its name with options and, where it has
        one, its attribute `fingerprint`, such as a hash of its weights.

    Raises:
        ValueError: The path names nothing that can be called, or it refuses the options.
    """
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"The interpolator {path!r} cannot be imported: {error}.") from error
    if isinstance(found, type):
        try:
            found = found(**(options or {}))
        except TypeError as error:
            raise ValueError(f"The interpolator {path!r}: {' '.join(str(error).split())}.") from error
    elif options:
        raise ValueError(f"The interpolator {path!r} is a function and takes no options.")
    if not callable(found):
        raise ValueError(f"The interpolator {path!r} cannot be called.")
    parts = [path, json.dumps(options, sort_keys=True) if options else "", str(getattr(found, "fingerprint", ""))]
    return found, " ".join(part for part in parts if part)


__all__ = ["CROSS_FADE", "INNER_FRAMES", "cross_fade", "inner_frames", "load_interpolator"]
