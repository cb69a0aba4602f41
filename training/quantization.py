# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Frozen linear layers in 4 bit, by bitsandbytes.

`from_pretrained(quantization_config=...)` would do the same, but `Trainer` refuses such a model unless PEFT trains it.
"""

import json
import re
from collections.abc import Iterable

import torch
from torch import nn
from transformers import BitsAndBytesConfig
from transformers.utils import is_bitsandbytes_available


def read_quantization(text: str) -> BitsAndBytesConfig:
    """Read bitsandbytes' settings.

    Args:
        text (`str`): JSON mapping of `BitsAndBytesConfig`'s arguments to values.

    Returns:
        `BitsAndBytesConfig`: In 4 bit.

    Raises:
        ImportError: bitsandbytes is not installed.
        ValueError: The text is no such mapping, or asks for something else than 4 bit.
    """
    if not is_bitsandbytes_available():
        raise ImportError('`quantization_config` needs bitsandbytes: pip install "ssgpa[quant]".')
    try:
        values = json.loads(text)
        config = BitsAndBytesConfig(**values)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"`quantization_config` {text!r}: {error}") from error
    unknown = [name for name in values if not hasattr(config, name)]
    if unknown or not config.load_in_4bit:
        wrong = f"unknown: {unknown}" if unknown else "`load_in_4bit` must be true"
        raise ValueError(f"`quantization_config` {text!r}: {wrong}.")
    return config


def quantize_linears(
    model: nn.Module, patterns: Iterable[str], config: BitsAndBytesConfig, device: torch.device | str | None = None
) -> int:
    """Put frozen linear layers into 4 bit, one after the other.

    Args:
        model (`nn.Module`): The model, on any device, the meta device among them.
        patterns (`Iterable[str]`): Regular expressions, searched in the layers' names.
        config (`BitsAndBytesConfig`): The settings.
        device (`torch.device` or `str`, *optional*): Where the layers are quantized, and stay; by default where they
            are.

    Returns:
        `int`: Number of layers.

    Raises:
        ValueError: A pattern matches no linear layer, or one that trains.
    """
    linears = {name: module for name, module in model.named_modules() if type(module) is nn.Linear}
    names: set[str] = set()
    for pattern in patterns:
        found = {name for name in linears if re.search(pattern, name)}
        if not found:
            raise ValueError(f"`quantized`: the pattern {pattern!r} matches no linear layer.")
        names |= found
    trained = sorted(name for name in names if linears[name].weight.requires_grad)
    if trained:
        raise ValueError(f"`quantized`: layers in 4 bit cannot train, and {trained[0]} does; narrow `trainable`.")
    for name in names:
        model.set_submodule(name, _quantized(linears[name], config, device))
    return len(names)


def _quantized(linear: nn.Linear, config: BitsAndBytesConfig, device: torch.device | str | None) -> nn.Module:
    from bitsandbytes.functional import quantize_4bit
    from bitsandbytes.nn import Linear4bit, Params4bit

    quantization = {
        "compress_statistics": config.bnb_4bit_use_double_quant,
        "quant_type": config.bnb_4bit_quant_type,
        "quant_storage": config.bnb_4bit_quant_storage,
    }
    layer = Linear4bit(
        linear.in_features,
        linear.out_features,
        linear.bias is not None,
        compute_dtype=config.bnb_4bit_compute_dtype,
        device="meta",
        **quantization,
    )
    weight = linear.weight.data.to(device or linear.weight.device)
    packed, state = quantize_4bit(weight, **quantization)
    layer.weight = Params4bit(
        packed, requires_grad=False, quant_state=state, module=layer, bnb_quantized=True, **quantization
    )
    layer.weight.quant_state, layer.quant_state = state, state
    if linear.bias is not None:
        layer.bias = nn.Parameter(linear.bias.data.to(weight.device), requires_grad=False)
    return layer


__all__ = ["quantize_linears", "read_quantization"]
