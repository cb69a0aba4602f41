# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""What training needs of GPU memory, counted without one.

The model is built on the meta device, where tensors have shapes and no memory, made ready to train by the functions
that a run uses, and taken through one training step. Counted are all tensors that live; CUDA's context, the workspaces
of its kernels and the allocator's fragmentation are not.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import AttentionInterface, Trainer, TrainingArguments
from transformers.integrations.sdpa_attention import repeat_kv

from .live_bytes import LiveBytes, SavedBytes, storage_key


GIB = 2**30
COUNTED_ATTENTION = "ssgpa_counted"
# Names of modules that are no part of a model but hold its parts.
WHOLES = ("model", "vlm")
ASSUMPTIONS = (
    "all captions of a batch are equally long, so that no attention mask is needed",
    "fused attention, as PyTorch's kernels on CUDA keep it",
    "the step is not the first: the optimizer's states are there",
    "every tensor is rounded up to 512 bytes, as the caching allocator does",
    "not counted: CUDA's context, workspaces of kernels, fragmentation",
    "autocast is not counted; the presets train without it",
)


def counted_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **kwargs: object,
) -> tuple[Tensor, None]:
    """Attention by the fused kernels of CUDA; on the meta device PyTorch itself would choose the plain one.

    Args:
        module (`nn.Module`): The attention layer.
        query (`torch.Tensor` of shape `(batch, heads, queries, width)`): Queries.
        key (`torch.Tensor` of shape `(batch, key heads, keys, width)`): Keys.
        value (`torch.Tensor` of shape `(batch, key heads, keys, width)`): Values.
        attention_mask (`torch.Tensor`, *optional*): What is added to the scores.
        dropout (`float`): Dropout of the weights.
        scaling (`float`, *optional*): Factor of the scores.
        is_causal (`bool`, *optional*): Whether queries see earlier keys only; by default the layer's own.
        kwargs (`object`, *optional*): Not used.

    Returns:
        `tuple`: Output (batch, queries, heads, width), and None for the weights.
    """
    groups = getattr(module, "num_key_value_groups", 1)
    key, value = (repeat_kv(states, groups) if groups > 1 else states for states in (key, value))
    if attention_mask is None:
        causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
        output = torch.ops.aten._scaled_dot_product_flash_attention(
            query, key, value, dropout, causal and query.shape[2] > 1, False, scale=scaling
        )[0]
    else:
        bias = attention_mask.to(query.dtype).expand(*query.shape[:3], key.shape[2])
        output = torch.ops.aten._scaled_dot_product_efficient_attention(
            query, key, value, bias, True, dropout, False, scale=scaling
        )[0]
    return output.transpose(1, 2).contiguous(), None


AttentionInterface.register(COUNTED_ATTENTION, counted_attention)


def part_of(name: str) -> str:
    """The part of a model that a parameter or module belongs to: the first name that is none of `WHOLES`."""
    first, _, rest = name.partition(".")
    return part_of(rest) if first in WHOLES and rest else first


def parts_of(model: nn.Module) -> dict[str, nn.Module]:
    """The modules that `part_of` tells apart, by their names."""
    parts: dict[str, nn.Module] = {}
    for name, module in model.named_children():
        parts |= parts_of(module) if name in WHOLES else {name: module}
    return parts


def weight_tensors(model: nn.Module) -> list[tuple[str, Tensor]]:
    """Parameters, buffers, and what quantized weights keep beside them, each storage once."""
    named: list[tuple[str, Tensor]] = []
    for name, parameter in model.named_parameters():
        named.append((name, parameter))
        state = getattr(parameter, "quant_state", None)
        for values in (state, getattr(state, "state2", None)):
            if values is not None:
                named += [(name, value) for value in vars(values).values() if isinstance(value, Tensor)]
    unique: dict[int, tuple[str, Tensor]] = {}
    for name, tensor in [*named, *model.named_buffers()]:
        unique.setdefault(storage_key(tensor), (name, tensor))
    return list(unique.values())


def weight_bytes(model: nn.Module) -> dict[str, dict[str, int]]:
    """Bytes of the weights by part and by dtype."""
    sizes: dict[str, dict[str, int]] = {}
    for name, tensor in weight_tensors(model):
        part = sizes.setdefault(part_of(name), {})
        dtype = str(tensor.dtype).removeprefix("torch.")
        part[dtype] = part.get(dtype, 0) + tensor.untyped_storage().nbytes()
    return sizes


def frozen_bytes(model: nn.Module) -> int:
    """Bytes of the weights and buffers that do not train."""
    return sum(tensor.untyped_storage().nbytes() for _, tensor in weight_tensors(model) if not tensor.requires_grad)


def create_optimizer(model: nn.Module, arguments: TrainingArguments) -> torch.optim.Optimizer:
    """The optimizer that `Trainer` would make, over what trains."""
    kind, options = Trainer.get_optimizer_cls_and_kwargs(arguments, model)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if parameters[0].is_meta and options.pop("fused", False):
        options["foreach"] = False  # the fused kernel knows no meta device, and makes no copies either
    return kind(parameters, **options)


def finish_step(loss: Tensor, optimizer: torch.optim.Optimizer, max_grad_norm: float) -> None:
    """Backward pass, clipping and update, as `Trainer` does them."""
    loss.backward()
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    torch.nn.utils.clip_grad_norm_(parameters, max_grad_norm)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def state_bytes(optimizer: torch.optim.Optimizer) -> int:
    """Bytes of the optimizer's states."""
    states = [value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor)]
    return sum(state.untyped_storage().nbytes() for state in states)


def count_memory(
    model: nn.Module,
    batch: Mapping[str, Any],
    optimizer: torch.optim.Optimizer,
    max_grad_norm: float = 1.0,
    values: AbstractContextManager | None = None,
) -> dict[str, Any]:
    """Take one training step and count what lives meanwhile.

    Args:
        model (`nn.Module`): Ready to train, on one device; the meta device costs no memory. Its output has a `loss`.
        batch (`Mapping`): Keyword arguments of the model.
        optimizer (`torch.optim.Optimizer`): Over what trains, not used before.
        max_grad_norm (`float`): As in the run.
        values (`AbstractContextManager`, *optional*): What answers a model that asks for values on the meta device,
            see `KnownValues`.

    Returns:
        `dict`: Bytes of `weights` {part: {dtype: bytes}}, `frozen`, `gradients`, `optimizer`, `activations` (what the
        forward pass keeps for the backward pass) and `activations_by_part`, `total` (the highest sum of all living
        tensors) and `peaks` of the phases.
    """
    model.train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    inputs = [value for value in batch.values() if isinstance(value, Tensor)]
    weights = [tensor for _, tensor in weight_tensors(model)]
    peaks = {}
    values = nullcontext() if values is None else values
    with LiveBytes(trained[0].device, [*weights, *inputs]) as live:
        # Let the optimizer make its states.
        for parameter in trained:
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        states = state_bytes(optimizer)
        live.reset_peak()
        with SavedBytes(parts_of(model), [*weights, *inputs]) as saved, values:
            loss = model(**batch).loss
        kept = saved.by_part()
        peaks["forward"] = live.peak
        after_forward = live.live
        live.reset_peak()
        with values:
            finish_step(loss, optimizer, max_grad_norm)
        peaks["backward and update"] = live.peak
    return {
        "weights": weight_bytes(model),
        "frozen": frozen_bytes(model),
        "gradients": sum(parameter.numel() * parameter.element_size() for parameter in trained),
        "optimizer": states,
        "activations": sum(kept.values()),
        "activations_by_part": kept,
        "after_forward": after_forward,
        "total": max(peaks.values()),
        "peaks": peaks,
    }


def count_flops(model: nn.Module, batch: Mapping[str, Any], values: AbstractContextManager | None = None) -> int:
    """Floating point operations of one forward and backward pass, recomputations among them.

    Those of layers in 4 bit are not counted. Arguments are those of `count_memory`.
    """
    model.train()
    with FlopCounterMode(display=False) as counter, nullcontext() if values is None else values:
        model(**batch).loss.backward()
    model.zero_grad(set_to_none=True)
    return counter.get_total_flops()


def describe_count(count: Mapping[str, Any], batch_size: int, seconds: float | None = None) -> dict[str, Any]:
    """One row of the results from a count; speeds are null.

    Args:
        count (`Mapping`): What `count_memory` returned.
        batch_size (`int`): Pairs.
        seconds (`float`, *optional*): Processor seconds that the count took.

    Returns:
        `dict`: `device`, `batch_size`, `gib` and details, as a measurement has them.
    """
    weights = sum(size for part in count["weights"].values() for size in part.values())
    sizes = {"weights": weights} | {name: count[name] for name in ("gradients", "optimizer", "activations", "total")}
    return {
        "device": "meta",
        "batch_size": batch_size,
        "gib": {name: in_gib(size) for name, size in sizes.items()},
        "gib_reserved": None,
        "gib_frozen": in_gib(count["frozen"]),
        "gib_by_part": part_bytes_in_gib(count["weights"]),
        "mib_activations_by_part": {part: size / 2**20 for part, size in count["activations_by_part"].items()},
        "gib_by_phase": {phase: in_gib(size) for phase, size in count["peaks"].items()},
        "out_of_memory": False,
        "seconds_per_step": None,
        "pairs_per_second": None,
        "tokens_per_second": None,
        "decoded_tokens_per_second": None,
        "share_of_peak": None,
        "gib_host": None,
        "processor_seconds": None if seconds is None else round(seconds, 2),
    }


def in_gib(size: int) -> float:
    """Bytes as GiB, to the fourth digit."""
    return round(size / GIB, 4)


def part_bytes_in_gib(sizes: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, float]]:
    """What `weight_bytes` returns, in GiB."""
    return {part: {dtype: in_gib(size) for dtype, size in dtypes.items()} for part, dtypes in sizes.items()}
