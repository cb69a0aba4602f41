# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
#
# /// script
# requires-python = ">=3.11"
# dependencies = ["ssgpa"]
# ///
r"""Put together, once, the base that VIR-VLFM's runs start from, with the published prompt.

From an InstructBLIP checkpoint, whose tower, Q-Former, projection and language model fit each other, or from the files
that the released code starts from:

    python examples/make_vir_vlfm_base.py --instructblip Salesforce/instructblip-vicuna-7b --output_dir bases/vir-vlfm
    python examples/make_vir_vlfm_base.py --output_dir bases/vir-vlfm --language vicuna-7b-v0 \
        --official eva_vit_g.pth blip2_pretrained_flant5xxl.pth pretrained_minigpt4_7b.pth

With a checkpoint of the authors as the last file, the result is their model.
"""

import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, InstructBlipProcessor, PreTrainedModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from ssgpa import SSGPAProcessor
from ssgpa.baselines.vir_vlfm import VIRVLFMConfig, VIRVLFMForConditionalGeneration
from ssgpa.baselines.vir_vlfm.conversion_vir_vlfm import PROMPT, convert_tokenizer
from ssgpa.training.model_setup import DTYPES
from ssgpa.training.systems import complete_generation, save_base
from ssgpa.utils.console import OneLineParser, report_error


INSTRUCTION = "describe the image in detail."
PLACEHOLDER = "<image>"


def from_instructblip(path: str, revision: str | None) -> tuple[PreTrainedModel, SSGPAProcessor]:
    """Take over tower, Q-Former and language model, and their preparation of images and text."""
    theirs = InstructBlipProcessor.from_pretrained(path, revision=revision)
    instruction = theirs.qformer_tokenizer(INSTRUCTION).input_ids
    model = VIRVLFMForConditionalGeneration.from_instructblip(path, instruction, revision=revision)
    complete_generation(model, theirs.tokenizer)
    token = theirs.tokenizer.convert_ids_to_tokens(model.config.image_token_id)
    return model, processor_of(model, theirs.image_processor, theirs.tokenizer, token)


def from_official(files: list[Path], language: str, dtype: str) -> tuple[PreTrainedModel, SSGPAProcessor]:
    """Read the released code's files over a language model, which gets a placeholder where it has none to spare."""
    tokenizer = AutoTokenizer.from_pretrained(language, padding_side="left")
    writer = AutoModelForCausalLM.from_pretrained(language, dtype=DTYPES[dtype], use_safetensors=True)
    # The released code pads with the end token, so that what version 0 of Vicuna pads with is free.
    token = (
        tokenizer.pad_token if tokenizer.pad_token not in (None, tokenizer.unk_token, tokenizer.eos_token) else None
    )
    if token is None:
        token = PLACEHOLDER
        tokenizer.add_special_tokens({"additional_special_tokens": [token]})
        writer.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
    image_token_id = tokenizer.convert_tokens_to_ids(token)
    model = VIRVLFMForConditionalGeneration.from_official(
        files, writer, dtype=DTYPES[dtype], image_token_id=image_token_id
    )
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    size = model.config.vision_config.image_size
    images = CLIPImageProcessorPil(
        size={"height": size, "width": size},
        do_center_crop=False,
        image_mean=list(VIRVLFMConfig.image_mean),
        image_std=list(VIRVLFMConfig.image_std),
    )
    return model, processor_of(model, images, convert_tokenizer(tokenizer), token)


def processor_of(
    model: PreTrainedModel, image_processor: object, tokenizer: object, image_token: str
) -> SSGPAProcessor:
    """A processor with the published prompt."""
    return SSGPAProcessor(
        image_processor,
        tokenizer,
        image_seq_length=model.config.image_seq_length,
        prompt=PROMPT.format(image_token),
        image_token=image_token,
    )


def main(words: list[str] | None = None) -> int:
    """Make a base, and answer errors with one line on stderr and exit code 2."""
    parser = OneLineParser(prog="make_vir_vlfm_base.py", description=__doc__.splitlines()[0])
    parser.add_argument("--instructblip", help="id on the Hub or folder of an InstructBLIP checkpoint")
    parser.add_argument("--revision", help="its commit, for an id")
    parser.add_argument("--official", type=Path, nargs="+", help="files of the released code, the last one counts")
    parser.add_argument("--language", help="id or folder of a language model, for --official")
    parser.add_argument("--dtype", choices=DTYPES, default="bfloat16", help="of --official's weights")
    parser.add_argument("--seed", type=int, default=0, help="of the parts that are new")
    parser.add_argument("--output_dir", type=Path, required=True, help="a new folder")
    options = parser.parse_args(words)
    try:
        if options.output_dir.exists():
            raise FileExistsError(f"{options.output_dir} exists; choose another --output_dir.")
        torch.manual_seed(options.seed)
        if options.instructblip:
            model, processor = from_instructblip(options.instructblip, options.revision)
        elif options.official and options.language:
            model, processor = from_official(options.official, options.language, options.dtype)
        else:
            raise ValueError("Give --instructblip, or --official and --language.")
        save_base(model, processor, options.output_dir)
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        return report_error("make_vir_vlfm_base.py", error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
