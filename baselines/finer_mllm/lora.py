# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""LoRA of the authors' checkpoints as PEFT keeps it, apart from the weights."""

import os
from collections import Counter
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model

from ...conversion_ssgpa import load_converted
from .conversion_finer_mllm import convert_official
from .modeling_finer_mllm import FinerMLLMForConditionalGeneration


# The authors leave loralib's default.
ALPHA = 1


def load_official_adapter(path: str | os.PathLike, qformer_merged: bool = True, **fields: Any) -> PeftModel:
    """Read a checkpoint of the authors' code, with LoRA beside the weights.

    Args:
        path (`str` or `os.PathLike`): Pickled tensors, or safetensors.
        qformer_merged (`bool`, *optional*, defaults to `True`): Whether the Q-Former's weights hold LoRA already; it
            is then taken out of them. As of `FinerMLLMForConditionalGeneration.from_official`.
        **fields (`Any`, *optional*): Fields of [`FinerMLLMConfig`].

    Returns:
        `PeftModel`: In evaluation mode; `merge_and_unload` gives what `from_official` does.

    Raises:
        ValueError: A weight is missing, left over or of another shape, or there is no LoRA; the error names it.
    """
    found = convert_official(path, qformer_merged, **fields)
    if not found.lora:
        raise ValueError(f"{os.fspath(path)} holds no LoRA: read it by `from_official`.")
    base = load_converted(
        FinerMLLMForConditionalGeneration, found.config, found.weights, os.fspath(path), torch.float32
    )
    ranks = {layer: len(matrices.down) for layer, matrices in found.lora.items()}
    (rank, _), *_ = Counter(ranks.values()).most_common(1)
    config = LoraConfig(
        r=rank,
        lora_alpha=ALPHA,
        rank_pattern={layer: own for layer, own in ranks.items() if own != rank},
        target_modules=list(ranks),
    )
    tuned = get_peft_model(base, config)
    with torch.no_grad():
        for layer, matrices in found.lora.items():
            module = tuned.base_model.model.get_submodule(layer)
            for place, value in ((module.lora_A, matrices.down), (module.lora_B, matrices.up)):
                weight = place[tuned.active_adapter].weight
                if weight.shape != value.shape:
                    raise ValueError(
                        f"LoRA of {layer} is {tuple(value.shape)}, its layer takes {tuple(weight.shape)}."
                    )
                weight.copy_(value)
    return tuned.eval()


__all__ = ["load_official_adapter"]
