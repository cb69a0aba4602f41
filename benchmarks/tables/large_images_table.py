# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Lays out the JSON of `measure_large_images.py` as the table in docs/images.md."""

from collections.abc import Mapping
from typing import Any


def format_large_images(report: Mapping[str, Any], source: str) -> str:
    """One row a case, before and after.

    Args:
        report (`Mapping[str, Any]`): The JSON of `benchmarks/measure_large_images.py`.
        source (`str`): The file it came from, as the reader finds it.

    Returns:
        `str`: Markdown: a table and the lines that belong to it.
    """
    settings, commits = report["settings"], report["commits"]
    titles = {
        "caption": f"one pair of {settings['width']:,} x {settings['height']:,} JPEG, caption",
        "caption and maps": "the same with change maps",
        "table": f"a table of {settings['rows']:,} sample pairs",
    }
    lines = ["| | seconds before | after | peak MiB before | after |", "|---|---:|---:|---:|---:|"]
    for case, title in titles.items():
        before, after = (report["figures"][case][side] for side in ("before", "after"))
        seconds = f"{before['seconds']:.1f} | {after['seconds']:.1f}"
        lines.append(f"| {title} | {seconds} | {before['peak_mib']:,.0f} | {after['peak_mib']:,.0f} |")
    idle = report["figures"]["caption"]["after"]["idle_mib"]
    facts = (
        f"Commit `{commits['before'][:7]}` and commit `{commits['after'][:7]}`, medians of {settings['turns']} turns "
        f"in one run; libraries and model alone take {idle:,.0f} MiB of the peak. {report['cpu']}. From `{source}`."
    )
    return "\n".join([*lines, "", facts])
