# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
#
# /// script
# requires-python = ">=3.11"
# dependencies = ["ssgpa[train]"]
# ///
"""Put together, once for each data set, what ProCap's runs start from.

For the training of the image tokenizer, from a VQGAN; the captions' words become the tokenizer of all stages:

    python examples/make_procap_base.py --vqgan vqgan_imagenet_f16_1024.ckpt --data prepared/clevr_change \
        --output_dir bases/procap-tokenizer-clevr_change

For stage 1, from a CLIP and the trained image tokenizer; `--layers 4` for Spot-the-Diff:

    python examples/make_procap_base.py --clip openai/clip-vit-base-patch32 \
        --image_tokenizer runs/procap_clevr_tokenizer/best --data prepared/clevr_change \
        --output_dir bases/procap-clevr_change
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from ssgpa import SSGPAProcessor
from ssgpa.baselines.procap import ProCapConfig, ProCapForImageReconstruction, ProCapForPreTraining
from ssgpa.data.prepared import load_prepared
from ssgpa.training.systems import save_base, start_tokenizer
from ssgpa.utils.console import OneLineParser, positive, report_error
from ssgpa.utils.loading import LIBRARY_ERRORS, load_system


def start_processor(options: argparse.Namespace) -> SSGPAProcessor:
    """Whole images at the image tokenizer's size, and a tokenizer of the training captions' words."""
    captions = load_prepared(options.data, splits=["train"])["train"]["captions"]
    tokenizer = start_tokenizer(options.tokenizer, (text for texts in captions for text in texts), "", None)
    means = {name: list(getattr(ProCapConfig, name)) for name in ("image_mean", "image_std")}
    size = {"height": options.image_size, "width": options.image_size}
    images = CLIPImageProcessorPil(size=size, do_center_crop=False, **means)
    return SSGPAProcessor(images, tokenizer, image_seq_length=0)


def fields_of(options: argparse.Namespace, tokenizer: Any) -> dict[str, Any]:
    """Fields of the configuration: sizes of a file, and the vocabulary."""
    values = json.loads(options.model_config.read_text(encoding="utf-8")) if options.model_config else {}
    values = ProCapConfig.with_vocabulary(values, tokenizer)
    # The checkpoints tell.
    return {name: value for name, value in values.items() if name not in ("model_type", "vision_config", "vq_config")}


def for_tokenizer(options: argparse.Namespace) -> tuple[PreTrainedModel, SSGPAProcessor]:
    """A VQGAN with its decoder, for the training of the image tokenizer."""
    processor = start_processor(options)
    fields = fields_of(options, processor.tokenizer)
    keeps = {"resolution": options.image_size, "keep_attention": options.keep_attention}
    return ProCapForImageReconstruction.from_vqgan(options.vqgan, **keeps, **fields), processor


def for_stage_1(options: argparse.Namespace) -> tuple[PreTrainedModel, SSGPAProcessor]:
    """CLIP's layers behind an image tokenizer, trained or as it was published."""
    keeps = {"resolution": options.image_size, "keep_attention": options.keep_attention}
    if options.image_tokenizer:
        source, processor = load_system(options.image_tokenizer, model_class=ProCapForImageReconstruction)
        keeps = {"resolution": source.config.vq_config.resolution}
        vqgan = source.get_vision_encoder().inner
    else:
        vqgan, processor = options.vqgan, start_processor(options)
    fields = fields_of(options, processor.tokenizer)
    model = ProCapForPreTraining.from_clip(
        options.clip, vqgan, options.layers, revision=options.revision, **keeps, **fields
    )
    return model, processor


def write_base(options: argparse.Namespace) -> None:
    """Save a model and its processor.

    Raises:
        FileExistsError: The folder is there.
        ValueError: A checkpoint is not what it should be, or the options say too little or too much.
    """
    if options.output_dir.exists():
        raise FileExistsError(f"{options.output_dir} exists; choose another --output_dir.")
    if bool(options.vqgan) == bool(options.image_tokenizer) or not (options.clip or options.vqgan):
        raise ValueError("Give --vqgan alone, or --clip with one of --image_tokenizer and --vqgan.")
    model, processor = for_stage_1(options) if options.clip else for_tokenizer(options)
    save_base(model, processor, options.output_dir)


def main(words: list[str] | None = None) -> int:
    """Make a base, and answer errors with one line on stderr and exit code 2."""
    parser = OneLineParser(prog="make_procap_base.py", description=__doc__.splitlines()[0])
    parser.add_argument("--vqgan", help="a VQGAN of taming-transformers, a file of weights")
    parser.add_argument("--clip", help="id on the Hub or folder of a CLIP checkpoint, for stage 1")
    parser.add_argument("--revision", help="its commit, for an id")
    parser.add_argument("--layers", type=positive, help="how many of its layers, from the first on; by default all")
    parser.add_argument("--image_tokenizer", help="folder of a trained image tokenizer, for stage 1")
    parser.add_argument("--data", required=True, help="a prepared data set, whose training captions' words are taken")
    parser.add_argument("--tokenizer", help="folder or id of a tokenizer to take in place of one of these words")
    parser.add_argument("--model_config", type=Path, help="a configuration, for the sizes that no checkpoint tells")
    parser.add_argument("--image_size", type=positive, default=224, help="height and width of the images of --vqgan")
    parser.add_argument(
        "--drop_attention",
        dest="keep_attention",
        action="store_false",
        help="leave the attention of the VQGAN's lowest level out, as the released code does",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the parts that are new")
    parser.add_argument("--output_dir", type=Path, required=True, help="a new folder")
    options = parser.parse_args(words)
    torch.manual_seed(options.seed)
    try:
        write_base(options)
    except (OSError, ValueError, ImportError, *LIBRARY_ERRORS) as error:
        return report_error("make_procap_base.py", error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
