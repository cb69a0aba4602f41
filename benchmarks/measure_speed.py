# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Measures what each way of going faster brings, as a ratio in one run on this CPU.

python benchmarks/measure_speed.py --model checkpoints/ssgpa-clevr-tiny --output speed.json
python benchmarks/measure_speed.py --model checkpoints/ssgpa-clevr-tiny --only compiled --output speed.json

Every way is a pair of runs, with and without, that take their turns, so that a busy machine slows both. A ratio is the
time without over the time with, the median over paired turns: above 1 it pays. Images are random, captions are those
of rendered scenes. With --only, what the file holds of other ways stays.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch

from ssgpa.benchmarks.measure_throughput import cpu_name, ratios, settings_of
from ssgpa.benchmarks.speed_ways import WAYS, Bench, Run
from ssgpa.data.checks import read_json_object
from ssgpa.training.resuming import set_seed
from ssgpa.utils.console import OneLineParser, be_quiet, positive, report_error
from ssgpa.utils.results import library_versions, write_results


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = OneLineParser(prog="measure_speed.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", required=True, help="folder of a saved SSGPA")
    parser.add_argument("--output", required=True, type=Path, help="JSON file for the figures")
    parser.add_argument("--only", nargs="+", choices=WAYS, metavar="WAY", help=f"of {', '.join(WAYS)}")
    parser.add_argument("--batch_size", type=positive, default=32)
    parser.add_argument("--captions_per_pair", type=positive, default=3)
    parser.add_argument("--steps", type=positive, default=4, help="batches of a turn")
    parser.add_argument("--turns", type=positive, default=5)
    parser.add_argument("--max_new_tokens", type=positive, default=30)
    parser.add_argument("--threads", type=positive, help="by default torch's choice")
    parser.add_argument("--bf16", action="store_true", help="train under bf16 autocast; generation stays as it is")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


def seconds_of(run: Run) -> float:
    """How long a run takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def compare(runs: tuple[Run, Run], turns: int) -> dict[str, Any]:
    """Let both runs take their turns, each the first in every other one; what comes before only warms up.

    Args:
        runs (`tuple[Run, Run]`): With and without.
        turns (`int`): Of each.

    Returns:
        `dict[str, Any]`: Median seconds, the ratio of without to with by paired turns, and the seconds of all turns.
    """
    first = [seconds_of(run) for run in runs]
    seconds = []
    for turn in range(turns):
        order = (0, 1) if turn % 2 == 0 else (1, 0)
        found = {index: seconds_of(runs[index]) for index in order}
        seconds.append([found[0], found[1]])
    return {
        **ratios([without / own for own, without in seconds]),
        "seconds_with": statistics.median(own for own, _ in seconds),
        "seconds_without": statistics.median(without for _, without in seconds),
        "seconds_to_warm_up": {"with": first[0], "without": first[1]},
        "turns": seconds,
    }


def padding_share(batches: list[dict[str, Any]]) -> float:
    """Which share of the tokens of `PairCollator`'s batches is padding."""
    positions = [batch["position_ids"] for batch in batches]
    # Padding has position 0, and so has the first token of each row.
    empty = sum((found == 0).sum().item() - len(found) for found in positions)
    return empty / sum(found.numel() for found in positions)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Measure every way and describe the run.

    Raises:
        ValueError: The batch size is odd, or the system cannot be loaded or trained this way.
    """
    if options.threads:
        torch.set_num_threads(options.threads)
    set_seed(options.seed)
    if options.batch_size % 2:
        raise ValueError(f"--batch_size must be even, for whole scenes, got {options.batch_size}.")
    bench = Bench(options)
    figures = {}
    for name in options.only or WAYS:
        runs = WAYS[name](bench)
        figures[name] = {"what": WAYS[name].__doc__, **compare(runs, options.turns)}
        sys.stderr.write(f"{name}: {figures[name]['ratio']:.2f}\n")
    return {
        "figures": figures,
        "padding_share": padding_share(bench.batches()),
        "settings": settings_of(options),
        "threads": torch.get_num_threads(),
        "cpu": cpu_name(),
        "versions": library_versions(),
    }


def main(arguments: list[str] | None = None) -> int:
    """Measure, and answer errors with one line on stderr and exit code 2."""
    options = parse_arguments(arguments)
    be_quiet()
    try:
        report = measure(options)
        if options.only and options.output.is_file():
            stored = read_json_object(options.output)
            report = report | {"figures": stored.get("figures", {}) | report["figures"]}
        write_results(options.output, report)
    except (OSError, ValueError) as error:
        return report_error("measure_speed.py", error)
    sys.stdout.write(f"Wrote {options.output}.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
