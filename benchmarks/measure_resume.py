# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Shows that a killed run of the renderer goes on to the bytes of an uninterrupted one.

python benchmarks/measure_resume.py --output benchmarks/results/clevr-renderer-resume.json

The same command renders two folders. One run is left alone. The other is killed without warning, workers and all, once
half of its scenes are recorded, and given again. Every file of both folders is then compared by its SHA-256.
"""

import argparse
import hashlib
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ssgpa.benchmarks.measure_throughput import cpu_name
from ssgpa.data.clevr_renderer.dataset.layout import PARTS
from ssgpa.utils.console import OneLineParser, positive, report_error
from ssgpa.utils.results import library_versions, write_results


ROOT = Path(__file__).resolve().parent.parent
PROGRAM = "examples/render_clevr_change.py"
# Seconds between two looks at what a run has recorded.
LOOK = 0.05
NAMED = 10


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = OneLineParser(
        prog="measure_resume.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--output", required=True, type=Path, help="JSON file for the verdict")
    parser.add_argument("--scenes", type=positive, default=2000)
    parser.add_argument("--workers", type=positive, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=positive, nargs=2, default=[160, 120], metavar=("WIDTH", "HEIGHT"))
    return parser.parse_args(argv)


def start(options: list[str], folder: Path) -> subprocess.Popen:
    """Start the renderer as the leader of a process group of its own, which its workers join."""
    command = [sys.executable, PROGRAM, *options, "--output_dir", str(folder)]
    return subprocess.Popen(command, cwd=ROOT, start_new_session=True, stdout=subprocess.DEVNULL)


def run_to_end(options: list[str], folder: Path) -> float:
    """Render until it is done, and return the seconds.

    Raises:
        ChildProcessError: If the renderer fails.
    """
    began = time.perf_counter()
    code = start(options, folder).wait()
    if code:
        raise ChildProcessError(f"the renderer ended with code {code} in {folder}")
    return time.perf_counter() - began


def recorded(folder: Path) -> int:
    """Scenes that an unfinished run has recorded."""
    return len(list((folder / PARTS).glob("*.json")))


def kill_run(options: list[str], folder: Path, after: int) -> dict[str, Any]:
    """Start a run, kill its whole process group once `after` scenes are recorded, and say what it left.

    Raises:
        ChildProcessError: If the run ends before.
    """
    began = time.perf_counter()
    process = start(options, folder)
    while recorded(folder) < after:
        if process.poll() is not None:
            raise ChildProcessError(f"the renderer ended with code {process.returncode} before it was to be killed")
        time.sleep(LOOK)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    seconds = time.perf_counter() - began
    return {
        "seconds_until_killed": seconds,
        "signal": "SIGKILL to the process group",
        "scenes_recorded": recorded(folder),
        "images_left": len(list(folder.glob("*/*.png"))),
        "unfinished_files_left": len(list(folder.rglob("*.tmp"))),
    }


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file by its path in the folder, sorted."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def compare(one: dict[str, str], other: dict[str, str]) -> dict[str, Any]:
    """The verdict on two folders.

    Args:
        one (`dict[str, str]`): Hashes of the uninterrupted run's files.
        other (`dict[str, str]`): Those of the resumed run's.
    """
    different = sorted(name for name in one | other if one.get(name) != other.get(name))
    lines = "".join(f"{digest}  {name}\n" for name, digest in one.items())
    return {
        "identical": not different,
        "files": [len(one), len(other)],
        "different": len(different),
        "first_different": different[:NAMED],
        "sha256_of_sha256sum": hashlib.sha256(lines.encode()).hexdigest(),
    }


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Render both folders, compare them, and throw them away."""
    options = ["--scenes", arguments.scenes, "--seed", arguments.seed, "--workers", arguments.workers]
    options = [str(option) for option in (*options, "--size", *arguments.size)]
    with tempfile.TemporaryDirectory() as folder:
        whole, killed = Path(folder) / "whole", Path(folder) / "killed"
        seconds = run_to_end(options, whole)
        left = kill_run(options, killed, after=arguments.scenes // 2)
        left["seconds_after_resuming"] = run_to_end(options, killed)
        verdict = compare(hashes(whole), hashes(killed))
    return {
        "command": shlex.join(["python", PROGRAM, *options, "--output_dir", "DIR"]),
        "uninterrupted": {"seconds": seconds},
        "killed": left,
        "verdict": verdict,
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "versions": library_versions(),
    }


def main(argv: list[str] | None = None) -> int:
    """Measure; return 1 if the folders differ, 2 with one line on stderr for an error."""
    arguments = parse_arguments(argv)
    try:
        results = measure(arguments)
        write_results(arguments.output, results)
    except (OSError, ValueError) as error:
        return report_error("measure_resume.py", error)
    verdict = results["verdict"]
    sys.stdout.write(f"identical: {verdict['identical']}, {verdict['files'][0]} files. Wrote {arguments.output}.\n")
    return int(not verdict["identical"])


if __name__ == "__main__":
    sys.exit(main())
