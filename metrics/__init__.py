# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Scores of captions by pair id, and the report that puts baselines and upper bounds beside them."""

from collections.abc import Iterable, Mapping
from typing import Any

from ..utils.pair_ids import by_id, check_ids
from .change_captioning.scorer import score_lists


__all__ = ["score_captions"]


def score_captions(
    references: Mapping[Any, list[str]] | Iterable[tuple[Any, list[str]]],
    predictions: Mapping[Any, str] | Iterable[tuple[Any, str]],
    tokenize: bool = True,
    **options: Any,
) -> dict[str, Any]:
    """Score one caption a pair against all captions of the pair, with the protocol of the published tables.

    Args:
        references (`Mapping[Any, list[str]]` or `Iterable[tuple[Any, list[str]]]`): All captions of each pair, keyed
            by pair id (or a list of (id, captions)).
        predictions (`Mapping[Any, str]` or `Iterable[tuple[Any, str]]`): One caption a pair, keyed alike.
        tokenize (`bool`, *optional*, defaults to `True`): False for captions that were tokenized before.
        **options (`Any`, *optional*): `tokenizer`, `meteor` and `spice`, as for
            `change_captioning.scorer.CaptionScorer`.

    Returns:
        `dict[str, Any]`: What `change_captioning.scorer.score_lists` gives: `bleu_1` .. `bleu_4`, `meteor` (None
        without Java) and `rouge_l` in 0..1, `cider` in 0..10 (CIDEr-D), counts, tokenizer, Java and versions.

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
