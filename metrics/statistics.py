# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""From statistics of single items to scores of sets: BLEU and METEOR from sums, ROUGE-L and CIDEr-D from means."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


ORDERS = 4
# Columns of `ItemStatistics.bleu`: correct and guessed n-grams of the four orders, length, closest reference length.
BLEU_COLUMNS = 2 * ORDERS + 2
# METEOR 1.5's parameters for English (task "rank"), and the weights of its four stages.
ALPHA, BETA, GAMMA, DELTA = 0.85, 0.2, 0.6, 0.75
STAGES = np.array([1.0, 0.6, 0.8, 0.6])


@dataclass(frozen=True)
class ItemStatistics:
    """What each item adds to the scores of a set.

    Args:
        bleu (`np.ndarray`): (items, 10), see `BLEU_COLUMNS`.
        rouge_l (`np.ndarray`): (items,), in 0..1.
        cider (`np.ndarray`): (items,), in 0..10, with the document frequencies of the whole set.
        meteor (`np.ndarray`, *optional*): (items, 23), see `meteor_statistics`; None where METEOR is not wanted.
    """

    bleu: np.ndarray
    rouge_l: np.ndarray
    cider: np.ndarray
    meteor: np.ndarray | None = None

    def scores(self, weights: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Scores sets made of the items.

        Args:
            weights (`np.ndarray`, *optional*): (sets, items), how often each item is in each set; by default one set
                with each item once.

        Returns:
            `dict[str, np.ndarray]`: {metric: (sets,)} with the names of `score_lists`.
        """
        weights = np.ones((1, len(self.rouge_l))) if weights is None else weights
        sizes = weights.sum(axis=1)
        found = {f"bleu_{order}": value for order, value in enumerate(bleu_from_sums(weights @ self.bleu).T, start=1)}
        if self.meteor is not None:
            found["meteor"] = meteor_from_sums(weights @ self.meteor)
        return {**found, "rouge_l": weights @ self.rouge_l / sizes, "cider": weights @ self.cider / sizes}


def bleu_from_sums(sums: np.ndarray) -> np.ndarray:
    """BLEU with pycocoevalcap's small numbers, which keep a precision without n-grams from dividing by zero.

    Args:
        sums (`np.ndarray`): (sets, 10), sums of `ItemStatistics.bleu`.

    Returns:
        `np.ndarray`: (sets, 4), BLEU-1 to BLEU-4.
    """
    precisions = (sums[:, :ORDERS] + 1e-15) / (sums[:, ORDERS : 2 * ORDERS] + 1e-9)
    means = np.cumprod(precisions, axis=1) ** (1 / np.arange(1, ORDERS + 1))
    ratio = (sums[:, -2] + 1e-15) / (sums[:, -1] + 1e-9)
    with np.errstate(over="ignore"):
        return means * np.exp(np.minimum(0, 1 - 1 / ratio))[:, None]


def meteor_statistics(lines: Sequence[Sequence[float]]) -> np.ndarray:
    """Makes the jar's statistics fit for sums: a caption that matches whole counts no chunk, as the jar has it.

    Args:
        lines (`Sequence[Sequence[float]]`): 23 numbers an item, see `meteor_from_sums`.

    Returns:
        `np.ndarray`: (items, 23).
    """
    items = np.array(lines, dtype=np.float64)
    whole = (items[:, 20] == 1) & (items[:, 21:23] == items[:, :2]).all(axis=1)
    items[whole, 20] = 0
    return items


def meteor_from_sums(sums: np.ndarray) -> np.ndarray:
    """METEOR 1.5 (Denkowski and Lavie, 2014, equations 1 to 5) from the statistics that its jar prints.

    Args:
        sums (`np.ndarray`): (sets, 23), sums of `meteor_statistics`: lengths of caption and reference, their function
            words, for each of the four stages the matched content and function words of both, chunks, matched words of
            both.

    Returns:
        `np.ndarray`: (sets,), 0 where nothing matches.
    """
    stages = sums[:, 4:20].reshape(-1, len(STAGES), 2, 2)
    # Content words, then function words, of the caption and of the reference.
    matched = np.einsum("nskw,s,k->nw", stages, STAGES, [DELTA, 1 - DELTA])
    lengths, functions = sums[:, :2], sums[:, 2:4]
    weighted = DELTA * (lengths - functions) + (1 - DELTA) * functions
    with np.errstate(divide="ignore", invalid="ignore"):
        precision, recall = (matched / weighted).T
        mean = 1 / ((1 - ALPHA) / precision + ALPHA / recall)
        fragments = sums[:, 20] / sums[:, 21:23].mean(axis=1)
    score = mean * (1 - GAMMA * fragments**BETA)
    return np.where(np.isfinite(score), score, 0.0)
