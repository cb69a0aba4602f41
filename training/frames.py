# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""A run names what makes the frames of its rows; the model says how many it takes."""

import importlib
import json
from collections.abc import Mapping

from ..data.frames import PairFrames


def frames_class(path: str) -> type[PairFrames]:
    """The class that a class path names.

    Args:
        path (`str`): As `package.module.Class`.

    Raises:
        ValueError: The path names no subclass of `PairFrames`.
    """
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"`frames`: the class {path!r} cannot be imported: {error}.") from error
    if not isinstance(found, type) or not issubclass(found, PairFrames):
        raise ValueError(f"`frames`: {path!r} is no subclass of ssgpa.data.frames.PairFrames.")
    return found


def make_frames(text: str | None, count: int | None, model: str) -> PairFrames | None:
    """What a run's `frames` asks for.

    Args:
        text (`str`, *optional*): JSON mapping with `class`, a class path, and the options of that class.
        count (`int`, *optional*): The model's `frames_per_pair`; None where it takes the two images.
        model (`str`): What errors call the model.

    Returns:
        `PairFrames`: None where the model takes the two images.

    Raises:
        ValueError: Model and run do not agree, or the class is none or refuses its options.
    """
    if count is None:
        if text:
            raise ValueError(f"A {model} takes the two images of a pair: leave out `frames`.")
        return None
    if not text:
        raise ValueError(
            f"A {model} takes {count} frames of a pair: say what makes them, `frames: {{class: CLASS_PATH}}`."
        )
    try:
        options = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"`frames` is no JSON: {error}.") from error
    if not isinstance(options, Mapping) or not isinstance(options.get("class"), str):
        raise ValueError(f"`frames` must be a mapping with `class`, a class path, got {text}.")
    options = dict(options)
    kind = frames_class(options.pop("class"))
    try:
        return kind(count=count, **options)
    except TypeError as error:
        raise ValueError(f"`frames`: {' '.join(str(error).split())}.") from error


__all__ = ["frames_class", "make_frames"]
