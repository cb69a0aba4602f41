# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Training rows of other frames than before and after; what makes them of a pair."""

from collections.abc import Iterable

import numpy as np


# Keeps the choice of frames apart from the draws of captions, swaps and alterations.
FRAME_STREAM = 0xF4A

Images = tuple[np.ndarray, np.ndarray]


class PairFrames:
    """Makes the frames of a training row from the two images of its pair; subclasses say how.

    A run names the subclass and its options as `frames`. The same object serves all workers, so that what is drawn
    comes from the generator that a call is given.

    Args:
        count (`int`): Frames of a row, as the model's `frames_per_pair` says.

    Raises:
        ValueError: It makes no such number of frames.
    """

    def __init__(self, count: int) -> None:
        self.count = count

    def check(self, pair_ids: Iterable[str]) -> None:
        """Refuse pairs that no frames can be made of, before the first step.

        Args:
            pair_ids (`Iterable[str]`): Of all training pairs.

        Raises:
            ValueError: The error names a pair.
        """

    def __call__(self, images: Images, pair_id: str, rng: np.random.Generator) -> np.ndarray:
        """Make the frames of a row.

        Args:
            images (`tuple[np.ndarray, np.ndarray]`): Before and after, (channels, height, width), uint8, of the size
                that the model reads.
            pair_id (`str`): The pair's.
            rng (`np.random.Generator`): Of this row, epoch and seed.

        Returns:
            `np.ndarray`: (count, channels, height, width), uint8.
        """
        raise NotImplementedError


def frames_of_row(frames: PairFrames, images: Images, pair_id: str, place: tuple[int, int, int]) -> np.ndarray:
    """The frames of a training row, drawn by seed, epoch and row alone.

    Args:
        frames (`PairFrames`): Makes them.
        images (`tuple[np.ndarray, np.ndarray]`): Before and after.
        pair_id (`str`): The pair's.
        place (`tuple[int, int, int]`): Seed, epoch, and number of the row.

    Returns:
        `np.ndarray`: (frames, channels, height, width), uint8.

    Raises:
        ValueError: There are other frames than the model takes.
    """
    made = frames(images, pair_id, np.random.default_rng([*place, FRAME_STREAM]))
    if made.shape != (frames.count, *images[0].shape) or made.dtype != np.uint8:
        raise ValueError(
            f"pair {pair_id!r}: {type(frames).__name__} gave {made.dtype} of shape {made.shape}; the model takes "
            f"uint8 of shape {(frames.count, *images[0].shape)}."
        )
    return made


__all__ = ["PairFrames", "frames_of_row"]
