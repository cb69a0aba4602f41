# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
#
# /// script
# requires-python = ">=3.11"
# dependencies = ["ssgpa[train,figures]"]
# ///
r"""Tell what a training run needs of GPU memory, for every batch size asked for.

Without a GPU, by counting on the meta device; weights and data are not needed:

    python examples/measure_memory.py examples/configs/24gb.yaml --batch_size 1 4 16 --output c.json --plot c.png
    python examples/measure_memory.py examples/configs/24gb.yaml --batch_size 4 --checkpointing none --output c.json

On a GPU, by training a few steps with random weights, here with no more than 24 GiB of it:

    python examples/measure_memory.py examples/configs/24gb.yaml --batch_size 4 --output c.json --cap_gib 24 \
        --device cuda

Pairs that are no options of this program override the YAML file, as in training.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from ssgpa.training.arguments import parse_arguments
from ssgpa.training.memory.count import ASSUMPTIONS
from ssgpa.training.memory.inputs import TextSizes
from ssgpa.training.memory.measure import Timing, set_cap
from ssgpa.training.memory.plot import draw_memory
from ssgpa.training.memory.report import MemoryOptions, count_run, measure_run
from ssgpa.training.model_setup import autocast_dtype
from ssgpa.utils.console import ERRORS, OneLineParser, be_quiet, positive, report_error
from ssgpa.utils.results import library_versions, write_results


def collect(options: argparse.Namespace, rest: list[str]) -> list[dict[str, Any]]:
    """The rows of all batch sizes; each is printed as it comes."""
    # Counting makes use of no GPU.
    device = ["--use_cpu=true"] if options.device == "meta" else []
    run = parse_arguments([options.config, "--output_dir=unused", *device, *rest])
    timing = Timing(steps=options.steps, decoded=options.decode_tokens, autocast=autocast_dtype(run[2]))
    settings = MemoryOptions(TextSizes(options.prompt_tokens, options.caption_tokens), timing, options.flops)
    if options.cap_gib is not None and options.device == "cuda":
        set_cap(options.cap_gib)
    work = count_run if options.device == "meta" else measure_run
    rows = []
    for row in work(Path(options.config).stem, run, options.batch_size, settings):
        rows.append(row | {"cap_gib": options.cap_gib if options.device == "cuda" else None})
        print(describe(row), flush=True)
    return rows


def describe(row: dict[str, Any]) -> str:
    """One line for the reader who waits."""
    if row["out_of_memory"]:
        return f"batch {row['batch_size']}: out of memory"
    sizes = ", ".join(f"{name} {size:.2f}" for name, size in row["gib"].items())
    speed = f"; {row['pairs_per_second']:.1f} pairs/s" if row["pairs_per_second"] else ""
    return f"batch {row['batch_size']}: {sizes} GiB{speed}"


def main(arguments: list[str] | None = None) -> int:
    """Count or measure, and answer errors with one line on stderr and exit code 2."""
    parser = OneLineParser(
        prog="measure_memory.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("config", metavar="CONFIG.yaml", help="the run")
    parser.add_argument("--batch_size", type=positive, nargs="+", required=True, help="pairs")
    parser.add_argument("--device", choices=("meta", "cuda"), default="meta", help="count, or measure")
    parser.add_argument("--output", type=Path, required=True, help="JSON file")
    parser.add_argument("--plot", type=Path, help="PNG file: highest memory against batch size")
    parser.add_argument("--prompt_tokens", type=positive, default=12, help="without the visual tokens")
    parser.add_argument("--caption_tokens", type=positive, default=50, help="of the longest caption, with its end")
    parser.add_argument("--flops", action="store_true", help="count floating point operations too")
    parser.add_argument("--cap_gib", type=float, help="let the process have so much of the GPU")
    parser.add_argument("--steps", type=positive, default=10, help="measured training steps")
    parser.add_argument("--decode_tokens", type=int, default=32, help="greedily decoded tokens; 0 leaves it out")
    options, rest = parser.parse_known_args(arguments)
    be_quiet()
    try:
        rows = collect(options, rest)
        facts = {"assumptions": list(ASSUMPTIONS), "versions": library_versions()}
        write_results(options.output, {"rows": rows, **facts})
        if options.plot is not None:
            draw_memory(rows, options.plot)
    except ERRORS as error:
        return report_error("measure_memory.py", error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
