# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
# /// script
# requires-python = ">=3.11"
# dependencies = ["ssgpa[data]"]
# ///
r"""Write a data set of picture pairs as parquet, the form that training and evaluation read.

From the folder that `render_clevr_change.py` made, or from the released CLEVR-Change:

    python examples/prepare_data.py --dataset clevr_change --source clevr_change --output_dir prepared/clevr_change

With hints for training about what each cell of a grid of 10 rows and 15 columns shows; the source needs object masks:

    python examples/prepare_data.py --dataset clevr_change --source clevr_large --output_dir prepared/hints \
        --hint_grid 10 15
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from ssgpa.command_line import OneLineParser, report_error
from ssgpa.data.checks import read_json_object
from ssgpa.data.clevr_change.hints import add_cell_hints
from ssgpa.data.clevr_change.layout import SETTINGS
from ssgpa.data.clevr_change.reader import load_clevr_change
from ssgpa.data.prepared import check_target, write_prepared


READERS: dict[str, Callable] = {"clevr_change": load_clevr_change}


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line as a namespace."""
    parser = OneLineParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--dataset", required=True, choices=sorted(READERS), help="which reader to use")
    parser.add_argument("--source", required=True, help="folder with the data set as it was released or rendered")
    parser.add_argument("--output_dir", required=True, help="folder to create")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier prepared folder")
    parser.add_argument(
        "--hint_grid", type=int, nargs=2, metavar=("ROWS", "COLUMNS"), help="add hints about the cells of a grid"
    )
    return parser.parse_args(argv)


def prepare(arguments: argparse.Namespace) -> dict[str, int]:
    """Read, check and write the data set, and return the number of pairs of each split."""
    output = Path(arguments.output_dir)
    check_target(output, arguments.overwrite)
    dataset = READERS[arguments.dataset](arguments.source)
    if arguments.hint_grid:
        dataset = add_cell_hints(dataset, arguments.source, tuple(arguments.hint_grid))
    facts = {"dataset": arguments.dataset, "hint_grid": arguments.hint_grid}
    settings = Path(arguments.source) / SETTINGS
    if settings.is_file():
        facts["render_settings"] = read_json_object(settings)
    write_prepared(dataset, output, facts, arguments.overwrite)
    return {name: len(split) for name, split in dataset.items()}


def main(argv: list[str] | None = None) -> int:
    """Prepare a data set, and answer errors with one line on stderr and exit code 2."""
    arguments = parse_arguments(argv)
    try:
        rows = prepare(arguments)
    except (ImportError, OSError, ValueError) as error:
        return report_error("prepare_data.py", error)
    print(f"{arguments.output_dir}: " + ", ".join(f"{count} {name}" for name, count in rows.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
