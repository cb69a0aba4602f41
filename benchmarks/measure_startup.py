# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Measures how soon the command `ssgpa` and `import ssgpa` are there, beside the libraries they stand on.

python benchmarks/measure_startup.py --output benchmarks/results/startup.json

Every command is a process of its own. They take turns, so that what else the machine does falls on all of them alike.
Compared are medians of wall time: help, version and a wrong argument with `import torch, transformers`; `import ssgpa`
with the import of Transformers' two Auto classes; `ssgpa caption` with a bare script that loads the same checkpoint by
these classes and generates.
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

from ssgpa.benchmarks.measure_throughput import cpu_name
from ssgpa.utils.console import OneLineParser, positive, report_error
from ssgpa.utils.results import library_versions, write_results


ROOT = Path(__file__).resolve().parent.parent
PAIR = [str(ROOT / "examples" / "pairs" / f"color_0_{side}.png") for side in ("before", "after")]
COMMAND = [str(Path(sys.executable).with_name("ssgpa"))]
SCRIPT = """
import sys
import ssgpa
from transformers import AutoModelForImageTextToText, AutoProcessor

model = AutoModelForImageTextToText.from_pretrained(sys.argv[1])
processor = AutoProcessor.from_pretrained(sys.argv[1])
inputs = processor(images=sys.argv[2:], return_tensors="pt")
print(*processor.post_process_captions(model.generate(**inputs), inputs))
"""
RUNS = {
    "libraries": [sys.executable, "-c", "import torch, transformers"],
    "help": [*COMMAND, "--help"],
    "version": [*COMMAND, "--version"],
    "wrong argument": [*COMMAND, "caption", "--color"],
    "auto classes": [sys.executable, "-c", "from transformers import AutoModelForImageTextToText, AutoProcessor"],
    "import ssgpa": [sys.executable, "-c", "import ssgpa"],
    "bare script": [sys.executable, "-c", SCRIPT, str(ROOT / "checkpoints" / "ssgpa-clevr-tiny"), *PAIR],
    "ssgpa caption": [*COMMAND, "caption", *PAIR],
}
# What is compared, with what, and at most how many times as long it may take.
BOUNDS = [
    ("help", "libraries", 0.1),
    ("version", "libraries", 0.1),
    ("wrong argument", "libraries", 0.1),
    ("import ssgpa", "auto classes", 1.1),
    ("ssgpa caption", "bare script", 1.3),
]
CODES = {"wrong argument": 2}


def run_once(name: str) -> tuple[float, str]:
    """Run one command.

    Args:
        name (`str`): Of the command.

    Returns:
        `tuple[float, str]`: Seconds of wall time, and what it printed.

    Raises:
        ChildProcessError: It ended with another code than it should.
    """
    began = time.perf_counter()
    done = subprocess.run(RUNS[name], capture_output=True, text=True, check=False, cwd=ROOT.parent)
    seconds = time.perf_counter() - began
    if done.returncode != CODES.get(name, 0):
        raise ChildProcessError(f"{name} ended with code {done.returncode}: {done.stderr.strip()[-300:]}")
    return seconds, done.stdout


def measure(turns: int) -> dict[str, list[float]]:
    """Seconds of every command, turn by turn, after one turn that only fills the machine's file cache.

    Raises:
        ChildProcessError: A command failed, or script and command said different things.
    """
    said = {name: run_once(name)[1] for name in RUNS}
    if said["bare script"] != said["ssgpa caption"]:
        raise ChildProcessError(f"script and command differ: {said['bare script']!r}, {said['ssgpa caption']!r}")
    times: dict[str, list[float]] = {name: [] for name in RUNS}
    for _ in range(turns):
        for name, seconds in times.items():
            seconds.append(run_once(name)[0])
    return times


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code, 1 where something is slower than it may be."""
    parser = OneLineParser(
        prog="measure_startup.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--output", required=True, type=Path, help="JSON file for the figures")
    parser.add_argument("--turns", type=positive, default=9)
    options = parser.parse_args(argv)
    try:
        times = measure(options.turns)
    except OSError as error:
        return report_error("measure_startup.py", error)
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    ratios = [
        {"of": name, "to": base, "ratio": medians[name] / medians[base], "at_most": bound}
        for name, base, bound in BOUNDS
    ]
    write_results(
        options.output,
        {
            "turns": options.turns,
            "cpu": cpu_name(),
            "versions": library_versions(),
            "seconds": {name: sorted(seconds) for name, seconds in times.items()},
            "median_seconds": medians,
            "ratios": ratios,
        },
    )
    slow = [item for item in ratios if item["ratio"] > item["at_most"]]
    for item in slow:
        sys.stderr.write(
            "{of} takes {ratio:.2f} times as long as {to}; at most {at_most} is asked for.\n".format(**item)
        )
    return int(bool(slow))


if __name__ == "__main__":
    sys.exit(main())
