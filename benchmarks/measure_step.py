# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""What one step of a run costs: floating point operations, time and memory, on the run's own first pairs.

python benchmarks/measure_step.py examples/configs/comparison/ssgpa.yaml --output step.json

Operations are those that torch counts: matrix products, attention and convolutions, forward and backward, without
auxiliary heads and optimizer. Memory is the process's peak above what it had before the first step.
"""

import argparse
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from ssgpa.benchmarks.measure_system_speed import forget_peak, peak_mib, time_steps
from ssgpa.benchmarks.measure_throughput import cpu_name
from ssgpa.training.arguments import parse_arguments as parse_run
from ssgpa.training.collator import PairCollator
from ssgpa.training.resuming import set_seed
from ssgpa.training.run import first_rows, load_splits, start_system, training_pairs, training_targets
from ssgpa.utils.console import OneLineParser, be_quiet, positive, report_error
from ssgpa.utils.results import library_versions, write_results


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Build a run's model and first batch, and take steps.

    Args:
        options (`argparse.Namespace`): Of the command line.

    Returns:
        `dict[str, Any]`: `flops_per_pair`, `pairs_per_second` (the median step's), `peak_mib`, `parameters`, `pairs`
        of a step, and what it was measured with.
    """
    if options.threads:
        torch.set_num_threads(options.threads)
    model_args, data_args, args = parse_run([str(options.config)])
    set_seed(args.seed)
    splits = load_splits(data_args)
    count = args.per_device_train_batch_size
    model, processor, _ = start_system(model_args, splits)
    rows, words, _ = training_targets(data_args, first_rows(splits, "train", count), args.seed)
    pairs = training_pairs(data_args, rows, processor, args.seed, wordings=words)
    collated = PairCollator(processor)([pairs[index] for index in range(len(rows))])
    batch = {name: value for name, value in collated.items() if name != "pair_ids"}
    model.train()

    def step() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16) if args.bf16 else nullcontext():
            loss = model(**batch).loss
        loss.backward()
        model.zero_grad()

    forget_peak()
    before = peak_mib()
    seconds = time_steps(step, options.steps)
    peak = peak_mib() - before
    with FlopCounterMode(display=False) as counter:
        step()
    return {
        "flops_per_pair": counter.get_total_flops() / len(rows),
        "pairs_per_second": len(rows) / seconds,
        "peak_mib": peak,
        "parameters": model.num_parameters(),
        "pairs": len(rows),
        "threads": torch.get_num_threads(),
        "cpu": cpu_name(),
        "versions": library_versions(),
    }


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = OneLineParser(prog="measure_step.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("config", type=Path, help="YAML file of the run; its data must be there")
    parser.add_argument("--output", required=True, type=Path, help="JSON file for the figures")
    parser.add_argument("--steps", type=positive, default=5, help="after one that only warms up")
    parser.add_argument("--threads", type=positive, help="by default torch's choice")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Measure, and answer errors with one line on stderr and exit code 2."""
    options = parse_arguments(arguments)
    be_quiet()
    try:
        found = measure(options)
        write_results(options.output, found)
    except (OSError, ValueError) as error:
        return report_error("measure_step.py", error)
    told = f"{found['flops_per_pair'] / 1e9:.2f} GFLOPs a pair, {found['pairs_per_second']:.1f} pairs/s"
    sys.stdout.write(f"{told}, {found['peak_mib']:,.0f} MiB. Wrote {options.output}.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
