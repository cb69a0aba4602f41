# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The table of small systems that learn, from `learning.json`."""

from collections.abc import Mapping
from typing import Any


COLUMNS = (
    "system",
    "CIDEr-D, changed pairs (95 %)",
    "best constant caption",
    "a random caption of the right type",
    "type named right",
    "unchanged told as unchanged",
    "changed told as unchanged",
    "parameters",
    "pairs trained on",
    "minutes",
)
RANDOM = "random training caption of the right change type"


def format_learning(records: Mapping[str, Any], source: str) -> str:
    """A row a system, and what the rows were measured on.

    Args:
        records (`Mapping[str, Any]`): The JSON of `benchmarks/record_learning.py`.
        source (`str`): The file it came from, as the reader finds it.

    Returns:
        `str`: Markdown. Systems that have not left the constant baselines are told below the table.
    """
    learned = {name: record for name, record in records.items() if record["has_left_baselines"]}
    rows = [COLUMNS, ["---", "---", *["---:"] * (len(COLUMNS) - 2)]]
    rows += [_cells(name, record) for name, record in learned.items()]
    text = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    first = next(iter(records.values()))
    scenes, threads = first["render_settings"]["scenes"], first["throughput"]["threads"]
    text += (
        f"\nScores times 100 on the {first['scores']['total']['n_items']} pairs of the test split of {scenes:,} "
        f"rendered scenes; {first['decoding']['num_beams']} beam, {threads} CPU thread, one seed. From `{source}`.\n"
    )
    behind = [name for name in records if name not in learned]
    if behind:
        text += f"\nNot beyond the constant captions yet: {', '.join(behind)}.\n"
    return text.rstrip()


def _cells(name: str, record: Mapping[str, Any]) -> list[str]:
    changed = record["scores"]["changed"]
    low, high = (100 * bound for bound in changed["intervals"]["cider"])
    best, random = (
        100 * record["baselines"][key]["changed"]["cider"]
        for key in (record["best_constant_baseline"]["changed"], RANDOM)
    )
    rate, runs = record["no_change_rate"], record["runs"]
    return [
        name,
        f"**{100 * changed['cider']:.1f}** ({low:.1f} to {high:.1f})",
        f"{best:.1f}",
        f"{random:.1f}",
        f"{100 * record['change_type_accuracy']['changed']:.1f} %",
        f"{100 * rate['unchanged']:.1f} %",
        f"{100 * rate['changed']:.1f} %",
        f"{record['throughput']['parameters']:,}",
        f"{sum(run['pairs'] for run in runs):,}",
        f"{sum(run['seconds'] for run in runs) / 60:.0f}",
    ]


__all__ = ["format_learning"]
