# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Compares a system with its authors' code: same weights, same inputs, every output.

python benchmarks/measure_parity.py draw clip4idc --size real --folder parity
python benchmarks/measure_parity.py compare clip4idc --size real --folder parity --output clip4idc-parity.json

`draw` writes `checkpoint.safetensors`, random weights by their names in the authors' format, and `inputs.safetensors`.
The other side, which is no part of this repository, computes `outputs.safetensors` of them, with `repository` and
`commit` as the file's metadata. `compare` imports the weights, computes the same outputs, and writes both sides'
figures down.

What is drawn is told by `benchmarks/parity/SYSTEM.json`: shapes by name for every size, where `#12` in a name stands
for the numbers 0 to 11, and `factors` of the weights that a regular expression finds. What is computed is told by
`compute` in the module beside it.
"""

import argparse
import importlib
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from ssgpa.data.checks import read_json_object, read_stored_object
from ssgpa.utils.console import OneLineParser, be_quiet, report_error
from ssgpa.utils.results import library_versions, write_results


SPECIFICATIONS = Path(__file__).parent / "parity"
TOLERANCE = 1e-4
NUMBERED = re.compile(r"#(\d+)")
# Scalars are logarithms of scales.
SCALAR = 2.0
SPREAD = 0.1


def read_specification(system: str, size: str) -> dict[str, Any]:
    """What is drawn for a system.

    Args:
        system (`str`): Its name.
        size (`str`): Of those that its file tells.

    Returns:
        `dict[str, Any]`: `seed`, `fields`, `weights` (shapes by name), `factors` and `inputs`.

    Raises:
        ValueError: There is no such size.
    """
    found = read_json_object(SPECIFICATIONS / f"{system}.json")
    if size not in found["sizes"]:
        raise ValueError(f"{system} has no size {size!r}; there are {', '.join(found['sizes'])}.")
    chosen = found["sizes"][size]
    weights = {name: shape for pattern, shape in chosen["weights"].items() for name in expand(pattern)}
    told = {"seed": found["seed"], "weights": weights, "factors": found.get("factors", {})}
    return told | {"inputs": chosen["inputs"], "fields": chosen["fields"]}


def expand(pattern: str) -> list[str]:
    """The names that a numbered one stands for."""
    match = NUMBERED.search(pattern)
    if match is None:
        return [pattern]
    return [f"{pattern[: match.start()]}{number}{pattern[match.end() :]}" for number in range(int(match[1]))]


def draw_weights(
    shapes: dict[str, list[int]], seed: int, factors: dict[str, float] | None = None
) -> dict[str, Tensor]:
    """Random weights that keep a network's values in bounds: matrices by their fan-in, scales of norms around 1.

    Args:
        shapes (`dict[str, list[int]]`): By name.
        seed (`int`): The same weights for the same seed, whatever the order of names.
        factors (`dict[str, float]`, *optional*): Of the weights whose names a regular expression finds, where what is
            drawn else would hide something, such as captions of one word.
    """
    drawn = {}
    for number, name in enumerate(sorted(shapes)):
        shape = shapes[name]
        values = np.random.default_rng([seed, number]).standard_normal(shape, dtype=np.float32)
        if len(shape) > 1:
            values = values * np.prod(shape[1:]) ** -0.5
        elif not shape or name.endswith("weight"):
            values = (1.0 if shape else SCALAR) + SPREAD * values
        else:
            values = SPREAD * values
        for pattern, factor in (factors or {}).items():
            if re.search(pattern, name):
                values = factor * values
        drawn[name] = torch.from_numpy(np.asarray(values, dtype=np.float32))
    return drawn


def draw_inputs(inputs: dict[str, Any], seed: int) -> dict[str, Tensor]:
    """Inputs: a list is taken as it stands, a shape is filled with random pixels.

    Args:
        inputs (`dict[str, Any]`): `{"shape": ...}` or nested lists of integers, by name.
        seed (`int`): Of the pixels.
    """
    drawn = {}
    for number, (name, told) in enumerate(sorted(inputs.items())):
        if isinstance(told, dict):
            values = np.random.default_rng([seed, number, 1]).standard_normal(told["shape"], dtype=np.float32)
            drawn[name] = torch.from_numpy(values)
        else:
            drawn[name] = torch.tensor(told)
    return drawn


def compute(system: str, checkpoint: Path, inputs: dict[str, Tensor], fields: dict[str, Any]) -> dict[str, Tensor]:
    """This side's outputs.

    Args:
        system (`str`): Its name.
        checkpoint (`Path`): Weights in the authors' format.
        inputs (`dict[str, torch.Tensor]`): By name.
        fields (`dict[str, Any]`): Of the configuration.
    """
    module = importlib.import_module(f"ssgpa.benchmarks.parity.{system}")
    return module.compute(checkpoint, inputs, fields)


def compare(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> dict[str, dict[str, Any]]:
    """Both sides' figures of every output.

    Args:
        ours (`dict[str, torch.Tensor]`): By name.
        theirs (`dict[str, torch.Tensor]`): Likewise.

    Returns:
        `dict[str, dict[str, Any]]`: Shape, both sums, and the largest difference; of integers, how many differ.

    Raises:
        ValueError: An output is missing on one side, or of another shape.
    """
    if ours.keys() != theirs.keys():
        raise ValueError(f"Only one side has the outputs {sorted(ours.keys() ^ theirs.keys())}.")
    report = {}
    for name, value in ours.items():
        other = theirs[name]
        if value.shape != other.shape:
            raise ValueError(f"{name} is {tuple(value.shape)} here and {tuple(other.shape)} there.")
        figures: dict[str, Any] = {"shape": list(value.shape)}
        if value.is_floating_point():
            figures |= {"sum": value.double().sum().item(), "sum_there": other.double().sum().item()}
            figures["largest_difference"] = (value - other).abs().max().item()
            figures["largest_value"] = other.abs().max().item()
        else:
            figures |= {"values": value.numel(), "different_values": (value != other).sum().item()}
        report[name] = figures
    return report


def agrees(report: dict[str, dict[str, Any]]) -> bool:
    """Whether all outputs are equal within the tolerance, integers exactly."""
    return all(
        figures.get("largest_difference", 0.0) <= TOLERANCE and not figures.get("different_values", 0)
        for figures in report.values()
    )


def golden(theirs: dict[str, Tensor], specification: dict[str, Any], other_side: dict[str, Any]) -> dict[str, Any]:
    """What a test pins of the other side's outputs: shapes and sums, and integers in full.

    Args:
        theirs (`dict[str, torch.Tensor]`): By name.
        specification (`dict[str, Any]`): What was drawn.
        other_side (`dict[str, Any]`): Repository and commit.
    """
    outputs = {}
    for name, value in theirs.items():
        outputs[name] = {"shape": list(value.shape)}
        if value.is_floating_point():
            outputs[name] |= {
                "sum": value.double().sum().item(),
                "sum_of_squares": value.double().square().sum().item(),
            }
        else:
            outputs[name]["values"] = value.tolist()
    return {"seed": specification["seed"], "other_side": other_side, "outputs": outputs}


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = OneLineParser(
        prog="measure_parity.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("step", choices=["draw", "compare"])
    parser.add_argument("system", help="a module and a JSON file of benchmarks/parity")
    parser.add_argument("--size", default="tiny", help="of those that the system's file tells")
    parser.add_argument("--folder", required=True, type=Path, help="of weights, inputs and the other side's outputs")
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    parser.add_argument(
        "--golden", type=Path, help="JSON file for shapes and sums of the other side's outputs, for a test"
    )
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> str:
    """Draw or compare; returns what to tell.

    Raises:
        ValueError: The outputs differ, or do not fit together.
    """
    specification = read_specification(options.system, options.size)
    seed, checkpoint = specification["seed"], options.folder / "checkpoint.safetensors"
    if options.step == "draw":
        options.folder.mkdir(parents=True, exist_ok=True)
        weights = draw_weights(specification["weights"], seed, specification["factors"])
        save_file(weights, checkpoint)
        save_file(draw_inputs(specification["inputs"], seed), options.folder / "inputs.safetensors")
        return f"Wrote weights and inputs to {options.folder}."
    if options.output is None:
        raise ValueError("--output is missing: a JSON file for the figures.")
    inputs = load_file(options.folder / "inputs.safetensors")
    outputs = options.folder / "outputs.safetensors"
    theirs = load_file(outputs)
    with safe_open(outputs, "pt") as file:
        other_side = {name: (file.metadata() or {}).get(name) for name in ("repository", "commit")}
    if options.golden is not None:
        write_results(options.golden, golden(theirs, specification, other_side))
    report = compare(compute(options.system, checkpoint, inputs, specification["fields"]), theirs)
    result = {
        "system": options.system,
        "size": options.size,
        "seed": seed,
        "parameters": sum(int(np.prod(shape)) for shape in specification["weights"].values()),
        "fields": specification["fields"],
        "other_side": other_side,
        "tolerance": TOLERANCE,
        "agrees": agrees(report),
        "outputs": report,
        "versions": library_versions(),
    }
    stored = read_stored_object(options.output)
    write_results(options.output, stored | {options.size: result})
    if not result["agrees"]:
        raise ValueError(f"The outputs differ by more than {TOLERANCE}; see {options.output}.")
    return f"All {len(report)} outputs agree. Wrote {options.output}."


def main(arguments: list[str] | None = None) -> int:
    """Draw or compare, and answer errors with one line on stderr and exit code 2."""
    options = parse_arguments(arguments)
    be_quiet()
    try:
        told = run(options)
    except (OSError, ValueError) as error:
        return report_error("measure_parity.py", error)
    sys.stdout.write(told + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
