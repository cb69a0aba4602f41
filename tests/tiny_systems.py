# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""A tiny model and processor for every system, built in the session: no network, no files."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedModel, PreTrainedTokenizerFast
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from ssgpa import SSGPAConfig, SSGPAForConditionalGeneration, SSGPAProcessor, vlm
from ssgpa.baselines import blip2idc, clip4idc, finer_mllm, procap, scorer, vir_vlfm
from ssgpa.training.arguments import ModelArguments
from ssgpa.training.systems import create_system

from . import toy_concatenating, toy_cross_attending


WORDS = [
    "before",
    "after",
    "change",
    ":",
    "the",
    "a",
    "scene",
    "remains",
    "same",
    "there",
    "is",
    "no",
    "red",
    "green",
    "blue",
    "small",
    "large",
    "cube",
    "sphere",
    "cylinder",
    "rubber",
    "metal",
    "has",
    "disappeared",
    "been",
    "added",
    "turned",
    "moved",
    "missing",
    "gone",
    "nothing",
    "changed",
    "to",
    "behind",
    "left",
    "of",
    "right",
    "in",
    "front",
]
SPECIAL = ["<pad>", "<s>", "</s>", "<unk>", "<image>"]


def tiny_tokenizer(padding_side: str = "left") -> PreTrainedTokenizerFast:
    """A word tokenizer over a handful of words."""
    vocab = {word: index for index, word in enumerate(SPECIAL + WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        extra_special_tokens={"image_token": "<image>"},
        padding_side=padding_side,
    )


def tiny_image_processor(height: int = 32, width: int = 32) -> CLIPImageProcessorPil:
    """CLIP's processor at a small size, the whole image, no crop."""
    return CLIPImageProcessorPil(size={"height": height, "width": width}, do_center_crop=False)


VISION = {
    "vit": {
        "model_type": "instructblip_vision_model",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": 32,
        "patch_size": 8,
        "initializer_range": 0.02,
    },
    "resnet": {
        "model_type": "resnet",
        "embedding_size": 8,
        "hidden_sizes": [8, 16],
        "depths": [1, 1],
        "layer_type": "basic",
    },
}
QFORMER = {
    "model_type": "instructblip_qformer",
    "vocab_size": 30,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}


def tiny_config(vision: str = "vit", qformer: bool = False, **overrides: object) -> SSGPAConfig:
    """A configuration with a few thousand parameters; `overrides` go to SSGPAConfig."""
    tokenizer = tiny_tokenizer()
    text = {
        "model_type": "llama",
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "max_position_embeddings": 256,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    options = {
        "vision_config": dict(VISION[vision]),
        "text_config": text,
        "image_token_id": tokenizer.convert_tokens_to_ids("<image>"),
        "patch_grid": [4, 4],
        "patch_hidden_size": 32,
        "fusion_layers": 2,
        "fusion_hidden_size": 16,
        "alignment_hidden_size": 16,
    }
    if qformer:
        options |= {"qformer_config": dict(QFORMER), "num_query_tokens": 4, "qformer_input_ids": [3, 4, 5]}
    return SSGPAConfig(**(options | overrides))


def tiny_processor(config: SSGPAConfig, padding_side: str = "left") -> SSGPAProcessor:
    """The processor that fits `tiny_config`."""
    return SSGPAProcessor(
        tiny_image_processor(), tiny_tokenizer(padding_side), image_seq_length=config.image_seq_length
    )


def tiny_ssgpa(**overrides: object) -> tuple[SSGPAForConditionalGeneration, SSGPAProcessor]:
    """Model in evaluation mode and processor; `overrides` go to `tiny_config`."""
    torch.manual_seed(0)
    config = tiny_config(**overrides)
    model = SSGPAForConditionalGeneration(config).eval()
    tokenizer = tiny_tokenizer()
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.bos_token_id = tokenizer.bos_token_id
    return model, tiny_processor(config)


def start_tiny(system: ModuleType) -> tuple[PreTrainedModel, SSGPAProcessor]:
    """A system started, as a run would, from the `tiny.json` in its folder; in evaluation mode."""
    torch.manual_seed(0)
    path = Path(system.__file__).with_name("tiny.json")
    model, processor, _ = create_system(ModelArguments(model_config=str(path), image_size=[32, 32]), [" ".join(WORDS)])
    return model.eval(), processor


def save_tiny(folder: Path, name: str = "ssgpa") -> Path:
    """A tiny system, saved; returns the folder."""
    for part in TINY_SYSTEMS[name]():
        part.save_pretrained(folder)
    return folder


TINY_SYSTEMS: dict[str, Callable[[], tuple]] = {
    "ssgpa": tiny_ssgpa,
    "blip2idc": partial(start_tiny, blip2idc),
    "clip4idc": partial(start_tiny, clip4idc),
    "finer_mllm": partial(start_tiny, finer_mllm),
    "procap": partial(start_tiny, procap),
    "scorer": partial(start_tiny, scorer),
    "vir_vlfm": partial(start_tiny, vir_vlfm),
    "vlm": partial(start_tiny, vlm),
    "toy_cross_attending": partial(start_tiny, toy_cross_attending),
    "toy_concatenating": partial(start_tiny, toy_concatenating),
}
