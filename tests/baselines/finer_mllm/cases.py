# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""A tiny InstructBLIP, and a tiny CLIP4IDC that retrieves."""

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    InstructBlipConfig,
    InstructBlipForConditionalGeneration,
    InstructBlipProcessor,
    PreTrainedTokenizerFast,
)
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

from ssgpa.baselines import clip4idc
from ssgpa.baselines.clip4idc import CLIP4IDCForPairTextRetrieval
from ssgpa.training.arguments import ModelArguments
from ssgpa.training.systems import create_system

from ...tiny_systems import QFORMER, VISION, tiny_config


SPECIAL = ["<unk>", "<s>", "</s>", "<image>"]


def instructblip(**text):
    """A tiny InstructBLIP with random weights, biases of the tower among them."""
    torch.manual_seed(0)
    config = InstructBlipConfig(
        vision_config={name: value for name, value in VISION["vit"].items() if name != "model_type"},
        qformer_config={name: value for name, value in QFORMER.items() if name != "model_type"}
        | {"encoder_hidden_size": 32},
        text_config=tiny_config().text_config.to_dict() | text,
        num_query_tokens=4,
        image_token_index=4,
    )
    source = InstructBlipForConditionalGeneration(config).eval()
    for parameter in source.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return source


def llama_tokenizer(texts):
    """A tokenizer of words that starts texts as Vicuna's does, and knows InstructBLIP's placeholder."""
    vocabulary = {word: index for index, word in enumerate([*SPECIAL, *sorted({w for t in texts for w in t.split()})])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<unk>"}
    more = {"extra_special_tokens": {"image_token": "<image>"}, "padding_side": "left"}
    return PreTrainedTokenizerFast(tokenizer_object=inner, **names, **more)


def write_instructblip(folder, texts):
    """A tiny InstructBLIP checkpoint with its processor."""
    tokenizer = llama_tokenizer(texts)
    ids = {"vocab_size": len(tokenizer), "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    source = instructblip(**ids)
    source.config.image_token_index = 3
    source.save_pretrained(folder)
    images = BlipImageProcessorPil(size={"height": 32, "width": 32})
    InstructBlipProcessor(images, tokenizer, llama_tokenizer(["describe the image"])).save_pretrained(folder)
    return folder


def write_retriever(folder, texts):
    """A tiny CLIP4IDC of stage 1."""
    torch.manual_seed(0)
    path = f"{clip4idc.__path__[0]}/tiny.json"
    arguments = ModelArguments(
        model_config=path,
        image_size=[32, 32],
        model_class=f"{CLIP4IDCForPairTextRetrieval.__module__}.{CLIP4IDCForPairTextRetrieval.__name__}",
    )
    model, processor, _ = create_system(arguments, texts)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
