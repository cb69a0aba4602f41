# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The table of small systems that learn, from `learning.json`."""

from collections.abc import Mapping
from typing import Any

from ssgpa.metrics.report.markdown import format_correct


RANDOM_COLUMN = "a random caption of the right type"
COLUMNS = (
    "system",
    "CIDEr-D, changed pairs (95 %)",
    "best constant caption",
    RANDOM_COLUMN,
    "type named right",
    "unchanged told as unchanged",
    "changed told as unchanged",
    "test pairs",
    "parameters",
    "auxiliary targets",
    "pairs trained on, of scenes",
    "minutes",
)
# Where some system's captions were judged by their scenes.
CORRECT = "correct, changed pairs (95 %)"
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
    if any("correct" in record["scores"]["changed"] for record in learned.values()):
        added = [CORRECT, "---:", *(format_correct(record["scores"]["changed"]) for record in learned.values())]
        place = COLUMNS.index(RANDOM_COLUMN) + 1
        rows = [[*row[:place], cell, *row[place:]] for row, cell in zip(rows, added, strict=True)]
    text = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    beams = sorted({record["decoding"]["num_beams"] for record in records.values()})
    threads = sorted({record["throughput"]["threads"] for record in records.values()})
    text += (
        "\nScores times 100 on the test split of the scenes that a system was trained on; "
        f"beams: {_told(beams)}, CPU threads: {_told(threads)}, one seed. Auxiliary targets are what the renderer "
        f"knows, in place of a pretrained image encoder. From `{source}`.\n"
    )
    behind = [
        f"{name} ({100 * record['scores']['changed']['cider']:.1f}; best constant {100 * best_constant(record):.1f})"
        for name, record in records.items()
        if name not in learned
    ]
    if behind:
        text += f"\nNot beyond the constant captions yet: {', '.join(behind)}.\n"
    return text.rstrip()


def best_constant(results: Mapping[str, Any]) -> float:
    """CIDEr-D (0 to 10) of the best constant caption of the changed pairs.

    Args:
        results (`Mapping[str, Any]`): Of `examples/evaluate.py`, or a record of them.
    """
    return results["baselines"][results["best_constant_baseline"]["changed"]]["changed"]["cider"]


def _told(values: list[int]) -> str:
    return ", ".join(str(value) for value in values)


def _cells(name: str, record: Mapping[str, Any]) -> list[str]:
    changed = record["scores"]["changed"]
    low, high = (100 * bound for bound in changed["intervals"]["cider"])
    best, random = 100 * best_constant(record), 100 * record["baselines"][RANDOM]["changed"]["cider"]
    rate, runs = record["no_change_rate"], record["runs"]
    helped = any(value for run in runs for name, value in run["values"].items() if name.startswith("aux_"))
    return [
        name,
        f"**{100 * changed['cider']:.1f}** ({low:.1f} to {high:.1f})",
        f"{best:.1f}",
        f"{random:.1f}",
        f"{100 * record['change_type_accuracy']['changed']:.1f} %",
        f"{100 * rate['unchanged']:.1f} %",
        f"{100 * rate['changed']:.1f} %",
        str(record["scores"]["total"]["n_items"]),
        f"{record['throughput']['parameters']:,}",
        "yes" if helped else "no",
        f"{sum(run['pairs'] for run in runs):,}, {record['render_settings']['scenes']:,}",
        f"{sum(run['seconds'] for run in runs) / 60:.0f}",
    ]


__all__ = ["best_constant", "format_learning"]
