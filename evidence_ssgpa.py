# Copyright 2026 The ssgpa authors. All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Evidence about a caption, read off any system's own answers: what `trust_ssgpa.py` weighs (ours)."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


# In the order of the columns.
EVIDENCE = ("log_probability", "lowest", "beams", "distance", "changed", "swapped", "map")
# Marks of a prompt's tokens, which a caption's are given as plain text's.
TOKEN_MARKS = ("token_type_ids", "mm_token_type_ids")
LAYOUT_AXES = {"pair": 1, "vertical": -2, "horizontal": -1}


def pooled(states: Any, pairs: int) -> Tensor:
    """Mean and standard deviation of a pair's vectors, whatever shape a system gives them.

    Args:
        states (`torch.Tensor` or a sequence of them): Vectors of width `width` along the last axis, pair after pair.
        pairs (`int`): Number of pairs; each has as many vectors.

    Returns:
        `torch.Tensor` of shape `(pairs, 2 * width)`: Float32.
    """
    parts = [states] if isinstance(states, Tensor) else list(states)
    flat = torch.cat([part.flatten(0, -2) for part in parts]).float().unflatten(0, (pairs, -1))
    return torch.cat([flat.mean(1), flat.std(1, correction=0)], 1)


def encode(model: Any, pixel_values: Tensor) -> Any:
    """Encode the images of pairs.

    Args:
        model (`PreTrainedModel`): Any system.
        pixel_values (`torch.Tensor`): Pairs in the layout of the processor.

    Returns:
        `ModelOutput`: What `generate` and `forward` take as `mm_encoder_outputs["image"]`.
    """
    # Systems have it in the base model, and some in the model with a head too.
    encoder = model if hasattr(model, "get_image_features") else model.base_model
    return encoder.get_image_features(pixel_values, return_dict=True)


def halves(pixel_values: Tensor, layout: str) -> tuple[Tensor, Tensor]:
    """The images before and after of prepared pairs.

    Args:
        pixel_values (`torch.Tensor`): Pairs in the layout of the processor.
        layout (`str`): `pair_layout` of the configuration.

    Returns:
        `tuple[torch.Tensor, torch.Tensor]`: Parts of it, whose axes are the same.
    """
    return pixel_values.chunk(2, LAYOUT_AXES[layout])


def log_probabilities(model: Any, inputs: Mapping[str, Any], features: Any, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Log probabilities of a caption's tokens, its end among them.

    Args:
        model (`PreTrainedModel`): Any system.
        inputs (`dict`): What `generate` was called with: the prompts.
        features (`ModelOutput`): What `get_image_features` gave for the pairs.
        ids (`torch.LongTensor` of shape `(batch, length)`): What `generate` returned: prompts and captions, padded.

    Returns:
        `tuple[torch.Tensor, torch.Tensor]`: Both (batch, caption): the log probabilities, float32, and 1 for tokens
        that count.
    """
    # Without a prompt, a caption starts from one token.
    prompt = inputs["input_ids"].shape[1] if inputs.get("input_ids") is not None else 1
    said = ids[:, prompt:]
    ends = model.generation_config.eos_token_id
    ends = torch.tensor([ends] if isinstance(ends, int) else ends or [], device=ids.device)
    ended = torch.isin(said, ends).int()
    counts = (ended.cumsum(1) - ended) == 0
    rest = {name: value for name, value in inputs.items() if name not in ("input_ids", "pixel_values")}
    attention = rest.pop("attention_mask", None)
    attention = torch.ones_like(ids[:, :prompt]) if attention is None else attention
    rest["attention_mask"] = torch.cat([attention, counts.to(attention.dtype)], 1)
    for name in TOKEN_MARKS:
        if name in rest:
            rest[name] = torch.cat([rest[name], torch.zeros_like(said)], 1)
    rest["mm_encoder_outputs"] = {"image": features}
    # A placeholder that was said stands for no image.
    placeholder = getattr(model.config, "image_token_id", None)
    fed = said if placeholder is None else said.masked_fill(said == placeholder, ids.new_tensor(0))
    logits = model(input_ids=torch.cat([ids[:, :prompt], fed], 1), **rest).logits[:, prompt - 1 : -1].float()
    return logits.log_softmax(-1).gather(-1, said.unsqueeze(-1)).squeeze(-1), counts.float()


def agreement(beams: Tensor, counted: Tensor) -> Tensor:
    """How alike the beams of a search are: the mean share of tokens that the best has in common with another.

    Args:
        beams (`torch.LongTensor` of shape `(batch, beams, length)`): Captions without their prompts, the best first.
        counted (`torch.Tensor` of shape `(batch, beams, length)`): Whether a token belongs to its caption.

    Returns:
        `torch.Tensor` of shape `(batch,)`: From 0 to 1; NaN for a single beam.
    """
    shares = []
    for captions, marks in zip(beams.tolist(), counted.bool().tolist(), strict=True):
        bags = [
            Counter(token for token, mark in zip(*pair, strict=True) if mark)
            for pair in zip(captions, marks, strict=True)
        ]
        best, others = bags[0], bags[1:]
        common = [2 * (best & other).total() / max(best.total() + other.total(), 1) for other in others]
        shares.append(sum(common) / len(common) if common else float("nan"))
    return torch.tensor(shares)


@torch.no_grad()
def weigh(model: Any, inputs: Mapping[str, Any], features: Any, beams: Tensor) -> Tensor:
    """All evidence about the best beam of each pair.

    `changed` and `swapped` say how much likelier the caption is for the pair than for the image before beside itself,
    and for the pair the other way round: the inverse of a change is another change, and of none none. `map` says
    whether the strongest evidence of the change map agrees with `changed`, in systems that have a map.

    Args:
        model (`PreTrainedModel`): Any system.
        inputs (`dict`): What the processor gave: `pixel_values`, and the prompts where there are some.
        features (`ModelOutput`): What `get_image_features` gave for the pairs.
        beams (`torch.LongTensor` of shape `(batch, beams, length)`): What `generate` returned, the best first.

    Returns:
        `torch.Tensor` of shape `(batch, 7)`: In the order of `EVIDENCE`, float32; NaN where there is none, as for
        `distance`, which a calibration measures.
    """
    best = beams[:, 0]
    steps, counts = log_probabilities(model, inputs, features, best)
    total, length = (steps * counts).sum(1), counts.sum(1).clamp(min=1)
    before, after = halves(inputs["pixel_values"], model.config.pair_layout)
    axis, gains = LAYOUT_AXES[model.config.pair_layout], []
    for pair in ((before, before), (after, before)):
        other = encode(model, torch.cat(pair, axis))
        theirs, _ = log_probabilities(model, inputs, other, best)
        gains.append(total - (theirs * counts).sum(1))
    prompt = beams.shape[-1] - steps.shape[1]
    said = beams[:, :, prompt:]
    pad = getattr(model.generation_config, "pad_token_id", None)
    alike = agreement(said, said != pad if pad is not None else torch.ones_like(said))
    missing = torch.full_like(total, float("nan"))
    evidence = getattr(features, "evidence", None)
    mapped = missing
    if evidence is not None:
        peak = evidence.change_map.float().flatten(1).amax(1)
        # Evidence is called strong from odds of 20 to 1 on.
        told = (gains[0] - 3.0).sigmoid()
        mapped = told * peak + (1 - told) * (1 - peak)
    columns: Sequence[Tensor] = (
        total / length,
        steps.masked_fill(counts == 0, 0).amin(1),
        alike,
        missing,
        *gains,
        mapped,
    )
    return torch.stack([column.float().cpu() for column in columns], 1)


__all__ = ["EVIDENCE", "agreement", "encode", "log_probabilities", "pooled", "weigh"]
