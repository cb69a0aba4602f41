# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
# /// script
# requires-python = ">=3.11"
# dependencies = ["ssgpa[train]"]
# ///
r"""Make the base of FINER-MLLM's runs: InstructBLIP's parts, and its preparation of images and text.

python examples/make_finer_mllm_base.py --instructblip Salesforce/instructblip-vicuna-7b \
        --output_dir bases/finer-mllm-vicuna7b
"""

import argparse
import sys
from pathlib import Path

import torch
from transformers import InstructBlipProcessor, PreTrainedModel

from ssgpa import SSGPAProcessor
from ssgpa.baselines.finer_mllm import FinerMLLMForConditionalGeneration
from ssgpa.training.systems import complete_generation, save_base
from ssgpa.utils.console import OneLineParser, report_error


# Images first, as InstructBLIP has learned it, and the authors' words.
PROMPT = "{0}{0}the difference between the before image and after image is that"


def build(path: str, revision: str | None) -> tuple[PreTrainedModel, SSGPAProcessor]:
    """Take over tower, Q-Former and language model, and their preparation of images and text."""
    theirs = InstructBlipProcessor.from_pretrained(path, revision=revision)
    model = FinerMLLMForConditionalGeneration.from_instructblip(path, revision=revision)
    complete_generation(model, theirs.tokenizer)
    token = theirs.tokenizer.convert_ids_to_tokens(model.config.image_token_id)
    processor = SSGPAProcessor(
        theirs.image_processor,
        theirs.tokenizer,
        image_seq_length=model.config.image_seq_length,
        image_token=token,
        prompt=PROMPT.format(token),
    )
    return model, processor


def parse_arguments(words: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = OneLineParser(prog="make_finer_mllm_base.py", description=__doc__.splitlines()[0])
    parser.add_argument("--instructblip", required=True, help="id on the Hub or folder of an InstructBLIP checkpoint")
    parser.add_argument("--revision", help="its commit, for an id")
    parser.add_argument("--seed", type=int, default=0, help="of the emphasis, which is new")
    parser.add_argument("--output_dir", type=Path, required=True, help="a new folder")
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> int:
    """Make a base, and answer errors with one line on stderr and exit code 2."""
    arguments = parse_arguments(words)
    try:
        if arguments.output_dir.exists():
            raise FileExistsError(f"{arguments.output_dir} exists; choose another --output_dir.")
        torch.manual_seed(arguments.seed)
        model, processor = build(arguments.instructblip, arguments.revision)
        save_base(model, processor, arguments.output_dir)
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        return report_error("make_finer_mllm_base.py", error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
