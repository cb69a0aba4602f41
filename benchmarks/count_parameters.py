# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Counts the parameters of model configurations by part, and those that train; no weight is allocated.

python benchmarks/count_parameters.py examples/configs/models/*7b.json --output benchmarks/results/parameters.json
python benchmarks/count_parameters.py MODEL.json --trainable change_fusion_adapter alignment --output counts.json

Without `--trainable`, the vision tower and the language model are frozen and all else trains, as in the paper.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import nn
from transformers import AutoConfig, AutoModelForImageTextToText

from ssgpa.training.systems import set_trainable
from ssgpa.utils.console import OneLineParser, be_quiet, report_error
from ssgpa.utils.results import library_versions, write_results


# What the paper's presets train: all but the vision tower and the language model with its head. What a tower of maps
# adds to its tower is not frozen: no checkpoint holds it.
FROZEN_TOWER_AND_LANGUAGE_MODEL = [r"^(?!model\.vision_tower\.tower\.|model\.language_model\.|lm_head\.)"]
# How the names of a part's parameters begin. What a tower of maps adds to its tower is a part of its own.
PARTS = {
    "tower": ("model.vision_tower.tower.",),
    "1 x 1 projection, positions, global token": ("model.vision_tower.",),
    "adapter": ("model.change_fusion_adapter.",),
    "alignment": ("model.alignment.",),
    "Q-Former and its queries": ("model.connector.qformer.", "model.connector.query_tokens"),
    "projections to the language model": ("model.connector.",),
    "language model": ("model.language_model.",),
    "head": ("lm_head.",),
    "losses": ("",),
}


def part_of(name: str) -> str:
    """The part that a parameter belongs to: the first of `PARTS` that its name begins like."""
    return next(part for part, prefixes in PARTS.items() if name.startswith(prefixes))


def build_empty(path: Path) -> tuple[nn.Module, float]:
    """Build the model of a configuration on the meta device, where parameters have shapes and no memory.

    Args:
        path (`Path`): A configuration JSON.

    Returns:
        `tuple[nn.Module, float]`: The model, and the seconds that it took.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It does not describe a model; the error names it.
    """
    start = time.perf_counter()
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such model configuration.")
    try:
        config = AutoConfig.for_model(**json.loads(path.read_text(encoding="utf-8")))
        with torch.device("meta"):
            model = AutoModelForImageTextToText.from_config(config)
    except (StrictDataclassError, TypeError, ValueError) as error:
        raise ValueError(f"{path} does not describe a model: {' '.join(str(error).split())}") from error
    return model, time.perf_counter() - start


def count(model: nn.Module, trainable: Iterable[str]) -> dict[str, Any]:
    """Count a model's parameters; shared ones count once, where they come first.

    Args:
        model (`nn.Module`): The model, on any device.
        trainable (`Iterable[str]`): Regular expressions; a parameter whose name one of them matches trains.

    Returns:
        `parts` {part: {"total", "trainable"}} of the parts that are there, `total` and `trainable`.

    Raises:
        ValueError: A pattern is broken or matches nothing.
    """
    trained = set_trainable(model, list(trainable), set())
    parts = {part: {"total": 0, "trainable": 0} for part in PARTS}
    for name, parameter in model.named_parameters():
        counts = parts[part_of(name)]
        counts["total"] += parameter.numel()
        counts["trainable"] += parameter.numel() if name in trained else 0
    sums = {key: sum(counts[key] for counts in parts.values()) for key in ("total", "trainable")}
    return {"parts": {part: counts for part, counts in parts.items() if counts["total"]}, **sums}


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = OneLineParser(
        prog="count_parameters.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("configs", type=Path, nargs="+", metavar="CONFIG", help="model configuration JSON")
    parser.add_argument("--output", required=True, type=Path, help="JSON file for the counts")
    parser.add_argument(
        "--trainable", nargs="+", default=FROZEN_TOWER_AND_LANGUAGE_MODEL, help="patterns of what trains"
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Count, and answer errors with one line on stderr and exit code 2."""
    options = parse_arguments(arguments)
    be_quiet()
    models = {}
    try:
        for path in options.configs:
            model, seconds = build_empty(path)
            models[path.stem] = {**count(model, options.trainable), "seconds": round(seconds, 2)}
        facts = {"trainable": options.trainable, "versions": library_versions()}
        write_results(options.output, {"parts": list(PARTS), "models": models, **facts})
    except (OSError, ValueError) as error:
        return report_error("count_parameters.py", error)
    for name, counts in models.items():
        sys.stdout.write(f"{name}: {counts['total']:,} parameters, {counts['trainable']:,} trainable.\n")
    sys.stdout.write(f"Wrote {options.output}.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
