# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Measures what the alignment costs: time and memory over the number of patches, and beside a vision tower.

python benchmarks/measure_alignment_cost.py --threads 1 --output benchmarks/results/alignment_cost.json

Seconds are the process's processor seconds, which other programs on the machine stretch less than the clock's; with
several threads they add up over the threads.
The law: seconds of the forward pass and of forward and backward pass, and bytes that the forward pass keeps for the
backward pass, for a batch of pairs of random features; weights do not count. Settings are SSGPAConfig's defaults.
The overhead: the alignment's forward pass over a tower's on as many pairs, in one process, without gradients. The
default tower is EVA-ViT-g/14 as InstructBLIP has it (986 million parameters, 4 GB, random here: what a number is does
not change how long it takes). The contrast is not part of either.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig

from ssgpa.benchmarks.measure_throughput import cpu_name, settings_of
from ssgpa.configuration_ssgpa import SSGPAConfig
from ssgpa.modeling_ssgpa import SSGPAModel
from ssgpa.training.resuming import set_seed
from ssgpa.utils.console import ERRORS, OneLineParser, be_quiet, positive, report_error
from ssgpa.utils.results import library_versions, write_results


DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# Around the alignment, to build it as the model does; as small as they can be.
MAPS = {"model_type": "resnet", "embedding_size": 8, "hidden_sizes": [8], "depths": [1], "layer_type": "basic"}
TEXT = {
    "model_type": "llama",
    "vocab_size": 8,
    "hidden_size": 8,
    "intermediate_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "max_position_embeddings": 8,
}


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = OneLineParser(
        prog="measure_alignment_cost.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--output", required=True, type=Path, help="JSON file for the figures")
    parser.add_argument("--patches", type=positive, nargs="+", default=[64, 256, 1024], help="three sizes or more")
    parser.add_argument("--width", type=positive, default=1408, help="width of a patch")
    parser.add_argument("--batch_size", type=positive, default=8, help="pairs")
    parser.add_argument("--repeats", type=positive, default=3, help="measurements of each time; the median counts")
    parser.add_argument("--tower", type=Path, help="configuration of a vision tower of tokens, as JSON")
    parser.add_argument("--tower_repeats", type=positive, default=2)
    parser.add_argument("--tower_dtypes", nargs="+", choices=DTYPES, default=list(DTYPES))
    parser.add_argument("--threads", type=positive, help="by default torch's choice")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


def nearest_grid(patches: int) -> tuple[int, int]:
    """The most nearly square grid of so many patches, (rows, columns)."""
    rows = max(side for side in range(1, int(patches**0.5) + 1) if patches % side == 0)
    return rows, patches // rows


def build_alignment(grid: Sequence[int], width: int) -> nn.Module:
    """The alignment of a new model, at SSGPAConfig's defaults."""
    config = SSGPAConfig(vision_config=MAPS, text_config=TEXT, patch_grid=list(grid), patch_hidden_size=width)
    return SSGPAModel(config).alignment


def seconds_of(call: Callable[[], Any]) -> float:
    """Processor seconds that one call takes."""
    start = time.process_time()
    call()
    return time.process_time() - start


def saved_bytes(call: Callable[[], Any], weights: Sequence[Tensor]) -> int:
    """Bytes of the distinct storages that a forward pass keeps for its backward pass, but for the weights."""
    known = {weight.untyped_storage().data_ptr() for weight in weights}
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        # The tensor is held, so that no other takes its address meanwhile.
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = call()
    del output
    return sum(tensor.untyped_storage().nbytes() for address, tensor in kept.items() if address not in known)


def measure_size(patches: int, options: argparse.Namespace) -> dict[str, float | int | list[int]]:
    """Times and bytes of the alignment at one number of patches."""
    grid = nearest_grid(patches)
    alignment = build_alignment(grid, options.width).train()
    states = torch.randn(options.batch_size, 2, 1 + patches, options.width, requires_grad=True)

    def forward() -> Tensor:
        return alignment(states)[0]

    def both() -> None:
        forward().sum().backward()

    both()  # the first call prepares
    with torch.no_grad():
        forward_times = [seconds_of(forward) for _ in range(options.repeats)]
    both_times = [seconds_of(both) for _ in range(options.repeats)]
    return {
        "patches": patches,
        "grid": list(grid),
        "forward_seconds": statistics.median(forward_times),
        "forward_backward_seconds": statistics.median(both_times),
        "saved_bytes": saved_bytes(forward, list(alignment.parameters())),
    }


def fit_law(patches: Sequence[int], costs: Sequence[float]) -> dict[str, float | list[float] | None]:
    """Describe a cost over the number of patches N.

    Args:
        patches (`Sequence[int]`): N of each measurement.
        costs (`Sequence[float]`): Seconds or bytes.

    Returns:
        `exponent`, the slope of log cost over log N, over all sizes and `between_sizes`; `per_patch` a and
        `per_patch_squared` b of the fit a N + b N^2 with the least relative error, neither below zero; `balance`, the
        N at which both terms are equal, None where b is zero.
    """
    size, cost = np.asarray(patches, dtype=float), np.asarray(costs, dtype=float)
    columns = np.stack([size, size**2], 1) / cost[:, None]
    ones = np.ones(len(cost))
    linear, quadratic = np.linalg.lstsq(columns, ones, rcond=None)[0]
    if quadratic < 0 or linear < 0:
        alone = [(column @ ones) / (column @ column) for column in columns.T]
        linear, quadratic = (alone[0], 0.0) if quadratic < 0 else (0.0, alone[1])
    return {
        "exponent": float(np.polyfit(np.log(size), np.log(cost), 1)[0]),
        "between_sizes": (np.diff(np.log(cost)) / np.diff(np.log(size))).tolist(),
        "per_patch": float(linear),
        "per_patch_squared": float(quadratic),
        "balance": float(linear / quadratic) if quadratic else None,
    }


def tower_config(path: Path | None) -> PreTrainedConfig:
    """The configuration of a file, or that of EVA-ViT-g/14."""
    values = {} if path is None else json.loads(path.read_text(encoding="utf-8"))
    return AutoConfig.for_model(**({"model_type": "instructblip_vision_model"} | values))


@torch.no_grad()
def measure_overhead(
    tower: nn.Module, alignment: nn.Module, options: argparse.Namespace, pixel_values: Tensor
) -> dict[str, Any]:
    """Seconds of both forward passes on the same pairs, in turn, and their ratio.

    Args:
        tower (`nn.Module`): A vision tower of tokens.
        alignment (`nn.Module`): Made for its patches.
        options (`argparse.Namespace`): The command line.
        pixel_values (`Tensor`): (2 * pairs, 3, height, width).
    """
    patches = alignment.patch_grid[0] * alignment.patch_grid[1]
    first = tower(pixel_values[:2]).last_hidden_state[:, -1 - patches :]
    alignment(first.unflatten(0, (-1, 2)))  # both prepare
    states = first.repeat(len(pixel_values) // 2, 1, 1).unflatten(0, (-1, 2))
    seconds: dict[str, list[float]] = {"tower": [], "alignment": []}
    for _ in range(options.tower_repeats):
        seconds["tower"].append(seconds_of(lambda: tower(pixel_values)))
        seconds["alignment"].append(seconds_of(lambda: alignment(states)))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {"seconds": seconds, "ratio": medians["alignment"] / medians["tower"]}


def measure_towers(options: argparse.Namespace) -> dict[str, Any]:
    """The overhead beside one tower, in every dtype asked for."""
    config = tower_config(options.tower)
    torch.set_default_dtype(DTYPES[options.tower_dtypes[0]])
    try:
        tower = AutoModel.from_config(config).eval()
    finally:
        torch.set_default_dtype(torch.float32)
    side = config.image_size // config.patch_size
    alignment = build_alignment((side, side), config.hidden_size).eval()
    pixel_values = torch.randn(2 * options.batch_size, 3, config.image_size, config.image_size)
    by_dtype = {}
    for name in options.tower_dtypes:
        dtype = DTYPES[name]
        tower, alignment = tower.to(dtype), alignment.to(dtype)
        by_dtype[name] = measure_overhead(tower, alignment, options, pixel_values.to(dtype))
    return {
        "tower": {name: getattr(config, name) for name in ("model_type", "hidden_size", "num_hidden_layers")},
        "tower_parameters": sum(parameter.numel() for parameter in tower.parameters()),
        "alignment_parameters": sum(parameter.numel() for parameter in alignment.parameters()),
        "patches": side**2,
        "pairs": options.batch_size,
        "dtypes": by_dtype,
    }


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Measure both and describe.

    Raises:
        ValueError: There are fewer than three sizes.
    """
    if options.threads:
        torch.set_num_threads(options.threads)
    set_seed(options.seed)
    sizes = sorted(set(options.patches))
    if len(sizes) < 3:
        raise ValueError(f"--patches: three different sizes or more make a law, got {sizes}.")
    rows = [measure_size(patches, options) for patches in sizes]
    names = ("forward_seconds", "forward_backward_seconds", "saved_bytes")
    return {
        "law": {"sizes": rows, "fits": {name: fit_law(sizes, [row[name] for row in rows]) for name in names}},
        "overhead": measure_towers(options),
        "settings": settings_of(options),
        "threads": torch.get_num_threads(),
        "cpu": cpu_name(),
        "versions": library_versions(),
    }


def summary(figures: Mapping[str, Any]) -> str:
    """One line for the reader who waits."""
    ratios = ", ".join(f"{100 * row['ratio']:.1f} % in {name}" for name, row in figures["overhead"]["dtypes"].items())
    exponent = figures["law"]["fits"]["forward_seconds"]["exponent"]
    return f"Forward time grows with patches^{exponent:.2f}; of the tower's time the alignment takes {ratios}."


def main(arguments: list[str] | None = None) -> int:
    """Measure, and answer errors with one line on stderr and exit code 2."""
    options = parse_arguments(arguments)
    be_quiet()
    try:
        figures = measure(options)
        write_results(options.output, figures)
    except ERRORS as error:
        return report_error("measure_alignment_cost.py", error)
    sys.stdout.write(f"{summary(figures)} Wrote {options.output}.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
