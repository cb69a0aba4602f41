# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Which score chooses the best checkpoint: one that the pairs can have; and what to say if it never moves."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..data.schema import NO_CHANGE
from ..metrics.bounds import Row
from ..metrics.report.build import TIE, build_report, light_rows
from ..metrics.trainer_metrics import OPTIONAL, report_metrics
from .arguments import AUTO_METRIC


PREFIX = "eval"
# Best first. Correctness needs the scenes of the pairs. CIDEr compares pairs with each other, so a lone pair has none;
# ROUGE-L scores it by itself.
PREFERRED = ("changed_correct", "changed_cider", "total_cider", "total_rouge_l")
# Pairs of every type that tell which scores there are; a report on thousands of pairs takes minutes.
SAMPLE = 4
SPEEDS = ("runtime", "samples_per_second")
REASONS = {
    "loss": "evaluation generates captions and computes no loss",
    "meteor": "METEOR needs Java and is not computed in training",
    "correct": "the scenes of the pairs are not known",
    "_right": "the scenes of the pairs are not known, or an evaluation may have no caption that tells of it",
    "unchanged": "none of the pairs is known to be unchanged",
    "changed": "of none of the pairs a type of change is known",
}


@dataclass
class Selection:
    """The score that chooses the best checkpoint, and what the evaluations said of its pairs.

    Args:
        prefix (`str`): Of the set's scores, `eval` or `eval_NAME`.
        name (`str`): Of the score, without the prefix.
        reachable (`float`): What captions copied from the references of some pairs score; 0 for CIDEr holds for all.
        pairs (`int`): Pairs of the set.
        captions (`dict[str, str]`, *optional*): What the last evaluation said.
        captions_moved (`bool`): Whether an evaluation said something else than the one before.
    """

    prefix: str
    name: str
    reachable: float
    pairs: int
    captions: dict[str, str] | None = None
    captions_moved: bool = False

    @property
    def metric(self) -> str:
        """Name of the score in the log."""
        return f"{self.prefix}_{self.name}"

    @property
    def is_still(self) -> bool:
        """Whether the score is 0 whatever is said of these pairs."""
        return self.name.endswith("cider") and self.reachable <= 0

    def describe_still(self) -> str:
        """Tell why the score can only be 0."""
        pairs = "1 pair" if self.pairs == 1 else f"{self.pairs} pairs"
        return (
            f"over {pairs} even captions copied from the references score 0, since CIDEr counts only words that not "
            "every pair has. Evaluate on more pairs that differ, or choose another score, such as "
            f"{self.prefix}_total_rouge_l."
        )

    def note_captions(self, prefix: str, captions: dict[str, str]) -> None:
        """Compare an evaluation's captions with those before, if they are of this set."""
        if prefix == self.prefix:
            self.captions_moved |= self.captions not in (None, captions)
            self.captions = captions

    def explain_still(self, log: Sequence[Mapping[str, Any]]) -> str | None:
        """Tell that the score never moved, and why.

        Args:
            log (`Sequence[Mapping[str, Any]]`): The run's log.

        Returns:
            `str`: One sentence or two; None where it moved, or was measured less than twice.
        """
        found = [entry for entry in log if self.metric in entry]
        values = [entry[self.metric] for entry in found]
        if len(found) < 2 or not is_tie(min(values), max(values)):
            return None
        if self.is_still:
            cause = self.describe_still()
        elif all(entry.get(f"{self.prefix}_empty_predictions") == self.pairs for entry in found):
            cause = "every caption was empty. Train longer, or with another learning rate."
        elif not self.captions_moved:
            cause = (
                "no caption changed from one evaluation to the next. Train longer, raise the learning rate, or see "
                "whether what trains can change captions."
            )
        elif all(entry.get(f"{self.prefix}_distinct_captions") == 1 for entry in found):
            cause = "every pair got the same caption. Train longer, or with another learning rate."
        elif is_tie(max(values), 0.0) and self.name.endswith("correct"):
            cause = (
                f"no caption was correct. Train longer, or choose another score, such as {self.prefix}_changed_cider."
            )
        elif is_tie(max(values), 0.0):
            cause = "no caption had enough in common with its references. Train longer, or choose another score."
        else:
            cause = (
                "the captions changed, but not what this score counts. Evaluate on more pairs, or choose another "
                "score."
            )
        return (
            f"{self.metric} was {max(values):.4f} at all {len(found)} evaluations, so the last step counts as the "
            f"best: {cause}"
        )


def reachable_scores(
    rows: Any, train_rows: Any = None, change_type_of: Callable[[str], str | None] | None = None
) -> dict[str, float]:
    """The scores that an evaluation of these pairs gives, by name.

    Args:
        rows (`datasets.Dataset`): The pairs.
        train_rows (`datasets.Dataset`, *optional*): The training split, as the evaluation knows it.
        change_type_of (`Callable`, *optional*): As the evaluation has it.

    Returns:
        `dict[str, float]`: What captions copied from the references score, over some pairs of every type. A CIDEr
        above 0 there is above 0 over all pairs, and one of 0 is that of all.
    """
    table = light_rows(rows)
    # A caption of an unchanged pair is all that the names of the scores take from the training split.
    types = list(train_rows["change_type"]) if train_rows is not None else []
    known = light_rows(train_rows.select([types.index(NO_CHANGE)])) if NO_CHANGE in types else None
    taken: Counter[str | None] = Counter()
    sample = []
    for row in table:
        taken[row["change_type"]] += 1
        if taken[row["change_type"]] <= SAMPLE:
            sample.append(row)
    scores = _scores_of_references(sample, known, change_type_of)
    if any(name.endswith("cider") and value <= 0 for name, value in scores.items()):
        scores = _scores_of_references(table, known, change_type_of)
    return {name: value for name, value in scores.items() if name not in OPTIONAL} | dict.fromkeys(SPEEDS, 0.0)


def _scores_of_references(
    table: Sequence[Row], known: Sequence[Row] | None, change_type_of: Callable[[str], str | None] | None
) -> dict[str, float]:
    said = {row["pair_id"]: row["captions"][0] for row in table}
    return report_metrics(build_report(table, said, known, change_type_of, all_constants=False))


def choose_metric(wanted: str, sets: Mapping[str, tuple[int, Mapping[str, float]]]) -> Selection:
    """The score that chooses the best checkpoint.

    Args:
        wanted (`str`): `metric_for_best_model`; `auto` takes the first of `PREFERRED` that the first set has and that
            can be above 0.
        sets (`Mapping[str, tuple[int, Mapping[str, float]]]`): Pairs and `reachable_scores` of every set, by prefix.

    Returns:
        `Selection`: The score.

    Raises:
        ValueError: No set has such a score; the error names those there are.
    """
    names = {f"{prefix}_{name}": (prefix, name) for prefix, (_, scores) in sets.items() for name in scores}
    if wanted == AUTO_METRIC:
        prefix, (_, scores) = next(iter(sets.items()))
        chosen = next((name for name in PREFERRED if scores.get(name, 0) > 0), PREFERRED[-1])
        wanted = f"{prefix}_{chosen}"
    full = wanted if wanted.startswith(f"{PREFIX}_") else f"{PREFIX}_{wanted}"
    if full not in names:
        reason = next((text for part, text in REASONS.items() if part in full), "there is no such score")
        raise ValueError(
            f"`metric_for_best_model` {full!r} cannot be: {reason}. Leave it at {AUTO_METRIC!r}, or choose one of "
            f"{', '.join(sorted(names))}."
        )
    prefix, name = names[full]
    pairs, scores = sets[prefix]
    return Selection(prefix, name, scores[name], pairs)


def is_tie(one: float, other: float) -> bool:
    """Whether two scores are equal but for noise; BLEU without a match, for one, is not quite 0."""
    return abs(one - other) <= TIE


__all__ = ["PREFERRED", "Selection", "choose_metric", "is_tie", "reachable_scores"]
