# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""What training takes on a CUDA GPU: memory, time, and where it runs out."""

import gc
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import psutil
import torch
from torch import nn

from .count import finish_step, frozen_bytes, in_gib, part_bytes_in_gib, state_bytes, weight_bytes


# Dense bf16 products, 10^12 a second, from the vendors' data sheets; fp16 where a GPU has no bf16.
BF16_PEAKS = {
    "H200": 989.0,
    "H100 PCIe": 756.0,
    "H100": 989.0,
    "A100": 312.0,
    "A800": 312.0,
    "L40S": 362.0,
    "L4": 121.0,
    "A10": 125.0,
    "RTX 4090": 165.2,
    "RTX 3090": 71.0,
}


@dataclass
class Timing:
    """How a measurement is taken.

    Args:
        warmup (`int`): Steps before.
        steps (`int`): Steps that count.
        decoded (`int`): Tokens decoded for each pair, greedily; 0 leaves decoding out.
        autocast (`torch.dtype`, *optional*): As `Trainer` does under `bf16` or `fp16`.
        max_grad_norm (`float`): As in the run.
    """

    warmup: int = 2
    steps: int = 10
    decoded: int = 32
    autocast: torch.dtype | None = None
    max_grad_norm: float = 1.0

    def context(self) -> AbstractContextManager:
        """Around every forward pass."""
        return nullcontext() if self.autocast is None else torch.autocast("cuda", dtype=self.autocast)


def set_cap(gib: float) -> None:
    """Let this process allocate no more of the GPU than so many GiB.

    Raises:
        ValueError: The GPU has less.
    """
    total = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
    if gib * 2**30 > total:
        raise ValueError(f"A cap of {gib:g} GiB is above the GPU's {in_gib(total):g} GiB.")
    torch.cuda.set_per_process_memory_fraction(gib * 2**30 / total)


def bf16_peak(name: str) -> float | None:
    """The GPU's dense bf16 products, 10^12 a second; None for a GPU that is not known."""
    return next((peak for known, peak in BF16_PEAKS.items() if known in name), None)


def measure_memory(
    model: nn.Module,
    batch: Mapping[str, Any],
    make_optimizer: Callable[[], torch.optim.Optimizer],
    timing: Timing,
    flops: int | None = None,
) -> dict[str, Any]:
    """Train some steps on the current CUDA device; running out of memory is a result.

    Args:
        model (`nn.Module`): Ready to train, on the device.
        batch (`Mapping`): Keyword arguments of the model, on the device.
        make_optimizer (`Callable`): Makes the optimizer.
        timing (`Timing`): Steps and options.
        flops (`int`, *optional*): Floating point operations of one step, for the share of the GPU's peak.

    Returns:
        `dict`: One row of the results, with the keys that a count has. Where memory ran out, `out_of_memory` is true
        and what was not reached is null.
    """
    gpu = torch.cuda.get_device_name()
    weights = weight_bytes(model)
    sizes = {"weights": in_gib(sum(size for part in weights.values() for size in part.values()))}
    speeds = ("seconds_per_step", "pairs_per_second", "tokens_per_second", "decoded_tokens_per_second")
    # What is not reached stays null.
    row = {
        "device": gpu,
        "batch_size": len(batch["input_ids"]),
        "gib": sizes | dict.fromkeys(("gradients", "optimizer", "activations", "total")),
        "gib_reserved": None,
        "gib_frozen": in_gib(frozen_bytes(model)),
        "gib_by_part": part_bytes_in_gib(weights),
        "out_of_memory": False,
        **dict.fromkeys((*speeds, "share_of_peak", "gib_host")),
    }
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    try:
        row |= _measure_steps(model, batch, make_optimizer, timing)
        peak = bf16_peak(gpu)
        if flops is not None and peak is not None:
            row["share_of_peak"] = flops / row["seconds_per_step"] / (1e12 * peak)
        if timing.decoded:
            row["decoded_tokens_per_second"] = _measure_decoding(model, batch, timing)
    except torch.cuda.OutOfMemoryError:
        row["out_of_memory"] = True
    # Outside of the handler, whose traceback would keep the tensors.
    model.zero_grad(set_to_none=True)
    model.train()
    gc.collect()
    torch.cuda.empty_cache()
    return row


def _measure_steps(
    model: nn.Module, batch: Mapping[str, Any], make_optimizer: Callable[[], torch.optim.Optimizer], timing: Timing
) -> dict[str, Any]:
    optimizer = make_optimizer()
    kept = 0
    for number in range(timing.warmup + timing.steps):
        if number == timing.warmup:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            start = time.perf_counter()
        before = torch.cuda.memory_allocated()
        with timing.context():
            loss = model(**batch).loss
        kept = torch.cuda.memory_allocated() - before
        finish_step(loss, optimizer, timing.max_grad_norm)
        del loss
    torch.cuda.synchronize()
    seconds = (time.perf_counter() - start) / timing.steps
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    weights = sum(size for part in weight_bytes(model).values() for size in part.values())
    sizes = {
        "weights": weights,
        "gradients": sum(parameter.numel() * parameter.element_size() for parameter in trained),
        "optimizer": state_bytes(optimizer),
        "activations": kept,
        "total": torch.cuda.max_memory_allocated(),
    }
    return {
        "gib": {name: in_gib(size) for name, size in sizes.items()},
        "gib_reserved": in_gib(torch.cuda.max_memory_reserved()),
        "seconds_per_step": seconds,
        "pairs_per_second": len(batch["input_ids"]) / seconds,
        "tokens_per_second": batch["input_ids"].numel() / seconds,
        "gib_host": in_gib(psutil.Process().memory_info().rss),
    }


def _measure_decoding(model: nn.Module, batch: Mapping[str, Any], timing: Timing) -> float:
    """Tokens a second of greedy decoding over the batch, its prompts read among the time."""
    prompt = batch["input_ids"].shape[1] - batch["logits_to_keep"] + 1
    ids = batch["input_ids"][:, :prompt]
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": batch["pixel_values"]}
    options = {"num_beams": 1, "do_sample": False, "min_new_tokens": timing.decoded, "max_new_tokens": timing.decoded}
    model.eval()
    seconds = 0.0
    with torch.no_grad(), timing.context():
        for _ in range(2):  # the first prepares
            torch.cuda.synchronize()
            start = time.perf_counter()
            ids = model.generate(**inputs, **options)
            torch.cuda.synchronize()
            seconds = time.perf_counter() - start
    return (ids.shape[1] - prompt) * len(ids) / seconds


__all__ = ["BF16_PEAKS", "Timing", "bf16_peak", "measure_memory", "set_cap"]
