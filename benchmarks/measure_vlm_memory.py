# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Counts what adapting a VLM needs of memory, beside plain LoRA on the same VLM.

python benchmarks/measure_vlm_memory.py --output benchmarks/results/vlm_memory.json

Counted on the meta device, without weights, data or a GPU: every run over a published VLM as its YAML has it, and
the same without adapter, alignment and their losses. Rows that the file has already are kept.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ssgpa.data.checks import read_json_object
from ssgpa.training.arguments import parse_arguments
from ssgpa.training.memory.count import ASSUMPTIONS
from ssgpa.training.memory.inputs import TextSizes
from ssgpa.training.memory.measure import Timing
from ssgpa.training.memory.report import MemoryOptions, count_run
from ssgpa.utils.console import ERRORS, OneLineParser, be_quiet, positive, report_error
from ssgpa.utils.results import library_versions, write_results


ROOT = Path(__file__).resolve().parent.parent
RUNS = ROOT / "examples" / "configs" / "vlm"
MODELS = ROOT / "examples" / "configs" / "models"
PLAIN = ["--model_class=ssgpa.benchmarks.variants.plain_vlm.PlainVLM", "--trainable", "none"]
WAYS: dict[str, list[str]] = {"ssgpa": [], "plain LoRA": PLAIN}


def run_names() -> list[str]:
    """Runs of the folder over published VLMs, whose configurations lie among the models."""
    return sorted(path.stem for path in RUNS.glob("*.yaml") if model_of(path.stem).is_file())


def model_of(name: str) -> Path:
    """The configuration of a run's model, at its real size."""
    return MODELS / f"vlm-{name.replace('_', '-')}.json"


def run_of(name: str, way: str, *more: str) -> Any:
    """A run's arguments, its model from the configuration of the real size.

    Args:
        name (`str`): Of `run_names`.
        way (`str`): Of `WAYS`.
        *more (`str`, *optional*): Words of the command line.
    """
    words = [f"--model_config={model_of(name)}", "--output_dir=unused", "--use_cpu=true", *WAYS[way], *more]
    return parse_arguments([str(RUNS / f"{name}.yaml"), *words])


def count_rows(options: argparse.Namespace, done: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Rows that are not there yet; each is told as it comes.

    Args:
        options (`argparse.Namespace`): Of the command line.
        done (`list[dict[str, Any]]`): Rows that are there.
    """
    known = {(row["run"], row["way"], row["batch_size"]) for row in done}
    settings = MemoryOptions(TextSizes(options.prompt_tokens, options.caption_tokens), Timing())
    for size in options.batch_size:
        for name in options.run:
            for way in WAYS:
                if (name, way, size) in known:
                    continue
                (row,) = count_run(name, run_of(name, way), [size], settings)
                sys.stdout.write(f"{name}, {way}, batch {size}: {row['gib']['total']} GiB\n")
                sys.stdout.flush()
                yield row | {"way": way}


def main(arguments: list[str] | None = None) -> int:
    """Count, and answer errors with one line on stderr and exit code 2."""
    parser = OneLineParser(
        prog="measure_vlm_memory.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--run", nargs="+", choices=run_names(), default=run_names())
    parser.add_argument("--batch_size", type=positive, nargs="+", default=[1, 4, 16], help="pairs")
    parser.add_argument("--prompt_tokens", type=positive, default=48, help="without the visual tokens")
    parser.add_argument("--caption_tokens", type=positive, default=24, help="of the longest caption, with its end")
    parser.add_argument("--output", required=True, type=Path, help="JSON file")
    options = parser.parse_args(arguments)
    be_quiet()
    try:
        rows = read_json_object(options.output)["rows"] if options.output.is_file() else []
        facts = {"assumptions": list(ASSUMPTIONS), "versions": library_versions()}
        for row in count_rows(options, rows):
            rows.append(row)
            write_results(options.output, {"rows": rows, **facts})
    except (*ERRORS, json.JSONDecodeError) as error:
        return report_error("measure_vlm_memory.py", error)
    sys.stdout.write(f"{options.output} has {len(rows)} rows.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
