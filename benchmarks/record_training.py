# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
r"""Records how a checkpoint was trained: the settings and logs of its runs, and the scenes of each.

python benchmarks/record_training.py \
    --configs examples/configs/clevr_tiny_tower.yaml examples/configs/clevr_tiny.yaml \
    --runs runs/clevr_tiny_tower runs/clevr_tiny \
    --output benchmarks/results/ssgpa-clevr-tiny-training.json
"""

import argparse
import sys
from pathlib import Path

from ssgpa.benchmarks.record_learning import add_runs, read_runs
from ssgpa.data.prepared import render_settings
from ssgpa.utils.console import OneLineParser, report_error
from ssgpa.utils.results import library_versions, write_results


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = OneLineParser(
        prog="record_training.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add_runs(parser)
    parser.add_argument("--output", required=True, type=Path, help="JSON file")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Write the record, and answer errors with one line on stderr and exit code 2."""
    options = parse_arguments(arguments)
    try:
        runs = read_runs(options)
        for run in runs:
            run["data"] = render_settings(run["values"]["data_dir"])
            if run["data"] is None:
                raise ValueError(f"{run['values']['data_dir']} was not rendered by examples/render_clevr_change.py.")
        write_results(options.output, {"runs": runs, "versions": library_versions()})
    except (OSError, ValueError, KeyError) as error:
        return report_error("record_training.py", error)
    told = ", then ".join(f"{run['steps']} steps in {run['seconds'] / 60:.0f} minutes" for run in runs)
    sys.stdout.write(f"{told}. Wrote {options.output}.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
