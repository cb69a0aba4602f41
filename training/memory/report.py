# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""A run's memory by batch size, counted or measured, as rows of one form."""

import gc
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import torch

from ..arguments import NONE, ChangeCaptioningArguments, RunArguments
from .count import count_flops, count_memory, create_optimizer, describe_count
from .inputs import TextSizes, add_matrices, example_batch, start_model, without_values
from .measure import Timing, measure_memory


@dataclass
class MemoryOptions:
    """What is counted or measured beside a run's own arguments.

    Args:
        text (`TextSizes`): Lengths of prompt and caption.
        timing (`Timing`): Of a measurement.
        flops (`bool`): Count floating point operations too.
    """

    text: TextSizes
    timing: Timing
    flops: bool = False


def _batch(run: RunArguments, model: Any, batch_size: int, text: TextSizes, device: str) -> dict[str, Any]:
    captions, frames = run.data.captions_per_pair, getattr(model, "frames_per_pair", None)
    # A VLM's configuration tells how large its images are.
    size = getattr(model.config, "image_size", None) or run.model.image_size
    return example_batch(model.config, size, batch_size, text, device, captions, frames)


def _facts(name: str, run: RunArguments, text: TextSizes, batch: dict[str, Any]) -> dict[str, Any]:
    checkpointing = run.model.checkpointing
    return {
        "run": name,
        "checkpointing": [] if checkpointing == NONE else checkpointing,
        "text": asdict(text),
        "tokens_per_pair": batch["input_ids"].shape[1],
    }


def run_flops(run: RunArguments, batch_size: int, text: TextSizes) -> int:
    """Floating point operations of a step, in 16 bit where the run's weights are in 4."""
    whole = replace(run.model, quantization_config=None)
    model = add_matrices(start_model(whole, "meta"), whole)
    _apply_checkpointing(model, run.training)
    return count_flops(model, *without_values(_batch(run, model, batch_size, text, "cpu")))


def count_run(name: str, run: RunArguments, batch_sizes: Iterable[int], options: MemoryOptions) -> Iterator[dict]:
    """Count a run's memory on the meta device.

    Args:
        name (`str`): Of the run.
        run (`RunArguments`): What it is made of.
        batch_sizes (`Iterable[int]`): Pairs.
        options (`MemoryOptions`): What to count.

    Yields:
        `dict`: One row for every batch size.
    """
    for batch_size in batch_sizes:
        start = time.process_time()
        model = add_matrices(start_model(run.model, "meta"), run.model)
        _apply_checkpointing(model, run.training)
        batch, values = without_values(_batch(run, model, batch_size, options.text, "cpu"))
        optimizer = create_optimizer(model, run.training)
        count = count_memory(model, batch, optimizer, run.training.max_grad_norm, values)
        row = describe_count(count, batch_size, time.process_time() - start)
        flops = run_flops(run, batch_size, options.text) if options.flops else None
        yield _facts(name, run, options.text, batch) | row | {"flops_per_step": flops}


def measure_run(name: str, run: RunArguments, batch_sizes: Iterable[int], options: MemoryOptions) -> Iterator[dict]:
    """Measure a run with random weights on the current CUDA device; arguments and rows as for `count_run`."""
    # A run before leaves its weights to the collector, and two models may not fit.
    gc.collect()
    torch.cuda.empty_cache()
    model = add_matrices(start_model(run.model, "cuda"), run.model).to("cuda")
    _apply_checkpointing(model, run.training)
    for batch_size in batch_sizes:
        batch = _batch(run, model, batch_size, options.text, "cuda")
        flops = run_flops(run, batch_size, options.text) if options.flops else None
        make_optimizer = partial(create_optimizer, model, run.training)
        row = measure_memory(model, batch, make_optimizer, options.timing, flops)
        yield _facts(name, run, options.text, batch) | row | {"flops_per_step": flops}


def _apply_checkpointing(model: Any, arguments: ChangeCaptioningArguments) -> None:
    if arguments.gradient_checkpointing:
        model.activation_checkpointing_enable(arguments.gradient_checkpointing_kwargs)


__all__ = ["MemoryOptions", "count_run", "measure_run", "run_flops"]
