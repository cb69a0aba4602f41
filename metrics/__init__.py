# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Scores of captions by pair id, and the report that puts floors and ceilings beside them."""

from collections.abc import Iterable, Mapping
from typing import Any

from .change_captioning.scorer import score_lists


__all__ = ["score_captions"]


def score_captions(
    references: Mapping[Any, list[str]] | Iterable[tuple[Any, list[str]]],
    predictions: Mapping[Any, str] | Iterable[tuple[Any, str]],
    tokenize: bool = True,
    **options: Any,
) -> dict[str, Any]:
    """Scores one caption a pair against all captions of the pair, with the protocol of the published tables.

    Args:
        references: All captions of each pair, keyed by pair id (or a list of (id, captions)).
        predictions: One caption a pair, keyed alike.
        tokenize: False for captions that were tokenised before.
        **options: `tokenizer`, `meteor` and `spice`, as for `change_captioning.scorer.CaptionScorer`.

    Returns:
        What `change_captioning.scorer.score_lists` gives: `bleu_1` .. `bleu_4`, `meteor` (None without Java) and
        `rouge_l` in 0..1, `cider` in 0..10 (CIDEr-D), counts, tokenizer, Java and versions.

    Raises:
        ValueError: If an id is missing, unknown or given twice, or a pair has no reference; the error names the ids.
        RuntimeError: If Java is asked for and missing, fails or takes too long.
        ImportError: If pycocoevalcap or nltk is missing.
    """
    references = by_id(references, "references")
    predictions = by_id(predictions, "predictions")
    check_ids(references, predictions)
    names = [f"pair {name!r}" for name in references]
    return score_lists(
        [predictions[name] for name in references], list(references.values()), tokenize, names, **options
    )


def by_id(items: Mapping[Any, Any] | Iterable[tuple[Any, Any]], what: str) -> dict[Any, Any]:
    """Makes a dictionary of (id, value) pairs and refuses ids given twice.

    Args:
        items: A mapping, or pairs.
        what: The name of the items in the error.

    Returns:
        The items by id, in their order.

    Raises:
        ValueError: If an id comes twice.
    """
    if isinstance(items, Mapping):
        return dict(items)
    pairs = list(items)
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[Any] = set()
        twice = [name for name, _ in pairs if name in seen or seen.add(name)]
        raise ValueError(f"The {what} hold ids twice: {_first(twice)}.")
    return found


def check_ids(references: Mapping[Any, Any], predictions: Mapping[Any, Any]) -> None:
    """Demands one prediction for each pair and none for any other.

    Args:
        references: Anything keyed by pair id.
        predictions: Anything keyed by pair id.

    Raises:
        ValueError: If ids are missing or unknown; the error names them.
    """
    missing = [name for name in references if name not in predictions]
    unknown = [name for name in predictions if name not in references]
    if missing:
        raise ValueError(f"Predictions are missing for {len(missing)} of {len(references)} pairs: {_first(missing)}.")
    if unknown:
        raise ValueError(f"Predictions were given for {len(unknown)} unknown pairs: {_first(unknown)}.")


def _first(names: list[Any], limit: int = 5) -> str:
    return ", ".join(repr(name) for name in names[:limit]) + (", ..." if len(names) > limit else "")
