# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Measures how well raw change maps point at the changed object, beside three controls, on a rendered set.

python benchmarks/measure_localization.py --model checkpoints/ssgpa-clevr-tiny --scenes DIR --output localization.json

A map is read on the image that shows the changed object: before for drop, after for add, both for color, material
and move, where a pair counts by the mean of its two images. Its peak is the center of its largest cell, which is
where the drawn map is brightest. Nothing is smoothed, scaled or cut.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedModel, ProcessorMixin

from ssgpa.benchmarks.localization import (
    area_under_curve,
    cells_in_box,
    mean_with_interval,
    raw_maps,
    visible_sides,
)
from ssgpa.data.clevr_renderer.dataset.truth import TruePair, covered_share, object_cells, read_true_pairs
from ssgpa.data.schema import NO_CHANGE, SPLITS
from ssgpa.metrics.bootstrap import DRAWS, LEVEL
from ssgpa.modeling_ssgpa import SSGPAForConditionalGeneration
from ssgpa.utils.console import ERRORS, OneLineParser, be_quiet, positive, report_error
from ssgpa.utils.loading import load_system
from ssgpa.utils.results import library_versions, write_results


# Half a cell more on every side: the peak's cell then need only touch the box.
MARGINS = {"pointing": 0.0, "touching": 0.5}
CONTROLS = ("softmax_attention", "same_cell")
DEFINITIONS = {
    "pointing": "share of images in which the center of the map's largest cell lies in the changed object's box",
    "touching": "the same with a box that is half a cell larger on every side",
    "auc": "share of (changed cell, other cell) couples that the map orders right; a cell is changed where the "
    "changed object covers a tenth of it, or more of it than of any other cell",
    "chance": "expected value for a peak in a cell drawn at random, exact",
    "reachable": "share of images in which some cell counts: what a perfect map would get",
    "told_apart": "share of (changed pair, unchanged pair) couples in which the changed one has the larger peak",
    "object_motion": "object_motion of the changed object's cell that it covers most, beside its true move without "
    "the camera's, in cells of the image before",
    "camera_shift": "camera_shift beside the median move of the unchanged objects' centers, in cells",
    "left_by_camera_shift": "length of the unchanged objects' true moves less their median, in cells: what no single "
    "shift of the whole scene can account for",
}


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = OneLineParser(
        prog="measure_localization.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", required=True, help="folder of a saved SSGPA, or its id on the Hub")
    parser.add_argument("--scenes", required=True, help="folder of examples/render_clevr_change.py")
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--output", required=True, type=Path, help="JSON file for the figures")
    parser.add_argument("--batch_size", type=positive, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap")
    return parser.parse_args(arguments)


def encode(
    model: PreTrainedModel, processor: ProcessorMixin, pairs: Sequence[TruePair], batch_size: int
) -> Iterator[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
    """Maps and motion of `localization.raw_maps` for each pair, without the batch axis."""
    for start in range(0, len(pairs), batch_size):
        images = [list(pair.images) for pair in pairs[start : start + batch_size]]
        pixel_values = processor(images=images, return_tensors="pt")["pixel_values"].to(model.dtype)
        found = raw_maps(model, pixel_values)
        for row in range(len(images)):
            yield tuple({name: value[row].float().numpy() for name, value in part.items()} for part in found)


def score_maps(pair: TruePair, maps: Mapping[str, np.ndarray], grid: tuple[int, int]) -> dict[str, dict[str, float]]:
    """Score every map of one changed pair, averaged over the images that show the object.

    Args:
        pair (`TruePair`): The pair.
        maps (`Mapping[str, np.ndarray]`): (2, patches) by name.
        grid (`tuple[int, int]`): Rows and columns of the patches.

    Returns:
        `dict[str, dict[str, float]]`: {measure: {map: value}}; "chance" and "reachable" of a measure stand among its
        maps.
    """
    scores: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for side in visible_sides(pair.change_type):
        changed = object_cells(pair.masks[side], grid).ravel()
        for measure, margin in MARGINS.items():
            counted = cells_in_box(pair.boxes[side], pair.size, grid, margin)
            scores[measure]["chance"].append(counted.mean())
            scores[measure]["reachable"].append(counted.any())
            for name, values in maps.items():
                scores[measure][name].append(counted[values[side].argmax()])
        for name, values in maps.items():
            scores["auc"][name].append(area_under_curve(values[side], changed))
    return {
        measure: {name: float(np.mean(values)) for name, values in found.items()} for measure, found in scores.items()
    }


def summarize(
    scores: Sequence[Mapping[str, Mapping[str, float]]], types: Sequence[str], seed: int
) -> dict[str, dict[str, dict[str, Any]]]:
    """Mean and interval by measure, map, and change type or "all".

    Args:
        scores (`Sequence[Mapping[str, Mapping[str, float]]]`): Of each pair.
        types (`Sequence[str]`): Change type of each pair.
        seed (`int`): Of the bootstrap.
    """
    groups = {"all": list(range(len(types)))}
    groups |= {kind: [i for i, own in enumerate(types) if own == kind] for kind in dict.fromkeys(types)}
    return {
        measure: {
            name: {
                group: mean_with_interval([scores[i][measure][name] for i in rows], seed)
                for group, rows in groups.items()
            }
            for name in names
        }
        for measure, names in scores[0].items()
    }


def compare(scores: Sequence[Mapping[str, Mapping[str, float]]], seed: int) -> dict[str, dict[str, Any]]:
    """Paired differences of the model's own maps to the controls, over all changed pairs."""
    couples = [(name, control) for name in ("change_map", "residual", "largest_of_three") for control in CONTROLS]
    found = {}
    for measure in scores[0]:
        differences = {
            couple: [row[measure][couple[0]] - row[measure][couple[1]] for row in scores] for couple in couples
        }
        found[measure] = {
            " - ".join(couple): mean_with_interval(values, seed) for couple, values in differences.items()
        }
    return found


def vector_errors(found: np.ndarray, true: np.ndarray) -> dict[str, float | int]:
    """Compare vectors (pairs, 2) in cells; "error_of_zero" is the error of always saying "no move"."""
    lengths, true_lengths = np.linalg.norm(found, axis=1), np.linalg.norm(true, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = (found * true).sum(1) / (lengths * true_lengths)
    return {
        "pairs": len(true),
        "median_error": float(np.median(np.linalg.norm(found - true, axis=1))),
        "error_of_zero": float(np.median(true_lengths)),
        "median_length": float(np.median(lengths)),
        "within_45_degrees": float(np.mean(np.nan_to_num(cosine, nan=-1.0) > np.sqrt(0.5))),
    }


def measure_motion(
    pairs: Sequence[TruePair], motions: Sequence[Mapping[str, np.ndarray]], grid: tuple[int, int]
) -> dict[str, Any]:
    """Compare the camera's shift in all pairs, and the object motion of what was moved, with the truth."""
    cell = np.array([[pair.size[1] / grid[0], pair.size[0] / grid[1]] for pair in pairs])
    moves = [pair.object_shifts / own for pair, own in zip(pairs, cell, strict=True)]
    shifts = np.stack([np.median(own, axis=0) for own in moves])
    left = np.concatenate([np.linalg.norm(own - shift, axis=1) for own, shift in zip(moves, shifts, strict=True)])
    figures = {
        "camera_shift": vector_errors(np.stack([motion["camera_shift"] for motion in motions]), shifts),
        "left_by_camera_shift": dict(
            zip(("median", "percentile_90"), np.quantile(left, (0.5, 0.9)).tolist(), strict=True)
        ),
    }
    moved = [i for i, pair in enumerate(pairs) if pair.change_type == "move"]
    if moved:
        true = np.stack([pairs[i].own_move for i in moved]) / cell[moved]
        found = np.stack([object_motion(pairs[i], motions[i]["object_motion"][0], grid) for i in moved])
        figures["object_motion"] = vector_errors(found, true)
    return figures


def object_motion(pair: TruePair, object_motion: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Own motion (2,) in the cell of the image before that the changed object covers most."""
    return object_motion[covered_share(pair.masks[0], grid).argmax()]


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Encode, score and describe.

    Raises:
        ValueError: The model has no alignment, or the scenes' true boxes are not known.
    """
    pairs = list(read_true_pairs(options.scenes, options.split))
    model, processor = load_system(options.model)
    if not isinstance(model, SSGPAForConditionalGeneration):
        raise ValueError(f"model {options.model}: a {type(model).__name__} has no change map to measure.")
    grid = tuple(model.config.patch_grid)
    found = list(encode(model, processor, pairs, options.batch_size))
    changed = np.array([pair.change_type != NO_CHANGE for pair in pairs])
    kept = [pair for pair in pairs if pair.change_type != NO_CHANGE]
    scores = [score_maps(pairs[i], found[i][0], grid) for i in np.flatnonzero(changed)]
    peaks = [{name: values.max() for name, values in maps.items()} for maps, _ in found]
    return {
        "model": options.model,
        "scenes": options.scenes,
        "split": options.split,
        "pairs": {"changed": len(kept), "unchanged": len(pairs) - len(kept)},
        "grid": list(grid),
        "definitions": DEFINITIONS,
        **summarize(scores, [pair.change_type for pair in kept], options.seed),
        "differences": compare(scores, options.seed),
        # How well each map's peak over both images tells changed pairs from unchanged ones.
        "told_apart": {name: area_under_curve(np.array([row[name] for row in peaks]), changed) for name in peaks[0]},
        "motion": measure_motion(pairs, [motion for _, motion in found], grid),
        "bootstrap": {"draws": DRAWS, "level": LEVEL, "seed": options.seed, "resampled": "pairs, with replacement"},
        "versions": library_versions(),
    }


def main(arguments: list[str] | None = None) -> int:
    """Measure, and answer errors with one line on stderr and exit code 2."""
    options = parse_arguments(arguments)
    be_quiet()
    try:
        figures = measure(options)
        write_results(options.output, figures)
    except ERRORS as error:
        return report_error("measure_localization.py", error)
    hits = ", ".join(f"{name} {100 * value['all']['mean']:.1f} %" for name, value in figures["pointing"].items())
    sys.stdout.write(f"Peak in the changed object's box: {hits}. Wrote {options.output}.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
