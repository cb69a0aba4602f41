# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""How good a confidence is: which captions are right, the reliability curve, and what it tells apart."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..data.decoding import load_pair, undecoded
from ..data.schema import RETRIEVED, SIDES
from ..evidence_ssgpa import EVIDENCE
from ..trust_ssgpa import Trust
from .bounds import Row, count_captions
from .change_captioning.scorer import CaptionScorer
from .clevr.correctness import build_judges
from .corpus import ReferenceCorpus


BINS = 10
BY_SCENE = "correct by the rendered scene: the change that happened, and the changed object and no other"
BY_CIDER = (
    "of a CIDEr-D of {least:g} or more (0 to 10) against the pair's references; of an unchanged pair, one of the "
    "sentences that the references say of unchanged pairs"
)
# Of CIDEr-D, 0 to 10: where scenes are not known, captions from here on count as right.
LEAST_CIDER = 1.0


class Examined(NamedTuple):
    """What a checkpoint says of the rows of a split.

    Attributes:
        captions (`dict[str, str]`): By pair id.
        evidence (`torch.Tensor` of shape `(pairs, 7)`): In the order of `EVIDENCE`.
        statistics (`torch.Tensor` of shape `(pairs, width)`): Of the images, for `Familiarity`.
    """

    captions: dict[str, str]
    evidence: Tensor
    statistics: Tensor


def examine_rows(pipe: Any, rows: Any, batch_size: int, **decoding: Any) -> Examined:
    """Caption the pairs of a prepared split, and collect what tells of them.

    Args:
        pipe (`ChangeCaptioningPipeline`): The checkpoint.
        rows (`datasets.Dataset`): The split.
        batch_size (`int`): Pairs that go through the model together.
        **decoding (`Any`, *optional*): Arguments of `generate`.
    """
    names = (*SIDES, RETRIEVED) if pipe.model.config.reads_retrieved else SIDES
    pairs = (
        dict(zip(names, (*load_pair(row, pipe.processor), row.get(RETRIEVED)), strict=False))
        for row in undecoded(rows)
    )
    found = list(tqdm(pipe.examine(pairs, batch_size, **decoding), total=len(rows), unit="pair"))
    captions = dict(zip(rows["pair_id"], (one["generated_text"] for one in found), strict=True))
    return Examined(captions, *(torch.stack([one[name] for one in found]) for name in ("evidence", "statistics")))


def right_captions(
    rows: Sequence[Row], captions: Mapping[str, str], scorer: CaptionScorer, least: float | None = None
) -> tuple[np.ndarray, str]:
    """Judge captions.

    Args:
        rows (`Sequence[Row]`): Records of the split, with their scenes where they are known.
        captions (`Mapping[str, str]`): One caption a pair, by pair id.
        scorer (`CaptionScorer`): Its tokenizer is used.
        least (`float`, *optional*): Judge by this CIDEr-D, also where scenes are known.

    Returns:
        `tuple[np.ndarray, str]`: (rows,), 1 for a right caption, else 0; and what counted as right, in words.
    """
    said = [captions[row["pair_id"]] for row in rows]
    tokens = scorer.tokenize([*said, *(text for row in rows for text in row["captions"])])
    table = [{**row, "captions": [tokens[text] for text in row["captions"]]} for row in rows]
    known = set(count_captions(table, unchanged_only=True))
    judges = build_judges(table, known) if least is None else None
    corpus = ReferenceCorpus([row["captions"] for row in table], judges)
    found = corpus.statistics([tokens[text] for text in said])
    if judges is not None:
        return found.correct.astype(float), BY_SCENE
    least = LEAST_CIDER if least is None else least
    unchanged = np.array([row["change_type"] == "none" for row in table])
    says_so = np.array([tokens[text] in known for text in said])
    return np.where(unchanged, says_so, found.cider >= least).astype(float), BY_CIDER.format(least=least)


def auroc(scores: Sequence[float], positive: Sequence[float]) -> float | None:
    """How often a positive has a higher score than a negative, ties counted half.

    Args:
        scores (`Sequence[float]`): One an item.
        positive (`Sequence[float]`): 1 for positives, 0 for negatives.

    Returns:
        `float`: From 0 to 1; None where one kind is missing.
    """
    scores, positive = np.asarray(scores, dtype=float), np.asarray(positive) > 0
    high, low = np.sort(scores[positive]), scores[~positive]
    if not len(high) or not len(low):
        return None
    above = len(high) - np.searchsorted(high, low, side="right")
    equal = len(high) - np.searchsorted(high, low, side="left") - above
    return float((above + equal / 2).sum() / (len(high) * len(low)))


def reliability(chances: Sequence[float], right: Sequence[float], bins: int = BINS) -> dict[str, Any]:
    """Compare confidence with what came true.

    Args:
        chances (`Sequence[float]`): Confidence of each caption.
        right (`Sequence[float]`): 1 where it is right, else 0.
        bins (`int`, *optional*, defaults to 10): Groups of equal size, from the least confident on.

    Returns:
        `dict[str, Any]`: `captions`, `right` (share), `confidence` (mean), `ece` (expected calibration error: the mean
        gap of the groups, weighted by their size), `brier`, `auroc` (of right captions against wrong ones), and
        `curve`, a list of groups with `captions`, `confidence` and `right`.
    """
    chances, right = np.asarray(chances, dtype=float), np.asarray(right, dtype=float)
    groups = [group for group in np.array_split(np.argsort(chances, kind="stable"), bins) if len(group)]
    curve = [
        {"captions": len(group), "confidence": float(chances[group].mean()), "right": float(right[group].mean())}
        for group in groups
    ]
    gaps = [group["captions"] * abs(group["confidence"] - group["right"]) for group in curve]
    return {
        "captions": len(chances),
        "right": float(right.mean()),
        "confidence": float(chances.mean()),
        "ece": float(sum(gaps) / len(chances)),
        "brier": float(((chances - right) ** 2).mean()),
        "auroc": auroc(chances, right),
        "curve": curve,
    }


def cross_validated(
    fit: Callable[[np.ndarray], Callable[[int], float]], count: int, folds: int = 5, seed: int = 0
) -> np.ndarray:
    """Confidence of each caption by a fit that has not seen it.

    Args:
        fit (`Callable[[np.ndarray], Callable[[int], float]]`): Fits on the captions of these numbers; what it returns
            gives a caption's confidence by its number.
        count (`int`): Number of captions.
        folds (`int`, *optional*, defaults to 5): Parts.
        seed (`int`, *optional*, defaults to 0): Of the parts.

    Returns:
        `np.ndarray` of shape `(count,)`: The confidences.
    """
    order = np.random.default_rng(seed).permutation(count)
    chances = np.zeros(count)
    for fold in range(folds):
        held = order[fold::folds]
        chance = fit(np.setdiff1d(order, held))
        chances[held] = [chance(number) for number in held]
    return chances


def describe_trust(
    trust: Trust, evidence: Tensor, statistics: Tensor, right: np.ndarray, words: str
) -> dict[str, Any]:
    """Hold a checkpoint's confidence against captions that it was not fitted on.

    Args:
        trust (`Trust`): The calibration.
        evidence (`torch.Tensor` of shape `(captions, 7)`): What `ChangeCaptioningPipeline.examine` gave.
        statistics (`torch.Tensor` of shape `(captions, width)`): Likewise.
        right (`np.ndarray` of shape `(captions,)`): 1 where a caption is right, else 0.
        words (`str`): What counted as right.

    Returns:
        `dict[str, Any]`: What `reliability` gives, `right_means` and `familiar`, the share of familiar pairs.
    """
    distances = trust.familiarity.distance(statistics)
    evidence = evidence.clone()
    evidence[:, EVIDENCE.index("distance")] = distances.clamp(min=1e-6).log().float()
    chances = [trust.confidence.chance(dict(zip(EVIDENCE, row, strict=True))) for row in evidence.tolist()]
    familiar = (distances <= trust.familiarity.threshold).double().mean().item()
    return {"right_means": words, **reliability(chances, right), "familiar": familiar}


__all__ = [
    "Examined",
    "auroc",
    "cross_validated",
    "describe_trust",
    "examine_rows",
    "reliability",
    "right_captions",
]
