# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""A run's model without its weights, and batches without data, to count or measure what training needs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.configuration_utils import PreTrainedConfig

from ..arguments import ModelArguments
from ..collator import IGNORED, packed_mask
from ..lora import is_over_base, wrap_model
from ..model_setup import DTYPES, prepare_training
from ..systems import build_model, read_config, trained_parameters
from .count import COUNTED_ATTENTION
from .known_values import KnownValues


# Attention implementations whose kernels keep what `counted_attention` keeps.
FUSED = (None, "sdpa", "flash_attention_2")


@dataclass
class TextSizes:
    """Tokens of a pair beside the visual ones.

    Args:
        prompt (`int`): Words of the prompt, without the placeholders.
        caption (`int`): Tokens of the longest caption, its end among them.
        retrieved (`int`): Tokens of the captions that were retrieved for a pair, in systems that read such.
    """

    prompt: int = 12
    caption: int = 50
    retrieved: int = 40


def config_of(arguments: ModelArguments) -> PreTrainedConfig:
    """The configuration of a run's model: of `model_config`, or of the folder `model_name_or_path`.

    Raises:
        FileNotFoundError: There is neither.
        ValueError: It does not describe a model; the error names it.
    """
    path = arguments.model_config or str(Path(arguments.model_name_or_path or "") / "config.json")
    return read_config(path, arguments.config_overrides)


def start_model(arguments: ModelArguments, device: torch.device | str) -> PreTrainedModel:
    """Build a run's model with random weights and make it ready to train, as the run would.

    Args:
        arguments (`ModelArguments`): Of the run.
        device (`torch.device` or `str`): Where; on the meta device there are no weights.

    Returns:
        `PreTrainedModel`: In training mode.

    Raises:
        FileNotFoundError: There is no configuration.
        ValueError: An argument is wrong; the error names it.
    """
    device = torch.device(device)
    meta = device.type == "meta"
    # What is going to be quantized need not fit before.
    place = torch.device("cpu") if arguments.quantization_config and not meta else device
    attention = arguments.attn_implementation
    attention = COUNTED_ATTENTION if meta and attention in FUSED else attention
    dtype = DTYPES.get(arguments.frozen_dtype or "float32", torch.float32)
    with place:
        model = build_model(config_of(arguments), arguments.model_class, attn_implementation=attention, dtype=dtype)
    prepare_training(model, arguments, set(), device)
    return (model if meta else model.to(device)).train()


def add_matrices(model: PreTrainedModel, arguments: ModelArguments) -> PreTrainedModel:
    """Put LoRA's matrices into a model's layers and a copy beside what trains in full, as the run would.

    Args:
        model (`PreTrainedModel`): What `start_model` returns.
        arguments (`ModelArguments`): Of the run; without `lora` or `save_trained_only` nothing is done.

    Returns:
        `PreTrainedModel`: The same model, called as before.

    Raises:
        ValueError: `lora` is wrong; the error says how.
    """
    if not is_over_base(arguments):
        return model
    return wrap_model(model, arguments.lora, trained_parameters(model)).get_base_model().train()


def example_batch(
    config: PreTrainedConfig,
    image_size: list[int],
    batch_size: int,
    text: TextSizes,
    device: torch.device | str,
    captions: int = 1,
    frames: int | None = None,
) -> dict[str, Any]:
    """A batch as `PairCollator` makes it, of noise and equally long captions.

    Args:
        config (`PreTrainedConfig`): Of the model.
        image_size (`list[int]`): Height and width of what the model reads.
        batch_size (`int`): Pairs.
        text (`TextSizes`): Lengths of prompt and caption.
        device (`torch.device` or `str`): Where.
        captions (`int`): Captions of a pair; more than one share its prompt behind a mask.
        frames (`int`, *optional*): Frames of a row, the model's `frames_per_pair`; None for the two images.

    Returns:
        `dict`: Keyword arguments of the model. On the meta device a lone caption has no mask: it would be all ones,
        and nobody could know.
    """
    visual = config.visual_tokens
    # Without placeholders the prompt is the start token.
    before = visual + text.prompt - 1 if visual else 0
    segments = torch.tensor([0] * before + [1 + n for n in range(captions) for _ in range(1 + text.caption)])
    words = config.get_text_config().vocab_size
    placeholder = config.image_token_id if visual else words
    ids = torch.randint(1, min(words, placeholder), (batch_size, len(segments)))
    # A word between the images, by which some VLMs tell them apart.
    images = 2 if config.pair_layout == "pair" and before > visual else 1
    for number in range(images):
        start = number * (visual // images + 1)
        ids[:, start : start + visual // images] = placeholder
    labels = ids.masked_fill(torch.cat([segments[:1] + 1, segments.diff()]) != 0, IGNORED)
    labels[:, :before] = IGNORED
    alone = captions == 1
    mask = torch.ones_like(ids) if alone else packed_mask(segments.expand(batch_size, -1))
    batch: dict[str, Tensor] = {
        "input_ids": ids,
        "labels": labels,
        "position_ids": torch.arange(len(segments)).expand(batch_size, -1).contiguous(),
        "attention_mask": mask,
        "pixel_values": torch.randn(
            batch_size, *((frames or 2,) if config.pair_layout == "pair" else ()), 3, *image_size
        ),
    }
    if alone and torch.device(device).type == "meta":
        del batch["attention_mask"]
    if config.reads_retrieved:
        batch["retrieved_ids"] = torch.randint(1, min(words, placeholder), (batch_size, text.retrieved))
        batch["retrieved_mask"] = torch.ones_like(batch["retrieved_ids"])
    kept = len(segments) - before
    return {name: value.to(device) for name, value in batch.items()} | {"logits_to_keep": kept}


def without_values(batch: Mapping[str, Any]) -> tuple[dict[str, Any], KnownValues]:
    """A batch on the meta device, and its values for models that ask for them.

    Args:
        batch (`Mapping[str, Any]`): Of `example_batch` on the CPU.

    Returns:
        `tuple[dict[str, Any], KnownValues]`: As on the meta device from the start, and its values.
    """
    kept = dict(batch)
    if kept["attention_mask"].ndim == 2:
        del kept["attention_mask"]
    tensors = {name: value for name, value in kept.items() if isinstance(value, Tensor)}
    empty = {name: value.to("meta") for name, value in tensors.items()}
    return kept | empty, KnownValues({empty[name]: value for name, value in tensors.items()})


__all__ = ["TextSizes", "add_matrices", "config_of", "example_batch", "start_model", "without_values"]
