# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Measures the tiny preset's training and captioning at two revisions of this repository, in one run.

python benchmarks/compare_revisions.py --before 3d688c5 --output benchmarks/results/speed-before-after.json

Each revision's own files are laid out in a folder, and its own benchmarks/measure_throughput.py runs there as a new
process, before and after in turns, so that a busy machine slows both. A ratio is the rate after over the rate before,
the median over paired turns. Weights are random: revisions need not read each other's checkpoints.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from ssgpa.benchmarks.measure_throughput import cpu_name, ratios
from ssgpa.benchmarks.revisions import SIDES, commit_of, environment_of, lay_out
from ssgpa.utils.console import OneLineParser, be_quiet, positive, report_error
from ssgpa.utils.results import library_versions, write_results


CONFIG = "examples/configs/models/ssgpa-clevr-tiny.json"
# Where the program has been, the newest place first.
PROGRAMS = ("benchmarks/measure_throughput.py", "comparison/measure_throughput.py")


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = OneLineParser(
        prog="compare_revisions.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--before", required=True, metavar="REVISION", help="the older commit")
    parser.add_argument("--after", default="HEAD", metavar="REVISION", help="the newer commit")
    parser.add_argument("--output", required=True, type=Path, help="JSON file for the figures")
    parser.add_argument("--turns", type=positive, default=3)
    parser.add_argument("--batch_size", type=positive, default=32)
    parser.add_argument("--steps", type=positive, default=8)
    return parser.parse_args(arguments)


def throughput(folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """Rates that the revision in a folder measures of itself.

    Raises:
        ValueError: Its program fails.
    """
    output = folder / "throughput.json"
    program = next(filter(Path.is_file, (folder / "ssgpa" / place for place in PROGRAMS)), None)
    if program is None:
        raise ValueError(f"a revision has no {' or '.join(PROGRAMS)}.")
    sizes = ["--batch_size", str(options.batch_size), "--steps", str(options.steps)]
    command = [sys.executable, str(program), "--config", str(folder / "ssgpa" / CONFIG), "--output", str(output)]
    done = subprocess.run(
        [*command, "--bf16", *sizes],
        env=environment_of(folder),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ValueError(f"{program.name} failed at a revision: {' '.join(done.stderr.split())[-300:]}")
    found = json.loads(output.read_text(encoding="utf-8"))
    try:
        generation = {
            f"captions_per_second_{name}": rates["captions_per_second"] for name, rates in found["generation"].items()
        }
        return {"training_pairs_per_second": found["training"]["pairs_per_second"]["ssgpa"], **generation}
    except KeyError as error:
        raise ValueError(f"{program.name} of a revision tells other figures: {error} is missing.") from error


def compare(turns: list[dict[str, dict[str, float]]]) -> dict[str, Any]:
    """Median rates and ratios of turns, each with the rates of both sides."""
    return {
        name: {
            **{side: statistics.median(turn[side][name] for turn in turns) for side in SIDES},
            **ratios([turn["after"][name] / turn["before"][name] for turn in turns]),
        }
        for name in turns[0]["before"]
    }


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Lay both revisions out and let them take their turns."""
    commits = {side: commit_of(getattr(options, side)) for side in SIDES}
    with tempfile.TemporaryDirectory() as folder:
        places = {side: lay_out(commit, Path(folder) / side) for side, commit in commits.items()}
        turns = []
        for turn in range(options.turns):
            # Each side goes first in every other turn.
            order = SIDES[:: 1 - 2 * (turn % 2)]
            turns.append({side: throughput(places[side], options) for side in order})
    settings = {name: getattr(options, name) for name in ("turns", "batch_size", "steps")}
    return {
        "figures": compare(turns),
        "turns": turns,
        "commits": commits,
        "settings": settings,
        "cpu": cpu_name(),
        "versions": library_versions(),
    }


def main(arguments: list[str] | None = None) -> int:
    """Measure, and answer errors with one line on stderr and exit code 2."""
    options = parse_arguments(arguments)
    be_quiet()
    try:
        figures = measure(options)
        write_results(options.output, figures)
    except (OSError, ValueError) as error:
        return report_error("compare_revisions.py", error)
    for name, found in figures["figures"].items():
        sys.stdout.write(f"{name}: {found['before']:.1f} -> {found['after']:.1f}, ratio {found['ratio']:.2f}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
