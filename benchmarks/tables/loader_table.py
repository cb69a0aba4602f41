# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Lays out the JSON of `measure_loader.py` as the table in docs/data.md."""

from collections.abc import Mapping
from typing import Any


NAMES = {"any_row": "any row at hand", "streamed": "streamed", "normalized": "any row, normalized on this CPU"}


def format_ratio(found: Mapping[str, float]) -> str:
    """A median in percent, with the middle half of the turns behind it."""
    low, high = 100 * found["ratio_low"], 100 * found["ratio_high"]
    return f"{100 * found['ratio']:.0f} %, {low:.0f} to {high:.0f}"


def format_loader(report: Mapping[str, Any], source: str) -> str:
    """One row a number of workers.

    Args:
        report (`Mapping[str, Any]`): The JSON of `benchmarks/measure_loader.py`.
        source (`str`): The file it came from, as the reader finds it.

    Returns:
        `str`: Markdown: a table and the lines that belong to it.
    """
    lines = [f"| pairs per second | bare PIL | {' | '.join(NAMES.values())} |", f"|---|---:{'|---:' * len(NAMES)}|"]
    for name, found in report["figures"].items():
        rates, workers = found["pairs_per_second"], name.removeprefix("workers_")
        cells = [f"{rates[key]:.0f} ({format_ratio(found['ratios'][key])})" for key in NAMES]
        plural = "s" * (workers != "1")
        lines.append(f"| {workers} worker{plural} | {rates['bare_pil']:.0f} | {' | '.join(cells)} |")
    (width, height), settings = report["images"]["size"], report["settings"]
    facts = (
        f"{report['pairs']} pairs, {width} x {height} {report['images']['format']} of "
        f"{report['images']['mean_bytes'] / 1024:.0f} KiB, to {settings['side']} x {settings['side']}, batches of "
        f"{settings['batch_size']}, medians of {settings['turns']} turns; a share is the median "
        f"over paired turns, with the quartiles behind it. {report['cpu']}. From `{source}`."
    )
    return "\n".join([*lines, "", facts])
