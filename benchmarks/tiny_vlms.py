# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""A tiny model of random weights of every family of VLMs that has a port."""

import json
import re
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor
from transformers import AutoModelForImageTextToText, PreTrainedModel, PreTrainedTokenizerFast
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from ssgpa.vlm import SSGPAForVLM
from ssgpa.vlm.ports_ssgpa_vlm import PORTS, Port


VOCABULARY = 120
IMAGE = 5
COMMON = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
SPECIAL = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
LLAMA = {"model_type": "llama", **COMMON, "num_key_value_heads": 2, "vocab_size": VOCABULARY, **SPECIAL}
QWEN2 = {**LLAMA, "model_type": "qwen2"}
SIGLIP = {"model_type": "siglip_vision_model", **COMMON, "hidden_size": 24, "image_size": 32, "patch_size": 8}
CLIP = {**SIGLIP, "model_type": "clip_vision_model"}
GEMMA = {**LLAMA, "model_type": "gemma", "head_dim": 8}
ROPE = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}
QWEN_VISION = {"depth": 2, "num_heads": 2, "patch_size": 4, "spatial_merge_size": 2, "temporal_patch_size": 2}
QWEN_IDS = {"video_token_id": 6, "vision_start_token_id": 7, "vision_end_token_id": 8}

# Values of each family's configuration, and height and width of its images.
TINY_VLMS: dict[str, tuple[dict[str, Any], tuple[int, int]]] = {
    "aya_vision": (
        {
            "text_config": {**LLAMA, "model_type": "cohere2", "head_dim": 8},
            "vision_config": SIGLIP,
            "downsample_factor": 2,
            "image_token_index": IMAGE,
            "vision_feature_layer": -1,
            "vision_feature_select_strategy": "full",
            "alignment_intermediate_size": 64,
        },
        (32, 32),
    ),
    "cohere2_vision": (
        {
            "text_config": {**LLAMA, "model_type": "cohere2", "head_dim": 8},
            "vision_config": SIGLIP,
            "downsample_factor": 2,
            "image_token_id": IMAGE,
            "alignment_intermediate_size": 64,
        },
        (32, 32),
    ),
    "deepseek_vl": ({"text_config": LLAMA, "vision_config": SIGLIP, "image_token_id": IMAGE}, (32, 32)),
    "gemma3": (
        {
            "text_config": {**GEMMA, "model_type": "gemma3_text", "sliding_window": 64},
            "vision_config": SIGLIP,
            "mm_tokens_per_image": 4,
            "image_token_index": IMAGE,
            "image_token_id": IMAGE,
            "boi_token_index": 7,
            "eoi_token_index": 8,
        },
        (32, 32),
    ),
    "gemma4": (
        {
            "text_config": {
                **GEMMA,
                "model_type": "gemma4_text",
                "global_head_dim": 8,
                "sliding_window": 64,
                "vocab_size_per_layer_input": VOCABULARY,
                "hidden_size_per_layer_input": 8,
                "num_kv_shared_layers": 0,
            },
            "vision_config": {**COMMON, "hidden_size": 24, "num_key_value_heads": 4, "head_dim": 8, "patch_size": 4},
            "image_token_id": IMAGE,
            "audio_config": None,
        },
        (36, 48),
    ),
    "idefics3": (
        {
            "text_config": LLAMA,
            "vision_config": {**COMMON, "hidden_size": 24, "image_size": 32, "patch_size": 8},
            "scale_factor": 2,
            "image_token_id": IMAGE,
            "pad_token_id": 0,
        },
        (32, 32),
    ),
    "internvl": (
        {
            "text_config": QWEN2,
            "vision_config": {**COMMON, "image_size": [32, 32], "patch_size": [8, 8]},
            "image_token_id": IMAGE,
            "downsample_ratio": 0.5,
        },
        (32, 32),
    ),
    "lfm2_vl": (
        {
            "text_config": {
                **LLAMA,
                "model_type": "lfm2",
                "layer_types": ["conv", "full_attention"],
                "block_multiple_of": 8,
            },
            "vision_config": {
                "model_type": "siglip2_vision_model",
                **COMMON,
                "hidden_size": 24,
                "num_patches": 64,
                "patch_size": 8,
            },
            "image_token_id": IMAGE,
            "downsample_factor": 2,
            "projector_hidden_size": 32,
        },
        (32, 48),
    ),
    "llava": (
        {
            "text_config": LLAMA,
            "vision_config": CLIP,
            "image_token_index": IMAGE,
            "vision_feature_layer": -2,
            "vision_feature_select_strategy": "default",
        },
        (32, 32),
    ),
    "llava_onevision": (
        {
            "text_config": QWEN2,
            "vision_config": SIGLIP,
            "image_token_index": IMAGE,
            "image_token_id": IMAGE,
            "video_token_index": 6,
            "vision_feature_layer": -1,
            "vision_feature_select_strategy": "full",
            "image_grid_pinpoints": [[32, 32]],
        },
        (32, 32),
    ),
    "mistral3": (
        {
            "text_config": {**LLAMA, "model_type": "mistral", "head_dim": 8},
            "vision_config": {
                "model_type": "pixtral",
                **COMMON,
                "num_attention_heads": 2,
                "image_size": 64,
                "patch_size": 8,
            },
            "image_token_index": IMAGE,
            "spatial_merge_size": 2,
        },
        (32, 48),
    ),
    "ovis2": (
        {
            "text_config": QWEN2,
            "vision_config": {
                **COMMON,
                "hidden_size": 24,
                "image_size": 32,
                "patch_size": 8,
                "hidden_stride": 2,
                "vocab_size": 40,
                "num_visual_indicator_tokens": 5,
            },
            "image_token_id": IMAGE,
            "visual_indicator_token_ids": [7, 8, 9, 10, 11],
            "hidden_size": 32,
            "vocab_size": VOCABULARY,
        },
        (32, 32),
    ),
    "paligemma": (
        {
            "text_config": GEMMA,
            "vision_config": SIGLIP,
            "image_token_index": IMAGE,
            "image_token_id": IMAGE,
            "projection_dim": 32,
        },
        (32, 32),
    ),
    "qwen2_5_vl": (
        {
            "text_config": {**QWEN2, "model_type": "qwen2_5_vl_text", "rope_parameters": ROPE},
            "vision_config": {
                **QWEN_VISION,
                "hidden_size": 32,
                "intermediate_size": 64,
                "out_hidden_size": 32,
                "window_size": 16,
                "fullatt_block_indexes": [1],
            },
            "image_token_id": IMAGE,
            **QWEN_IDS,
        },
        (32, 48),
    ),
    "qwen2_vl": (
        {
            "text_config": {**QWEN2, "model_type": "qwen2_vl_text", "rope_parameters": ROPE},
            "vision_config": {**QWEN_VISION, "embed_dim": 32, "hidden_size": 32, "mlp_ratio": 2},
            "image_token_id": IMAGE,
            **QWEN_IDS,
        },
        (24, 32),
    ),
    "qwen3_5": (
        {
            "text_config": {
                **QWEN2,
                "model_type": "qwen3_5_text",
                "head_dim": 8,
                "layer_types": ["linear_attention", "full_attention"],
                "linear_key_head_dim": 8,
                "linear_value_head_dim": 8,
                "linear_num_key_heads": 2,
                "linear_num_value_heads": 4,
                "rope_parameters": {**ROPE, "partial_rotary_factor": 1.0},
            },
            "vision_config": {
                **QWEN_VISION,
                "hidden_size": 32,
                "intermediate_size": 64,
                "out_hidden_size": 32,
                "num_position_embeddings": 64,
            },
            "image_token_id": IMAGE,
            **QWEN_IDS,
        },
        (24, 32),
    ),
    "qwen3_vl": (
        {
            "text_config": {
                **QWEN2,
                "model_type": "qwen3_vl_text",
                "head_dim": 8,
                "rope_parameters": ROPE,
            },
            "vision_config": {
                **QWEN_VISION,
                "hidden_size": 32,
                "intermediate_size": 64,
                "out_hidden_size": 32,
                "num_position_embeddings": 64,
                "deepstack_visual_indexes": [0],
            },
            "image_token_id": IMAGE,
            **QWEN_IDS,
        },
        (24, 32),
    ),
    "vipllava": (
        {
            "text_config": LLAMA,
            "vision_config": CLIP,
            "image_token_index": IMAGE,
            "vision_feature_layer": [-1, -2],
        },
        (32, 32),
    ),
}
TINY_VLMS["llava_next"] = (
    {**TINY_VLMS["llava"][0], "image_grid_pinpoints": [[32, 64], [64, 32], [64, 64]]},
    (32, 32),
)
TINY_VLMS["smolvlm"] = TINY_VLMS["idefics3"]
# A Pixtral: a LLaVA with its own tower.
TINY_VLMS["pixtral"] = (
    {
        **TINY_VLMS["llava"][0],
        "vision_config": TINY_VLMS["mistral3"][0]["vision_config"],
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": "full",
    },
    (32, 48),
)
MODEL_TYPES = {"pixtral": "llava"}


def build_vlm(family: str, seed: int = 0, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """A tiny VLM of random weights, in evaluation mode.

    Args:
        family (`str`): A key of `TINY_VLMS`.
        seed (`int`, *optional*, defaults to 0): Of the weights.
        dtype (`torch.dtype`, *optional*): Of the weights.
    """
    torch.manual_seed(seed)
    config = CONFIG_MAPPING[MODEL_TYPES.get(family, family)](**TINY_VLMS[family][0])
    model = AutoModelForImageTextToText.from_config(config, dtype=dtype).eval()
    for name, value in model.named_parameters():
        # Gemma 3 begins blind.
        if name.endswith("mm_input_projection_weight"):
            torch.nn.init.normal_(value, std=0.1)
    model.generation_config.update(eos_token_id=2, pad_token_id=0, bos_token_id=1)
    return model


NAMED = {"pad": "<pad>", "bos": "<s>", "eos": "</s>", "unk": "<unk>"}
# By their ids.
SPECIAL_TOKENS = [*NAMED.values(), "<sep>", "<img_tok>"]
IMAGE_TOKEN = SPECIAL_TOKENS[IMAGE]
WORDS = [
    "user",
    "assistant",
    ":",
    "what",
    "changed",
    "?",
    "the",
    "red",
    "ball",
    "moved",
    "nothing",
    "has",
    "cube",
    "TILE_GLOBAL",
]
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ message.role }} : {% for part in message.content %}"
    "{% if part.type == 'image' %}IMAGE<sep>{% else %}{{ part.text }}{% endif %} {% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}assistant :{% endif %}"
)


def tiny_vlm_tokenizer(family: str) -> PreTrainedTokenizerFast:
    """A word tokenizer whose image token has the id that the family's tiny configuration says.

    Args:
        family (`str`): A key of `TINY_VLMS`; its special tokens around images are known.
    """
    port = PORTS[MODEL_TYPES.get(family, family)]
    around = re.findall(r"<[^<>{}]+>", port.image_text)
    extra = [*dict.fromkeys([*around, *filter(None, [port.placeholder]), "[IMG_BREAK]", "[IMG_END]"])]
    vocabulary = {word: index for index, word in enumerate([*SPECIAL_TOKENS, *extra, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, NAMED["unk"]))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **{f"{name}_token": token for name, token in NAMED.items()},
        additional_special_tokens=["<sep>", IMAGE_TOKEN, *extra],
        chat_template=TEMPLATE.replace("IMAGE", port.placeholder or IMAGE_TOKEN),
    )


def save_processing(family: str, folder: Path) -> Path:
    """Save what surrounds a tiny VLM as its family is published: tokenizer, chat template, an image processor's file.

    Args:
        family (`str`): A key of `TINY_VLMS`.
        folder (`Path`): Where to.
    """
    tokenizer = tiny_vlm_tokenizer(family)
    if PORTS[MODEL_TYPES.get(family, family)].prompt is not None:
        tokenizer.chat_template = None
    tokenizer.save_pretrained(folder)
    pixels = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.25], "resample": 2, "do_rescale": True}
    pixels |= {"rescale_factor": 1 / 255, "do_normalize": True, "do_convert_rgb": True}
    (folder / "preprocessor_config.json").write_text(json.dumps(pixels), encoding="utf-8")
    return folder


def save_vlm(family: str, folder: Path, seed: int = 0) -> Path:
    """Save a tiny VLM as its family is published: weights, tokenizer with a chat template, an image processor's file.

    Args:
        family (`str`): A key of `TINY_VLMS`.
        folder (`Path`): Where to.
        seed (`int`, *optional*, defaults to 0): Of the weights.
    """
    build_vlm(family, seed).save_pretrained(folder)
    return save_processing(family, folder)


# Rows and columns that no family's own grid has, coarser than some and finer than others.
GRID = (3, 4)
# Fields of the configuration of a model with SSGPA's parts: few of everything.
FEW: dict[str, Any] = {
    "patch_grid": GRID,
    "fusion_layers": 2,
    "fusion_hidden_size": 8,
    "fusion_num_attention_heads": 2,
    "alignment_hidden_size": 16,
    "alignment_num_attention_heads": 2,
    "sinkhorn_iterations": 10,
}
# What begins as zero, so that the parts begin as the identity.
CLOSED = ("up_proj.", "evidence_mlp.fc2.", "patch_scale", "global_scale")


def wrap_vlm(vlm: PreTrainedModel, family: str, **fields: Any) -> SSGPAForVLM:
    """A tiny VLM with SSGPA's parts.

    Args:
        vlm (`PreTrainedModel`): Of `build_vlm`; the new model shares its weights.
        family (`str`): A key of `TINY_VLMS`.
        **fields (`Any`, *optional*): Of the configuration; by default `FEW`.
    """
    return SSGPAForVLM.from_vlm(vlm, **({"image_size": TINY_VLMS[family][1]} | FEW | fields))


def open_parts(model: SSGPAForVLM, seed: int = 0) -> SSGPAForVLM:
    """Give what begins as zero small values, as training does.

    Args:
        model (`SSGPAForVLM`): Any.
        seed (`int`, *optional*, defaults to 0): Of the values.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if not name.startswith("vlm.") and any(part in name for part in CLOSED):
                value.copy_(0.3 * torch.randn(value.shape, generator=generator) + 0.1)
    return model


def tiny_pairs(family: str, count: int = 2, seed: int = 1) -> Tensor:
    """Random pairs of the size of a family's images.

    Args:
        family (`str`): A key of `TINY_VLMS`.
        count (`int`, *optional*, defaults to 2): Pairs.
        seed (`int`, *optional*, defaults to 1): Of the values.

    Returns:
        `torch.Tensor` of shape `(count, 2, 3, height, width)`.
    """
    return torch.randn(count, 2, 3, *TINY_VLMS[family][1], generator=torch.Generator().manual_seed(seed))


def tiny_prompts(model: SSGPAForVLM, family: str, side: str = "left", captions: bool = False) -> dict[str, Tensor]:
    """Two prompts of different length, padded.

    Args:
        model (`SSGPAForVLM`): Of the family.
        family (`str`): A key of `TINY_VLMS`.
        side (`str`, *optional*, defaults to `"left"`): Where the padding is.
        captions (`bool`, *optional*, defaults to `False`): With captions of different length, and labels.

    Returns:
        `dict[str, torch.Tensor]`: `input_ids`, `attention_mask` and perhaps `labels` (2, tokens).
    """
    tokenizer, config = tiny_vlm_tokenizer(family), model.config
    image = config.port.text_of_image(config.vlm_config, tuple(config.image_size), IMAGE_TOKEN)
    # Without a token between them, two images would be one to Qwen.
    asked = [f"{image} <sep> {image} <sep> {text}" for text in ("user : what changed ? assistant :", "what changed ?")]
    prompts = [tokenizer(text)["input_ids"] for text in asked]
    answers = [tokenizer(text, add_special_tokens=False)["input_ids"] + [2] for text in ("red ball moved", "nothing")]
    answers = answers if captions else [[], []]
    rows = [[*prompt, *answer] for prompt, answer in zip(prompts, answers, strict=True)]
    padded = tokenizer.pad({"input_ids": rows}, padding_side=side, return_tensors="pt")
    inputs = {name: padded[name] for name in ("input_ids", "attention_mask")}
    if captions:
        inputs["labels"] = torch.full_like(inputs["input_ids"], -100)
        for row, answer in enumerate(answers):
            end = int(inputs["attention_mask"][row].nonzero()[-1]) + 1
            inputs["labels"][row, end - len(answer) : end] = inputs["input_ids"][row, end - len(answer) : end]
    return inputs


def plain_inputs(port: Port, config: Any, pixel_values: Tensor, prompts: dict[str, Tensor]) -> dict[str, Any]:
    """What a plain VLM is called with for pairs and prompts, labels left out.

    Args:
        port (`Port`): Of the VLM.
        config (`PreTrainedConfig`): The VLM's.
        pixel_values (`torch.Tensor` of shape `(batch, 2, 3, height, width)`): The pairs.
        prompts (`dict[str, torch.Tensor]`): Of `tiny_prompts`.
    """
    ids, labels = prompts["input_ids"], prompts.get("labels")
    extra = port.prompt_inputs(config, ids, labels, tuple(pixel_values.shape[-2:]))
    told = {"input_ids": ids, "attention_mask": prompts["attention_mask"]}
    return {**told, **port.vision_inputs(config, pixel_values), **extra}
