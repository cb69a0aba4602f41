# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""What a model becomes before it trains: what is frozen, in which dtypes, what is recomputed."""

import re
from collections.abc import Iterable

import torch
from torch import nn
from transformers import PreTrainedModel

from .arguments import NONE, ChangeCaptioningArguments, ModelArguments
from .quantization import quantize_linears, read_quantization
from .systems import set_trainable


DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def prepare_training(
    model: PreTrainedModel, arguments: ModelArguments, missing: set[str], device: torch.device | str | None = None
) -> dict[str, int]:
    """Make a model ready to train as a run's arguments say; `Trainer` moves it to its device afterwards.

    Args:
        model (`PreTrainedModel`): The model.
        arguments (`ModelArguments`): `trainable`, `frozen_dtype`, `quantization_config`, `quantized` and
            `checkpointing`.
        missing (`set[str]`): Parameters that no checkpoint gave.
        device (`torch.device` or `str`, *optional*): Where weights are quantized, and stay.

    Returns:
        `dict[str, int]`: Trainable parameters and their sizes.

    Raises:
        ValueError: An argument is wrong; the error names it.
    """
    if arguments.trainable == NONE and not arguments.lora:
        raise ValueError("`trainable` is none, and there is no `lora`: nothing would train.")
    trainable = set_trainable(model, arguments.trainable, missing)
    if arguments.frozen_dtype is not None:
        set_precision(model, arguments.frozen_dtype)
    if arguments.quantization_config:
        patterns = arguments.quantized or [f"^{re.escape(name)}" for name in model.language_modules]
        quantize_linears(model, patterns, read_quantization(arguments.quantization_config), device)
    if arguments.checkpointing and arguments.checkpointing != NONE:
        set_checkpointing(model, arguments.checkpointing)
    return trainable


def set_precision(model: nn.Module, frozen_dtype: str) -> None:
    """Keep what is frozen once, in the dtype it computes in, and what trains in float32.

    Modules with running statistics stay in float32 as a whole. Buffers are left alone: those of rotary embeddings need
    float32.

    Args:
        model (`nn.Module`): The model, whose `requires_grad` are set.
        frozen_dtype (`str`): A name of `DTYPES`.

    Raises:
        ValueError: The dtype is unknown.
    """
    if frozen_dtype not in DTYPES:
        raise ValueError(f"`frozen_dtype` must be one of {', '.join(DTYPES)}, got {frozen_dtype!r}.")
    for module in model.modules():
        kept = [
            value
            for name, value in module.named_buffers(recurse=False)
            if name not in module._non_persistent_buffers_set
        ]
        statistics = any(value.is_floating_point() for value in kept)
        for parameter in module.parameters(recurse=False):
            full = parameter.requires_grad or statistics
            parameter.data = parameter.data.to(torch.float32 if full else DTYPES[frozen_dtype])


def set_checkpointing(model: PreTrainedModel, patterns: Iterable[str]) -> list[str]:
    """Recompute in the backward pass what lies inside the layers that a pattern matches, instead of keeping it.

    `Trainer`'s own `gradient_checkpointing` does so for every layer of the model and takes precedence.

    Args:
        model (`PreTrainedModel`): The model.
        patterns (`Iterable[str]`): Regular expressions, searched in the names of the layers that can be recomputed.

    Returns:
        `list[str]`: Names of the layers chosen.

    Raises:
        ValueError: A pattern is broken or matches no such layer.
    """
    model.activation_checkpointing_enable({"use_reentrant": False})
    # Only a reentrant checkpoint needs embeddings that ask for gradients; here a frozen Q-Former would keep more.
    model.disable_input_require_grads()
    layers = {name: module for name, module in model.named_modules() if getattr(module, "gradient_checkpointing", 0)}
    chosen: set[str] = set()
    for pattern in patterns:
        try:
            found = {name for name in layers if re.search(pattern, name)}
        except re.error as error:
            raise ValueError(f"`checkpointing`: {pattern!r} is no regular expression: {error}.") from error
        if not found:
            raise ValueError(f"`checkpointing`: the pattern {pattern!r} matches no layer that can be recomputed.")
        chosen |= found
    for name, module in layers.items():
        module.gradient_checkpointing = name in chosen
    return sorted(chosen)


def autocast_dtype(arguments: ChangeCaptioningArguments) -> torch.dtype | None:
    """The dtype of `Trainer`'s autocast, or None."""
    if arguments.bf16:
        return torch.bfloat16
    return torch.float16 if arguments.fp16 else None


__all__ = ["DTYPES", "autocast_dtype", "prepare_training", "set_checkpointing", "set_precision"]
