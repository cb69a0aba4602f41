# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
#
# /// script
# requires-python = ">=3.11"
# dependencies = ["ssgpa"]
# ///
"""Put together, once, the base that runs with a pretrained language model start from.

From an InstructBLIP checkpoint, from a BLIP-2 checkpoint with OPT for BLIP2IDC, from a CLIP checkpoint as the start of
CLIP4IDC's first stage, or from a vision tower and a language model by a configuration of sizes:

    python examples/make_base.py --instructblip Salesforce/instructblip-vicuna-7b --output_dir bases/ssgpa-eva-vicuna7b
    python examples/make_base.py --blip2 Salesforce/blip2-opt-2.7b --output_dir bases/blip2idc-opt-2.7b
    python examples/make_base.py --clip openai/clip-vit-base-patch32 --output_dir bases/clip4idc-vit-b-32
    python examples/make_base.py --vision microsoft/resnet-101 --language lmsys/vicuna-7b-v1.5 \
        --model_config examples/configs/models/ssgpa-resnet101-vicuna7b.json --image_size 448 448 \
        --output_dir bases/ssgpa-resnet101-vicuna7b
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from transformers import (
    AutoImageProcessor,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    InstructBlipProcessor,
    PreTrainedModel,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from ssgpa import SSGPAConfig, SSGPAForConditionalGeneration, SSGPAProcessor
from ssgpa.baselines.blip2idc import BLIP2IDCForConditionalGeneration
from ssgpa.baselines.clip4idc import CLIP4IDCConfig, CLIP4IDCForPairTextRetrieval
from ssgpa.training.systems import complete_generation, save_base, start_tokenizer
from ssgpa.utils.console import OneLineParser, report_error


INSTRUCTION = "describe the image in detail."
PLACEHOLDER = "<image>"
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


def from_instructblip(path: str, revision: str | None) -> tuple[PreTrainedModel, SSGPAProcessor]:
    """Take over tower, Q-Former and language model, and their preparation of images and text."""
    theirs = InstructBlipProcessor.from_pretrained(path, revision=revision)
    instruction = theirs.qformer_tokenizer(INSTRUCTION).input_ids
    model = SSGPAForConditionalGeneration.from_instructblip(path, instruction, revision=revision)
    complete_generation(model, theirs.tokenizer)
    processor = SSGPAProcessor(
        theirs.image_processor,
        theirs.tokenizer,
        image_seq_length=model.config.image_seq_length,
        image_token=theirs.tokenizer.convert_ids_to_tokens(model.config.image_token_id),
    )
    return model, processor


def from_blip2(path: str, revision: str | None) -> tuple[PreTrainedModel, SSGPAProcessor]:
    """Take over a BLIP-2 with OPT for BLIP2IDC: the queries, then OPT's start token, are the whole prompt."""
    model = BLIP2IDCForConditionalGeneration.from_blip2(path, revision=revision)
    options = {"revision": revision, "trust_remote_code": False}
    images = AutoImageProcessor.from_pretrained(path, backend="pil", **options)
    tokenizer = AutoTokenizer.from_pretrained(
        path, padding_side="left", extra_special_tokens={"image_token": PLACEHOLDER}, **options
    )
    # It would stand in front of the queries.
    tokenizer.add_bos_token = False
    found, wanted = tokenizer.convert_tokens_to_ids(PLACEHOLDER), model.config.image_token_id
    if found != wanted:
        raise ValueError(f"{path}: the tokenizer numbers {PLACEHOLDER} {found}, and the model {wanted}.")
    processor = SSGPAProcessor(
        images,
        tokenizer,
        image_seq_length=model.config.image_seq_length,
        pair_layout=model.config.pair_layout,
        prompt=PLACEHOLDER + tokenizer.bos_token,
        size_of_pair="after",
    )
    return model, processor


def from_clip(path: str, revision: str | None) -> tuple[PreTrainedModel, SSGPAProcessor]:
    """Take over both towers; images are resized whole to the tower's size, without CLIP's crop."""
    model = CLIP4IDCForPairTextRetrieval.from_clip(path, revision=revision)
    size = model.config.vision_config.image_size
    name = path if revision is None else f"{path}@{revision}"
    tokenizer = start_tokenizer(name, [], "", None)
    means = {name: list(getattr(CLIP4IDCConfig, name)) for name in ("image_mean", "image_std")}
    images = CLIPImageProcessorPil(size={"height": size, "width": size}, do_center_crop=False, **means)
    return model, SSGPAProcessor(images, tokenizer, image_seq_length=0)


def from_parts(
    config_path: Path, vision: str, language: str, image_size: list[int]
) -> tuple[PreTrainedModel, SSGPAProcessor]:
    """Set a pretrained tower and a pretrained language model into a configuration of sizes."""
    tokenizer = AutoTokenizer.from_pretrained(language, padding_side="left")
    tokenizer.add_special_tokens({"additional_special_tokens": [PLACEHOLDER]})
    tower = AutoModel.from_pretrained(vision, dtype="auto")
    writer = AutoModelForCausalLM.from_pretrained(language, dtype="auto")
    writer.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "bos", "eos")}

    values = json.loads(config_path.read_text(encoding="utf-8"))
    values |= {"image_token_id": tokenizer.convert_tokens_to_ids(PLACEHOLDER)}
    values["text_config"] |= {"vocab_size": len(tokenizer)} | ids
    config = SSGPAConfig(**{name: value for name, value in values.items() if name != "model_type"})
    model = SSGPAForConditionalGeneration._from_config(config, dtype=writer.dtype)
    for part, source in ((model.model.vision_tower.tower, tower), (model.model.language_model, writer.model)):
        part.load_state_dict(source.state_dict())
    model.lm_head.load_state_dict(writer.lm_head.state_dict())
    model.generation_config.update(**ids)
    complete_generation(model, tokenizer)

    height, width = image_size
    images = CLIPImageProcessorPil(size={"height": height, "width": width}, do_center_crop=False, **IMAGENET)
    return model, SSGPAProcessor(images, tokenizer, image_seq_length=config.image_seq_length, image_token=PLACEHOLDER)


def build(arguments: argparse.Namespace) -> tuple[PreTrainedModel, SSGPAProcessor]:
    """The base that the command line asks for."""
    if arguments.instructblip:
        return from_instructblip(arguments.instructblip, arguments.revision)
    if arguments.blip2:
        return from_blip2(arguments.blip2, arguments.revision)
    if arguments.clip:
        return from_clip(arguments.clip, arguments.revision)
    if not (arguments.vision and arguments.language and arguments.model_config):
        raise ValueError("Give --instructblip, --blip2, --clip, or --vision, --language and --model_config.")
    return from_parts(arguments.model_config, arguments.vision, arguments.language, arguments.image_size)


def main(words: list[str] | None = None) -> int:
    """Make a base, and answer errors with one line on stderr and exit code 2."""
    parser = OneLineParser(prog="make_base.py", description=__doc__.splitlines()[0])
    parser.add_argument("--instructblip", help="id on the Hub or folder of an InstructBLIP checkpoint")
    parser.add_argument("--blip2", help="id on the Hub or folder of a BLIP-2 checkpoint with OPT, for BLIP2IDC")
    parser.add_argument("--clip", help="id on the Hub or folder of a CLIP checkpoint, for CLIP4IDC")
    parser.add_argument("--revision", help="its commit, for an id")
    parser.add_argument("--vision", help="id or folder of a vision tower")
    parser.add_argument("--language", help="id or folder of a language model")
    parser.add_argument("--model_config", type=Path, help="a configuration of sizes, for --vision and --language")
    parser.add_argument("--image_size", type=int, nargs=2, default=[448, 448], help="height and width of its images")
    parser.add_argument("--seed", type=int, default=0, help="of the parts that are new")
    parser.add_argument("--output_dir", type=Path, required=True, help="a new folder")
    arguments = parser.parse_args(words)
    try:
        if arguments.output_dir.exists():
            raise FileExistsError(f"{arguments.output_dir} exists; choose another --output_dir.")
        torch.manual_seed(arguments.seed)
        model, processor = build(arguments)
        save_base(model, processor, arguments.output_dir)
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        return report_error("make_base.py", error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
