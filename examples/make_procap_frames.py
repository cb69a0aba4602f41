# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
#
# /// script
# requires-python = ">=3.11"
# dependencies = ["ssgpa[train]"]
# ///
r"""Make, once, what ProCap's first stage draws from: frames between the images of training pairs, and their scores.

Scores of a cross-fade, which itself is made while a run trains:

    python examples/make_procap_frames.py --data prepared/clevr_change --processor bases/procap-clevr_change \
        --retrieval runs/clip4idc_clevr_retrieval/best --output_dir frames/clevr_change

Frames of a learned interpolator, a class of yours, stored with their scores:

    python examples/make_procap_frames.py --data prepared/clevr_change --processor bases/procap-clevr_change \
        --interpolator my_package.Interpolator --interpolator_options '{"weights": "weights.pt"}' \
        --retrieval runs/clip4idc_clevr_retrieval/best --output_dir frames/clevr_change

The same command goes on where it was interrupted.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from tqdm.auto import tqdm
from transformers import AutoProcessor

from ssgpa.baselines.clip4idc import CLIP4IDCForPairTextRetrieval
from ssgpa.baselines.procap.confidence import fingerprint_of, frame_similarities
from ssgpa.baselines.procap.frame_store import SCORES, FrameFolder, ScoreLog, digest_of_pair
from ssgpa.baselines.procap.interpolation import (
    CROSS_FADE,
    INNER_FRAMES,
    Interpolator,
    inner_frames,
    load_interpolator,
)
from ssgpa.baselines.procap.keyframes import TEMPERATURE, keyframe_scores, keyframe_weights
from ssgpa.data import load_prepared
from ssgpa.data.decoding import adopt_reading, resize_image, undecoded
from ssgpa.data.prepared import reading_of
from ssgpa.data.schema import SIDES
from ssgpa.utils.console import OneLineParser, positive, report_error
from ssgpa.utils.loading import LIBRARY_ERRORS, load_system


def load_rows(options: argparse.Namespace, processor: Any) -> Dataset:
    """The training pairs, undecoded; the processor is told how the data is read."""
    adopt_reading(processor, reading_of(options.data), options.data)
    rows = load_prepared(options.data, splits=["train"])["train"]
    if not len(rows):
        raise ValueError(f"{options.data}: the training split has no pairs.")
    return undecoded(rows)


def load_retrieval(options: argparse.Namespace) -> tuple[Any, Any] | None:
    """CLIP4IDC's retrieval model and its processor; None where no scores are asked for."""
    if not options.retrieval:
        return None
    model, processor = load_system(options.retrieval, model_class=CLIP4IDCForPairTextRetrieval)
    adopt_reading(processor, reading_of(options.data), options.data)
    return model.to(options.device), processor


class Maker:
    """Makes the frames and scores of one pair after the other.

    Args:
        folder (`FrameFolder`): Where frames are stored, if they are.
        interpolator (`Callable`): Makes them.
        scores (`ScoreLog`, *optional*): Where scores go.
        retrieval (`tuple`, *optional*): Model and processor that score.
        batch_size (`int`): Pairs that the model reads at once.
    """

    def __init__(
        self,
        folder: FrameFolder,
        interpolator: Interpolator,
        scores: ScoreLog | None,
        retrieval: tuple[Any, Any] | None,
        batch_size: int,
    ) -> None:
        self.folder, self.interpolator, self.scores = folder, interpolator, scores
        self.retrieval, self.batch_size = retrieval, batch_size
        self.made = {"frames": 0, "scores": 0}
        self.sides: list[np.ndarray] = []

    def __call__(self, row: Mapping[str, Any], processor: Any) -> None:
        """Make what a row lacks.

        Raises:
            ValueError: An image cannot be decoded or the interpolator fails; the error names the pair.
        """
        name = row["pair_id"]
        images = tuple(resize_image(row[side], f"pair {name!r}, {side}", processor) for side in SIDES)
        digest = digest_of_pair(*images)
        stored = not self.folder.stored or self.folder.is_current(name, digest)
        scored = self.scores is None or self.scores.is_current(name, digest)
        if stored and scored:
            return
        if self.folder.stored and stored:
            frames = self.folder.read(name, digest)
        else:
            try:
                frames = inner_frames(self.interpolator, *images, self.folder.count)
            except (ValueError, RuntimeError) as error:
                raise ValueError(f"pair {name!r}: {error}") from error
        if not stored:
            self.folder.write(name, digest, frames)
            self.made["frames"] += 1
        if not scored:
            sides = frame_similarities(*self.retrieval, images, frames, list(row["captions"]), self.batch_size)
            self.scores.add(name, digest, sides)
            self.sides.append(sides)
            self.made["scores"] += 1

    def describe(self, temperature: float) -> str:
        """How uneven the draw by the new scores is."""
        if not self.sides:
            return ""
        largest = [keyframe_weights(keyframe_scores(*sides), temperature).max() for sides in self.sides]
        return (
            f"At temperature {temperature:g}, the likeliest frame of a pair has a weight of {np.mean(largest):.3f} on "
            f"average; {1 / self.folder.count:.3f} would be all alike.\n"
        )


def make(options: argparse.Namespace) -> Maker:
    """Make frames and scores of a training split."""
    processor = AutoProcessor.from_pretrained(options.processor, trust_remote_code=False)
    rows = load_rows(options, processor)
    interpolator, name = load_interpolator(options.interpolator, options.interpolator_options)
    size = dict(processor.image_processor.size)
    settings = {"count": options.inner_frames, "image_size": size, "interpolator": name}
    settings["stored"] = options.store or options.interpolator != CROSS_FADE
    retrieval = load_retrieval(options)
    if not settings["stored"] and retrieval is None:
        raise ValueError(
            "There is nothing to make, as images fade into each other while a run trains: give --retrieval, "
            "for scores, or --store."
        )
    folder = FrameFolder.create(options.output_dir, settings)
    scores = None
    if retrieval is not None:
        weights = fingerprint_of(retrieval[0])
        scores = ScoreLog(folder.folder / SCORES, settings | {"retrieval": weights})
    maker = Maker(folder, interpolator, scores, retrieval, options.batch_size)
    for row in tqdm(rows, desc="Pairs", disable=None):
        maker(row, processor)
    return maker


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = OneLineParser(prog="make_procap_frames.py", description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder written by prepare_data.py")
    parser.add_argument("--processor", required=True, help="a saved system: what stage 1 is going to start from")
    parser.add_argument("--output_dir", required=True, type=Path, help="a new folder, or one to go on with")
    parser.add_argument("--inner_frames", type=positive, default=INNER_FRAMES, help="frames between two images")
    parser.add_argument("--interpolator", default=CROSS_FADE, help="class path of what makes them")
    parser.add_argument("--interpolator_options", type=json.loads, help="JSON mapping of its arguments")
    parser.add_argument("--store", action="store_true", help="store frames of a cross-fade too")
    parser.add_argument("--retrieval", help="a saved CLIP4IDCForPairTextRetrieval, for scores")
    parser.add_argument("--batch_size", type=positive, default=32, help="pairs that it reads at once")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Make frames and scores, and answer errors with one line on stderr and exit code 2."""
    options = parse_arguments(arguments)
    try:
        maker = make(options)
    except (OSError, ValueError, ImportError, *LIBRARY_ERRORS) as error:
        return report_error("make_procap_frames.py", error)
    sys.stdout.write(f"Made the frames of {maker.made['frames']} pairs and the scores of {maker.made['scores']}.\n")
    sys.stdout.write(maker.describe(TEMPERATURE))
    return 0


if __name__ == "__main__":
    sys.exit(main())
