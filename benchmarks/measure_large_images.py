# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Measures time and peak memory of captioning large images, and a long table, at two revisions in one run.

python benchmarks/measure_large_images.py --before b2fb33e --output benchmarks/results/large_images.json

The large pair is a sample pair of `examples/pairs`, enlarged and with grain, as two JPEG files; the table names the
sample pairs again and again. Each revision's own files are laid out in a folder, and its own pipeline and command
caption there, every case in a process of its own, before and after in turns. Peak memory is the largest that was
resident in the process, the libraries and the model included; what they take alone is measured too.
"""

import argparse
import csv
import statistics
import sys
import tempfile
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ssgpa.benchmarks.measure_throughput import cpu_name
from ssgpa.benchmarks.revisions import ROOT, SIDES, commit_of, find, lay_out, run_at
from ssgpa.utils.console import OneLineParser, positive, report_error
from ssgpa.utils.results import library_versions, write_results


IMAGES = ROOT / "examples" / "pairs"
SAMPLE = "drop_0"
QUALITY = 90
# Standard deviation in levels; without any, a JPEG of an enlarged image is decoded in no time.
GRAIN = 6


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = OneLineParser(
        prog="measure_large_images.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--before", required=True, metavar="REVISION", help="the older commit")
    parser.add_argument("--after", default="HEAD", metavar="REVISION", help="the newer commit")
    parser.add_argument("--output", required=True, type=Path, help="JSON file for the figures")
    parser.add_argument("--width", type=positive, default=12_000)
    parser.add_argument("--height", type=positive, default=9_000)
    parser.add_argument("--rows", type=positive, default=2_000, help="pairs of the table")
    parser.add_argument("--turns", type=positive, default=3)
    return parser.parse_args(arguments)


def write_pair(folder: Path, width: int, height: int) -> list[Path]:
    """Write the enlarged sample pair as JPEG files.

    Args:
        folder (`Path`): Where to.
        width (`int`): Of each image, in pixels.
        height (`int`): Of each image, in pixels.

    Returns:
        `list[Path]`: The files, before and after.
    """
    rng = np.random.default_rng(0)
    files = []
    for side in SIDES:
        with Image.open(IMAGES / f"{SAMPLE}_{side}.png") as image:
            large = np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)).copy()
        # Row by row: grain of the whole at once would take gigabytes.
        for row in large:
            row[:] = np.clip(row + rng.normal(0, GRAIN, row.shape), 0, 255)
        files.append(folder / f"{side}.jpg")
        Image.fromarray(large).save(files[-1], quality=QUALITY)
    return files


def write_table(path: Path, rows: int) -> Path:
    """Write a table of so many sample pairs, each again and again."""
    samples = sorted(IMAGES.glob("*_before.png"))
    names = [(before, before.with_name(before.name.replace("before", "after"))) for before in samples]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["before", "after"])
        writer.writerows(islice(cycle(names), rows))
    return path


def caption_case(case: str, *files: str) -> dict[str, Any]:
    """Caption under the revision that Python imports, in a fresh process.

    Args:
        case (`str`): "table", or anything else for a pair, "caption and maps" with its maps.
        *files (`str`): The table and the file for its captions; or the pair's two images.

    Returns:
        `dict[str, Any]`: Seconds, the process's largest memory after and before, and a pair's caption.
    """
    import re
    import time
    from pathlib import Path

    import ssgpa
    from ssgpa.cli import main

    def peak() -> float:
        # Not `ru_maxrss`: a process takes that over from the one that started it.
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024

    load_system = find("ssgpa.utils.loading:load_system", "ssgpa.loading:load_system")
    root = Path(ssgpa.__file__).parent
    model, processor = load_system(str(root / "checkpoints" / "ssgpa-clevr-tiny"))
    pipe = ssgpa.ChangeCaptioningPipeline(model, processor=processor, task="change-captioning", device="cpu")
    pipe((str(root / "examples/pairs/drop_0_before.png"),) * 2)
    idle, start, caption = peak(), time.perf_counter(), None
    if case == "table":
        table, output = files
        if main(["caption", "--pairs", table, "--output", output, "--quiet", "--overwrite"]):
            raise ValueError("the command failed.")
    else:
        caption = pipe(files, return_change_map=case == "caption and maps")[0]["generated_text"]
    return {"seconds": time.perf_counter() - start, "peak_mib": peak(), "idle_mib": idle, "caption": caption}


def summarize(turns: list[dict[str, dict[str, Any]]]) -> dict[str, Any]:
    """Medians of a case's turns on both sides, and whether both said the same."""
    figures: dict[str, Any] = {
        side: {
            name: round(statistics.median(turn[side][name] for turn in turns), 2)
            for name in ("seconds", "peak_mib", "idle_mib")
        }
        for side in SIDES
    }
    figures["captions"] = {side: turns[0][side]["caption"] for side in SIDES}
    return figures


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Lay both revisions out, write the images and let the revisions take their turns."""
    commits = {side: commit_of(getattr(options, side)) for side in SIDES}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        places = {side: lay_out(commit, folder / side) for side, commit in commits.items()}
        pair = write_pair(folder, options.width, options.height)
        table = [write_table(folder / "pairs.csv", options.rows), folder / "captions.jsonl"]
        cases = {"caption": pair, "caption and maps": pair, "table": table}
        turns: dict[str, list[dict[str, dict[str, Any]]]] = {case: [] for case in cases}
        for turn in range(options.turns):
            # Each side goes first in every other turn.
            order = SIDES[:: 1 - 2 * (turn % 2)]
            for case, files in cases.items():
                turns[case].append(
                    {side: run_at(places[side], caption_case, case, *map(str, files)) for side in order}
                )
        size = [path.stat().st_size for path in pair]
    settings = {key: getattr(options, key) for key in ("width", "height", "rows", "turns")}
    return {
        "figures": {case: summarize(found) for case, found in turns.items()},
        "turns": turns,
        "jpeg_bytes": size,
        "commits": commits,
        "settings": settings,
        "cpu": cpu_name(),
        "versions": library_versions(),
    }


def main(arguments: list[str] | None = None) -> int:
    """Measure, and answer errors with one line on stderr and exit code 2."""
    options = parse_arguments(arguments)
    try:
        figures = measure(options)
        write_results(options.output, figures)
    except (OSError, ValueError) as error:
        return report_error("measure_large_images.py", error)
    for case, found in figures["figures"].items():
        told = [f"{found[side]['seconds']:.1f} s, {found[side]['peak_mib']:,.0f} MiB" for side in SIDES]
        sys.stdout.write(f"{case}: {told[0]} -> {told[1]}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
