# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""VIR-VLFM's side of a comparison with its authors' code."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessorList, RepetitionPenaltyLogitsProcessor

from ssgpa.baselines.vir_vlfm import VIRVLFMForConditionalGeneration


PADDING, START, END = 0, 1, 2
MAX_NEW_TOKENS = 12
# The image after of the changed and of the unchanged pairs.
HALVES = {"change": "after", "no_change": "distractor"}
# Trained parameters whose gradients of the whole loss are compared, from one end of the model to the other.
GRADIENTS = (
    "model.vision_model.encoder.layers.0.attention_adapter.up_proj.weight",
    "model.vision_model.encoder.layers.5.attention_adapter.mix_proj.weight",
    "model.vision_model.encoder.layers.5.mlp_adapter.up_proj_after.weight",
    "model.registration.reduction_before.weight",
    "model.registration.flow.weight",
    "model.emphasis.gate.weight",
    "model.pair_projection.weight",
    "model.language_projection.weight",
)
# Captions by beams and repetition penalty; the last is what is published.
DECODING = {"greedy": (1, 1.0), "penalized": (1, 1.5), "beam": (5, 1.0), "penalized_beam": (5, 1.5)}


def compute(checkpoint: Path, inputs: dict[str, Tensor], fields: dict[str, Any]) -> dict[str, Tensor]:
    """Both halves of a training batch, and captions, of a checkpoint in the authors' format.

    Args:
        checkpoint (`Path`): The weights, those of the frozen parts among them.
        inputs (`dict[str, torch.Tensor]`): Images `before`, `after` and `distractor` (scenes, 3, height, width);
            captions `change_ids` and `no_change_ids` (scenes, length), padded with 0; what stands in front of and
            behind the visual tokens, `prompt_before` and `prompt_after`.
        fields (`dict[str, Any]`): Of the configuration, those that no weight tells.

    Returns:
        `dict[str, torch.Tensor]`: By the names of the other side's outputs.
    """
    model = VIRVLFMForConditionalGeneration.from_official(checkpoint, **fields)
    core, scenes, found = model.model, len(inputs["before"]), {}
    for half, image in HALVES.items():
        pixels = torch.stack([inputs["before"], inputs[image]], 1)
        ids, mask, labels = _prompts(model, inputs, f"{half}_ids")
        prompt = ids.shape[1] - labels.shape[1]
        # Token by token, as their mean over both scenes.
        model.config.average_pairs = False
        ignored = torch.full((scenes, prompt), -100)
        output = model(ids, pixels, attention_mask=mask, labels=torch.cat([ignored, labels], 1))
        output.loss.backward()
        with torch.no_grad():
            encoded = core.vision_model(pixels).last_hidden_state
            registered, flow = core.registration(encoded)
            queries = core.summarize(registered)
            found |= {
                f"{half}.encoder_states": encoded,
                f"{half}.flow": flow.flatten(1, 2),
                f"{half}.registered": registered,
                f"{half}.queries": queries,
                f"{half}.emphasized": core.emphasis(queries),
                f"{half}.visual_tokens": output.image_hidden_states.detach(),
                # Behind the end of a caption nothing counts.
                f"{half}.logits": output.logits.detach() * mask.unsqueeze(-1),
                f"{half}.loss": output.loss.detach(),
            }
            for name, options in DECODING.items():
                found[f"{half}.{name}_ids"] = _captions(model, ids[:, :prompt], pixels, *options)
    found |= {f"gradient.{name}": model.get_parameter(name).grad for name in GRADIENTS}
    with torch.no_grad():
        found["loss"] = found["change.loss"] + found["no_change.loss"]
        found["first_scene.loss"] = _scene_loss(model, {name: value[:1] for name, value in inputs.items()}, inputs)
    return found


def _prompts(
    model: VIRVLFMForConditionalGeneration, inputs: dict[str, Tensor], captions: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Prompts with captions, their mask, and the captions' labels, which end with a sign as theirs do."""
    ids = inputs[captions]
    sign = model.config.image_token_id - 1
    lengths = (ids != PADDING).sum(1)
    ids = torch.nn.functional.pad(ids, (0, 1)).scatter(1, lengths.unsqueeze(1), sign)
    visual = torch.full((model.config.visual_tokens,), model.config.image_token_id)
    prompt = torch.cat([torch.tensor([START]), inputs["prompt_before"], visual, inputs["prompt_after"]])
    whole = torch.cat([prompt.expand(len(ids), -1), ids], 1)
    return whole, (whole != PADDING).long(), ids.masked_fill(ids == PADDING, -100)


def _scene_loss(model: VIRVLFMForConditionalGeneration, first: dict[str, Tensor], inputs: dict[str, Tensor]) -> Tensor:
    """The released step: both pairs of one scene, whose losses are added up there and averaged here."""
    model.config.average_pairs = True
    rows = {"prompt_before": inputs["prompt_before"], "prompt_after": inputs["prompt_after"]}
    rows["ids"] = torch.cat([first[f"{half}_ids"] for half in HALVES])
    pixels = torch.cat([torch.stack([first["before"], first[image]], 1) for image in HALVES.values()])
    ids, mask, labels = _prompts(model, rows, "ids")
    ignored = torch.full((len(ids), ids.shape[1] - labels.shape[1]), -100)
    return 2 * model(ids, pixels, attention_mask=mask, labels=torch.cat([ignored, labels], 1)).loss


def _captions(
    model: VIRVLFMForConditionalGeneration, prompts: Tensor, pixels: Tensor, beams: int, penalty: float
) -> Tensor:
    """Captions of `MAX_NEW_TOKENS` tokens, padding from their end on; a penalty spares the prompt, as theirs does."""
    size = prompts.shape[1]
    spare = [RepetitionPenaltyLogitsProcessor(penalty, prompt_ignore_length=size)] if penalty != 1 else []
    found = model.generate(
        input_ids=prompts,
        pixel_values=pixels,
        num_beams=beams,
        do_sample=False,
        max_new_tokens=MAX_NEW_TOKENS,
        logits_processor=LogitsProcessorList(spare),
        suppress_tokens=[PADDING, START, model.config.image_token_id],
    )[:, size:]
    found = torch.nn.functional.pad(found, (0, MAX_NEW_TOKENS - found.shape[1]), value=END)
    return found.masked_fill((found == END).cumsum(1) > 0, PADDING)


def tasks(checkpoint: Path, fields: dict[str, Any], pairs: int) -> dict[str, Callable[[], None]]:
    """A training step of what trains as published, and captions with five beams.

    Args:
        checkpoint (`Path`): The weights.
        fields (`dict[str, Any]`): Of the configuration, those that no weight tells.
        pairs (`int`): Of one step.

    Returns:
        `dict[str, Callable]`: `train` and `caption`.
    """
    model = VIRVLFMForConditionalGeneration.from_official(checkpoint, **fields)
    trained = ("_adapter.", ".registration.", ".emphasis.", "_projection.")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(any(part in name for part in trained))
    optimizer = torch.optim.AdamW([value for value in model.parameters() if value.requires_grad], lr=5e-5)
    generator, size = torch.Generator().manual_seed(0), model.config.vision_config.image_size
    pixels = torch.randn(pairs, 2, 3, size, size, generator=generator)
    words = torch.randint(END + 1, model.config.image_token_id, (pairs, 30), generator=generator)
    visual = torch.full((pairs, model.config.visual_tokens), model.config.image_token_id)
    prompts = torch.cat([torch.full((pairs, 1), START), visual, words[:, :8]], 1)
    ids = torch.cat([prompts, words[:, 8:]], 1)
    labels = ids.masked_fill(torch.arange(ids.shape[1]) < prompts.shape[1], -100)

    def train() -> None:
        model.train()(ids, pixels, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    def caption() -> None:
        model.eval()
        options = {"min_new_tokens": MAX_NEW_TOKENS, "max_new_tokens": MAX_NEW_TOKENS, "num_beams": 5}
        model.generate(input_ids=prompts, pixel_values=pixels, do_sample=False, **options)

    return {"train": train, "caption": caption}
