# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Bootstrap intervals and paired comparisons: how far scores would move on other pairs of the same kind."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..utils.pair_ids import by_id, check_ids
from .bounds import Row, count_captions
from .change_captioning.scorer import CaptionScorer, default_scorer
from .clevr.correctness import build_judges
from .corpus import ItemStatistics, ReferenceCorpus


DRAWS = 1000
LEVEL = 0.95
CHUNK = 100
RESAMPLED = "pairs, with replacement; CIDEr-D keeps the document frequencies of the whole block"


def describe_bootstrap(draws: int = DRAWS) -> dict[str, Any]:
    """Describe what the intervals mean.

    Args:
        draws (`int`, *optional*, defaults to `DRAWS`): Number of sets drawn.

    Returns:
        `draws`, `level` and what is `resampled`.
    """
    return {"draws": draws, "level": LEVEL, "resampled": RESAMPLED}


def draw_weights(items: int, draws: int, seed: int) -> Iterator[np.ndarray]:
    """Draw sets of items with replacement.

    Args:
        items (`int`): Size of the set, and of each drawn one.
        draws (`int`): Number of sets.
        seed (`int`): Seed of the draws; equal seeds draw the same pairs for every system.

    Yields:
        `np.ndarray`: (up to 100, items), how often each item was drawn.
    """
    generator = np.random.default_rng(seed)
    for start in range(0, draws, CHUNK):
        rows = min(CHUNK, draws - start)
        picks = generator.integers(items, size=(rows, items)) + items * np.arange(rows)[:, None]
        yield np.bincount(picks.ravel(), minlength=rows * items).reshape(rows, items).astype(np.float64)


def resample(statistics: ItemStatistics, draws: int = DRAWS, seed: int = 0) -> dict[str, np.ndarray]:
    """Score randomly drawn sets of items.

    Args:
        statistics (`ItemStatistics`): Statistics of each item.
        draws (`int`, *optional*, defaults to `DRAWS`): Number of sets.
        seed (`int`, *optional*, defaults to `0`): Seed of the draws.

    Returns:
        `dict[str, np.ndarray]`: {metric: (draws,)}.
    """
    parts = [statistics.scores(weights) for weights in draw_weights(len(statistics.rouge_l), draws, seed)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def intervals(statistics: ItemStatistics, draws: int = DRAWS, seed: int = 0) -> dict[str, list[float]]:
    """Compute the percentile interval of every score.

    Args:
        statistics (`ItemStatistics`): Statistics of each item.
        draws (`int`, *optional*, defaults to `DRAWS`): Number of sets.
        seed (`int`, *optional*, defaults to `0`): Seed of the draws.

    Returns:
        `dict[str, list[float]]`: {metric: [low, high]} at 95 %.
    """
    return {name: _interval(values) for name, values in resample(statistics, draws, seed).items()}


def rate_interval(hits: np.ndarray, items: np.ndarray, draws: int = DRAWS, seed: int = 0) -> list[float]:
    """Compute the percentile interval of a share of some of the items.

    Args:
        hits (`np.ndarray`): (items,), 1 where the share counts the item, else 0.
        items (`np.ndarray`): (items,), 1 where the item is one of those that the share is of, else 0.
        draws (`int`, *optional*, defaults to `DRAWS`): Number of sets.
        seed (`int`, *optional*, defaults to `0`): Seed of the draws.

    Returns:
        `list[float]`: [low, high] at 95 %, over the draws that have such an item.
    """
    weights = np.concatenate(list(draw_weights(len(items), draws, seed)))
    of = weights @ items
    return _interval((weights @ hits)[of > 0] / of[of > 0])


def _interval(values: np.ndarray) -> list[float]:
    return np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()


def compare_statistics(
    ours: ItemStatistics, theirs: ItemStatistics, draws: int = DRAWS, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Compare two systems on the same drawn pairs by the paired bootstrap (Koehn, 2004).

    Args:
        ours (`ItemStatistics`): Statistics of one system.
        theirs (`ItemStatistics`): Statistics of another, over the same items in the same order.
        draws (`int`, *optional*, defaults to `DRAWS`): Number of sets.
        seed (`int`, *optional*, defaults to `0`): Seed of the draws.

    Returns:
        `dict[str, dict[str, Any]]`: {metric: {"ours", "theirs", "difference", "interval", "p"}}; `p` is twice the
        smaller share of the draws in which the difference is at most, or at least, zero.
    """
    scores, others = ours.scores(), theirs.scores()
    drawn, drawn_others = resample(ours, draws, seed), resample(theirs, draws, seed)
    found = {}
    for name in scores.keys() & others.keys():
        differences = drawn[name] - drawn_others[name]
        # The observed set counts as one of the draws, so that no p is zero.
        share = (1 + min(np.sum(differences <= 0), np.sum(differences >= 0))) / (1 + draws)
        found[name] = {
            "ours": float(scores[name][0]),
            "theirs": float(others[name][0]),
            "difference": float(scores[name][0] - others[name][0]),
            "interval": _interval(differences),
            "p": float(min(1.0, 2 * share)),
        }
    return {name: found[name] for name in scores if name in found}


def compare_systems(
    rows: Sequence[Row],
    ours: dict[str, str],
    theirs: dict[str, str],
    scorer: CaptionScorer | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Any]:
    """Compare the captions of two systems on the same pairs, over all of them and over the changed ones.

    Args:
        rows (`Sequence[Row]`): Records of the split with `pair_id`, `captions` and `change_type`; with their scenes
            (`clevr.scenes.add_scenes`), the share of correct captions is compared too.
        ours (`dict[str, str]`): Captions of one system, by pair id.
        theirs (`dict[str, str]`): Captions of another.
        scorer (`CaptionScorer`, *optional*): Tokenizer and metrics; by default those that need no Java, see
            `default_scorer`.
        draws (`int`, *optional*, defaults to `DRAWS`): Number of sets.
        seed (`int`, *optional*, defaults to `0`): Seed of the draws.

    Returns:
        `dict[str, Any]`: {"total": see `compare_statistics`, "changed": the same or None, "bootstrap": see
        `describe_bootstrap`}.

    Raises:
        ValueError: If a pair has no caption, or a caption no pair.
    """
    scorer = scorer or default_scorer(text for row in rows for text in row["captions"])
    by_pair = by_id(((row["pair_id"], row) for row in rows), "rows")
    for captions in (ours, theirs):
        check_ids(by_pair, captions)
    tokens = scorer.tokenize([*ours.values(), *theirs.values(), *(text for row in rows for text in row["captions"])])
    blocks = {"total": list(rows), "changed": [row for row in rows if row["change_type"] not in {None, "none"}]}
    found: dict[str, Any] = {"bootstrap": describe_bootstrap(draws)}
    for name, kept in blocks.items():
        corpus = _corpus_of(kept, tokens) if kept else None
        found[name] = corpus and compare_statistics(
            *(
                corpus.statistics([tokens[captions[row["pair_id"]]] for row in kept], scorer.meteor)
                for captions in (ours, theirs)
            ),
            draws,
            seed,
        )
    return found


def _corpus_of(rows: Sequence[Row], tokens: Mapping[str, str]) -> ReferenceCorpus:
    table = [{**row, "captions": [tokens[text] for text in row["captions"]]} for row in rows]
    known = count_captions(table, unchanged_only=True)
    return ReferenceCorpus([row["captions"] for row in table], build_judges(table, known))
