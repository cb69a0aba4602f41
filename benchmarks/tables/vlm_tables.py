# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Lays out what adapting a VLM needs of memory and time as the tables of docs/vlm.md."""

from collections.abc import Mapping
from typing import Any


def format_vlm_memory(figures: Mapping[str, Any], source: str) -> str:
    """One row a run: peaks by batch size, with plain LoRA's behind them.

    Args:
        figures (`Mapping[str, Any]`): The JSON of `benchmarks/measure_vlm_memory.py`.
        source (`str`): The file it came from, as the reader finds it.

    Returns:
        `str`: A table in Markdown and a line about it.
    """
    peaks = {(row["run"], row["way"], row["batch_size"]): row["gib"]["total"] for row in figures["rows"]}
    tokens = {row["run"]: row["tokens_per_pair"] for row in figures["rows"]}
    sizes = sorted({size for _, _, size in peaks})
    lines = [
        f"| run | tokens per pair | {' | '.join('1 pair' if size == 1 else f'{size} pairs' for size in sizes)} |",
        f"|---|{'---:|' * (1 + len(sizes))}",
    ]
    for run in sorted(tokens, key=lambda name: peaks[name, "ssgpa", sizes[0]]):
        cells = []
        for size in sizes:
            both = [peaks.get((run, way, size)) for way in ("ssgpa", "plain LoRA")]
            cells.append(" / ".join("-" if value is None else f"{value:.2f}" for value in both))
        lines.append(f"| {run} | {tokens[run]} | {' | '.join(cells)} |")
    told = "Peak in GiB, by count: the run as it stands / plain LoRA on the same VLM."
    return "\n".join([*lines, "", f"{told} From `{source}`."])


def format_vlm_cost(figures: Mapping[str, Any], source: str) -> str:
    """One row a model: seconds of a forward pass with and without the new parts, and how large these are.

    Args:
        figures (`Mapping[str, Any]`): The JSON of `benchmarks/measure_vlm_cost.py`.
        source (`str`): The file it came from, as the reader finds it.

    Returns:
        `str`: A table in Markdown and a line about it.
    """
    lines = [
        "| model | grid | VLM alone, s | with the new parts, s | more | new parameters | float32 bytes |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for row in figures["rows"]:
        plain, whole = row["plain_seconds"], row["ssgpa_seconds"]
        cells = [row["model"], " x ".join(map(str, row["patch_grid"])), f"{plain:.2f}", f"{whole:.2f}"]
        cells += [f"{100 * (whole / plain - 1):.0f} %", f"{row['new_parameters']:,}", f"{row['new_bytes']:,}"]
        lines.append(f"| {' | '.join(cells)} |")
    kept = "; ".join(
        f"{row['model']} with {row['layers']} of its {row['published_layers']} language layers"
        for row in figures["rows"]
        if row["layers"] != row["published_layers"]
    )
    return "\n".join(
        [
            *lines,
            "",
            f"Processor seconds of one forward pass of a pair, {figures['threads']} thread, {figures['dtype']}, "
            f"random weights, median of {figures['repeats']} in turns{f'; {kept}' if kept else ''}. From `{source}`.",
        ]
    )


__all__ = ["format_vlm_cost", "format_vlm_memory"]
