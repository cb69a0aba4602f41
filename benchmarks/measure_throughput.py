# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Measures what the mechanism costs: training beside the same model without it, and generation.

python benchmarks/measure_throughput.py --model checkpoints/ssgpa-clevr-tiny --bf16 --output throughput.json
python benchmarks/measure_throughput.py --config examples/configs/models/ssgpa-clevr-tiny.json --output throughput.json

Both models take their steps in turn, on the same batches of random images with rendered scenes' captions, so that a
busy machine slows both. A ratio is the full model's pairs a second over the other's, the median over paired steps.
"""

import argparse
import platform
import statistics
import sys
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from ssgpa.benchmarks.variants.ablations import SSGPAWithoutMechanism
from ssgpa.data.clevr_renderer.dataset.triples import draw_triple
from ssgpa.processing_ssgpa import SSGPAProcessor
from ssgpa.training.arguments import ModelArguments
from ssgpa.training.collator import PairCollator
from ssgpa.training.generation import evaluation_mode
from ssgpa.training.resuming import set_seed
from ssgpa.training.systems import create_system
from ssgpa.utils.console import OneLineParser, be_quiet, positive, report_error
from ssgpa.utils.loading import load_system
from ssgpa.utils.results import library_versions, write_results


SCENES = 40
# Small enough to draw at once; the captions are those of any size.
SCENE_SIZE = (96, 64)
WARM_UP_STEPS = 2
BEAMS = (1, 5)


@dataclass
class Trainee:
    """A model and its optimizer."""

    model: PreTrainedModel
    optimizer: torch.optim.Optimizer

    def step(self, batch: dict[str, Any], bf16: bool) -> float:
        """Take one step of training; return its seconds."""
        self.model.train()
        start = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16) if bf16 else nullcontext():
            loss = self.model(**batch).loss
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return time.perf_counter() - start


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = OneLineParser(
        prog="measure_throughput.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--model", help="folder of a saved SSGPA")
    source.add_argument("--config", help="model configuration JSON, for random weights")
    parser.add_argument("--output", required=True, type=Path, help="JSON file for the figures")
    parser.add_argument("--image_size", type=int, nargs=2, default=[128, 192], metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--attn_implementation", help="eager, sdpa, ...; by default the library's choice")
    parser.add_argument("--batch_size", type=positive, default=32)
    parser.add_argument("--captions_per_pair", type=positive, default=3)
    parser.add_argument("--threads", type=positive, help="by default torch's choice")
    parser.add_argument("--steps", type=positive, default=8, help="steps of each model")
    parser.add_argument("--max_new_tokens", type=positive, default=30)
    parser.add_argument("--bf16", action="store_true", help="train under bf16 autocast; generation stays as it is")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


def scene_captions(seed: int) -> list[list[str]]:
    """Captions of rendered scenes, a change and a distractor each; the scenes are not rendered."""
    triples = [draw_triple(seed, index, SCENE_SIZE) for index in range(SCENES)]
    return [captions for triple in triples for captions in (triple.change_captions, triple.no_change_captions)]


def build_systems(
    options: argparse.Namespace, captions: list[list[str]]
) -> tuple[PreTrainedModel, PreTrainedModel, SSGPAProcessor]:
    """The full model, the same without adapter, alignment and contrast, and their processor."""
    attention = {"attn_implementation": options.attn_implementation}
    if options.model:
        full, processor = load_system(options.model, **attention)
    else:
        arguments = ModelArguments(model_config=options.config, image_size=options.image_size, **attention)
        full, processor, _ = create_system(arguments, (caption for texts in captions for caption in texts))
    plain = SSGPAWithoutMechanism(full.config)
    shared = plain.state_dict().keys()
    plain.load_state_dict({name: value for name, value in full.state_dict().items() if name in shared})
    return full, plain.to(full.dtype), processor


def random_pairs(
    processor: SSGPAProcessor, captions: list[list[str]], options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Training pairs, a batch for every step, of random 8-bit images and the scenes' captions."""
    rng = np.random.default_rng(options.seed)
    size = processor.image_processor.size
    shape = (2, 3, size["height"], size["width"])
    pairs = []
    for number in range(options.steps * options.batch_size):
        texts = captions[rng.integers(len(captions))]
        drawn = [texts[index % len(texts)] for index in range(options.captions_per_pair)]
        images = tuple(rng.integers(0, 256, shape, dtype=np.uint8))
        pairs.append({"pair_id": str(number), "scene_id": number, "images": images, "captions": drawn})
    return pairs


def collated(pairs: list[dict[str, Any]], size: int, collate: PairCollator) -> list[dict[str, Any]]:
    """Batches of so many pairs by the collator's real path, as arguments of a model."""
    batches = (collate(pairs[start : start + size]) for start in range(0, len(pairs), size))
    return [{name: value for name, value in batch.items() if name != "pair_ids"} for batch in batches]


def measure_training(models: dict[str, nn.Module], batches: list[dict[str, Any]], bf16: bool) -> dict[str, Any]:
    """Pairs a second of each model, steps taken in turn, and the ratio of the first to the second."""
    trainees = {name: Trainee(model, torch.optim.AdamW(model.parameters(), lr=1e-5)) for name, model in models.items()}
    for trainee in trainees.values():
        for batch in batches[:WARM_UP_STEPS]:
            trainee.step(batch, bf16)
    seconds: dict[str, list[float]] = {name: [] for name in trainees}
    for batch in batches:
        for name, trainee in trainees.items():
            seconds[name].append(trainee.step(batch, bf16))
    pairs = len(batches[0]["pixel_values"])
    first, second = seconds.values()
    return {
        "pairs_per_second": {name: pairs / statistics.median(values) for name, values in seconds.items()},
        "ratio": statistics.median(other / own for own, other in zip(first, second, strict=True)),
        "seconds": seconds,
    }


def measure_generation(
    model: PreTrainedModel, processor: SSGPAProcessor, pixel_values: torch.Tensor, max_new_tokens: int
) -> dict[str, Any]:
    """Captions a second by number of beams, over one batch, the first call not counted."""
    ids = torch.tensor([processor.prompt_ids()]).expand(len(pixel_values), -1)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": pixel_values.to(model.dtype)}
    figures = {}
    with evaluation_mode(model):
        for beams in BEAMS:
            model.generate(**inputs, num_beams=beams, max_new_tokens=2)
            start = time.perf_counter()
            generated = model.generate(**inputs, num_beams=beams, max_new_tokens=max_new_tokens)
            seconds = time.perf_counter() - start
            figures[f"beams_{beams}"] = {
                "captions_per_second": len(generated) / seconds,
                "longest_caption_tokens": generated.shape[1] - ids.shape[1],
            }
    return figures


def settings_of(options: argparse.Namespace) -> dict[str, Any]:
    """A command line's options as JSON."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()}


def ratios(values: list[float]) -> dict[str, float]:
    """The median of paired ratios, and the lowest and highest of their middle half."""
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75]).tolist()
    return {"ratio": middle, "ratio_low": low, "ratio_high": high}


def cpu_name() -> str:
    """The processor's own name, where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Build, measure and describe."""
    if options.threads:
        torch.set_num_threads(options.threads)
    set_seed(options.seed)
    captions = scene_captions(options.seed)
    full, plain, processor = build_systems(options, captions)
    batches = collated(random_pairs(processor, captions, options), options.batch_size, PairCollator(processor))
    # Before training, which would change what a saved model says.
    generation = measure_generation(full, processor, batches[0]["pixel_values"], options.max_new_tokens)
    models = {"ssgpa": full, "without_alignment": plain}
    return {
        "training": measure_training(models, batches, options.bf16),
        "generation": generation,
        "parameters": {name: model.num_parameters() for name, model in models.items()},
        "settings": settings_of(options),
        "attn_implementation": full.config._attn_implementation,
        "dtype": str(full.dtype),
        "threads": torch.get_num_threads(),
        "cpu": cpu_name(),
        "versions": library_versions(),
    }


def main(arguments: list[str] | None = None) -> int:
    """Measure, and answer errors with one line on stderr and exit code 2."""
    options = parse_arguments(arguments)
    be_quiet()
    try:
        figures = measure(options)
        write_results(options.output, figures)
    except (OSError, ValueError) as error:
        return report_error("measure_throughput.py", error)
    training = figures["training"]
    rates = ", ".join(f"{name} {rate:.1f}" for name, rate in training["pairs_per_second"].items())
    sys.stdout.write(f"Training pairs a second: {rates}; ratio {training['ratio']:.2f}. Wrote {options.output}.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
