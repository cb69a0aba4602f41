# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""FINER-MLLM with the released code's formulas, of weights in its authors' format."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ssgpa.baselines.finer_mllm import FinerMLLMForConditionalGeneration
from ssgpa.baselines.finer_mllm.losses_finer_mllm import consistency_loss, orthogonality_loss


# The released code's formulas and temperatures.
RELEASED = {
    "released_constraints": True,
    "consistency_temperature": 0.1,
    "consistency_target_temperature": 0.05,
    "released_emphasis": True,
}
NEW_TOKENS = 11
BEAMS = 3
PADDING = 0


def compute(checkpoint: Path, inputs: dict[str, Tensor], fields: dict[str, Any]) -> dict[str, Tensor]:
    """Tower and Q-Former with LoRA, both constraints, the emphasis, logits, losses and captions.

    Args:
        checkpoint (`Path`): The weights; those of the Q-Former do not hold LoRA.
        inputs (`dict[str, torch.Tensor]`): `pixel_values`, `prompt_ids`, and `caption_ids`, `retrieved_ids` and
            `retrieved_mask`, a row a pair; captions are padded by 0.
        fields (`dict[str, Any]`): Of the configuration, those that no weight tells.

    Returns:
        `dict[str, torch.Tensor]`: By the names of the other side's outputs.
    """
    model = FinerMLLMForConditionalGeneration.from_official(checkpoint, qformer_merged=False, **RELEASED | fields)
    config, pairs = model.config, len(inputs["pixel_values"])
    images = torch.full((pairs, config.visual_tokens), config.image_token_id)
    prompt = torch.cat([images, inputs["prompt_ids"].expand(pairs, -1)], 1)
    captions = inputs["caption_ids"]
    ids = torch.cat([prompt, captions], 1)
    labels = torch.cat([torch.full_like(prompt, -100), captions.masked_fill(captions == PADDING, -100)], 1)
    mask = torch.cat([torch.ones_like(prompt), (captions != PADDING).long()], 1)
    retrieved = {name: inputs[name] for name in ("retrieved_ids", "retrieved_mask")}
    with torch.no_grad():
        features = model.get_image_features(inputs["pixel_values"], return_dict=True)
        outputs = model(ids, attention_mask=mask, labels=labels, mm_encoder_outputs={"image": features}, **retrieved)
        states = model.model(ids, attention_mask=mask, mm_encoder_outputs={"image": features}).last_hidden_state
        embedded = model.get_input_embeddings()(inputs["retrieved_ids"])
        emphasis = model.emphasis(torch.ones_like(outputs.logits), states, *retrieved.values(), embedded) - 1
        captioned = {
            name: model.generate(
                input_ids=prompt,
                pixel_values=inputs["pixel_values"],
                num_beams=beams,
                do_sample=False,
                max_new_tokens=NEW_TOKENS,
                suppress_tokens=None,
                **retrieved,
            )[:, prompt.shape[1] :]
            for name, beams in (("greedy_ids", 1), ("beam_ids", BEAMS))
        }
    scores = features.attention_scores
    temperatures = config.consistency_temperature, config.consistency_target_temperature
    return {
        "tower_states": features.last_hidden_state,
        "attention": scores.softmax(-1),
        "visual_tokens": features.pooler_output,
        "emphasis": emphasis * mask.unsqueeze(-1),
        "logits": outputs.logits * mask.unsqueeze(-1),
        "caption_loss": outputs.loss_parts["caption"],
        "consistency_loss": consistency_loss(scores, *temperatures, released=True),
        "orthogonality_loss": orthogonality_loss(scores, config.orthogonality_temperature, released=True),
        "loss": outputs.loss,
        **{name: _padded(found) for name, found in captioned.items()},
    }


def _padded(ids: Tensor) -> Tensor:
    """Captions of `NEW_TOKENS` tokens."""
    return torch.nn.functional.pad(ids, (0, NEW_TOKENS - ids.shape[1]), value=PADDING)
