# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""CLIP4IDC's side of a comparison with its authors' code."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from ssgpa.baselines.clip4idc import CLIP4IDCForConditionalGeneration, CLIP4IDCForPairTextRetrieval


MAX_NEW_TOKENS = 32
# What stands behind the end of a caption, here and in the other side's file.
AFTER_THE_END = -1
# What trains in stage 2.
RUN = Path(__file__).parents[2] / "examples" / "configs" / "clip4idc" / "captions.yaml"


def compute(checkpoint: Path, inputs: dict[str, Tensor], fields: dict[str, Any]) -> dict[str, Tensor]:
    """Both stages, of a checkpoint in the authors' format.

    Args:
        checkpoint (`Path`): The weights.
        inputs (`dict[str, torch.Tensor]`): `pixel_values`; `text_ids` and `text_mask` of stage 1; `caption_ids`,
            `caption_mask` and `caption_targets` of stage 2, as the authors' loader makes them.
        fields (`dict[str, Any]`): Of the configuration, those that no weight tells.

    Returns:
        `dict[str, torch.Tensor]`: By the names of the other side's outputs.
    """
    pixels, mask = inputs["pixel_values"], inputs["caption_mask"]
    retriever = CLIP4IDCForPairTextRetrieval.from_official(checkpoint, **fields)
    captioner = CLIP4IDCForConditionalGeneration.from_official(checkpoint, **fields)
    # Their targets are ours without the start token, and 0 where there is none.
    targets = inputs["caption_targets"]
    ids = torch.cat([inputs["caption_ids"][:, :1], targets], 1)
    labels = torch.cat([torch.full_like(targets[:, :1], -100), targets.masked_fill(targets == 0, -100)], 1)
    with torch.no_grad():
        stage_1 = retriever(inputs["text_ids"], pixels, inputs["text_mask"], return_loss=True)
        tower = captioner.model.vision_model(pixels).last_hidden_state
        features = captioner.get_image_features(pixels, return_dict=True)
        stage_2 = captioner(
            ids,
            attention_mask=torch.cat([torch.ones_like(mask[:, :1]), mask], 1),
            labels=labels,
            mm_encoder_outputs={"image": features},
        )
        greedy = captioner.generate(
            input_ids=ids[:, :1], pixel_values=pixels, num_beams=1, do_sample=False, max_new_tokens=MAX_NEW_TOKENS
        )
    return {
        "pair_states": captioner.model.visual_projection(tower).detach(),
        "pair_embeds": retriever.get_pair_features(pixels).pooler_output.detach(),
        "text_embeds": retriever.get_text_features(inputs["text_ids"], inputs["text_mask"]).pooler_output.detach(),
        "logits_per_text": stage_1.logits_per_text,
        "contrast_loss": stage_1.loss,
        **{f"memory_{number}": states for number, states in enumerate(features.memory_states)},
        "logits": stage_2.logits[:, :-1] * mask.unsqueeze(-1),
        "caption_loss": stage_2.loss,
        "greedy_ids": _cut(greedy[:, 1:], captioner.config.text_config.eos_token_id),
    }


def _cut(ids: Tensor, end: int) -> Tensor:
    """Captions of `MAX_NEW_TOKENS` tokens, with nothing behind their end token."""
    ids = torch.nn.functional.pad(ids, (0, MAX_NEW_TOKENS - ids.shape[1]), value=end)
    behind = (ids == end).long().cumsum(1) - (ids == end).long() > 0
    return ids.masked_fill(behind, AFTER_THE_END)


def tasks(checkpoint: Path, fields: dict[str, Any], pairs: int) -> dict[str, Callable[[], Any]]:
    """A training step of stage 2 and the captioning of a batch, greedy as published.

    Args:
        checkpoint (`Path`): Weights in the authors' format.
        fields (`dict[str, Any]`): Of the configuration, those that no weight tells.
        pairs (`int`): Of one step.
    """
    model = CLIP4IDCForConditionalGeneration.from_official(checkpoint, **fields)
    trained = re.compile("|".join(yaml.safe_load(RUN.read_text(encoding="utf-8"))["trainable"]))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(trained.search(name) is not None)
    size, text = model.config.vision_config.image_size, model.config.text_config
    torch.manual_seed(0)
    pixels = torch.randn(pairs, 2, 3, size, size)
    ids = torch.randint(1, text.bos_token_id, (pairs, MAX_NEW_TOKENS + 1))
    ids[:, 0] = text.bos_token_id
    labels = ids.clone()
    labels[:, 0] = -100
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=1e-7)

    def train() -> None:
        model.train()
        model(ids, pixels, labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    def caption() -> None:
        model.eval()
        # As many tokens as the other side's, which does not stop.
        options = {"min_new_tokens": MAX_NEW_TOKENS, "max_new_tokens": MAX_NEW_TOKENS}
        model.generate(input_ids=ids[:, :1], pixel_values=pixels, num_beams=1, do_sample=False, **options)

    return {"train": train, "caption": caption}
