# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Measures the data loader beside bare PIL: decode and resize of the same files, in the same run.

python benchmarks/measure_loader.py --model checkpoints/ssgpa-clevr-tiny --output loader.json
python benchmarks/measure_loader.py --model checkpoints/ssgpa-clevr-tiny --data prepared --workers 1 2 --output it.json

Without --data, pairs of random shades at CLEVR-Change's size are written first, in two files. The loader gives whole
training batches as examples/train.py takes them: decoded and resized images, drawn captions, tokens; once with any
row at hand, once streamed, and once with any row and normalized behind the workers, as the trainer does on the model's
device. Bare PIL only decodes to RGB and resizes, with as many processes. All take their turns, so that a busy machine
slows all of them; a ratio is the median over paired turns.
"""

import argparse
import io
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset, disable_progress_bars
from PIL import Image
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from ssgpa.benchmarks.measure_throughput import cpu_name, ratios, settings_of
from ssgpa.data.prepared import load_prepared, write_prepared
from ssgpa.data.reading import Pair, build_splits
from ssgpa.training.collator import PairCollator
from ssgpa.training.dataset import PairDataset
from ssgpa.training.pixels import PixelNormalizer
from ssgpa.training.streams import PairIterableDataset
from ssgpa.utils.console import OneLineParser, be_quiet, positive, report_error
from ssgpa.utils.loading import load_system
from ssgpa.utils.results import library_versions, write_results


BARE = "bare_pil"
MADE_SIZE = (480, 320)
CAPTION = "the small red cube has disappeared"


class BareImages(TorchDataset):
    """The images of a split by bare PIL: decoded to RGB and resized, bicubic.

    Args:
        rows (`Dataset`): A prepared split; its files are held in memory.
        side (`int`): Side of the square, pixels.
    """

    def __init__(self, rows: Dataset, side: int) -> None:
        columns = rows.select_columns(["before", "after"]).with_format("arrow")[:]
        self.files = [columns[name].combine_chunks().field("bytes").to_pylist() for name in ("before", "after")]
        self.side = side

    def __len__(self) -> int:
        return len(self.files[0])

    def __getitem__(self, index: int) -> np.ndarray:
        pair = []
        for files in self.files:
            with Image.open(io.BytesIO(files[index])) as image:
                pair.append(np.asarray(image.convert("RGB").resize((self.side, self.side), Image.Resampling.BICUBIC)))
        return np.stack(pair)


class NormalizedBatches:
    """A loader's batches, normalized in this process.

    Args:
        loader (`DataLoader`): Gives images as bytes.
        normalize (`PixelNormalizer`): As the trainer's.
    """

    def __init__(self, loader: DataLoader, normalize: PixelNormalizer) -> None:
        self.loader, self.normalize = loader, normalize

    def __iter__(self) -> Iterator[Any]:
        return (batch | {"pixel_values": self.normalize(batch["pixel_values"])} for batch in self.loader)


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = OneLineParser(
        prog="measure_loader.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", required=True, help="folder of a saved system, for its processor")
    parser.add_argument("--data", type=Path, help="prepared folder; by default images are made")
    parser.add_argument("--output", required=True, type=Path, help="JSON file for the figures")
    parser.add_argument("--pairs", type=positive, default=256, help="training pairs used")
    parser.add_argument("--side", type=positive, default=224)
    parser.add_argument("--batch_size", type=positive, default=32)
    parser.add_argument("--workers", type=positive, nargs="+", default=[1, 2], help="processes, one figure each")
    parser.add_argument("--turns", type=positive, default=15)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


def make_pairs(folder: Path, count: int, seed: int) -> Path:
    """Write a prepared folder with images of smooth shades under slight noise, which PNG packs like renders."""
    rng = np.random.default_rng(seed)
    (folder / "source").mkdir()
    width, height = MADE_SIZE
    rows, columns = np.mgrid[:height, :width]
    pairs = []
    for number in range(count):
        names = (f"{number}_before.png", f"{number}_after.png")
        for name in names:
            slopes = rng.uniform(0, 0.25, (2, 3))
            shade = (
                rows[..., None] * slopes[0] + columns[..., None] * slopes[1] + rng.integers(0, 4, (height, width, 1))
            )
            Image.fromarray(shade.astype(np.uint8)).save(folder / "source" / name)
        pairs.append(Pair(str(number), str(number), *names, [CAPTION]))
    dataset = build_splits(folder / "source", {"train": pairs}, None, verify_images=False)
    return write_prepared(dataset, folder / "prepared", rows_per_shard=-(-count // 2))


def pairs_a_second(loader: Iterable[Any], pairs: int, size: Callable[[Any], int]) -> float:
    """Time from the first batch on, so that the start of the workers does not count."""
    batches: Iterator[Any] = iter(loader)
    left = pairs - size(next(batches))
    seen, start = 0, time.perf_counter()
    while seen < left:
        seen += size(next(batches))
    return seen / (time.perf_counter() - start)


def measure_workers(loaders: dict[str, Iterable[Any]], pairs: int, turns: int) -> dict[str, Any]:
    """Pairs a second of each loader, turns taken one after the other, and ratios to bare PIL."""
    rates: dict[str, list[float]] = {name: [] for name in loaders}
    for turn in range(turns + 1):
        # Each is the first in some turn.
        start = turn % len(loaders)
        for name, loader in [*loaders.items()][start:] + [*loaders.items()][:start]:
            rate = pairs_a_second(loader, pairs, len if name == BARE else lambda batch: len(batch["pixel_values"]))
            # The first turn warms up.
            if turn:
                rates[name].append(rate)
    found = {
        name: ratios([own / bare for own, bare in zip(values, rates[BARE], strict=True)])
        for name, values in rates.items()
        if name != BARE
    }
    medians = {name: statistics.median(values) for name, values in rates.items()}
    return {"pairs_per_second": medians, "ratios": found, "turns": rates}


def make_loaders(options: argparse.Namespace, data: Path, processor: Any, rows: Dataset) -> Callable[[int], Any]:
    """What is compared, by the number of workers."""
    stream = load_prepared(data, streaming=True, splits=["train"])["train"]
    collate = PairCollator(processor, normalize=False)
    sets: dict[str, Any] = {
        "any_row": (PairDataset(rows, processor, seed=options.seed), collate),
        # In the order of the files: mixing several ends every pass with five seconds of sleep in `datasets`.
        "streamed": (PairIterableDataset(stream, processor, shuffle_buffer=0, seed=options.seed), collate),
        BARE: (BareImages(rows, options.side), None),
    }

    def make(workers: int) -> dict[str, Iterable[Any]]:
        loaders: dict[str, Iterable[Any]] = {
            name: DataLoader(dataset, options.batch_size, num_workers=workers, collate_fn=function)
            for name, (dataset, function) in sets.items()
        }
        normalize = PixelNormalizer(processor.image_processor)
        return {"normalized": NormalizedBatches(loaders["any_row"], normalize), **loaders}

    return make


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Load, measure and describe."""
    torch.set_num_threads(1)
    _, processor = load_system(options.model)
    processor.image_processor.size = type(processor.image_processor.size)(height=options.side, width=options.side)
    data = options.data or make_pairs(folder, options.pairs, options.seed)
    rows = load_prepared(data)["train"]
    rows = rows.select(range(min(options.pairs, len(rows))))
    if len(rows) <= options.batch_size:
        raise ValueError(f"{len(rows)} pairs are no more than one batch; lower --batch_size.")
    loaders = make_loaders(options, data, processor, rows)
    figures = {
        f"workers_{workers}": measure_workers(loaders(workers), len(rows), options.turns)
        for workers in options.workers
    }
    files = BareImages(rows, 1).files[0]
    with Image.open(io.BytesIO(files[0])) as image:
        images = {"size": image.size, "format": image.format, "mean_bytes": statistics.mean(map(len, files))}
    return {
        "figures": figures,
        "pairs": len(rows),
        "images": images,
        "settings": settings_of(options),
        "cpu": cpu_name(),
        "versions": library_versions(),
    }


def main(arguments: list[str] | None = None) -> int:
    """Measure, and answer errors with one line on stderr and exit code 2."""
    options = parse_arguments(arguments)
    be_quiet()
    disable_progress_bars()
    try:
        with tempfile.TemporaryDirectory() as folder:
            figures = measure(options, Path(folder))
        write_results(options.output, figures)
    except (OSError, ValueError) as error:
        return report_error("measure_loader.py", error)
    for name, found in figures["figures"].items():
        rates = ", ".join(f"{what} {rate:.1f}" for what, rate in found["pairs_per_second"].items())
        ratios = ", ".join(f"{what} {ratio['ratio']:.2f}" for what, ratio in found["ratios"].items())
        sys.stdout.write(f"{name}: pairs a second: {rates}; beside bare PIL: {ratios}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
