# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""A tiny BLIP-2 with OPT, in a folder as the Hub has them."""

import json

import torch
from tokenizers.pre_tokenizers import ByteLevel
from transformers import Blip2Config, Blip2ForConditionalGeneration, GPT2Tokenizer
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil


SIZES = {
    "vision_config": {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
        "initializer_range": 0.02,
    },
    "qformer_config": {
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 48,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    },
    "text_config": {
        "model_type": "opt",
        "vocab_size": 272,
        "hidden_size": 32,
        "ffn_dim": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 512,
        "word_embed_proj_dim": 32,
        "dropout": 0.0,
        "bos_token_id": 2,
        # A line break's byte, as BLIP-2 has OPT's.
        "eos_token_id": 202,
        "pad_token_id": 1,
    },
    "num_query_tokens": 5,
    "image_token_index": 260,
}
PLACEHOLDER = 260


def tiny_blip2(**overrides):
    """Random weights large enough to matter."""
    torch.manual_seed(0)
    model = Blip2ForConditionalGeneration(Blip2Config(**SIZES | overrides)).eval()
    for name, parameter in model.named_parameters():
        if "norm" not in name.lower():
            parameter.data = 0.2 * torch.randn_like(parameter)
    model.generation_config.eos_token_id = model.config.text_config.eos_token_id
    return model


def opt_tokenizer():
    """OPT's tokenizer over single bytes: its start token stands in front of every text, and ends it too."""
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *sorted(ByteLevel.alphabet())]
    return GPT2Tokenizer(
        vocab={token: number for number, token in enumerate(tokens)},
        merges=[],
        bos_token="</s>",
        eos_token="</s>",
        unk_token="</s>",
        pad_token="<pad>",
        add_bos_token=True,
    )


def save_blip2(folder, **overrides):
    """A folder with all that `make_base.py --blip2` reads."""
    model = tiny_blip2(**overrides)
    model.save_pretrained(folder)
    opt_tokenizer().save_pretrained(folder)
    side = model.config.vision_config.image_size
    CLIPImageProcessorPil(size={"height": side, "width": side}, do_center_crop=False).save_pretrained(folder)
    return model


def save_adapter(folder, source, rank=2, **options):
    """An adapter as the released code saves it: names, list of modules and file; the weights by name."""
    targets = [
        *(f"qformer.encoder.layer.{number}.crossattention.attention.query" for number in range(12)),
        *("qkv", "value", "key", "q_proj", "k_proj", "v_proj"),
    ]
    weights = {}
    torch.manual_seed(1)
    for name, module in source.named_modules():
        if any(name == target or name.endswith(f".{target}") for target in targets):
            weights[f"base_model.model.{name}.lora_A.weight"] = 0.3 * torch.randn(rank, module.in_features)
            weights[f"base_model.model.{name}.lora_B.weight"] = 0.3 * torch.randn(module.out_features, rank)
    folder.mkdir()
    told = {"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank, "lora_dropout": 0.05, "bias": "none"}
    told |= {"base_model_name_or_path": "Salesforce/blip2-opt-2.7b", "target_modules": targets, "task_type": None}
    (folder / "adapter_config.json").write_text(json.dumps(told | options), encoding="utf-8")
    torch.save(weights, folder / "adapter_model.bin")
    return weights
