# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""An evaluation during training: who captions which rows, and what is written down."""

import math
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers.utils import logging

from ..metrics.files import write_results
from ..metrics.report import collapse_alarm, format_table


logger = logging.get_logger(__name__)


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
    record = {"step": step, **report, "collapse_alarm": alarm, "captions": captions}
    write_results(output_dir / "evaluations" / f"{prefix}-{step:06d}.json", record)


__all__ = ["rows_of_process", "write_evaluation"]
