# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
#
# /// script
# requires-python = ">=3.11"
# dependencies = ["ssgpa[train]"]
# ///
"""Put together, once, what a SCORER run starts from: a pretrained backbone and the words of a data set.

Once for each data set, whose captions' words become the tokenizer:

    python examples/make_scorer_base.py --vision microsoft/resnet-101 --data prepared/clevr_change \
        --model_config examples/configs/models/scorer-resnet101.json --output_dir bases/scorer-clevr_change
"""

import argparse
import sys
from pathlib import Path

import torch

from ssgpa.baselines.scorer.conversion_scorer import read_backbone
from ssgpa.data.prepared import load_prepared
from ssgpa.training.arguments import ModelArguments
from ssgpa.training.systems import create_system, save_base
from ssgpa.utils.console import OneLineParser, report_error


def write_base(options: argparse.Namespace) -> None:
    """Save a model whose backbone is pretrained and whose other parts are random, with its processor.

    Args:
        options (`argparse.Namespace`): `vision`, `data`, `model_config`, `image_size` and `output_dir`.

    Raises:
        FileExistsError: The folder is there.
        ValueError: The backbone is not the one that the configuration describes.
    """
    if options.output_dir.exists():
        raise FileExistsError(f"{options.output_dir} exists; choose another --output_dir.")
    weights, _ = read_backbone(options.vision)
    captions = [text for texts in load_prepared(options.data, splits=["train"])["train"]["captions"] for text in texts]
    arguments = ModelArguments(model_config=str(options.model_config), image_size=options.image_size)
    model, processor, _ = create_system(arguments, captions)
    backbone = model.get_vision_encoder().backbone
    try:
        backbone.load_state_dict(weights)
    except RuntimeError as error:
        told = " ".join(str(error).split())
        raise ValueError(f"{options.vision} is not the `vision_config` of {options.model_config}: {told}") from error
    save_base(model, processor, options.output_dir)


def main(words: list[str] | None = None) -> int:
    """Make a base, and answer errors with one line on stderr and exit code 2."""
    parser = OneLineParser(prog="make_scorer_base.py", description=__doc__.splitlines()[0])
    parser.add_argument("--vision", required=True, help="a ResNet's id or folder, or torchvision's file of weights")
    parser.add_argument("--data", required=True, help="a prepared data set, whose training captions' words are taken")
    parser.add_argument("--model_config", type=Path, required=True, help="a configuration of sizes")
    parser.add_argument("--image_size", type=int, nargs=2, default=[224, 224], help="height and width of its images")
    parser.add_argument("--seed", type=int, default=0, help="of the parts that are new")
    parser.add_argument("--output_dir", type=Path, required=True, help="a new folder")
    options = parser.parse_args(words)
    torch.manual_seed(options.seed)
    try:
        write_base(options)
    except (OSError, ValueError, ImportError) as error:
        return report_error("make_scorer_base.py", error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
