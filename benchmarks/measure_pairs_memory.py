# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Measures what a training set's texts and auxiliary targets take in memory, at two revisions, in one run.

python benchmarks/measure_pairs_memory.py --before b2fb33e --output benchmarks/results/pairs_memory.json

As many pairs as CLEVR-Change has to train on, with captions and the renderer's auxiliary targets of 8 x 12 cells, are
made up and prepared once; their images are tiny. Each revision's own files are laid out in a folder and run in a new
process, which makes the training data and reads every pair in one worker. What a worker has for itself alone is read
from the kernel (Private_Dirty of /proc/PID/smaps_rollup) at its first batch and at its last, so Linux is needed.
"""

import argparse
import io
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict, disable_progress_bars
from PIL import Image

from ssgpa.benchmarks.measure_throughput import cpu_name
from ssgpa.benchmarks.revisions import SIDES, commit_of, find, lay_out, run_at
from ssgpa.data.prepared import write_prepared
from ssgpa.data.schema import pair_features
from ssgpa.utils.console import OneLineParser, be_quiet, positive, report_error
from ssgpa.utils.results import library_versions, write_results


CLEVR_CHANGE_PAIRS = 67_660
GRID = (8, 12)
WORDS = ["small", "large", "red", "blue", "green", "gray", "cube", "sphere", "metal", "rubber", "behind", "moved"]


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = OneLineParser(
        prog="measure_pairs_memory.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--before", required=True, metavar="REVISION", help="the older commit")
    parser.add_argument("--after", default="HEAD", metavar="REVISION", help="the newer commit")
    parser.add_argument("--output", required=True, type=Path, help="JSON file for the figures")
    parser.add_argument("--pairs", type=positive, default=CLEVR_CHANGE_PAIRS)
    return parser.parse_args(arguments)


def write_pairs(folder: Path, count: int) -> None:
    """Write a prepared folder of made-up pairs; every second one is the unchanged pair of its scene."""
    disable_progress_bars()
    rng = np.random.default_rng(0)
    data = io.BytesIO()
    Image.new("RGB", (8, 8), (90, 120, 150)).save(data, "PNG")
    image = {"bytes": data.getvalue(), "path": None}
    cells = rng.integers(0, 2**15, (count, 2, GRID[0] * GRID[1]))

    def rows() -> Any:
        for index in range(count):
            captions = [" ".join(rng.choice(WORDS, 12)) for _ in range(6)]
            yield {
                "pair_id": f"{index:06d}.png",
                "scene_id": f"{index // 2:06d}",
                "before": image,
                "after": image,
                "captions": captions,
                "change_type": "none" if index % 2 else "color",
                "before_cells": cells[index, 0],
                "after_cells": cells[index, 1],
            }

    features = pair_features(with_cells=True)
    train = Dataset.from_generator(rows, features=features, cache_dir=str(folder.parent / "made"))
    empty = Dataset.from_dict({name: [] for name in features}, features=features)
    write_prepared(DatasetDict({"train": train, "validation": empty, "test": empty}), folder)


def private(process: int | str = "self") -> float:
    """Memory that a process has for itself alone and has written to, in MiB."""
    from pathlib import Path

    lines = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty:")) / 1024


def measure_revision(data: str) -> dict[str, float]:
    """Figures of the revision that Python imports.

    Args:
        data (`str`): A prepared folder.

    Returns:
        `dict[str, float]`: Memory in MiB, CPU time in seconds.
    """
    import os
    import time
    from pathlib import Path

    from torch.utils.data import DataLoader

    import ssgpa
    from ssgpa.data.prepared import load_prepared

    pair_dataset = find("ssgpa.training.dataset:PairDataset", "ssgpa.training.pairs:PairDataset")
    checkpoint = Path(ssgpa.__file__).parent / "checkpoints" / "ssgpa-clevr-tiny"
    processor = ssgpa.SSGPAProcessor.from_pretrained(checkpoint)
    rows = load_prepared(data, splits=["train"])["train"]
    start, began = private(), time.process_time()
    dataset = pair_dataset(rows, processor, captions_per_pair=3, distractor_swap=True)
    made, seconds = private() - start, time.process_time() - began
    # A batch is the number of the process that made it. Forked workers share the rows' memory, until they write to it.
    loader = DataLoader(
        dataset,
        batch_size=32,
        num_workers=1,
        collate_fn=lambda items: os.getpid(),
        persistent_workers=True,
        multiprocessing_context="fork",
    )
    batches = iter(loader)
    worker = next(batches)
    first = private(worker)
    for _ in batches:
        pass
    # utime and stime, fields 14 and 15 of proc(5): a busy machine does not stretch them.
    fields = Path(f"/proc/{worker}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return {
        "rows_in_arrow_mib": rows.remove_columns(["before", "after"]).data.nbytes / 2**20,
        "training_data_private_mib": made,
        "training_data_cpu_seconds": seconds,
        "worker_private_first_mib": first,
        "worker_private_last_mib": private(worker),
        "epoch_of_the_worker_cpu_seconds": sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK"),
    }


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Make the pairs, lay both revisions out and measure one after the other."""
    commits = {side: commit_of(getattr(options, side)) for side in SIDES}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        write_pairs(data, options.pairs)
        places = {side: lay_out(commit, Path(folder) / side) for side, commit in commits.items()}
        figures = {side: run_at(place, measure_revision, str(data), uses=(private,)) for side, place in places.items()}
    return {
        "figures": figures,
        "pairs": options.pairs,
        "aux_grid": list(GRID),
        "captions_a_pair": 6,
        "commits": commits,
        "cpu": cpu_name(),
        "versions": library_versions(),
    }


def main(arguments: list[str] | None = None) -> int:
    """Measure, and answer errors with one line on stderr and exit code 2."""
    options = parse_arguments(arguments)
    be_quiet()
    try:
        found = measure(options)
        write_results(options.output, found)
    except (OSError, ValueError) as error:
        return report_error("measure_pairs_memory.py", error)
    for name, before in found["figures"]["before"].items():
        sys.stdout.write(f"{name}: {before:.1f} -> {found['figures']['after'][name]:.1f}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
