# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""How good a checkpoint's confidence is on pairs that it was not fitted on, and which images it finds unfamiliar.

    python benchmarks/measure_trust.py --model checkpoints/ssgpa-clevr-tiny --data scenes/clevr_fresh_prepared \
        --output benchmarks/results/trust.json [--scenes scenes.jsonl] [--folder PHOTOGRAPHS ...]

Unfamiliar are photographs and a satellite image that Python packages bring (`measure_difference.py`), screenshots and
drawings of this documentation, and noise.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ssgpa.benchmarks.measure_difference import SIZE, cases, photographs
from ssgpa.data import load_prepared
from ssgpa.data.prepared import scenes_of
from ssgpa.metrics.change_captioning.scorer import CaptionScorer
from ssgpa.metrics.clevr.scenes import add_scenes
from ssgpa.metrics.report.build import light_rows
from ssgpa.metrics.trust import auroc, describe_trust, examine_rows, right_captions
from ssgpa.pipeline_ssgpa import ChangeCaptioningPipeline
from ssgpa.trust_ssgpa import Trust
from ssgpa.utils.console import OneLineParser
from ssgpa.utils.loading import load_system
from ssgpa.utils.results import write_results


ROOT = Path(__file__).parents[1]
SATELLITE = "rmnp-rgb.tif"
SCREENSHOTS = ("space.png", "report.png", "memory.png", "alignment.png")

Pair = tuple[Image.Image, Image.Image]


def noise(rng: np.random.Generator) -> Image.Image:
    """Noise of one of three grains."""
    height, width = rng.choice([[240, 320], [24, 32], [6, 8]])
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).resize(SIZE)


def crops(image: Image.Image, rng: np.random.Generator, count: int) -> list[Pair]:
    """Pairs of neighboring views of a larger image."""
    width, height = min(SIZE[0], image.width - 8), min(SIZE[1], image.height - 8)
    rooms = image.width - width - 7, image.height - height - 7
    found = []
    for _ in range(count):
        left, top = (int(rng.integers(0, room)) for room in rooms)
        boxes = [(left + move, top + move, left + move + width, top + move + height) for move in (0, 5)]
        found.append(tuple(image.crop(box) for box in boxes))
    return found


def strangers(files: Sequence[Path], pairs: int, seed: int) -> dict[str, list[Pair]]:
    """Pairs that no rendered scene looks like, by kind.

    Args:
        files (`Sequence[Path]`): Photographs, the satellite image among them or not.
        pairs (`int`): Of each kind.
        seed (`int`): Of the draws.

    Returns:
        `dict[str, list]`: Pairs of images.
    """
    rng = np.random.default_rng(seed)
    shots = [Image.open(ROOT / "docs" / name).convert("RGB") for name in SCREENSHOTS]
    found = {
        "screenshots and drawings": [pair for shot in shots for pair in crops(shot, rng, pairs // len(shots))],
        "noise": [(noise(rng), noise(rng)) for _ in range(pairs)],
    }
    for kind, chosen in (
        ("photographs", [path for path in files if path.name != SATELLITE]),
        ("satellite", [path for path in files if path.name == SATELLITE]),
    ):
        if chosen:
            # One satellite image has few views; another may be pasted into none.
            made = cases([*chosen, *chosen], pairs, seed, 0.04, 0.2)
            found[kind] = [(case["before"], case["after"]) for case in made]
    return found


def distances(pipe: ChangeCaptioningPipeline, trust: Trust, pairs: Sequence[Pair]) -> list[float]:
    """How far pairs are from those of training."""
    statistics = torch.stack([one["statistics"] for one in pipe.examine(pairs, 16, num_beams=1, max_new_tokens=1)])
    return trust.familiarity.distance(statistics).tolist()


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Measure confidence on the data, and familiarity on it and on strangers."""
    model, processor = load_system(options.model)
    pipe = ChangeCaptioningPipeline(model, processor=processor, task="change-captioning")
    trust = pipe.trust
    if trust is None:
        raise ValueError(f"{options.model} is not calibrated: examples/calibrate.py does it.")
    rows = load_prepared(options.data)["test"]
    table = add_scenes(light_rows(rows), options.scenes or scenes_of(options.data))
    captions, evidence, statistics = examine_rows(pipe, rows, 32)
    right, words = right_captions(table, captions, CaptionScorer("auto", meteor=False))
    near = trust.familiarity.distance(statistics).tolist()
    unfamiliar = {}
    for kind, pairs in strangers(photographs(options.folder), options.pairs, options.seed).items():
        far = distances(pipe, trust, pairs)
        unfamiliar[kind] = {
            "pairs": len(far),
            "auroc": auroc([*near, *far], [0] * len(near) + [1] * len(far)),
            "flagged": float(np.mean(np.array(far) > trust.familiarity.threshold)),
            "nearest": min(far),
        }
    return {
        "model": Path(options.model).name,
        "data": Path(options.data).name,
        "fitted_on": trust.measured.get("cross_validated", {}).get("captions"),
        "confidence": describe_trust(trust, evidence, statistics, right, words),
        "threshold": trust.familiarity.threshold,
        "farthest_familiar": max(near),
        "unfamiliar": unfamiliar,
    }


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = OneLineParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", required=True, help="a calibrated checkpoint")
    parser.add_argument("--data", required=True, help="folder written by prepare_data.py, with a test split")
    parser.add_argument("--scenes", type=Path, help="scenes.jsonl that captions are judged by; by default the data's")
    parser.add_argument("--output", required=True, type=Path, help="JSON file")
    parser.add_argument("--folder", action="append", default=[], type=Path, help="where more packages lie, unpacked")
    parser.add_argument("--pairs", type=int, default=120, help="pairs of each unfamiliar kind")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    write_results(options.output, measure(options))


if __name__ == "__main__":
    main()
