# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""`compute_metrics` for Transformers' own trainers: the report over the whole collected set, as flat numbers."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from transformers import EvalPrediction

from .bounds import Row
from .change_captioning.scorer import default_scorer
from .clevr.correctness import CHANGE, ONLY, PARTS
from .report.build import build_report


IGNORED = -100
# Scores that an evaluation lacks where no caption has the part.
OPTIONAL = tuple(f"{name}_right" for name in PARTS if name not in {CHANGE, ONLY})
BATCHES = (
    "batch_eval_metrics would score batch by batch, and the mean of batches is no score of the set (CIDEr-D takes its "
    "document frequencies from all references); leave it False."
)


def report_metrics(report: Mapping[str, Any]) -> dict[str, float]:
    """Pick the numbers of a report that belong in a trainer's log.

    Args:
        report (`Mapping[str, Any]`): From `report.build_report`.

    Returns:
        `total_cider`, `changed_bleu_4` and so on, `no_change_on_changed`, `no_change_on_unchanged`,
        `distinct_captions`, `empty_predictions` and, where it was asked for, `change_type_accuracy`; where scenes are
        known `total_correct`, `changed_correct`, `unchanged_right` (unchanged pairs told as unchanged) and of the
        changed pairs `change_right`, `shape_right` and so on, of the captions that have the part. What is None is left
        out.
    """
    scores = {block: report["scores"][block] or {} for block in ("total", "changed", "unchanged")}
    found = {
        "distinct_captions": report["distinct_captions"],
        "empty_predictions": scores["total"]["empty_predictions"],
    }
    for block, values in scores.items():
        found |= {f"{block}_{name}": values.get(name) for name in ("bleu_4", "meteor", "rouge_l", "cider")}
    found |= {f"no_change_on_{name}": rate for name, rate in report["no_change_rate"].items()}
    found["change_type_accuracy"] = (report["change_type_accuracy"] or {}).get("changed")
    found |= {f"{block}_correct": scores[block].get("correct") for block in ("total", "changed")}
    found["unchanged_right"] = scores["unchanged"].get("correct")
    parts = (report.get("correctness") or {"parts": {"changed": {}}})["parts"]["changed"]
    found |= {f"{name}_right": rates["right"] for name, rates in parts.items()}
    return {name: value for name, value in found.items() if value is not None}


def keep_argmax(logits: Any, labels: Any = None) -> Any:
    """Keep token ids instead of logits, which would fill the memory; for `preprocess_logits_for_metrics`.

    Args:
        logits (`Any`): (batch, length, vocabulary), or a tuple of all outputs in which they are the first of this
            shape.
        labels (`Any`, *optional*): Not used.

    Returns:
        `Any`: (batch, length), the likeliest tokens.
    """
    return _first_of(logits, 3).argmax(dim=-1)


def _first_of(values: Any, *dimensions: int) -> Any:
    """Return the first output with as many dimensions: logits (3), ids (2)."""
    found = values if isinstance(values, tuple) else (values,)
    return next((value for value in found if getattr(value, "ndim", None) in dimensions), found[0])


def build_compute_metrics(
    processor: Any,
    rows: Sequence[Row],
    change_type_of: Callable[[str], str | None] | None = None,
    shifted: bool | None = None,
    language: str | None = None,
) -> Callable[..., dict[str, float]]:
    """Build a `compute_metrics` that scores all collected captions at once, without Java.

    With `Seq2SeqTrainer` and `predict_with_generate`, the predictions are generated captions. With `Trainer` they are
    logits (or their argmax, see `keep_argmax`) under teacher forcing: each word was predicted from the true words
    before it, so that these scores are no scores of captions; they come with `teacher_forced` 1.0.

    Args:
        processor (`Any`): A processor of this package (its default prompt is cut off), or a tokenizer or processor
            whose generated ids hold the caption alone.
        rows (`Sequence[Row]`): Records of the evaluation set with `pair_id`, `captions` and `change_type`, in its
            order, for example `report.light_rows(split)`.
        change_type_of (`Callable[[str], str | None]`, *optional*): Reads the change type off a caption.
        shifted (`bool`, *optional*): Teacher forcing alone: whether a position predicts the next one's label, as in
            decoder-only systems, or its own, as where labels are shifted inside the model. None: predictions were
            generated.
        language (`str`, *optional*): Of the captions, a code such as "zh"; guessed where their script has no blanks,
            see `change_captioning.scorer.default_scorer`.

    Returns:
        `Callable[..., dict[str, float]]`: A function of an `EvalPrediction`, with the numbers of `report_metrics`. It
        raises ValueError under `batch_eval_metrics`, for a number of predictions that is not the number of rows, and
        for logits where `shifted` is not given.
    """
    records = list(rows)

    def compute_metrics(prediction: EvalPrediction, compute_result: bool | None = None) -> dict[str, float]:
        if compute_result is not None:
            raise ValueError(BATCHES)
        ids = _token_ids(prediction, shifted)
        if len(ids) != len(records):
            raise ValueError(f"{len(ids)} predictions came for {len(records)} rows; give the rows of this set.")
        captions = _decode(processor, ids)
        said = {row["pair_id"]: text for row, text in zip(records, captions, strict=True)}
        scorer = default_scorer((text for row in records for text in row["captions"]), language)
        found = report_metrics(build_report(records, said, change_type_of=change_type_of, scorer=scorer))
        return found if shifted is None else {**found, "teacher_forced": 1.0}

    return compute_metrics


def _token_ids(prediction: EvalPrediction, shifted: bool | None) -> np.ndarray:
    """Return the ids (rows, length) of the captions, -100 elsewhere."""
    values = _first_of(prediction.predictions, 3, 2)
    if shifted is None:
        if np.ndim(values) != 2:
            raise ValueError(
                "The predictions are logits. Generate captions (Seq2SeqTrainer, predict_with_generate=True), or say "
                "how logits and labels are aligned (shifted=True or False)."
            )
        return np.asarray(values)
    ids = np.argmax(values, axis=-1) if np.ndim(values) == 3 else np.asarray(values)
    labels = np.asarray(prediction.label_ids)
    if ids.shape != labels.shape:
        raise ValueError(f"Predictions of shape {ids.shape} do not fit labels of shape {labels.shape}.")
    if shifted:
        ids, labels = ids[:, :-1], labels[:, 1:]
    return np.where(labels == IGNORED, IGNORED, ids)


def _decode(processor: Any, ids: np.ndarray) -> list[str]:
    if hasattr(processor, "post_process_captions"):
        return processor.post_process_captions(ids)
    tokenizer = getattr(processor, "tokenizer", processor)
    padding = tokenizer.pad_token_id or 0
    return tokenizer.batch_decode(np.where(ids < 0, padding, ids), skip_special_tokens=True)
