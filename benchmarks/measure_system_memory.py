# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Counts what training a system at real size needs of memory, beside SSGPA's run for 24 GB and a reproduction.

python benchmarks/measure_system_memory.py blip2idc --run examples/configs/blip2idc/clevr.yaml \
    --model_config examples/configs/models/blip2idc-opt-2.7b.json --prompt_tokens 1 \
    --output benchmarks/results/blip2idc-memory.json

Counted on the meta device, without weights, data or a GPU: the run as its YAML has it, and once more with nothing
recomputed in the backward pass. The rows beside it are those that `measure_memory.py` has stored.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ssgpa.data.checks import read_json_object
from ssgpa.training.arguments import parse_arguments
from ssgpa.training.memory.count import ASSUMPTIONS
from ssgpa.training.memory.inputs import TextSizes
from ssgpa.training.memory.measure import Timing
from ssgpa.training.memory.report import MemoryOptions, count_run
from ssgpa.utils.console import ERRORS, OneLineParser, be_quiet, positive, report_error
from ssgpa.utils.results import library_versions, write_results


ROOT = Path(__file__).resolve().parent.parent
STORED = ROOT / "benchmarks/results/memory.json"
# Runs of that file, and what they are called beside another system's.
BESIDE = {"24gb": "SSGPA, 24gb", "reproduction": "reproduction"}
OFF = "--checkpointing=none"


def count_rows(options: argparse.Namespace) -> list[dict[str, Any]]:
    """The system's rows; each is told as it comes.

    Args:
        options (`argparse.Namespace`): Of the command line.
    """
    words = [str(options.run), f"--model_config={options.model_config}", "--output_dir=unused", "--use_cpu=true"]
    settings = MemoryOptions(TextSizes(options.prompt_tokens, options.caption_tokens), Timing())
    kept = bool(parse_arguments(words).model.checkpointing)
    rows = []
    # Where the YAML recomputes nothing, both would be the same.
    for more in ([], [OFF]) if kept else ([],):
        for row in count_run(options.system, parse_arguments([*words, *more]), options.batch_size, settings):
            sys.stdout.write(f"{options.system}, batch {row['batch_size']}: {row['gib']['total']} GiB\n")
            rows.append(row | {"cap_gib": None})
    return rows


def rows_beside(batch_sizes: list[int]) -> list[dict[str, Any]]:
    """The stored rows of SSGPA and of the reproduction, of the same batch sizes."""
    stored = read_json_object(STORED)["counted"]
    return [
        row | {"run": BESIDE[row["run"]]}
        for row in stored
        if row["run"] in BESIDE and row["batch_size"] in batch_sizes
    ]


def main(arguments: list[str] | None = None) -> int:
    """Count, and answer errors with one line on stderr and exit code 2."""
    parser = OneLineParser(
        prog="measure_system_memory.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("system", help="what its rows are called")
    parser.add_argument("--run", required=True, type=Path, help="YAML file of the run")
    parser.add_argument("--model_config", required=True, type=Path, help="configuration JSON of the real size")
    parser.add_argument("--batch_size", type=positive, nargs="+", default=[2, 4, 16], help="pairs")
    parser.add_argument("--prompt_tokens", type=positive, default=12, help="without the visual tokens")
    parser.add_argument("--caption_tokens", type=positive, default=50, help="of the longest caption, with its end")
    parser.add_argument("--output", required=True, type=Path, help="JSON file")
    options = parser.parse_args(arguments)
    be_quiet()
    try:
        rows = [*count_rows(options), *rows_beside(options.batch_size)]
        facts = {"assumptions": list(ASSUMPTIONS), "versions": library_versions()}
        write_results(options.output, {"counted": rows, "measured": [], **facts})
    except (*ERRORS, json.JSONDecodeError) as error:
        return report_error("measure_system_memory.py", error)
    sys.stdout.write(f"Wrote {len(rows)} rows to {options.output}.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
