# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Speed and peak memory of a system beside its authors' code: same weights, same shapes, in turns.

python benchmarks/measure_parity.py draw clip4idc --size real --folder parity
python benchmarks/measure_system_speed.py round clip4idc --size real --folder parity --task train --rounds ours.json
python benchmarks/measure_system_speed.py report clip4idc --rounds ours.json --other theirs.json --output speed.json

`round` measures one task, `train` or `caption`, in its own process and adds it to the file of rounds. The other side,
which is no part of this repository, writes a file of the same form: `repository`, `commit` and `rounds`, each with
`task`, `pairs`, `seconds` of one step and `peak_mib`. Let the sides take turns, so that a busy machine slows both.
`report` compares medians: pairs a second, here over there, and the peak memory likewise.

What a task does is told by `tasks` in the system's module of `benchmarks/parity`.
"""

import argparse
import gc
import importlib
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ssgpa.benchmarks.measure_parity import read_specification
from ssgpa.data.checks import read_json_object
from ssgpa.utils.console import OneLineParser, be_quiet, positive, report_error
from ssgpa.utils.results import library_versions, write_results


TASKS = ("train", "caption")
WARM_UP_STEPS = 1


def forget_peak() -> None:
    """Let the peak start from what this process has now: loading is not what is measured."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def peak_mib() -> float:
    """The largest memory that this process has had since, of Linux."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise OSError("This machine does not tell a process's peak memory; Linux does.")


def time_steps(step: Callable[[], Any], count: int) -> float:
    """Seconds of the median step, after one that only warms up.

    Args:
        step (`Callable`): Takes a step.
        count (`int`): Steps that are timed.
    """
    for _ in range(WARM_UP_STEPS):
        step()
    seconds = []
    for _ in range(count):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def measure_round(options: argparse.Namespace) -> dict[str, Any]:
    """One task's seconds a step and peak memory.

    Args:
        options (`argparse.Namespace`): Of the command line.
    """
    specification = read_specification(options.system, options.size)
    module = importlib.import_module(f"ssgpa.benchmarks.parity.{options.system}")
    tasks = module.tasks(options.folder / "checkpoint.safetensors", specification["fields"], options.pairs)
    step = tasks[options.task]
    forget_peak()
    return {
        "task": options.task,
        "pairs": options.pairs,
        "seconds": time_steps(step, options.steps),
        "peak_mib": peak_mib(),
        "load": os.getloadavg()[0],
    }


def compare(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Both sides' medians of every task, and their ratios.

    Args:
        ours (`list[dict[str, Any]]`): Rounds.
        theirs (`list[dict[str, Any]]`): Rounds.

    Returns:
        `dict[str, dict[str, Any]]`: By task; a `speed_ratio` above 1 is faster here, a `memory_ratio` below 1 smaller.

    Raises:
        ValueError: The sides have other tasks or other numbers of pairs.
    """
    report = {}
    for task in TASKS:
        rounds = [[one for one in side if one["task"] == task] for side in (ours, theirs)]
        if not any(rounds):
            continue
        if len({one["pairs"] for side in rounds for one in side}) != 1 or not all(rounds):
            raise ValueError(f"{task}: both sides need rounds, of one number of pairs.")
        here, there = (
            {
                "pairs_per_second": statistics.median(one["pairs"] / one["seconds"] for one in side),
                "peak_mib": statistics.median(one["peak_mib"] for one in side),
                "rounds": len(side),
            }
            for side in rounds
        )
        report[task] = {
            "pairs": rounds[0][0]["pairs"],
            "here": here,
            "there": there,
            "speed_ratio": here["pairs_per_second"] / there["pairs_per_second"],
            "memory_ratio": here["peak_mib"] / there["peak_mib"],
        }
    return report


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = OneLineParser(
        prog="measure_system_speed.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("step", choices=["round", "report"])
    parser.add_argument("system", help="a module and a JSON file of benchmarks/parity")
    parser.add_argument("--rounds", required=True, type=Path, help="JSON file of this side's rounds")
    parser.add_argument("--size", default="real", help="of those that the system's file tells")
    parser.add_argument("--folder", type=Path, help="of the weights that measure_parity.py drew")
    parser.add_argument("--task", choices=TASKS)
    parser.add_argument("--pairs", type=positive, default=16, help="of one step")
    parser.add_argument("--steps", type=positive, default=3, help="of one round, after one that only warms up")
    parser.add_argument("--threads", type=positive, help="by default torch's choice")
    parser.add_argument("--other", type=Path, help="JSON file of the other side's rounds")
    parser.add_argument("--output", type=Path, help="JSON file for the report")
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> str:
    """Measure a round or report; returns what to tell.

    Raises:
        ValueError: An option is missing, or the rounds do not fit together.
    """
    needed = ("folder", "task") if options.step == "round" else ("other", "output")
    missing = [f"--{name}" for name in needed if getattr(options, name) is None]
    if missing:
        raise ValueError(f"{options.step} needs {' and '.join(missing)}.")
    stored = read_json_object(options.rounds) if options.rounds.is_file() else {"rounds": []}
    if options.step == "round":
        if options.threads:
            torch.set_num_threads(options.threads)
        found = measure_round(options)
        write_results(options.rounds, stored | {"rounds": [*stored["rounds"], found]})
        return f"{options.task}: {found['pairs'] / found['seconds']:.2f} pairs/s, {found['peak_mib']:,.0f} MiB."
    # A round takes no memory for what only a report needs.
    from ssgpa.benchmarks.measure_throughput import cpu_name

    other = read_json_object(options.other)
    result = {
        "system": options.system,
        "size": options.size,
        "other_side": {name: other.get(name) for name in ("repository", "commit")},
        "tasks": compare(stored["rounds"], other["rounds"]),
        "rounds": {"here": stored["rounds"], "there": other["rounds"]},
        "cpu": cpu_name(),
        "versions": library_versions(),
    }
    write_results(options.output, result)
    return f"Wrote {options.output}."


def main(arguments: list[str] | None = None) -> int:
    """Measure or report, and answer errors with one line on stderr and exit code 2."""
    options = parse_arguments(arguments)
    be_quiet()
    try:
        told = run(options)
    except (OSError, ValueError) as error:
        return report_error("measure_system_speed.py", error)
    sys.stdout.write(told + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
