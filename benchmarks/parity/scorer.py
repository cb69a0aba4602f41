# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""SCORER's side of a comparison with its authors' code."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ssgpa.baselines.scorer import SCORERForConditionalGeneration


PADDING, START, END = 0, 2, 3
# Without dropout. Backward reasoning gets gradients, so that they can be compared; nothing else depends on it.
OPTIONS = {"attention_dropout": 0.0, "hidden_dropout": 0.0, "train_backward_reasoning": True}
# The image after of the changed and of the unchanged pairs.
HALVES = {"change": "after", "no_change": "distractor"}
# Parameters whose gradients of the whole loss are compared, from one end of the model to the other.
GRADIENTS = (
    "model.encoder.embeddings.projection.weight",
    "model.encoder.layers.0.attention.q_proj.weight",
    "model.encoder.fusion.weight",
    "model.decoder.embed_tokens.weight",
    "model.decoder.layers.1.fc2.weight",
    "contrast.logit_scale",
    "backward_reasoning.condition.weight",
)


def compute(checkpoint: Path, inputs: dict[str, Tensor], fields: dict[str, Any]) -> dict[str, Tensor]:
    """Both halves of a training batch, and captions, of a checkpoint in the authors' format.

    Args:
        checkpoint (`Path`): The weights.
        inputs (`dict[str, torch.Tensor]`): Grids `before`, `after` and `distractor` (scenes, channels, rows, columns),
            negative values being set to 0 as a ResNet does, and captions `change_ids` and `no_change_ids` (scenes,
            length), padded with 0.
        fields (`dict[str, Any]`): Of the configuration, those that no weight tells.

    Returns:
        `dict[str, torch.Tensor]`: By the names of the other side's outputs.
    """
    model = SCORERForConditionalGeneration.from_official(checkpoint, **OPTIONS, **fields)
    grids = [[inputs["before"], inputs[image]] for image in HALVES.values()]
    features = torch.cat([torch.stack(pair, 1) for pair in grids]).relu().flatten(3).transpose(2, 3).contiguous()
    ids = torch.cat([inputs[f"{half}_ids"] for half in HALVES])
    scenes = len(ids) // 2
    mask = ids != PADDING
    batch = {"input_ids": ids, "vision_features": features, "attention_mask": mask.long()}
    labels = ids.masked_fill(~mask | (ids == START), -100)
    output = model.train()(**batch, labels=labels, scene_ids=torch.arange(scenes).repeat(2))
    output.loss.backward()
    found = {f"gradient.{name}": model.get_parameter(name).grad for name in GRADIENTS}
    weights = {"cross_view": model.config.cross_view_weight, "cross_modal": model.config.cross_modal_weight}
    found |= {f"{name}_loss": part.detach() / weights.get(name, 1) for name, part in output.loss_parts.items()}
    found["loss"] = output.loss.detach()
    with torch.no_grad():
        base = model.model(**batch)
        greedy = model.eval().generate(
            input_ids=ids[:, :1],
            vision_features=features,
            num_beams=1,
            do_sample=False,
            max_new_tokens=ids.shape[1] - 1,
        )
        images = base.image_outputs
        for place, half in enumerate(HALVES):
            rows = slice(place * scenes, (place + 1) * scenes)
            queries, keys = (side[rows] for side in images.matching)
            found |= {
                f"{half}.encoder_states": images.last_hidden_state[rows],
                f"{half}.image_before": images.images[rows, 0],
                f"{half}.image_after": images.images[rows, 1],
                f"{half}.similarity_of_before": model.contrast.similarity(queries[:, 0], keys[:, 1]),
                f"{half}.similarity_of_after": model.contrast.similarity(queries[:, 1], keys[:, 0]),
                # Behind the end of a caption nothing counts.
                f"{half}.decoder_states": base.last_hidden_state[rows] * mask[rows].unsqueeze(-1),
                f"{half}.logits": output.logits[rows].detach() * mask[rows].unsqueeze(-1),
                f"{half}.greedy_ids": _cut(greedy[rows, 1:], ids.shape[1] - 1),
            }
    return found


def tasks(checkpoint: Path, fields: dict[str, Any], pairs: int) -> dict[str, Callable[[], None]]:
    """What speed is measured of: a step of training with the released settings, and greedy captions.

    Both read maps that are computed already, as the released code does; the backbone is left out.

    Args:
        checkpoint (`Path`): The weights.
        fields (`dict[str, Any]`): Of the configuration, those that no weight tells.
        pairs (`int`): An even number, half of them changed, half of them not.

    Returns:
        `dict[str, Callable]`: `train` and `caption`.
    """
    small = {"model_type": "resnet", "embedding_size": 8, "hidden_sizes": [1024], "depths": [1], "layer_type": "basic"}
    model = SCORERForConditionalGeneration.from_official(checkpoint, vision_config=small, **fields)
    length, generator = model.config.max_position_embeddings, torch.Generator().manual_seed(0)
    features = torch.randn(pairs, 2, 196, 1024, generator=generator).relu()
    ids = torch.randint(END + 1, model.config.vocab_size, (pairs, length), generator=generator)
    ids[:, 0], ids[:, -1] = START, END
    batch = {"input_ids": ids, "vision_features": features, "attention_mask": torch.ones_like(ids)}
    batch |= {"labels": ids.masked_fill(ids == START, -100), "scene_ids": torch.arange(pairs // 2).repeat(2)}
    trained = [
        value for part in (model.model.encoder, model.model.decoder, model.lm_head) for value in part.parameters()
    ]
    optimizer = torch.optim.Adam([*trained, *model.contrast.parameters()], lr=2e-4)

    def train() -> None:
        optimizer.zero_grad()
        model.train()(**batch).loss.backward()
        optimizer.step()

    def caption() -> None:
        # One half after the other, as the released code does.
        for half, start in zip(features.chunk(2), ids[:, :1].chunk(2), strict=True):
            model.eval().generate(
                input_ids=start,
                vision_features=half,
                num_beams=1,
                do_sample=False,
                max_new_tokens=length - 1,
            )

    return {"train": train, "caption": caption}


def _cut(ids: Tensor, length: int) -> Tensor:
    """Captions of one length, padding from their end token on."""
    ids = torch.nn.functional.pad(ids, (0, length - ids.shape[1]), value=END)
    return ids.masked_fill((ids == END).cumsum(1) > 0, PADDING)
