# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Lays out the JSON of `measure_speed.py` and of `compare_revisions.py` as the tables in docs/speed.md."""

from collections.abc import Mapping
from typing import Any


RATES = {
    "training_pairs_per_second": "training pairs per second",
    "captions_per_second_beams_1": "captions per second, greedily",
    "captions_per_second_beams_5": "captions per second, 5 beams",
}


def format_ratio(found: Mapping[str, float]) -> str:
    """A median with the middle half of the turns behind it."""
    return f"x {found['ratio']:.2f} ({found['ratio_low']:.2f} to {found['ratio_high']:.2f})"


def format_ways(report: Mapping[str, Any], source: str) -> str:
    """One row a way of going faster.

    Args:
        report (`Mapping[str, Any]`): The JSON of `benchmarks/measure_speed.py`.
        source (`str`): The file it came from, as the reader finds it.

    Returns:
        `str`: Markdown: a table and the lines that belong to it.
    """
    lines = ["| with, or without | faster by | seconds with | seconds without |", "|---|---:|---:|---:|"]
    for name, found in report["figures"].items():
        seconds = f"{found['seconds_with']:.2f} | {found['seconds_without']:.2f}"
        lines.append(f"| `{name}`: {found['what']} | {format_ratio(found)} | {seconds} |")
    settings = report["settings"]
    facts = (
        f"Batches of {settings['batch_size']} pairs with {settings['captions_per_pair']} captions each, of whose "
        f"tokens {100 * report['padding_share']:.1f} % are padding; a turn of training is {settings['steps']} batches"
        f"{' under bf16 autocast' if settings['bf16'] else ''}, a turn of captioning is one; medians of "
        f"{settings['turns']} paired turns, with quartiles in brackets. "
        f"{report['threads']} threads, {report['cpu']}. From `{source}`."
    )
    return "\n".join([*lines, "", facts])


def format_change(report: Mapping[str, Any], source: str) -> str:
    """One row a rate, before and after.

    Args:
        report (`Mapping[str, Any]`): The JSON of `benchmarks/compare_revisions.py`.
        source (`str`): The file it came from, as the reader finds it.

    Returns:
        `str`: Markdown: a table and the lines that belong to it.
    """
    lines = ["| tiny preset | before | after | faster by |", "|---|---:|---:|---:|"]
    for name, title in RATES.items():
        found = report["figures"][name]
        lines.append(f"| {title} | {found['before']:.1f} | {found['after']:.1f} | {format_ratio(found)} |")
    commits, settings = report["commits"], report["settings"]
    facts = (
        f"Commit `{commits['before'][:7]}` and commit `{commits['after'][:7]}`, random weights, batches of "
        f"{settings['batch_size']}, medians of {settings['turns']} turns, one after the other in one run, "
        f"with quartiles in brackets. {report['cpu']}. From `{source}`."
    )
    return "\n".join([*lines, "", facts])
