# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Lays out the JSON of `benchmarks/measure_memory.py` as the tables of docs/memory.md."""

from collections.abc import Iterable, Mapping
from typing import Any

from ssgpa.training.memory.plot import label_of


SIZES = ("weights", "gradients", "optimizer", "activations", "total")
NOT_MEASURED = "not measured"


def _gib(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _rate(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _key(row: Mapping[str, Any]) -> tuple:
    return row["run"], tuple(row["checkpointing"]), row["batch_size"]


def _measured_total(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return NOT_MEASURED
    if row["out_of_memory"]:
        return "out of memory"
    return f"{_gib(row['gib']['total'])} / {_gib(row['gib_reserved'])}"


def format_counts(figures: Mapping[str, Any]) -> list[str]:
    """One row per run and batch size: what is counted, and what was measured without a cap.

    Args:
        figures (`Mapping[str, Any]`): The JSON.

    Returns:
        `list[str]`: Lines of Markdown.
    """
    measured = {_key(row): row for row in figures["measured"] if row["cap_gib"] is None}
    lines = [
        "| run | pairs | weights | gradients | optimizer | activations | **peak** | measured: allocated / reserved |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in figures["counted"]:
        sizes = [_gib(row["gib"][name]) for name in SIZES]
        sizes[-1] = f"**{sizes[-1]}**"
        cells = [label_of(row), str(row["batch_size"]), *sizes, _measured_total(measured.get(_key(row)))]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def format_system(figures: Mapping[str, Any], source: str) -> str:
    """Lay out a system's counts beside SSGPA's as Markdown.

    Args:
        figures (`Mapping[str, Any]`): The JSON of `benchmarks/measure_system_memory.py`.
        source (`str`): The file it came from, as the reader finds it.

    Returns:
        `str`: A table and a line about it.
    """
    tokens = {row["run"]: row["tokens_per_pair"] for row in figures["counted"]}
    told = ", ".join(f"{count} of {run}" for run, count in tokens.items())
    return "\n".join(
        [*format_counts(figures), "", f"GiB; tokens of the language model per pair: {told}. From `{source}`."]
    )


def format_systems(figures: Mapping[str, Mapping[str, Any]], source: str) -> str:
    """The peaks of all systems at the batch sizes that all were counted at, and those of what they stand beside.

    Args:
        figures (`Mapping[str, Mapping[str, Any]]`): By system, the JSON of `benchmarks/measure_system_memory.py`.
        source (`str`): The files that they came from, as the reader finds them.

    Returns:
        `str`: A table in Markdown and a line about it.
    """
    rows = {_key(row): row for one in figures.values() for row in one["counted"]}
    runs = sorted(
        {key[:2] for key in rows}, key=lambda run: min(rows[key]["gib"]["total"] for key in rows if key[:2] == run)
    )
    sizes = sorted(set.intersection(*({key[2] for key in rows if key[:2] == run} for run in runs)))
    lines = [
        f"| run | tokens per pair | {' | '.join(f'{size} pairs' for size in sizes)} |",
        f"|---|{'---:|' * (1 + len(sizes))}",
    ]
    for run in runs:
        found = [rows[(*run, size)] for size in sizes]
        peaks = " | ".join(_gib(row["gib"]["total"]) for row in found)
        lines.append(f"| {label_of(found[0])} | {found[0]['tokens_per_pair']} | {peaks} |")
    return "\n".join([*lines, "", f"Peak in GiB, by count; tokens of the language model or decoder. From `{source}`."])


def format_speeds(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """One row a measurement: GPU, cap, speeds.

    Args:
        rows (`Iterable[Mapping[str, Any]]`): Measured rows.

    Returns:
        `list[str]`: Lines of Markdown; a single one where nothing was measured.
    """
    rows = list(rows)
    if not rows:
        return [
            f"On a GPU: {NOT_MEASURED}. Pairs per second, the share of the GPU's bf16 peak, decoded tokens per second "
            "and a run under a cap are shown here once the program has run on one."
        ]
    lines = [
        "| GPU | cap, GiB | run | pairs | allocated / reserved | pairs/s | tokens/s | of bf16 peak | decoded/s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        share = None if row["share_of_peak"] is None else 100 * row["share_of_peak"]
        cells = [
            row["device"],
            _rate(row["cap_gib"], "g"),
            label_of(row),
            str(row["batch_size"]),
            _measured_total(row),
            _rate(row["pairs_per_second"], ".1f"),
            _rate(row["tokens_per_second"], ".0f"),
            "-" if share is None else f"{share:.0f} %",
            _rate(row["decoded_tokens_per_second"], ".0f"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def format_parts(rows: Iterable[Mapping[str, Any]]) -> str:
    """What one pair more keeps for the backward pass, by part, between the two largest counts of each run."""
    runs: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["run"] != "reproduction":
            runs.setdefault(label_of(row), []).append(row)
    texts = []
    for label, found in runs.items():
        few, many = sorted(found, key=lambda row: row["batch_size"])[-2:]
        pairs = many["batch_size"] - few["batch_size"]
        parts = {
            part: (size - few["mib_activations_by_part"].get(part, 0)) / pairs
            for part, size in many["mib_activations_by_part"].items()
        }
        total = sum(parts.values())
        largest = sorted(parts.items(), key=lambda item: -item[1])[:3]
        detail = ", ".join(f"{part.replace('_', ' ')} {size:.0f}" for part, size in largest)
        texts.append(f"{label} {total:.0f} ({detail})")
    return f"MiB that one pair more keeps for the backward pass: {'; '.join(texts)}."


def format_memory(figures: Mapping[str, Any], source: str) -> str:
    """Lay out the results as Markdown.

    Args:
        figures (`Mapping[str, Any]`): The JSON of `benchmarks/measure_memory.py`.
        source (`str`): The file it came from, as the reader finds it.

    Returns:
        `str`: Two tables and the lines that belong to them.
    """
    first = figures["counted"][0]
    facts = (
        f"GiB; {first['tokens_per_pair']} tokens of the language model per pair, the reproduction "
        f"{figures['counted'][-1]['tokens_per_pair']}. From `{source}`."
    )
    parts = format_parts(figures["counted"])
    assumptions = f"Assumed: {'; '.join(figures['assumptions'])}."
    return "\n".join(
        [*format_counts(figures), "", facts, "", parts, "", assumptions, "", *format_speeds(figures["measured"])]
    )
