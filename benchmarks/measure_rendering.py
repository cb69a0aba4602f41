# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Measures how many scenes the renderer writes a second, files included, by backend, size and number of workers.

taskset -c 1 python benchmarks/measure_rendering.py --workers 1 --output throughput.json
python benchmarks/measure_rendering.py --workers 2 --output throughput.json

A later call keeps the rows of an earlier one but those that it measures anew. Code is compiled before the clock
starts; the start of the workers counts. A row's load average, of the minute before, tells how busy the machine was.
"""

import argparse
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ssgpa.benchmarks.measure_throughput import cpu_name
from ssgpa.data.checks import read_json_object
from ssgpa.data.clevr_renderer import RenderSettings, render_dataset
from ssgpa.data.clevr_renderer.caster.ray_caster import BACKENDS
from ssgpa.data.clevr_renderer.dataset.rendering import warm_up
from ssgpa.utils.console import OneLineParser, positive, report_error
from ssgpa.utils.results import library_versions, write_results


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = OneLineParser(
        prog="measure_rendering.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--output", required=True, type=Path, help="JSON file for the figures")
    parser.add_argument("--workers", type=positive, nargs="+", default=[1])
    parser.add_argument("--sizes", nargs="+", default=["160x120", "240x160", "480x320"], metavar="WIDTHxHEIGHT")
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=list(BACKENDS))
    parser.add_argument("--scenes", type=positive, nargs=2, default=[40, 8], help="by numba and by numpy")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(argv)


def cpu_seconds() -> float:
    """Processor time of this process and of the workers that have ended."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def measure_row(settings: RenderSettings, workers: int) -> dict[str, Any]:
    """Render a set into a folder that is thrown away."""
    warm_up(settings)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    with tempfile.TemporaryDirectory() as folder:
        start, used = time.perf_counter(), cpu_seconds()
        render_dataset(Path(folder) / "set", settings, workers=workers, progress=False)
        seconds, used = time.perf_counter() - start, cpu_seconds() - used
    return {
        "backend": settings.backend,
        "size": list(settings.size),
        "workers": workers,
        "scenes": settings.scenes,
        "seconds": seconds,
        "cpu_seconds": used,
        "scenes_per_second": settings.scenes / seconds,
        "scenes_per_cpu_second": settings.scenes / used,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load_average_before": load,
    }


def merge_rows(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of both, the new one where both have one, in order of backend, size and workers."""
    rows = {(row["backend"], *row["size"], row["workers"]): row for row in [*old, *new]}
    return [rows[key] for key in sorted(rows)]


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """All rows that are asked for, beside those of an earlier call."""
    old = read_json_object(arguments.output)["rows"] if arguments.output.is_file() else []
    scenes = dict(zip(BACKENDS, arguments.scenes, strict=True))
    sizes, new = [text.partition("x")[::2] for text in arguments.sizes], []
    for text, size in zip(arguments.sizes, sizes, strict=True):
        if not all(side.isdecimal() for side in size):
            raise ValueError(f"--sizes takes sizes such as 240x160, not {text!r}")
    for backend in arguments.backends:
        for size in [(int(width), int(height)) for width, height in sizes]:
            settings = RenderSettings(scenes[backend], arguments.seed, size, backend=backend)
            for workers in arguments.workers:
                new.append(measure_row(settings, workers))
                sys.stdout.write(f"{backend} {size} {workers}: {new[-1]['scenes_per_second']:.2f} scenes a second\n")
    return {"rows": merge_rows(old, new), "cpu": cpu_name(), "versions": library_versions()}


def main(argv: list[str] | None = None) -> int:
    """Measure, and answer errors with one line on stderr and exit code 2."""
    arguments = parse_arguments(argv)
    try:
        write_results(arguments.output, measure(arguments))
    except (OSError, ValueError, KeyError) as error:
        return report_error("measure_rendering.py", error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
