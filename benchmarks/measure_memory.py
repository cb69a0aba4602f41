# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Counts, or on a GPU measures, what training at the paper's size needs of memory, and draws it.

python benchmarks/measure_memory.py                     # counts on the meta device, beside a reproduction's design
python benchmarks/measure_memory.py --device cuda       # measures the same runs with random weights
python benchmarks/measure_memory.py --device cuda --cap_gib 24

A count replaces the stored counts, a measurement those on the same GPU with the same cap; the rest is kept.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ssgpa.benchmarks.reproduction import ECHO, PROMPT, build_reproduction, reproduction_batch
from ssgpa.training.arguments import parse_arguments
from ssgpa.training.memory.count import ASSUMPTIONS, count_memory, describe_count
from ssgpa.training.memory.inputs import TextSizes
from ssgpa.training.memory.measure import Timing, set_cap
from ssgpa.training.memory.plot import draw_memory
from ssgpa.training.memory.report import MemoryOptions, count_run, measure_run
from ssgpa.training.model_setup import autocast_dtype
from ssgpa.training.quantization import read_quantization
from ssgpa.utils.console import ERRORS, OneLineParser, be_quiet, report_error
from ssgpa.utils.results import library_versions, write_results


ROOT = Path(__file__).resolve().parent.parent
PRESET = ROOT / "examples/configs/models/ssgpa-eva-vicuna7b.json"
OFF = ["--checkpointing", "none"]
# Name, YAML file, what overrides it, batch sizes.
RUNS = (
    ("24gb", "24gb.yaml", [], (1, 2, 4, 8, 16, 32)),
    ("24gb", "24gb.yaml", OFF, (1, 2, 4, 8, 16)),
    ("16gb", "16gb.yaml", [], (1, 2, 4, 8, 16)),
    ("40gb", "40gb.yaml", [], (1, 4, 16)),
)
# Tokens of the longest caption; the reproduction sees about 550 tokens a pair with it.
CAPTION = 50
REPRODUCTION = "reproduction"
REPRODUCED_BATCHES = (1, 2, 4, 16)


def run_of(name: str, overrides: list[str], device: str) -> tuple:
    """The arguments of a run whose YAML file lies among the examples."""
    path = str(ROOT / "examples/configs" / name)
    words = ["--use_cpu=true"] if device == "meta" else []
    return parse_arguments([path, f"--model_config={PRESET}", "--output_dir=unused", *words, *overrides])


def reproduction_rows() -> Iterator[dict[str, Any]]:
    """Counts of the reproduction's design, one row for every batch size."""
    values = json.loads(PRESET.read_text(encoding="utf-8"))
    vision, text = (dict(values[name]) for name in ("vision_config", "text_config"))
    del vision["model_type"], text["model_type"]
    for batch_size in REPRODUCED_BATCHES:
        start = time.process_time()
        model = build_reproduction(vision, text | {"vocab_size": 32000})
        batch = reproduction_batch(batch_size, CAPTION - ECHO)
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        count = count_memory(model, batch, torch.optim.AdamW(parameters, foreach=False))
        facts = {
            "run": REPRODUCTION,
            "checkpointing": [],
            "text": {"prompt": PROMPT + ECHO, "caption": CAPTION - ECHO},
            "tokens_per_pair": 2 * 257 + batch["labels"].shape[-1],
        }
        row = describe_count(count, batch_size, time.process_time() - start)
        yield facts | row | {"flops_per_step": None, "cap_gib": None}


def run_rows(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """One row for every run and batch size."""
    cap = options.cap_gib if options.device == "cuda" else None
    runs = [(name, run_of(path, overrides, options.device), sizes) for name, path, overrides, sizes in RUNS]
    for _, (arguments, *_), _ in runs:
        # Its library may be missing; better now than half-way.
        if arguments.quantization_config:
            read_quantization(arguments.quantization_config)
    for name, run, batch_sizes in runs:
        timing = Timing(autocast=autocast_dtype(run[2]))
        settings = partial(MemoryOptions, TextSizes(caption=CAPTION), timing)
        work = count_run if options.device == "meta" else measure_run
        # Only a measurement makes use of the number of operations.
        for row in work(name, run, batch_sizes, settings(flops=options.device == "cuda")):
            sys.stdout.write(f"{name}, batch {row['batch_size']}: {row['gib']['total']} GiB\n")
            sys.stdout.flush()
            yield row | {"cap_gib": cap}


def merge(stored: dict[str, Any], rows: list[dict[str, Any]], device: str) -> dict[str, Any]:
    """Put new rows in the place of those that they repeat.

    Args:
        stored (`dict[str, Any]`): The stored results; empty where there are none.
        rows (`list[dict[str, Any]]`): New ones, of one kind.
        device (`str`): `meta` or `cuda`.

    Returns:
        `dict[str, Any]`: The results: `counted`, `measured`, `assumptions` and `versions`.
    """
    counted, measured = stored.get("counted", []), stored.get("measured", [])
    if device == "meta":
        counted = rows
    else:
        new = {(row["device"], row["cap_gib"]) for row in rows}
        measured = [row for row in measured if (row["device"], row["cap_gib"]) not in new] + rows
    facts = {"assumptions": list(ASSUMPTIONS), "versions": library_versions()}
    return {"counted": counted, "measured": measured, **facts}


def main(arguments: list[str] | None = None) -> int:
    """Count or measure, and answer errors with one line on stderr and exit code 2."""
    parser = OneLineParser(
        prog="measure_memory.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--device", choices=("meta", "cuda"), default="meta")
    parser.add_argument("--cap_gib", type=float, help="let the process have so much of the GPU")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks/results/memory.json")
    parser.add_argument("--plot", type=Path, default=ROOT / "docs/memory.png")
    options = parser.parse_args(arguments)
    be_quiet()
    try:
        if options.cap_gib is not None and options.device == "cuda":
            set_cap(options.cap_gib)
        rows = list(run_rows(options))
        if options.device == "meta":
            rows += list(reproduction_rows())
        stored = json.loads(options.output.read_text(encoding="utf-8")) if options.output.is_file() else {}
        results = merge(stored, rows, options.device)
        write_results(options.output, results)
        draw_memory([*results["counted"], *results["measured"]], options.plot)
    except ERRORS as error:
        return report_error("measure_memory.py", error)
    sys.stdout.write(f"Wrote {len(rows)} rows to {options.output}, drawn in {options.plot}.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
