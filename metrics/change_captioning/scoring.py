# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""BLEU, ROUGE-L and CIDEr-D over one collected set of captions, by pycocoevalcap's own scorers."""

from collections.abc import Sequence

from .text import TOKENIZER_NAME, clean_caption, tokenize_caption


METEOR_REASON = "METEOR is not part of this version of the metric."


def normalize_caption(text: str, tokenize: bool = True) -> str:
    """Gives the form of a caption that is scored and compared: cleaned, then tokenised.

    Args:
        text: A raw caption.
        tokenize: False keeps the words of a text that was tokenised before, and only cleans it.

    Returns:
        Tokens joined by single blanks.
    """
    cleaned = clean_caption(text)[0]
    return tokenize_caption(cleaned) if tokenize else cleaned


def score_lists(
    predictions: Sequence[str],
    references: Sequence[Sequence[str]],
    tokenize: bool = True,
    names: Sequence[str] | None = None,
) -> dict[str, float | int | str | None]:
    """Scores one caption an item against the references of the item, once over the whole set.

    Never average over batches: CIDEr's document frequencies come from the references of the set that is scored.

    Args:
        predictions: One caption an item.
        references: At least one caption an item.
        tokenize: False for captions that were tokenised before.
        names: What to call the items in errors; by default their indices.

    Returns:
        `bleu_1` .. `bleu_4` and `rouge_l` in 0..1, `cider` in 0..10 (CIDEr-D), `meteor` (None, see `meteor_reason`),
        and what was scored: `n_items`, `n_references`, `tokenizer`, `empty_predictions`, `empty_references`,
        `special_tokens` (taken out of the predictions).

    Raises:
        ValueError: If the lists disagree in length, are empty, or an item has no caption or no reference.
    """
    check_lists(predictions, references, names or [f"index {index}" for index in range(len(predictions))])
    hypotheses = [normalize_caption(text, tokenize) for text in predictions]
    targets = [[normalize_caption(text, tokenize) for text in item] for item in references]
    return {
        **score_tokenized(hypotheses, targets),
        **count_items(hypotheses, targets),
        "tokenizer": TOKENIZER_NAME if tokenize else "none",
        "special_tokens": sum(clean_caption(text)[1] for text in predictions),
    }


def check_lists(predictions: Sequence[str], references: Sequence[Sequence[str]], names: Sequence[str]) -> None:
    """Refuses input that cannot be scored.

    Args:
        predictions: One caption an item.
        references: The references of each item.
        names: What to call the items in errors.

    Raises:
        ValueError: See `score_lists`.
    """
    if len(predictions) != len(references):
        raise ValueError(f"{len(predictions)} predictions, but references for {len(references)} items.")
    if not predictions:
        raise ValueError("There is nothing to score: no predictions.")
    for name, prediction, item in zip(names, predictions, references, strict=True):
        if not isinstance(prediction, str):
            raise ValueError(f"The prediction of {name} is not a string: {prediction!r}.")
        if isinstance(item, str) or not all(isinstance(reference, str) for reference in item):
            raise ValueError(f"The references of {name} are not a list of strings: {item!r}.")
        if not item:
            raise ValueError(f"The list of references of {name} is empty: every item needs at least one.")


def count_items(hypotheses: Sequence[str], targets: Sequence[Sequence[str]]) -> dict[str, int]:
    """Counts what was scored.

    Args:
        hypotheses: One tokenised caption an item.
        targets: The tokenised references of each item.

    Returns:
        `n_items`, `n_references`, `empty_predictions` and `empty_references`.
    """
    return {
        "n_items": len(targets),
        "n_references": sum(len(item) for item in targets),
        "empty_predictions": sum(not text for text in hypotheses),
        "empty_references": sum(not text for item in targets for text in item),
    }


def score_tokenized(hypotheses: Sequence[str], targets: Sequence[Sequence[str]]) -> dict[str, float | str | None]:
    """Runs pycocoevalcap's BLEU, ROUGE-L and CIDEr-D one by one; its all-in-one evaluator goes to the network.

    Args:
        hypotheses: One tokenised caption an item.
        targets: The tokenised references of each item.

    Returns:
        The scores of `score_lists`.

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
    return assemble_scores(bleu, rouge_sum / len(hypotheses), cider)


def assemble_scores(bleu: Sequence[float], rouge_l: float, cider: float) -> dict[str, float | str | None]:
    """Names the scores.

    Args:
        bleu: BLEU-1 to BLEU-4.
        rouge_l: ROUGE-L.
        cider: CIDEr-D.

    Returns:
        The scores of `score_lists`.
    """
    return {
        **{f"bleu_{order}": float(value) for order, value in enumerate(bleu, start=1)},
        "meteor": None,
        "meteor_reason": METEOR_REASON,
        "rouge_l": float(rouge_l),
        "cider": float(cider),
    }
