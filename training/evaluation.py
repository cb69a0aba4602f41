# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""An evaluation during training: who captions which rows, and what is written down."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers.utils import logging

from ..metrics.report.build import collapse_alarm, format_table
from ..utils.results import write_results


logger = logging.get_logger(__name__)


INPUT_COLUMNS = ("pair_id", "before", "after")
SCORED_COLUMNS = ("captions", "change_type")


def check_rows(rows: Any, name: str, scored: bool = True) -> None:
    """Refuse what is no prepared split with pairs.

    Args:
        rows (`Any`): The set.
        name (`str`): What it is called.
        scored (`bool`): Whether captions and types of change are needed too.

    Raises:
        ValueError: It is no `datasets.Dataset`, lacks a column or has no row; the error names the set.
    """
    wanted = [*INPUT_COLUMNS, *(SCORED_COLUMNS if scored else ())]
    if not isinstance(rows, Dataset):
        raise ValueError(
            f"The set {name!r} is a {type(rows).__name__}, and captions are generated for the rows of a prepared "
            f"split: a datasets.Dataset with the columns {', '.join(wanted)}."
        )
    missing = [column for column in wanted if column not in rows.column_names]
    if missing:
        raise ValueError(f"The set {name!r} has no {', '.join(missing)}: a prepared split is needed.")
    if not len(rows):
        raise ValueError(f"The set {name!r} has no pairs: there is nothing to caption or score.")


def evaluation_sets(chosen: Any, own: Any, prefix: str) -> dict[str, Dataset]:
    """The prepared splits that an evaluation is about.

    Args:
        chosen (`datasets.Dataset`, `dict` or `str`, *optional*): A split, several by name, or the name of one of the
            trainer's; None for all of those.
        own (`datasets.Dataset` or `dict`, *optional*): The trainer's.
        prefix (`str`): Of the scores.

    Returns:
        `dict[str, datasets.Dataset]`: Splits by the prefix of their scores, `PREFIX_NAME` where they have a name.

    Raises:
        ValueError: There is no such set, or it is no prepared split with pairs.
    """
    if isinstance(chosen, str):
        named = own if isinstance(own, Mapping) else {}
        if chosen not in named:
            names = ", ".join(map(repr, named)) or "none"
            raise ValueError(f"The trainer has no evaluation set {chosen!r}; those with a name: {names}.")
        chosen = named[chosen]
    chosen = own if chosen is None else chosen
    if chosen is None:
        raise ValueError("There is nothing to evaluate: give `eval_dataset`, to the trainer or to this call.")
    sets = {prefix: chosen}
    if isinstance(chosen, Mapping):
        sets = {f"{prefix}_{name}": rows for name, rows in chosen.items()}
    for name, rows in sets.items():
        check_rows(rows, name)
    return sets


def rows_of_process(rows: Dataset, index: int, processes: int) -> Dataset:
    """A process's rows, as many as every other's: where parameters are shared out, all must call as often.

    Args:
        rows (`datasets.Dataset`): The split.
        index (`int`): Number of the process, from 0.
        processes (`int`): How many there are.

    Returns:
        `datasets.Dataset`: Every `processes`-th row, from the first row on again where that does not come out even.
    """
    if processes == 1:
        return rows
    count = len(rows)
    places = range(index, math.ceil(count / processes) * processes, processes)
    return rows.select([place % count for place in places])


def write_evaluation(
    report: dict[str, Any], captions: dict[str, str], output_dir: Path, prefix: str, step: int
) -> None:
    """Log a report's table, warn of captions that have collapsed, and write all to `evaluations/PREFIX-STEP.json`.

    Args:
        report (`dict`): What `build_report` gave.
        captions (`dict`): Captions by pair id.
        output_dir (`Path`): Folder of the run.
        prefix (`str`): Of the file's name.
        step (`int`): Steps of training so far.
    """
    logger.warning(f"Evaluation at step {step}\n{format_table(report)}")
    alarm = collapse_alarm(report)
    if alarm:
        logger.warning(alarm)
    # A set may bear any name.
    prefix = prefix.replace("/", "_").replace("\\", "_")
    record = {"step": step, **report, "collapse_alarm": alarm, "captions": captions}
    write_results(output_dir / "evaluations" / f"{prefix}-{step:06d}.json", record)


__all__ = ["check_rows", "evaluation_sets", "rows_of_process", "write_evaluation"]
