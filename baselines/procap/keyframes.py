# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Which of the frames between two images are learned from: drawn by CLIP4IDC's confidence, or all alike."""

from collections.abc import Iterable

import numpy as np
import torch

from ...data.frames import PairFrames
from .frame_store import MANIFEST, SCORES, FrameFolder, ScoreTable, digest_of_pair
from .interpolation import CROSS_FADE, INNER_FRAMES, LEVELS, cross_fade


# Squared differences of cosines are small: at this temperature one of 0.1 makes a frame 2.7 times less likely (ours).
TEMPERATURE = 0.01
CONFIDENCE, UNIFORM = "confidence", "uniform"


def keyframe_scores(before: np.ndarray, after: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """How far each frame is from the middle of the change, `(a - b) ** 2`.

    Args:
        before (`np.ndarray` of shape `(frames,)`): Similarity of the captions to the pair of image before and frame.
        after (`np.ndarray` of the same shape): And to the pair of frame and image after.
        scale (`float`): Of the similarities. CLIP multiplies its cosines by 100 before it compares them.

    Returns:
        `np.ndarray` of the same shape: 0 where both pairs tell as much of the change, the paper's midpoint.
    """
    return (scale * (before - after)) ** 2


def keyframe_weights(scores: np.ndarray, temperature: float = TEMPERATURE, released: bool = False) -> np.ndarray:
    """Weights of the draw.

    Args:
        scores (`np.ndarray` of shape `(frames,)`): As `keyframe_scores` gives them.
        temperature (`float`): The smaller, the more the draw keeps to the lowest scores.
        released (`bool`): `1 - softmax(scores)`, as the authors' code has it: with cosines nearly the same for all
            frames, with cosines times 100 the same for all but the worst.

    Returns:
        `np.ndarray` of the same shape: `softmax(-scores / temperature)`, which adds up to 1; those of the authors'
        code, which add up to one less than the number of frames.

    Raises:
        ValueError: The temperature is not above 0.
    """
    return np.exp(_log_weights(scores, temperature, released))


def _log_weights(scores: np.ndarray, temperature: float, released: bool) -> np.ndarray:
    if not temperature > 0:
        raise ValueError(f"`temperature` must be above 0, got {temperature}.")
    if released:
        with np.errstate(divide="ignore"):
            return np.log1p(-np.exp(scores - np.logaddexp.reduce(scores)))
    logits = -scores / temperature
    return logits - np.logaddexp.reduce(logits)


def draw_keyframes(log_weights: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
    """Draw frames without replacement, one after the other by the weights of those that are left.

    The largest of the logarithms with Gumbel noise are such a draw, however small the weights are.

    Args:
        log_weights (`np.ndarray` of shape `(frames,)`): Logarithms of the weights; minus infinity is never drawn.
        number (`int`): How many.
        rng (`np.random.Generator`): Draws.

    Returns:
        `np.ndarray` of shape `(number,)`: Numbers of the frames, from 0, in their order.

    Raises:
        ValueError: There are fewer frames that can be drawn.
    """
    possible = np.isfinite(log_weights).sum()
    if number > possible:
        raise ValueError(f"{number} frames cannot be drawn among {possible}.")
    noisy = log_weights + rng.gumbel(size=len(log_weights))
    return np.sort(np.argpartition(-noisy, number - 1)[:number]) if number else np.array([], dtype=int)


class _MadeFrames(PairFrames):
    """Frames between the images of a pair, from a folder or by a cross-fade.

    Args:
        count (`int`): Frames of a row.
        folder (`str`, *optional*): What `examples/make_procap_frames.py` wrote. Without one, or with scores alone in
            it, images fade into each other.
        inner_frames (`int`): Frames between the images, where no folder says.
    """

    def __init__(self, count: int, folder: str | None = None, inner_frames: int = INNER_FRAMES) -> None:
        super().__init__(count)
        self.folder = None if folder is None else FrameFolder(folder)
        self.inner = inner_frames if self.folder is None else self.folder.count
        if type(self.inner) is not int or self.inner < 1:
            raise ValueError(f"`inner_frames` must be a number of 1 at least, got {self.inner!r}.")
        if self.folder is None or self.folder.stored:
            return
        if self.folder.settings.get("interpolator") != CROSS_FADE:
            raise ValueError(f"{self.folder.folder / MANIFEST}: its frames are no cross-fade, and are not stored.")

    def check(self, pair_ids: Iterable[str]) -> None:
        """Refuse a folder that lacks a pair.

        Raises:
            ValueError: The error names folder and pair.
        """
        if self.folder is None or not self.folder.stored:
            return
        lost = self.folder.missing(pair_ids)
        if lost:
            raise ValueError(
                f"{self.folder.folder} lacks the frames of {len(lost)} pairs, the first {lost[0]!r}: run "
                "examples/make_procap_frames.py again, it makes what is missing."
            )

    def between(self, images: tuple[np.ndarray, np.ndarray], pair_id: str, chosen: np.ndarray) -> np.ndarray:
        """The chosen frames (chosen, channels, height, width) of those between two images, uint8."""
        if self.folder is not None and self.folder.stored:
            return self.folder.read(pair_id, digest_of_pair(*images))[chosen]
        before, after = (torch.tensor(image, dtype=torch.float32) / LEVELS for image in images)
        faded = cross_fade(before, after, self.inner)[torch.from_numpy(chosen)]
        return (faded * LEVELS).round().to(torch.uint8).numpy()


class ProcedureFrames(_MadeFrames):
    """The frames of ProCap's first stage: image before, keyframes in their order, image after.

    Keyframes are drawn anew every epoch: where CLIP4IDC has scored them, by confidence, otherwise all alike.

    Args:
        count (`int`): Frames of a row, both images included.
        folder (`str`, *optional*): What `examples/make_procap_frames.py` wrote: frames, scores, or both.
        inner_frames (`int`): Frames between the images, where no folder says.
        sampling (`str`, *optional*): `confidence` or `uniform`; by default the former where the folder has scores.
        temperature (`float`): Of the draw by confidence, see `keyframe_weights`.
        similarity_scale (`float`): Of the similarities, which the folder holds as cosines.
        released_weights (`bool`): The weights of the authors' code.

    Raises:
        FileNotFoundError: The folder holds no frames, or `confidence` is asked for and it holds no scores.
        ValueError: An option is wrong; the error names it.
    """

    def __init__(
        self,
        count: int,
        folder: str | None = None,
        inner_frames: int = INNER_FRAMES,
        sampling: str | None = None,
        temperature: float = TEMPERATURE,
        similarity_scale: float = 1.0,
        released_weights: bool = False,
    ) -> None:
        super().__init__(count, folder, inner_frames)
        self.keyframes = count - 2
        if not 0 <= self.keyframes <= self.inner:
            raise ValueError(f"{count} frames of a row are both images and 0 to {self.inner} between them.")
        if sampling not in (None, CONFIDENCE, UNIFORM):
            raise ValueError(f"`sampling` is {CONFIDENCE} or {UNIFORM}, got {sampling!r}.")
        if sampling == CONFIDENCE and folder is None:
            raise ValueError(f"`sampling: {CONFIDENCE}` needs `folder`, which holds the scores.")
        # Refuses what is wrong before the first row.
        keyframe_weights(np.zeros(1), temperature)
        self.temperature, self.scale, self.released = temperature, similarity_scale, released_weights
        path = None if self.folder is None else self.folder.folder / SCORES
        wanted = sampling == CONFIDENCE or (sampling is None and path is not None and path.is_file())
        self.scores = ScoreTable(path, self.inner) if wanted else None

    def check(self, pair_ids: Iterable[str]) -> None:
        """Refuse a folder that lacks the frames or the scores of a pair.

        Raises:
            ValueError: The error names folder and pair.
        """
        pair_ids = list(pair_ids)
        super().check(pair_ids)
        lost = [] if self.scores is None else self.scores.missing(pair_ids)
        if lost:
            raise ValueError(
                f"{self.scores.path} lacks the scores of {len(lost)} pairs, the first {lost[0]!r}: run "
                "examples/make_procap_frames.py again, it makes what is missing."
            )

    def choose(self, pair_id: str, digest: str, rng: np.random.Generator) -> np.ndarray:
        """Numbers of the keyframes (count - 2,) of a pair, from 0, in their order."""
        log_weights = np.zeros(self.inner)
        if self.scores is not None:
            scores = keyframe_scores(*self.scores.read(pair_id, digest), scale=self.scale)
            log_weights = _log_weights(scores, self.temperature, self.released)
        return draw_keyframes(log_weights, self.keyframes, rng)

    def __call__(self, images: tuple[np.ndarray, np.ndarray], pair_id: str, rng: np.random.Generator) -> np.ndarray:
        """Frames of a row, see `PairFrames`."""
        digest = digest_of_pair(*images) if self.scores is not None else ""
        inner = self.between(images, pair_id, self.choose(pair_id, digest, rng))
        return np.concatenate([images[0][None], inner, images[1][None]])


class AnyFrames(_MadeFrames):
    """Frames that a visual tokenizer learns from: of both images and all between them, drawn alike, in their order.

    Args:
        count (`int`): Frames of a row.
        folder (`str`, *optional*): What `examples/make_procap_frames.py` wrote, with stored frames.
        inner_frames (`int`): Frames between the images, where no folder says.

    Raises:
        FileNotFoundError: The folder holds no frames.
        ValueError: An option is wrong; the error names it.
    """

    def __init__(self, count: int, folder: str | None = None, inner_frames: int = INNER_FRAMES) -> None:
        super().__init__(count, folder, inner_frames)
        if not 1 <= count <= self.inner + 2:
            raise ValueError(f"A row has 1 to {self.inner + 2} frames of a pair, got {count}.")

    def __call__(self, images: tuple[np.ndarray, np.ndarray], pair_id: str, rng: np.random.Generator) -> np.ndarray:
        """Frames of a row, see `PairFrames`."""
        chosen = draw_keyframes(np.zeros(self.inner + 2), self.count, rng)
        inside = chosen[(chosen > 0) & (chosen <= self.inner)]
        known = {0: images[0], self.inner + 1: images[1]}
        if len(inside):
            known |= dict(zip(inside.tolist(), self.between(images, pair_id, inside - 1), strict=True))
        return np.stack([known[place] for place in chosen.tolist()])


__all__ = [
    "AnyFrames",
    "ProcedureFrames",
    "draw_keyframes",
    "keyframe_scores",
    "keyframe_weights",
]
