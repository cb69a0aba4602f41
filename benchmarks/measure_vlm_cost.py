# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Measures what adapter and alignment add to a VLM's forward pass over a pair, and how large they are.

python benchmarks/measure_vlm_cost.py --output benchmarks/results/vlm_cost.json

Random weights of the real shapes on a CPU, prompt and images of one pair, with and without the new parts in turns, by
the process's processor seconds. `--layers` bounds the language model's layers, where all do not fit. Rows of other
models that the file has are kept; measure these with the same settings.
"""

import argparse
import gc
import statistics
import sys
from pathlib import Path
from typing import Any

import torch

from ssgpa.benchmarks.measure_alignment_cost import DTYPES, seconds_of
from ssgpa.benchmarks.measure_throughput import cpu_name
from ssgpa.benchmarks.measure_vlm_memory import model_of, run_names, run_of
from ssgpa.benchmarks.variants.plain_vlm import PlainVLM
from ssgpa.data.checks import read_json_object
from ssgpa.training.memory.inputs import TextSizes, example_batch
from ssgpa.training.systems import read_config
from ssgpa.utils.console import ERRORS, OneLineParser, be_quiet, positive, report_error
from ssgpa.utils.results import library_versions, write_results
from ssgpa.vlm.modeling_ssgpa_vlm import NEW_PARTS, SSGPAForVLM


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """One row: seconds and sizes of a run's model.

    Args:
        name (`str`): Of a run.
        options (`argparse.Namespace`): Of the command line.
    """
    arguments = run_of(name, "ssgpa").model
    config = read_config(str(model_of(name)), arguments.config_overrides)
    text = config.vlm_config.get_text_config()
    published = text.num_hidden_layers
    text.num_hidden_layers = min(published, options.layers or published)
    if getattr(text, "layer_types", None):
        text.layer_types = text.layer_types[: text.num_hidden_layers]
    dtype = DTYPES[options.dtype]
    whole = SSGPAForVLM._from_config(config, dtype=dtype).eval()
    with torch.device("meta"):
        plain = PlainVLM._from_config(config, dtype=dtype).eval()
    plain.vlm = whole.vlm
    batch = example_batch(config, config.image_size, 1, TextSizes(48, 24), "cpu")
    times: dict[str, list[float]] = {"plain": [], "ssgpa": []}
    with torch.inference_mode():
        for repeat in range(1 + options.repeats):
            for way, model in (("plain", plain), ("ssgpa", whole)):
                seconds = seconds_of(lambda model=model: model(**batch))
                # The first pass prepares.
                times[way] += [seconds] if repeat else []
    new = sum(value.numel() for key, value in whole.named_parameters() if key.startswith(NEW_PARTS))
    return {
        "model": name,
        "patch_grid": config.patch_grid,
        "layers": text.num_hidden_layers,
        "published_layers": published,
        "new_parameters": new,
        "new_bytes": 4 * new,
        "seconds": times,
        **{f"{way}_seconds": statistics.median(found) for way, found in times.items()},
    }


def main(arguments: list[str] | None = None) -> int:
    """Measure, and answer errors with one line on stderr and exit code 2."""
    parser = OneLineParser(
        prog="measure_vlm_cost.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--run", nargs="+", choices=run_names(), default=["smolvlm_256m", "qwen3_vl_2b"])
    parser.add_argument("--layers", type=positive, help="layers of the language model; by default all")
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--repeats", type=positive, default=3)
    parser.add_argument("--threads", type=positive, default=1)
    parser.add_argument("--output", required=True, type=Path, help="JSON file")
    options = parser.parse_args(arguments)
    be_quiet()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    try:
        rows = read_json_object(options.output)["rows"] if options.output.is_file() else []
        rows = [row for row in rows if row["model"] not in options.run]
        for name in options.run:
            rows.append(measure(name, options))
            gc.collect()
            sys.stdout.write(f"{name}: {rows[-1]['plain_seconds']:.2f} s, {rows[-1]['ssgpa_seconds']:.2f} s\n")
            facts = {"threads": options.threads, "dtype": options.dtype, "repeats": options.repeats, "cpu": cpu_name()}
            write_results(options.output, {"rows": rows, **facts, "versions": library_versions()})
    except ERRORS as error:
        return report_error("measure_vlm_cost.py", error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
