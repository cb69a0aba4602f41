# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""BLEU, ROUGE-L and CIDEr-D over one collected set of captions, by pycocoevalcap's own scorers."""

from collections.abc import Sequence


def check_lists(predictions: Sequence[str], references: Sequence[Sequence[str]], names: Sequence[str]) -> None:
    """Raise an error for input that cannot be scored.

    Args:
        predictions (`Sequence[str]`): One caption an item.
        references (`Sequence[Sequence[str]]`): The references of each item.
        names (`Sequence[str]`): What to call the items in errors.

    Raises:
        ValueError: If the lists disagree in length, are empty, or an item has no caption or no reference.
    """
    if len(predictions) != len(references):
        raise ValueError(f"{len(predictions)} predictions, but references for {len(references)} items.")
    if not predictions:
        raise ValueError("There is nothing to score: no predictions.")
    for name, prediction, item in zip(names, predictions, references, strict=True):
        if not isinstance(prediction, str):
            raise ValueError(f"The prediction of {name} is not a string: {prediction!r}.")
        if not isinstance(item, (list, tuple)) or not all(isinstance(reference, str) for reference in item):
            raise ValueError(f"The references of {name} are not a list of strings: {item!r}.")
        if not item:
            raise ValueError(f"The list of references of {name} is empty: every item needs at least one.")


def count_items(hypotheses: Sequence[str], targets: Sequence[Sequence[str]]) -> dict[str, int]:
    """Count items, references and empty captions.

    Args:
        hypotheses (`Sequence[str]`): One tokenized caption an item.
        targets (`Sequence[Sequence[str]]`): The tokenized references of each item.

    Returns:
        `n_items`, `n_references`, `empty_predictions` and `empty_references`.
    """
    return {
        "n_items": len(targets),
        "n_references": sum(len(item) for item in targets),
        "empty_predictions": sum(not text for text in hypotheses),
        "empty_references": sum(not text for item in targets for text in item),
    }


def score_tokenized(hypotheses: Sequence[str], targets: Sequence[Sequence[str]]) -> dict[str, float]:
    """Run pycocoevalcap's BLEU, ROUGE-L and CIDEr-D one by one; its all-in-one evaluator goes to the network.

    Args:
        hypotheses (`Sequence[str]`): One tokenized caption an item.
        targets (`Sequence[Sequence[str]]`): The tokenized references of each item.

    Returns:
        `bleu_1` .. `bleu_4` and `rouge_l` in 0..1, `cider` in 0..10.

    Raises:
        ImportError: If pycocoevalcap is missing.
    """
    try:
        from pycocoevalcap.bleu.bleu import Bleu
        from pycocoevalcap.cider.cider import Cider
        from pycocoevalcap.rouge.rouge import Rouge
    except ImportError as error:
        raise ImportError('Captions are scored by pycocoevalcap: pip install "ssgpa[eval]".') from error
    results = {index: [text] for index, text in enumerate(hypotheses)}
    truths = {index: list(item) for index, item in enumerate(targets)}
    bleu, _ = Bleu(4).compute_score(truths, results, verbose=0)
    _, rouge = Rouge().compute_score(truths, results)
    # Its ROUGE gives 1 to an empty caption beside an empty reference; its CIDEr fails where no reference has a word.
    rouge_sum = sum(value for value, text in zip(rouge.tolist(), hypotheses, strict=True) if text)
    has_words = any(text for item in targets for text in item)
    cider = Cider().compute_score(truths, results)[0] if has_words else 0.0
    return {
        **{f"bleu_{order}": float(value) for order, value in enumerate(bleu, start=1)},
        "rouge_l": rouge_sum / len(hypotheses),
        "cider": float(cider),
    }
