# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The table of all systems on the same work, from `comparison.json`."""

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from ssgpa.benchmarks.tables.learning_table import best_constant
from ssgpa.metrics.report.markdown import format_correct, format_rate


COLUMNS = (
    "system",
    "correct, changed pairs (95 %)",
    "against the first",
    "type named right",
    "unchanged right",
    "CIDEr-D, changed pairs",
    "parameters",
    "GFLOPs a pair",
    "memory of a step",
    "pairs/s",
    "minutes",
)


def format_comparison(records: Mapping[str, Any], source: str) -> str:
    """A row a system, best first, what the rows were measured on, and which runs have learned nothing.

    Args:
        records (`Mapping[str, Any]`): The JSON of `benchmarks/run.py`.
        source (`str`): The file it came from, as the reader finds it.

    Returns:
        `str`: Markdown. Systems none of whose seeds has left the constant baselines are told below the table.
    """
    systems: dict[str, list[Mapping[str, Any]]] = {}
    for record in records.values():
        systems.setdefault(record["system"], []).append(record)
    learned = {name: runs for name, runs in systems.items() if any(run["has_left_baselines"] for run in runs)}
    order = sorted(learned, key=lambda name: -mean(_correct(run) for run in learned[name]))
    rows = [COLUMNS, ["---", *["---:"] * (len(COLUMNS) - 1)], *(_cells(name, learned[name]) for name in order)]
    text = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    one = next(iter(records.values()))
    settings, bounds = one["settings"], [_oracle(one, "correct"), _oracle(one, "cider")]
    steps = sorted({record["training"]["steps"] for record in records.values()})
    pairs = sorted({record["training"]["pairs"] for record in records.values()})
    scored = f"{one['scores']['total']['n_items']:,} pairs of scenes that no run has seen"
    text += (
        f"\nEach run: {_told(steps)} steps, {_told(pairs)} pairs of {settings['trained_on']['scenes']:,} scenes, from "
        f"random weights, on {one['step']['threads']} thread(s) of one CPU. Scored on {scored}, greedily. Best "
        f"constant caption of changed pairs: CIDEr-D {100 * best_constant(one):.1f}; canonical words with perfect "
        f"knowledge: {bounds[0]} correct, CIDEr-D {bounds[1]}. From `{source}`.\n"
    )
    for name in sorted(systems.keys() - learned.keys()):
        said = ", ".join(f"{100 * run['scores']['changed']['cider']:.1f}" for run in systems[name])
        rates = ", ".join(format_rate(run["change_type_accuracy"]["changed"]) for run in systems[name])
        text += f"\nNot beyond the constant captions: {name} (CIDEr-D {said}; type named right {rates}).\n"
    return text.rstrip()


def _correct(run: Mapping[str, Any]) -> float:
    return run["scores"]["changed"]["correct"]


def _oracle(run: Mapping[str, Any], metric: str) -> str:
    name = next(name for name in run["oracles"] if name.startswith("canonical"))
    value = run["oracles"][name]["changed"][metric]
    return f"{100 * value:.0f} %" if metric == "correct" else f"{100 * value:.1f}"


def _told(values: Sequence[int]) -> str:
    return " or ".join(f"{value:,}" for value in values)


def _spread(values: Sequence[float], form: str) -> str:
    """The mean, and the range where there are several."""
    text = form.format(mean(values))
    return text if len(values) == 1 else f"{text} ({form.format(min(values))} to {form.format(max(values))})"


def _cells(name: str, runs: Sequence[Mapping[str, Any]]) -> list[str]:
    changed = [run["scores"]["changed"] for run in runs]
    compared = [run["comparison"]["changed"]["correct"] for run in runs if run["comparison"]]
    against = "-"
    if compared:
        differences = [100 * one["difference"] for one in compared]
        against = f"{_spread(differences, '{:+.1f}')}, p {max(one['p'] for one in compared):.3f}"
    correct = format_correct(changed[0])
    if len(runs) > 1:
        correct = _spread([100 * _correct(run) for run in runs], "{:.1f} %")
    return [
        name if len(runs) == 1 else f"{name}, {len(runs)} seeds",
        f"**{correct}**",
        against,
        _spread([100 * run["change_type_accuracy"]["changed"] for run in runs], "{:.1f} %"),
        _spread([100 * run["no_change_rate"]["unchanged"] for run in runs], "{:.1f} %"),
        _spread([100 * one["cider"] for one in changed], "{:.1f}"),
        f"{runs[0]['step']['parameters']:,}",
        f"{runs[0]['step']['flops_per_pair'] / 1e9:.2f}",
        f"{runs[0]['step']['peak_mib']:,.0f} MiB",
        f"{mean(run['step']['pairs_per_second'] for run in runs):.1f}",
        f"{mean(run['training']['seconds'] for run in runs) / 60:.0f}",
    ]


__all__ = ["format_comparison"]
