# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Runs `ssgpa caption --pairs` on many pairs with broken images among them, and watches its memory.

python benchmarks/measure_batch_captioning.py --output benchmarks/results/batch_captioning.json

With `--before REVISION`, that commit captions the same pairs too, before this one, so that one run tells what a change
costs:

python benchmarks/measure_batch_captioning.py --pairs 2000 --before b2fb33e --num_beams 1 --output RESULTS.json

The pairs are the sample images of `examples/pairs`, each "before" with each "after" in turn. Every hundredth pair
has an image that is missing, cut off or no image at all. The command runs in a process of its own.
"""

import argparse
import csv
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise, product
from pathlib import Path
from typing import Any

from ssgpa.benchmarks.revisions import ROOT, commit_of, environment_of, lay_out
from ssgpa.utils.console import OneLineParser, positive, report_error
from ssgpa.utils.results import library_versions, write_results


IMAGES = ROOT / "examples" / "pairs"
BROKEN = ("missing.png", "truncated.png", "text.png")
COMMAND = (sys.executable, "-c", "import sys; from ssgpa.cli import main; sys.exit(main())", "caption")
SAMPLE_SECONDS = 0.1
MIB = 2**20


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = OneLineParser(
        prog="measure_batch_captioning.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--output", required=True, type=Path, help="JSON file for the figures")
    parser.add_argument("--pairs", type=positive, default=1000)
    parser.add_argument("--broken_every", type=positive, default=100, metavar="N", help="every Nth pair is broken")
    parser.add_argument("--batch_size", type=positive, default=8)
    parser.add_argument("--num_beams", type=positive, help="by default the pipeline's")
    parser.add_argument("--before", metavar="REVISION", help="a commit that captions the same pairs first")
    return parser.parse_args(arguments)


def write_pairs(folder: Path, pairs: int, broken_every: int) -> list[int]:
    """Write `pairs.csv` and its images.

    Args:
        folder (`Path`): An empty folder.
        pairs (`int`): Rows.
        broken_every (`int`): Every so manieth row has a broken image, now before, now after.

    Returns:
        `list[int]`: The numbers of the broken rows.
    """
    names = [sorted(path.name for path in IMAGES.glob(f"*_{side}.png")) for side in ("before", "after")]
    for name in (*names[0], *names[1]):
        shutil.copyfile(IMAGES / name, folder / name)
    whole = (IMAGES / names[0][0]).read_bytes()
    (folder / "truncated.png").write_bytes(whole[: len(whole) // 2])
    (folder / "text.png").write_text("this is no image\n", encoding="utf-8")
    combinations = list(product(*names))
    broken = list(range(broken_every, pairs + 1, broken_every))
    with (folder / "pairs.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["before", "after"])
        for row in range(1, pairs + 1):
            pair = list(combinations[(row - 1) % len(combinations)])
            if row % broken_every == 0:
                number = row // broken_every
                pair[number % 2] = BROKEN[number % len(BROKEN)]
            writer.writerow(pair)
    return broken


def watch(
    command: list[str], output: Path, environment: dict[str, str] | None = None
) -> tuple[int, float, list[tuple[float, float, int]]]:
    """Run the command and sample the memory of its process.

    Args:
        command (`list[str]`): The words.
        output (`Path`): The file that it fills.
        environment (`dict[str, str]`, *optional*): Its environment; this process's by default.

    Returns:
        `tuple[int, float, list[tuple[float, float, int]]]`: Its exit code, its seconds, and samples of (seconds since
        the start, MiB resident, bytes of the output).

    Raises:
        ImportError: psutil is missing.
    """
    try:
        import psutil
    except ImportError as error:
        raise ImportError('psutil is missing: pip install "ssgpa[train]".') from error
    samples = []
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    resident = psutil.Process(process.pid)
    while process.poll() is None:
        written = output.stat().st_size if output.exists() else 0
        try:
            samples.append((time.perf_counter() - start, resident.memory_info().rss / MIB, written))
        except psutil.NoSuchProcess:
            break
        time.sleep(SAMPLE_SECONDS)
    return process.wait(), time.perf_counter() - start, samples


def describe_memory(samples: list[tuple[float, float, int]]) -> dict[str, Any]:
    """Memory over the four quarters of the captioning, which begins when the first batch is written.

    Args:
        samples (`list[tuple[float, float, int]]`): What `watch` gives.

    Returns:
        `dict[str, Any]`: Median and largest MiB of each quarter, and by how much the last quarter's largest exceeds
        the first's.

    Raises:
        ValueError: There are fewer than four samples.
    """
    sizes = [size for _, size, written in samples if written]
    if len(sizes) < 4:
        raise ValueError(f"{len(sizes)} samples of memory are too few; take more --pairs.")
    edges = [len(sizes) * quarter // 4 for quarter in range(5)]
    quarters = [sizes[start:end] for start, end in pairwise(edges)]
    largest = [max(quarter) for quarter in quarters]
    return {
        "samples": len(sizes),
        "quarters_median_mib": [round(statistics.median(quarter), 1) for quarter in quarters],
        "quarters_largest_mib": [round(value, 1) for value in largest],
        "growth_mib": round(largest[-1] - largest[0], 1),
        "peak_mib": round(max(size for _, size, _ in samples), 1),
    }


def caption(
    options: argparse.Namespace, folder: Path, broken: list[int], environment: dict[str, str] | None = None
) -> dict[str, Any]:
    """Run the command over the pairs of a folder, and count.

    Args:
        options (`argparse.Namespace`): The command line.
        folder (`Path`): What `write_pairs` filled.
        broken (`list[int]`): The rows with a broken image.
        environment (`dict[str, str]`, *optional*): The command's environment; this process's by default.

    Returns:
        `dict[str, Any]`: The figures.

    Raises:
        RuntimeError: The command ended in another way than with the exit code for pairs that failed.
        ValueError: A good row was not captioned, or a broken one not told.
    """
    output = folder / "captions.jsonl"
    # The samples of memory begin to count with its first line.
    output.unlink(missing_ok=True)
    words = ["--pairs", str(folder / "pairs.csv"), "--output", str(output), "--batch-size", str(options.batch_size)]
    words += ["--num-beams", str(options.num_beams)] if options.num_beams else []
    output.with_suffix(".settings.json").unlink(missing_ok=True)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    code, seconds, samples = watch([*COMMAND, *words], output, environment)
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    if code != int(bool(broken)):
        raise RuntimeError(f"ssgpa caption ended with exit code {code}.")
    records = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    failed = [record["row"] for record in records if "error" in record]
    captioned = [record["row"] for record in records if record.get("caption")]
    if failed != broken or sorted(failed + captioned) != list(range(1, options.pairs + 1)):
        raise ValueError(f"{len(captioned)} rows were captioned and {len(failed)} told as broken, of {options.pairs}.")
    return {
        "pairs": options.pairs,
        "captioned": len(captioned),
        "failed": len(failed),
        "errors": sorted({record["error"].replace(f"{folder}/", "") for record in records if "error" in record}),
        "exit_code": code,
        "batch_size": options.batch_size,
        "seconds": round(seconds, 1),
        # Other programs on the machine stretch the seconds, and these hardly.
        "cpu_seconds": round(spent.ru_utime + spent.ru_stime - used.ru_utime - used.ru_stime, 1),
        "memory": describe_memory(samples),
    }


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Make the pairs and caption them, by an older commit first where one is named.

    Args:
        options (`argparse.Namespace`): The command line.
        folder (`Path`): An empty folder.

    Returns:
        `dict[str, Any]`: The figures; those of the older commit under `before`.

    Raises:
        RuntimeError: The command ended in another way than with the exit code for pairs that failed.
        ValueError: A good row was not captioned, or a broken one not told, or there is no such commit.
    """
    pairs = folder / "pairs"
    pairs.mkdir()
    broken, before = write_pairs(pairs, options.pairs, options.broken_every), {}
    if options.before:
        commit = commit_of(options.before)
        environment = environment_of(lay_out(commit, folder / "before"))
        before = {"before": {"commit": commit, **caption(options, pairs, broken, environment)}}
    return {**caption(options, pairs, broken), **before, "versions": library_versions()}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = parse_arguments(arguments)
    try:
        with tempfile.TemporaryDirectory() as folder:
            write_results(options.output, measure(options, Path(folder)))
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        return report_error("measure_batch_captioning.py", error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
