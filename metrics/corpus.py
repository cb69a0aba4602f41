# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Scores of many sets of captions over one set of references, as baselines and the bootstrap need them.

`ReferenceCorpus` counts the references once, `ItemStatistics` holds what each item adds to the scores, and any
weighting of the items gives the scores of a set: BLEU and METEOR from sums, ROUGE-L and CIDEr-D from means.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .change_captioning.meteor import Meteor
from .change_captioning.scoring import count_items


try:
    from pycocoevalcap.bleu.bleu_scorer import cook_refs, cook_test
    from pycocoevalcap.cider.cider_scorer import precook
    from pycocoevalcap.rouge.rouge import my_lcs
except ImportError as error:
    raise ImportError('Captions are scored by pycocoevalcap: pip install "ssgpa[eval]".') from error


ORDERS = 4
CIDER_SIGMA = 6.0
ROUGE_BETA = 1.2
# METEOR 1.5's parameters for English (task "rank"), and the weights of its four stages.
METEOR_ALPHA, METEOR_BETA, METEOR_GAMMA, METEOR_DELTA = 0.85, 0.2, 0.6, 0.75
METEOR_STAGES = np.array([1.0, 0.6, 0.8, 0.6])

# Decides whether a tokenized caption is correct, for one item.
Judge = Callable[[str], bool]


@dataclass(frozen=True)
class ItemStatistics:
    """What each item adds to the scores of a set.

    Args:
        bleu (`np.ndarray`): (items, 10): correct and guessed n-grams of the four orders, length of the caption,
            length of the closest reference.
        rouge_l (`np.ndarray`): (items,), in 0..1.
        cider (`np.ndarray`): (items,), in 0..10, with the document frequencies of the whole set.
        meteor (`np.ndarray`, *optional*): (items, 23), see `meteor_statistics`; None if METEOR is not wanted.
        correct (`np.ndarray`, *optional*): (items,), 1 where the caption is correct, else 0; None where nobody can
            tell.
    """

    bleu: np.ndarray
    rouge_l: np.ndarray
    cider: np.ndarray
    meteor: np.ndarray | None = None
    correct: np.ndarray | None = None

    def scores(self, weights: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Score sets made of the items.

        Args:
            weights (`np.ndarray`, *optional*): (sets, items), how often each item is in each set; by default one set
                with each item once.

        Returns:
            `dict[str, np.ndarray]`: {metric: (sets,)} with the names of `score_lists`, and "correct", the share of
            correct captions, where that is known.
        """
        weights = np.ones((1, len(self.rouge_l))) if weights is None else weights
        sizes = weights.sum(axis=1)
        # With pycocoevalcap's small numbers, which keep a precision without n-grams from dividing by zero.
        sums = weights @ self.bleu
        precisions = (sums[:, :ORDERS] + 1e-15) / (sums[:, ORDERS : 2 * ORDERS] + 1e-9)
        ratio = (sums[:, -2] + 1e-15) / (sums[:, -1] + 1e-9)
        with np.errstate(over="ignore"):
            penalty = np.exp(np.minimum(0, 1 - 1 / ratio))
        means = np.cumprod(precisions, axis=1) ** (1 / np.arange(1, ORDERS + 1))
        found = {f"bleu_{order}": mean * penalty for order, mean in enumerate(means.T, start=1)}
        if self.meteor is not None:
            found["meteor"] = meteor_from_sums(weights @ self.meteor)
        found |= {"rouge_l": weights @ self.rouge_l / sizes, "cider": weights @ self.cider / sizes}
        return found if self.correct is None else {**found, "correct": weights @ self.correct / sizes}


class CaptionVector(NamedTuple):
    """A caption as CIDEr-D sees it: tf-idf weights and norm for each order of n-grams, and the number of bigrams."""

    weights: list[dict[tuple[str, ...], float]]
    norms: list[float]
    length: int


class ReferenceCorpus:
    """References counted once, with their own document frequencies, to score many sets of captions against.

    The scores are those of pycocoevalcap: n-grams are counted by its own functions, ROUGE-L (Lin, 2004) and CIDEr-D
    (Vedantam et al., 2015) are reimplemented. The vectors of the references are kept, equal texts are compared once,
    so that a constant caption costs next to nothing.

    Args:
        targets (`Sequence[Sequence[str]]`): The tokenized references of each item.
        judges (`Sequence[Judge]`, *optional*): What decides whether a caption of each item is correct.
    """

    def __init__(self, targets: Sequence[Sequence[str]], judges: Sequence[Judge] | None = None) -> None:
        self.judges = judges
        self.targets = [list(item) for item in targets]
        self._cooked = [cook_refs(item) for item in self.targets]
        self._frequencies = Counter(
            ngram for item in self.targets for ngram in {ngram for text in item for ngram in precook(text)}
        )
        self._log_items = math.log(len(self.targets))
        self._vectors = {text: self._vector(text) for item in self.targets for text in item}

    def score(self, hypotheses: Sequence[str]) -> dict[str, Any]:
        """Score one tokenized caption an item.

        Args:
            hypotheses (`Sequence[str]`): One tokenized caption an item.

        Returns:
            `dict[str, Any]`: BLEU, ROUGE-L, CIDEr-D, with judges `correct`, and the counts of
            `change_captioning.scorer.score_lists`.
        """
        found = {name: float(value[0]) for name, value in self.statistics(hypotheses).scores().items()}
        return {**found, **count_items(hypotheses, self.targets)}

    def statistics(self, hypotheses: Sequence[str], meteor: Meteor | None = None) -> ItemStatistics:
        """Compute what each item adds to the scores, from one tokenized caption an item.

        Args:
            hypotheses (`Sequence[str]`): One tokenized caption an item.
            meteor (`Meteor`, *optional*): METEOR, if it is wanted.

        Returns:
            `ItemStatistics`: What each item adds to the scores.
        """
        overlaps: dict[tuple[str, str], tuple[float, float]] = {}
        similarities: dict[tuple[str, str], float] = {}
        vectors = {text: self._vector(text) for text in set(hypotheses)}
        bleu = np.zeros((len(self.targets), 2 * ORDERS + 2))
        rouge_l, cider = np.zeros(len(self.targets)), np.zeros(len(self.targets))
        for index, (hypothesis, item) in enumerate(zip(hypotheses, self.targets, strict=True)):
            counts = cook_test(hypothesis, self._cooked[index], eff="closest")
            bleu[index] = [*counts["correct"], *counts["guess"], counts["testlen"], counts["reflen"]]
            for text in item:
                if (hypothesis, text) not in overlaps:
                    ours, theirs = hypothesis.split(" "), text.split(" ")
                    common = my_lcs(theirs, ours)
                    overlaps[hypothesis, text] = common / len(ours), common / len(theirs)
                    similarities[hypothesis, text] = self._similarity(vectors[hypothesis], text)
            if hypothesis:
                precision, recall = (
                    max(values) for values in zip(*(overlaps[hypothesis, text] for text in item), strict=True)
                )
                if precision and recall:
                    weight = ROUGE_BETA**2
                    rouge_l[index] = (1 + weight) * precision * recall / (recall + weight * precision)
                cider[index] = 10 * sum(similarities[hypothesis, text] for text in item) / len(item)
        stages = meteor_statistics(meteor.statistics_of(hypotheses, self.targets)) if meteor else None
        return ItemStatistics(bleu, rouge_l, cider, stages, self._judge(hypotheses))

    def _judge(self, hypotheses: Sequence[str]) -> np.ndarray | None:
        if self.judges is None:
            return None
        return np.array([float(judge(text)) for judge, text in zip(self.judges, hypotheses, strict=True)])

    def best_constant(self, captions: Iterable[str]) -> tuple[str, float] | None:
        """Find the caption that scores the highest CIDEr-D when said of every item.

        Without CIDEr-D's clipping, the score of a constant is a sum over its n-grams, which is quick, and never less
        than the score itself. So the captions are scored in the order of that bound until no other can win.

        Args:
            captions (`Iterable[str]`): Tokenized captions to choose from.

        Returns:
            `tuple[str, float]`: The caption and its CIDEr-D, None where there is no caption.
        """
        different = sorted(set(captions) - {""})
        vectors = [self._vector(text) for text in different]
        bounds = self._constant_bounds(vectors)
        best: tuple[str, float] | None = None
        for index in np.argsort(-bounds, kind="stable").tolist():
            if best and bounds[index] <= best[1]:
                break
            score = 10 * sum(
                share * self._similarity(vectors[index], text) for text, share in self._text_shares().items()
            )
            if best is None or score > best[1]:
                best = different[index], score
        return best

    def _text_shares(self) -> dict[str, float]:
        """Return the weight of each distinct reference in the mean over items."""
        shares: dict[str, float] = {}
        for item in self.targets:
            for text in item:
                shares[text] = shares.get(text, 0.0) + 1 / (len(item) * len(self.targets))
        return shares

    def _constant_bounds(self, vectors: Sequence[CaptionVector]) -> np.ndarray:
        lengths = sorted({vector.length for vector in self._vectors.values()})
        place = {length: index for index, length in enumerate(lengths)}
        mass: dict[tuple[str, ...], np.ndarray] = {}
        for text, share in self._text_shares().items():
            vector = self._vectors[text]
            for weights, norm in zip(vector.weights, vector.norms, strict=True):
                for ngram, weight in weights.items() if norm else ():
                    mass.setdefault(ngram, np.zeros(len(lengths)))[place[vector.length]] += share * weight / norm
        bounds = np.zeros(len(vectors))
        for index, vector in enumerate(vectors):
            total = np.zeros(len(lengths))
            for weights, norm in zip(vector.weights, vector.norms, strict=True):
                for ngram, weight in weights.items() if norm else ():
                    if ngram in mass:
                        total += weight / norm * mass[ngram]
            penalty = np.exp(-((np.array(lengths) - vector.length) ** 2) / (2 * CIDER_SIGMA**2))
            bounds[index] = 10 * (total @ penalty) / ORDERS
        # Above rounding, so that the bound holds.
        return bounds * (1 + 1e-9)

    def _vector(self, text: str) -> CaptionVector:
        weights: list[dict[tuple[str, ...], float]] = [{} for _ in range(ORDERS)]
        length = 0
        for ngram, count in precook(text).items():
            rarity = self._log_items - math.log(max(1, self._frequencies[ngram]))
            weights[len(ngram) - 1][ngram] = count * rarity
            length += count if len(ngram) == 2 else 0
        return CaptionVector(weights, [math.hypot(*order.values()) for order in weights], length)

    def _similarity(self, ours: CaptionVector, text: str) -> float:
        """Return the clipped cosine, averaged over the orders, times CIDEr-D's penalty on the difference in length."""
        total, theirs = 0.0, self._vectors[text]
        for weights, others, norm, other_norm in zip(
            ours.weights, theirs.weights, ours.norms, theirs.norms, strict=True
        ):
            if norm and other_norm:
                shared = (
                    min(weight, others[ngram]) * others[ngram] for ngram, weight in weights.items() if ngram in others
                )
                total += sum(shared) / (norm * other_norm)
        return total / ORDERS * math.exp(-((ours.length - theirs.length) ** 2) / (2 * CIDER_SIGMA**2))


def meteor_statistics(lines: Sequence[Sequence[float]]) -> np.ndarray:
    """Convert the jar's statistics so that they can be summed: as in the jar, a full match counts no chunk.

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
    """Compute METEOR 1.5 (Denkowski and Lavie, 2014, equations 1 to 5) from the statistics that its jar prints.

    Args:
        sums (`np.ndarray`): (sets, 23), sums of `meteor_statistics`: lengths of caption and reference, their function
            words, for each of the four stages the matched content and function words of both, chunks, matched words of
            both.

    Returns:
        `np.ndarray`: (sets,), 0 where nothing matches.
    """
    stages = sums[:, 4:20].reshape(-1, len(METEOR_STAGES), 2, 2)
    # Content words, then function words, of the caption and of the reference.
    matched = np.einsum("nskw,s,k->nw", stages, METEOR_STAGES, [METEOR_DELTA, 1 - METEOR_DELTA])
    lengths, functions = sums[:, :2], sums[:, 2:4]
    weighted = METEOR_DELTA * (lengths - functions) + (1 - METEOR_DELTA) * functions
    with np.errstate(divide="ignore", invalid="ignore"):
        precision, recall = (matched / weighted).T
        mean = 1 / ((1 - METEOR_ALPHA) / precision + METEOR_ALPHA / recall)
        fragments = sums[:, 20] / sums[:, 21:23].mean(axis=1)
    score = mean * (1 - METEOR_GAMMA * fragments**METEOR_BETA)
    return np.where(np.isfinite(score), score, 0.0)
