# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
r"""Make the base of a run of the public reproduction's variants, out of an SSGPA with a ViT.

python examples/make_base.py --instructblip Salesforce/instructblip-vicuna-7b --output_dir bases/ssgpa-eva-vicuna7b
python benchmarks/make_reproduction_base.py --base bases/ssgpa-eva-vicuna7b --output_dir bases/reproduction-vit
python benchmarks/make_reproduction_base.py --base bases/ssgpa-eva-vicuna7b --resnet microsoft/resnet-101 \
    --output_dir bases/reproduction-resnet

The tower is taken twice, the projection in front of the language model once; the cross-attention and a second
projection are random. With `--resnet` so are the layers between the ResNet and the ViT, which then never train: the
base holds them, and no run asks about weights that a base holds.
"""

import argparse
import sys
from pathlib import Path

import torch
from transformers import AutoImageProcessor, PreTrainedModel, ResNetModel

from ssgpa import SSGPAProcessor
from ssgpa.benchmarks.variants.reproduction import PROMPT, ResNetReproduction, ViTReproduction
from ssgpa.utils.console import OneLineParser, report_error
from ssgpa.utils.loading import load_partial_system


def build(base: str, resnet: str | None) -> tuple[PreTrainedModel, SSGPAProcessor]:
    """A variant and its processor, with the reproduction's prompt behind both images and the start token."""
    # A base need not hold the mechanism, which the variants leave out.
    source, processor, _ = load_partial_system(base)
    images, tokenizer = processor.image_processor, processor.tokenizer
    if resnet is None:
        model = ViTReproduction.from_base(source)
    else:
        model = ResNetReproduction.from_base(source, resnet=ResNetModel.from_pretrained(resnet, use_safetensors=True))
        theirs = AutoImageProcessor.from_pretrained(resnet, backend="pil", trust_remote_code=False)
        images.image_mean, images.image_std = theirs.image_mean, theirs.image_std
    if getattr(tokenizer, "add_bos_token", False):
        # It would stand in front of the images.
        tokenizer.add_bos_token = False
    return model, SSGPAProcessor(
        images,
        tokenizer,
        image_seq_length=model.config.image_seq_length,
        image_token=processor.image_token,
        prompt=PROMPT.format(processor.image_token, tokenizer.bos_token),
    )


def parse_arguments(words: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = OneLineParser(
        prog="make_reproduction_base.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--base", required=True, help="folder of an SSGPA that has InstructBLIP's tower")
    parser.add_argument("--resnet", help="id or folder of a ResNet: make the ResNet variant")
    parser.add_argument("--seed", type=int, default=0, help="of what is random")
    parser.add_argument("--output_dir", type=Path, required=True, help="a new folder")
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> int:
    """Make a base, and answer errors with one line on stderr and exit code 2."""
    options = parse_arguments(words)
    try:
        if options.output_dir.exists():
            raise FileExistsError(f"{options.output_dir} exists; choose another --output_dir.")
        torch.manual_seed(options.seed)
        model, processor = build(options.base, options.resnet)
        part = options.output_dir.with_name(f"{options.output_dir.name}.part")
        model.save_pretrained(part)
        processor.save_pretrained(part)
        part.rename(options.output_dir)
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        return report_error("make_reproduction_base.py", error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
