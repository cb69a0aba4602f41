# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The tables of captions that are not correct, from the file of `list_failures.py`."""

from collections.abc import Mapping
from typing import Any


def format_failures(found: Mapping[str, Any], source: str) -> str:
    """Faults by change type, and traits of the scenes beside those of all.

    Args:
        found (`Mapping[str, Any]`): The JSON of `benchmarks/list_failures.py`.
        source (`str`): The file it came from, as the reader finds it.

    Returns:
        `str`: Markdown: two tables and the line that belongs to them.
    """
    kinds = list(found["faults_by_type"])
    lines = [f"| first fault | captions | {' | '.join(kinds)} |", f"|---|{'---:|' * (1 + len(kinds))}"]
    for name, number in found["faults"].items():
        cells = [str(found["faults_by_type"][kind].get(name, 0)) for kind in kinds]
        lines.append(f"| {name} | {number} | {' | '.join(cells)} |")
    lines += ["", "| scenes in which | of failures | of all changed pairs |", "|---|---:|---:|"]
    for name, share in found["traits"]["changed"].items():
        lines.append(f"| {name} | {100 * found['traits']['failures'][name]:.0f} % | {100 * share:.0f} % |")
    told = (
        f"{found['failures']} of {found['pairs']} captions of changed pairs are not correct. From `{source}`, which "
    )
    return "\n".join([*lines, "", f"{told}lists the first {len(found['listed'])} with a correct caption beside each."])
