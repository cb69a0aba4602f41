# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""BLIP2IDC's side of a comparison with its authors' code."""

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers.pre_tokenizers import ByteLevel
from torch import Tensor, nn
from transformers import Blip2Config, Blip2ForConditionalGeneration, GPT2Tokenizer, PreTrainedModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from ssgpa import SSGPAProcessor
from ssgpa.baselines.blip2idc import BLIP2IDCConfig, BLIP2IDCForConditionalGeneration
from ssgpa.baselines.blip2idc.conversion_blip2idc import (
    PREFIX,
    RELEASED,
    RELEASED_TARGETS,
    convert_adapter,
    convert_key,
)
from ssgpa.utils.loading import load_system


MAX_NEW_TOKENS = 77
# What stands behind the end of a caption, here and in the other side's file.
AFTER_THE_END = -1
# OPT's own, in front of its bytes.
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
NAMED = {"bos_token": "</s>", "eos_token": "</s>", "unk_token": "</s>", "pad_token": "<pad>"}
PROMPT = "<image></s>"
# Of LoRA's matrices, by their names in BLIP-2: from one end of the model to the other.
GRADIENTS = (
    "vision_model.encoder.layers.0.self_attn.qkv.lora_A",
    "qformer.encoder.layer.0.attention.attention.key.lora_B",
    "qformer.encoder.layer.2.crossattention.attention.query.lora_A",
    "language_model.model.decoder.layers.2.self_attn.v_proj.lora_B",
    "language_model.model.decoder.layers.0.self_attn.k_proj.lora_A",
)


def build_processor(config: BLIP2IDCConfig) -> SSGPAProcessor:
    """OPT's way to read text, over single bytes, and BLIP-2's to read images.

    Args:
        config (`BLIP2IDCConfig`): Of the model.
    """
    vocabulary = {token: number for number, token in enumerate([*SPECIAL, *sorted(ByteLevel.alphabet())])}
    tokenizer = GPT2Tokenizer(
        vocab=vocabulary,
        merges=[],
        **NAMED,
        extra_special_tokens={"image_token": "<image>"},
    )
    side = config.vision_config.image_size
    images = CLIPImageProcessorPil(
        size={"height": side, "width": side},
        do_center_crop=False,
        image_mean=list(config.image_mean),
        image_std=list(config.image_std),
    )
    return SSGPAProcessor(
        images,
        tokenizer,
        image_seq_length=config.image_seq_length,
        pair_layout=config.pair_layout,
        prompt=PROMPT,
        size_of_pair="after",
    )


def load(checkpoint: Path, fields: dict[str, Any], folder: Path) -> tuple[PreTrainedModel, SSGPAProcessor]:
    """The model as users have it: a base of a BLIP-2, and an adapter in the authors' layout over it.

    Args:
        checkpoint (`Path`): Weights of BLIP-2 and, with PEFT's prefix, of the adapter.
        fields (`dict[str, Any]`): BLIP-2's configuration, and the adapter's options as `lora`.
        folder (`Path`): For what is written on the way.

    Returns:
        `tuple`: The model in evaluation mode, with the released loss, and its processor.
    """
    weights = load_file(checkpoint)
    source = Blip2ForConditionalGeneration(
        Blip2Config(**{name: value for name, value in fields.items() if name != "lora"})
    )
    own = {name: value for name, value in weights.items() if not name.startswith(PREFIX)}
    source.load_state_dict(
        own | {"language_model.lm_head.weight": own["language_model.model.decoder.embed_tokens.weight"]}
    )
    placeholder = len(SPECIAL) + len(ByteLevel.alphabet())
    base = BLIP2IDCForConditionalGeneration.from_blip2(source, image_token_id=placeholder, **RELEASED)
    processor = build_processor(base.config)
    for part in (base, processor):
        part.save_pretrained(folder / "base")
    (folder / "released").mkdir()
    options = {"peft_type": "LORA", "target_modules": list(RELEASED_TARGETS), **fields["lora"]}
    (folder / "released" / "adapter_config.json").write_text(json.dumps(options), encoding="utf-8")
    adapter = {name: value for name, value in weights.items() if name.startswith(PREFIX)}
    save_file(adapter, folder / "released" / "adapter_model.safetensors")
    convert_adapter(folder / "released", folder / "base", folder / "adapted")
    model, processor = load_system(str(folder / "adapted"))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(".lora_" in name)
    return model, processor


def as_images(values: Tensor) -> list[Image.Image]:
    """Drawn numbers (pairs, 3, height, width) as images."""
    pixels = (128 + 60 * values).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
    return [Image.fromarray(image.numpy()) for image in pixels]


def compute(checkpoint: Path, inputs: dict[str, Tensor], fields: dict[str, Any]) -> dict[str, Tensor]:
    """A training step and captions, from the images on.

    Args:
        checkpoint (`Path`): The weights.
        inputs (`dict[str, torch.Tensor]`): Images `before`, `after` and `larger` (pairs, 3, height, width), drawn
            numbers, and `caption_codes` (pairs, letters), ASCII padded with 0.
        fields (`dict[str, Any]`): BLIP-2's configuration, and the adapter's options as `lora`.

    Returns:
        `dict[str, torch.Tensor]`: By the names of the other side's outputs.
    """
    with tempfile.TemporaryDirectory() as folder:
        model, processor = load(checkpoint, fields, Path(folder))
    before, after, larger = (as_images(inputs[name]) for name in ("before", "after", "larger"))
    captions = ["".join(chr(code) for code in row if code) for row in inputs["caption_codes"].tolist()]
    pairs, unequal = (list(zip(before, others, strict=True)) for others in (after, larger))
    batch = processor(images=pairs, suffix=captions, return_tensors="pt")
    prompts = processor(images=pairs, return_tensors="pt")
    states: dict[str, Tensor] = {}
    core = model.model
    core.qformer.register_forward_hook(
        lambda module, arguments, output: states.update(queries=output.last_hidden_state.detach())
    )
    with torch.no_grad():
        validation = model(**batch).loss
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    output = model.train()(**batch)
    output.loss.backward()
    with torch.no_grad():
        greedy = model.eval().generate(**prompts, num_beams=1, do_sample=False, max_new_tokens=MAX_NEW_TOKENS)
    parameters = {name.replace(".default", ""): value for name, value in model.named_parameters()}
    return {
        "pixel_values": batch["pixel_values"],
        "pixel_values_of_unequal_images": processor(images=unequal, return_tensors="pt")["pixel_values"],
        "vision_states": output.image_outputs.last_hidden_state.detach(),
        "query_states": states["queries"],
        "logits": output.logits.detach(),
        "loss": output.loss.detach(),
        "validation_loss": validation,
        "greedy_ids": _cut(greedy[:, prompts["input_ids"].shape[1] :], model.generation_config.eos_token_id),
        **{f"gradient.{name}": parameters[convert_key(f"{name}.weight")].grad for name in GRADIENTS},
    }


def _cut(ids: Tensor, ends: list[int]) -> Tensor:
    """Captions of `MAX_NEW_TOKENS` tokens, with nothing behind their end."""
    ids = torch.nn.functional.pad(ids, (0, MAX_NEW_TOKENS - ids.shape[1]), value=ends[0])
    is_end = torch.isin(ids, torch.tensor(ends))
    return ids.masked_fill(is_end.long().cumsum(1) - is_end.long() > 0, AFTER_THE_END)
