# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Lays out the JSON of `measure_house.py` as the table in docs/development.md."""

from collections.abc import Mapping
from typing import Any


# The row's name, the figure's, and how it is written.
ROWS = {
    "Python files": ("files", "{:,}"),
    "lines": ("lines", "{:,}"),
    "functions": ("functions", "{:,}"),
    "lines of a function: median": ("function_lines_median", "{:.0f}"),
    "lines of a function: 90th percentile": ("function_lines_p90", "{:.0f}"),
    "lines of a function: longest": ("function_lines_longest", "{:.0f}"),
    "functions with more than ten branches": ("many_branches", "{:.1%}"),
    "functions with a docstring": ("documented", "{:.1%}"),
    "public functions with a docstring": ("public_documented", "{:.1%}"),
    "function names used once": ("single_use", "{:.1%}"),
    "modules with one importer": ("one_importer", "{:,}"),
    "of these, under 40 lines": ("short_with_one_importer", "{:,}"),
    "Python files at the root": ("root_files", "{:,}"),
    "longest chain of imports, in modules": ("longest_chain", "{:,}"),
    "cycles of imports": ("cycles", "{:,}"),
    "modules in them": ("modules_in_cycles", "{:,}"),
    "cycles among rooms": ("room_cycles", "{:,}"),
    "rooms in them": ("rooms_in_cycles", "{:,}"),
}


def format_house(report: Mapping[str, Any], source: str) -> str:
    """One row a figure, one column a revision.

    Args:
        report (`Mapping[str, Any]`): The JSON of `benchmarks/measure_house.py`, with or without an older revision.
        source (`str`): The file it came from, as the reader finds it.

    Returns:
        `str`: Markdown: a table and the line that belongs to it.
    """
    sides = [report[side] for side in ("before", "after") if side in report]
    lines = [f"| | {' | '.join(side['revision'][:12] for side in sides)} |", f"|---{'|---:' * len(sides)}|"]
    for title, (name, form) in ROWS.items():
        values = [side[name] for side in sides]
        # Of what is listed in the file, the table has the number.
        numbers = [len(value) if isinstance(value, list) else value for value in values]
        cells = [form.format(number).replace("%", " %") for number in numbers]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", f"Tests do not count. From `{source}`."])
