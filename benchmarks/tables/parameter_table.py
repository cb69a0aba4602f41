# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Lays out the JSON of `count_parameters.py` as the table of presets in README.md."""

from collections.abc import Mapping
from typing import Any


COLUMNS = {"total": "all", "trainable": "trainable"}


def format_parameters(report: Mapping[str, Any], source: str) -> str:
    """One row a part, two columns a preset.

    Args:
        report (`Mapping[str, Any]`): The JSON of `benchmarks/count_parameters.py`.
        source (`str`): The file it came from, as the reader finds it.

    Returns:
        `str`: Markdown: a table and the line that belongs to it.
    """
    models = report["models"]
    heads = [f"{name}, {column}" for name in models for column in COLUMNS.values()]
    lines = [f"| parameters | {' | '.join(heads)} |", f"|---{'|---:' * len(heads)}|"]
    for part in report["parts"]:
        counts = [model["parts"].get(part) for model in models.values()]
        if any(counts):
            lines.append(_row(part, counts))
    lines.append(_row("**together**", list(models.values())))
    seconds = ", ".join(f"{model['seconds']:.1f} s" for model in models.values())
    return "\n".join(
        [*lines, "", f"Each model is built on the meta device, without memory ({seconds}). From `{source}`."]
    )


def _row(name: str, counts: list[Mapping[str, int] | None]) -> str:
    cells = [f"{one[key]:,}" if one else "-" for one in counts for key in COLUMNS]
    return f"| {name} | {' | '.join(cells)} |"
