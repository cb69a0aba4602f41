# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""A report of scores as Markdown tables, for cards and documents."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...utils.markup import plain_markdown
from ..bounds import RIGHT_TYPE


EMPTY = "No results are stored yet."
METRICS = ("bleu_4", "rouge_l", "cider")
# The total comes last: it moves most by which no-change sentence is said.
BLOCKS = ("changed", "unchanged", "total")
# Names as tables show them, where they say more than the names in the stored reports.
PARTS = {"change": "change with new value", "only": "fits the changed object and no other"}
ORACLE_NOTE = (
    "Oracles write with perfect knowledge of the scene: those that are 100 % correct differ in CIDEr by wording alone."
)
LABELS = {RIGHT_TYPE: "a random training caption of the same change type (the type is given)"}


def format_scores(scores: Mapping[str, Any] | None) -> str:
    """Format BLEU-4, ROUGE-L and CIDEr times 100 as one cell; a dash if there is no score."""
    return " / ".join(f"{100 * scores[key]:.1f}" for key in METRICS) if scores else "-"


def format_rate(value: float | None) -> str:
    """Format a share in percent, or a dash."""
    return "-" if value is None else f"{100 * value:.1f} %"


def format_correct(scores: Mapping[str, Any] | None) -> str:
    """Format the share of correct captions in percent, with its interval where there is one; or a dash."""
    if not scores or scores.get("correct") is None:
        return "-"
    ends = scores.get("intervals", {}).get("correct")
    interval = f" ({100 * ends[0]:.1f} to {100 * ends[1]:.1f})" if ends else ""
    return f"{100 * scores['correct']:.1f} %{interval}"


def format_parts(report: Mapping[str, Any]) -> str:
    """What is right about the captions of changed pairs, by the scenes, as one sentence."""
    parts = report["correctness"]["parts"]["changed"]
    rates = [
        f"{PARTS.get(name, name)} {format_rate(rate['right'])}" for name, rate in parts.items() if rate["captions"]
    ]
    return f"Right in the captions of changed pairs that have the part: {', '.join(rates)}."


def format_rates(report: Mapping[str, Any]) -> str:
    """How often captions name the right type of change, and how often they say "nothing changed", as two sentences."""
    rates, accuracy = report["no_change_rate"], report["change_type_accuracy"] or {}
    return (
        f"The captions name the right change type for {format_rate(accuracy.get('changed'))} of the changed pairs. "
        f'They say "nothing changed" for {format_rate(rates["changed"])} of the changed pairs (missed changes) and '
        f"{format_rate(rates['unchanged'])} of the unchanged pairs (correct)."
    )


def format_report(report: Mapping[str, Any], source: str) -> str:
    """Lay out one evaluation as Markdown.

    Args:
        report (`Mapping[str, Any]`): The JSON of `examples/evaluate.py`.
        source (`str`): The file it came from, as the reader finds it.

    Returns:
        `str`: A table over all, changed and unchanged pairs, a table by change type, and the lines that belong to
        them.
    """
    best = set(report["best_constant_baseline"].values())
    rows = [(f"**{plain_markdown(Path(report['model']).name)}**", report["scores"])]
    rows += [
        (f'the same, no change always told as "{plain_markdown(scores["caption"])}"', {"total": scores})
        for scores in (report["no_change_synonym"] or {}).values()
    ]
    rows += [
        (f"baseline: {LABELS.get(name) or plain_markdown(name)}", scores)
        for name, scores in report["baselines"].items()
        if name in best or not scores["caption"]
    ]
    rows += [(f"upper bound: {name}", scores) for name, scores in report["upper_bounds"].items()]
    blocks = ["| BLEU-4 / ROUGE-L / CIDEr, x 100 | changed | unchanged | all pairs |", "|---|---|---|---|"]
    judged = bool(report.get("correctness"))
    if judged:
        rows += [(f"oracle: {name}", scores) for name, scores in report["oracles"].items()]
        blocks = ["| BLEU-4 / ROUGE-L / CIDEr, x 100 | correct, changed | changed | unchanged | all pairs |"]
        blocks.append("|---|---|---|---|---|")
    for name, scores in rows:
        cells = [format_correct(scores.get("changed"))] if judged else []
        cells += [format_scores(scores.get(block)) for block in BLOCKS]
        blocks.append(f"| {name} | {' | '.join(cells)} |")
    types = _type_rows(report, judged)
    beams, pairs = report["decoding"]["num_beams"], report["scores"]["total"]["n_items"]
    source, split = " ".join(source.split()).replace("`", "'"), plain_markdown(str(report["split"]))
    facts = [
        f"Split {split}, {pairs} pairs, {beams} beam{'s' * (beams > 1)}, from `{source}`.",
        format_rates(report),
        f"Distinct captions: {report['distinct_captions']}.",
    ]
    if judged:
        unchanged = format_correct(report["scores"]["unchanged"])
        facts += [f"Unchanged right: {unchanged}.", format_parts(report), ORACLE_NOTE]
    return "\n".join([*blocks, "", *types, "", " ".join(facts)])


def _type_rows(report: Mapping[str, Any], judged: bool) -> list[str]:
    accuracy = report["change_type_accuracy"] or {}
    extra = ["correct"] if judged else []
    header = ["change", "pairs", *extra, "BLEU-4 / ROUGE-L / CIDEr", "type named right"]
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    for name, scores in report["scores"]["by_type"].items():
        right = format_rate(accuracy.get("by_type", {}).get(name))
        cells = [str(scores["n_items"]), *(format_correct(scores) for _ in extra), format_scores(scores), right]
        lines.append(f"| {plain_markdown(name)} | {' | '.join(cells)} |")
    return lines


def format_summary(report: Mapping[str, Any], source: str) -> str:
    """Lay out one evaluation as one short table, of the changed pairs.

    Args:
        report (`Mapping[str, Any]`): The JSON of `examples/evaluate.py`.
        source (`str`): The file it came from, as the reader finds it.

    Returns:
        `str`: The system, the best constant caption, captions of the right type and the references themselves; where
        scenes are known, the share of correct captions, and the oracles with the lowest and the highest CIDEr.
    """
    baselines = {
        "best constant caption": report["best_constant_baseline"].get("changed"),
        LABELS[RIGHT_TYPE]: RIGHT_TYPE,
    }
    rows = [(f"**{plain_markdown(Path(report['model']).name)}**", report["scores"])]
    rows += [(f"baseline: {name}", report["baselines"].get(key, {})) for name, key in baselines.items()]
    # Not called an upper bound here: a model can score higher than a single reference.
    rows += list(report["upper_bounds"].items())
    lines = ["| changed pairs, x 100 | BLEU-4 | ROUGE-L | CIDEr-D |", "|---|---:|---:|---:|"]
    judged = bool(report.get("correctness"))
    if judged:
        # The ends of the range say it all here.
        oracles = sorted(report["oracles"].items(), key=lambda item: item[1]["changed"]["cider"])
        rows += [(f"oracle: {name}", scores) for name, scores in (oracles[0], oracles[-1])]
        lines = ["| changed pairs, x 100 | correct | BLEU-4 | ROUGE-L | CIDEr-D |", "|---|---:|---:|---:|---:|"]
    for name, blocks in rows:
        if blocks.get("changed"):
            cells = [format_correct(blocks["changed"])] if judged else []
            cells.append(format_scores(blocks["changed"]).replace(" / ", " | "))
            lines.append(f"| {name} | {' | '.join(cells)} |")
    pairs, changed = (report["scores"][block]["n_items"] for block in ("total", "changed"))
    facts = (
        f"The table covers the {changed} changed pairs of {pairs} test pairs. {format_rates(report)} From `{source}`."
    )
    return "\n".join([*lines, "", f"{facts} {ORACLE_NOTE}" if judged else facts])


__all__ = ["EMPTY", "LABELS", "format_correct", "format_report", "format_summary"]
