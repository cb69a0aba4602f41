# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""ProCap's side of a comparison with its authors' code."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ssgpa.baselines.procap import ProCapForConditionalGeneration, ProCapForPreTraining


# Patches are masked where the noise is above it: 80 %.
THRESHOLD = -0.8416


def compute(checkpoint: Path, inputs: dict[str, Tensor], fields: dict[str, Any]) -> dict[str, Tensor]:
    """Both stages, of a checkpoint in the authors' format.

    Args:
        checkpoint (`Path`): The weights.
        inputs (`dict[str, torch.Tensor]`): `pixel_values` and `corrupted_pixel_values`, clips; `patch_noise` and
            `fully_masked`, from which masks are made; `text_ids` of stage 1 and `caption_ids` of stage 2, as the
            authors' loaders make them.
        fields (`dict[str, Any]`): Of the configuration, those that no weight tells.

    Returns:
        `dict[str, torch.Tensor]`: By the names of the other side's outputs.
    """
    with torch.no_grad():
        return stage_1(checkpoint, inputs, fields) | stage_2(checkpoint, inputs, fields)


def stage_1(checkpoint: Path, inputs: dict[str, Tensor], fields: dict[str, Any]) -> dict[str, Tensor]:
    """Codes, states, scores and losses of pre-training."""
    model = ProCapForPreTraining.from_official(checkpoint, **fields)
    fully = inputs["fully_masked"].bool().unsqueeze(1)
    outputs = model(
        inputs["text_ids"],
        inputs["pixel_values"],
        inputs["text_ids"] != 0,
        patch_mask=(inputs["patch_noise"] > THRESHOLD) | fully,
        corrupted_pixel_values=inputs["corrupted_pixel_values"],
        return_loss=True,
    )
    scores = ("align_logits", "other_align_logits", "csy_logits", "corrupted_csy_logits")
    return {
        "codes": outputs.codes,
        "states": outputs.last_hidden_state,
        "msm_logits": outputs.logits,
        **{name: outputs[name] for name in scores},
        **{f"{name}_loss": value for name, value in outputs.loss_parts.items()},
    }


def stage_2(checkpoint: Path, inputs: dict[str, Tensor], fields: dict[str, Any]) -> dict[str, Tensor]:
    """Procedure, memory, scores, loss and captions."""
    model = ProCapForConditionalGeneration.from_official(checkpoint, **fields)
    ids, pixels = inputs["caption_ids"], inputs["pixel_values"][:, [0, -1]]
    mask = ids != 0
    features = model.get_image_features(pixels, return_dict=True)
    outputs = model(
        ids,
        attention_mask=mask,
        labels=ids.masked_fill(~mask, -100),
        mm_encoder_outputs={"image": features},
    )
    greedy = model.generate(input_ids=ids[:, :1], pixel_values=pixels, **full_length(model))
    return {
        "procedure": features.last_hidden_state,
        "memory": features.memory,
        "logits": outputs.logits * mask.unsqueeze(-1),
        "caption_loss": outputs.loss,
        "greedy_ids": greedy,
    }


def full_length(model: ProCapForConditionalGeneration) -> dict[str, Any]:
    """Options of `generate` under which captions have all their words: the other side's do not stop."""
    words = model.config.text_length - 1
    return {"min_new_tokens": words, "max_new_tokens": words, "eos_token_id": None, "do_sample": False}


def tasks(checkpoint: Path, fields: dict[str, Any], pairs: int) -> dict[str, Callable[[], Any]]:
    """A training step of stage 2 and the captioning of a batch, greedy as published.

    Args:
        checkpoint (`Path`): Weights in the authors' format.
        fields (`dict[str, Any]`): Of the configuration, those that no weight tells.
        pairs (`int`): Of one step.
    """
    model = ProCapForConditionalGeneration.from_official(checkpoint, **fields)
    model.requires_grad_(True)
    model.get_vision_encoder().requires_grad_(False)
    config = model.config
    size, length = config.vq_config.resolution, config.text_length
    torch.manual_seed(0)
    pixels = torch.randn(pairs, 2, 3, size, size)
    ids = torch.randint(8, config.vocab_size, (pairs, length))
    ids[:, 0] = config.bos_token_id
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=1e-7)

    def train() -> None:
        model.train()
        model(ids, pixels, labels=ids).loss.backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    def caption() -> None:
        model.eval()
        model.generate(input_ids=ids[:, :1], pixel_values=pixels, **full_length(model))

    return {"train": train, "caption": caption}
