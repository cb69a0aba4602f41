# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Start a model: from a saved system, or from a configuration with a tokenizer of the training captions' words."""

import json
import re
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoProcessor,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.utils import logging

from ..processing_ssgpa import SSGPAProcessor
from .arguments import ModelArguments


logger = logging.get_logger(__name__)

IMAGE_TOKEN = "<image>"  # the placeholder of SSGPAProcessor
SPECIAL_TOKENS = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


def build_word_tokenizer(captions: Iterable[str], prompt: str) -> PreTrainedTokenizerFast:
    """A tokenizer of whole lower-case words: those of the captions and of the prompt.

    Args:
        captions (`Iterable[str]`): Training captions.
        prompt (`str`): The prompt, whose placeholders become one token.

    Returns:
        `PreTrainedTokenizerFast`: Pads on the left.
    """
    split = pre_tokenizers.Whitespace()
    texts = [prompt.replace(IMAGE_TOKEN, " "), *captions]
    words = {word for text in texts for word, _ in split.pre_tokenize_str(text.lower())}
    special = [*SPECIAL_TOKENS.values(), IMAGE_TOKEN]
    vocabulary = {word: index for index, word in enumerate(special + sorted(words))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=SPECIAL_TOKENS["unk_token"]))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = split
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        extra_special_tokens={"image_token": IMAGE_TOKEN},
        padding_side="left",
        **SPECIAL_TOKENS,
    )


def load_system(arguments: ModelArguments) -> tuple[PreTrainedModel, SSGPAProcessor, set[str]]:
    """Load a saved system.

    Returns:
        `tuple`: Model, processor, and the names of parameters that the checkpoint did not hold.
    """
    path = arguments.model_name_or_path
    model, info = AutoModelForImageTextToText.from_pretrained(
        path, attn_implementation=arguments.attn_implementation, output_loading_info=True, use_safetensors=True
    )
    if info["mismatched_keys"]:
        raise ValueError(f"{path}: these weights have the wrong shape: {sorted(info['mismatched_keys'])}.")
    return model, AutoProcessor.from_pretrained(path), set(info["missing_keys"])


def create_system(
    arguments: ModelArguments, captions: Iterable[str]
) -> tuple[PreTrainedModel, SSGPAProcessor, set[str]]:
    """Build a model with random weights from a configuration JSON, and its processor.

    Args:
        arguments (`ModelArguments`): `model_config`, `image_size` and `prompt` count.
        captions (`Iterable[str]`): Training captions, for the tokenizer.

    Returns:
        `tuple`: Model, processor, and the names of all its parameters.
    """
    path = Path(arguments.model_config)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such model configuration.")
    values = json.loads(path.read_text(encoding="utf-8"))
    tokenizer = build_word_tokenizer(captions, arguments.prompt)
    values["image_token_id"] = tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)
    values["text_config"] |= {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    config = AutoConfig.for_model(**values)
    model = AutoModelForImageTextToText.from_config(config, attn_implementation=arguments.attn_implementation)
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        setattr(model.generation_config, name, getattr(tokenizer, name))
    height, width = arguments.image_size
    image_processor = CLIPImageProcessorPil(
        size={"height": height, "width": width}, do_center_crop=False, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    processor = SSGPAProcessor(
        image_processor, tokenizer, image_seq_length=config.image_seq_length, prompt=arguments.prompt
    )
    return model, processor, {name for name, _ in model.named_parameters()}


def set_trainable(model: nn.Module, patterns: list[str], missing: set[str]) -> dict[str, int]:
    """Switch gradients on for the parameters that a pattern matches, off for all others.

    Args:
        model (`nn.Module`): The model.
        patterns (`list[str]`): Regular expressions, searched in the parameters' names.
        missing (`set[str]`): Parameters that no checkpoint gave.

    Returns:
        `dict[str, int]`: Trainable parameters and their sizes.

    Raises:
        ValueError: A pattern matches nothing, or a parameter is neither loaded nor trainable.
    """
    expressions = [re.compile(pattern) for pattern in patterns]
    names = [name for name, _ in model.named_parameters()]
    for expression in expressions:
        if not any(expression.search(name) for name in names):
            raise ValueError(f"`trainable`: the pattern {expression.pattern!r} matches no parameter.")
    trainable = {}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(any(expression.search(name) for expression in expressions))
        if parameter.requires_grad:
            trainable[name] = parameter.numel()
    random_and_frozen = sorted((missing & set(names)) - set(trainable))
    if random_and_frozen:
        raise ValueError(
            f"{len(random_and_frozen)} parameters are neither loaded nor trainable and would stay random, e.g. "
            f"{random_and_frozen[:3]}. Add a pattern to `trainable` or load them."
        )
    total = sum(parameter.numel() for parameter in model.parameters())
    logger.info(f"Training {sum(trainable.values()):,} of {total:,} parameters.")
    return trainable
