# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Captions of many pairs by any system: in batches, in order, and never out of a broken model."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch
from tqdm.auto import tqdm
from transformers import LogitsProcessorList

from ..data.decoding import load_pair, undecoded
from ..data.schema import RETRIEVED
from ..pipeline_ssgpa import FiniteLogitsCheck, caption_penalty, gives_evidence
from ..utils.pair_ids import by_id


@contextmanager
def evaluation_mode(model: torch.nn.Module) -> Iterator[None]:
    """Puts a model in evaluation mode under `inference_mode`, and each of its modules back as it was.

    Args:
        model (`torch.nn.Module`): Any module; parts of it may be in evaluation mode already, and stay there.

    Yields:
        Nothing.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module, training in modes:
            module.training = training


def caption_pairs(
    model: Any,
    processor: Any,
    pairs: Iterable[tuple[Any, Any]],
    batch_size: int = 16,
    device: torch.device | str | None = None,
    progress: bool = False,
    pair_ids: Sequence[str] | None = None,
    retrieved: Sequence[Sequence[str]] | None = None,
    **generate_kwargs: Any,
) -> list[str]:
    """Captions pairs of images with any system that follows the calls of this library.

    Args:
        model (`Any`): A model with `generate`; left in the mode it was in.
        processor (`Any`): Its processor, called as `processor(images=[[before, after], ...], return_tensors="pt")`.
        pairs (`Iterable[tuple[Any, Any]]`): (before, after) images, taken in batches, so that an iterator need not fit
            in memory.
        batch_size (`int`, *optional*, defaults to `16`): Pairs in one call of `generate`.
        device (`torch.device` or `str`, *optional*): Where the inputs go; by default the model's own device.
        progress (`bool`, *optional*, defaults to `False`): Show a progress bar.
        pair_ids (`Sequence[str]`, *optional*): Names of the pairs for errors; by default their positions.
        retrieved (`Sequence[Sequence[str]]`, *optional*): Captions that were retrieved for each pair, for systems that
            read such.
        **generate_kwargs (`Any`, *optional*): For `generate`, for example `num_beams=5, max_new_tokens=40`. A
            `repetition_penalty`, here or in the model's generation settings, counts the caption's own tokens, not
            those of the prompt.

    Returns:
        `list[str]`: One caption a pair, in the order of the pairs.

    Raises:
        ValueError: If `batch_size` is below 1, or the system gives another number of captions than pairs.
        FloatingPointError: If scores are not finite; the error names the pairs.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
    own_checks = generate_kwargs.pop("logits_processor", None) or []
    captions: list[str] = []
    source = iter(pairs)
    with tqdm(total=len(pairs) if hasattr(pairs, "__len__") else None, disable=not progress, unit="pair") as bar:
        while batch := list(islice(source, batch_size)):
            indices = range(len(captions), len(captions) + len(batch))
            names = [str(pair_ids[index]) if pair_ids else f"pair {index}" for index in indices]
            told = {} if retrieved is None else {RETRIEVED: [retrieved[index] for index in indices]}
            inputs = processor(images=[list(pair) for pair in batch], return_tensors="pt", **told)
            options = dict(generate_kwargs)
            penalty = caption_penalty(model, options, inputs.get("input_ids"))
            checks = LogitsProcessorList([*penalty, *own_checks, FiniteLogitsCheck(names)])
            inputs = inputs.to(device or model.device, dtype=model.dtype)
            with evaluation_mode(model):
                ids = model.generate(**inputs, **options, logits_processor=checks)
            texts = processor.post_process_captions(ids, inputs)
            if len(texts) != len(batch):
                raise ValueError(f"{len(texts)} captions came for {len(batch)} pairs; set num_return_sequences to 1.")
            captions += texts
            bar.update(len(batch))
    return captions


def caption_rows(
    model: Any,
    processor: Any,
    dataset: Any,
    batch_size: int = 16,
    progress: bool = False,
    done: Mapping[str, str] | None = None,
    on_batch: Callable[[dict[str, str]], None] | None = None,
    **generate_kwargs: Any,
) -> dict[str, str]:
    """Captions the rows of a split that have no caption yet.

    Args:
        model (`Any`): A model with `generate`.
        processor (`Any`): Its processor.
        dataset (`Any`): A `datasets.Dataset` with `pair_id`, `before` and `after`, and `retrieved` for systems that
            read retrieved captions; images are decoded a batch at a time.
        batch_size (`int`, *optional*, defaults to `16`): Pairs in one call of `generate`.
        progress (`bool`, *optional*, defaults to `False`): Show a progress bar.
        done (`Mapping[str, str]`, *optional*): Captions by pair id that are there already.
        on_batch (`Callable[[dict[str, str]], None]`, *optional*): Called after every batch with its captions by pair
            id, for example to write them down.
        **generate_kwargs (`Any`, *optional*): For `generate`.

    Returns:
        `dict[str, str]`: One caption a row, by pair id, in the order of the rows.

    Raises:
        ValueError: If a pair id comes twice, an image cannot be decoded, or as for `caption_pairs`.
        FloatingPointError: If scores are not finite; the error names the pairs.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
    names = dataset["pair_id"][:]
    # The decoder of `datasets` knows nothing of value ranges, and its errors name no pair.
    decodes = hasattr(processor, "load_image")
    files = undecoded(dataset) if decodes else dataset
    by_id(zip(names, names, strict=True), "rows")
    captions = {name: done[name] for name in names if name in done} if done else {}
    open_rows = [index for index, name in enumerate(names) if name not in captions]
    with tqdm(total=len(names), initial=len(captions), disable=not progress, unit="pair") as bar:
        for start in range(0, len(open_rows), batch_size):
            rows = files.select(open_rows[start : start + batch_size])
            ids = rows["pair_id"][:]
            pairs = (load_pair(row, processor) if decodes else (row["before"], row["after"]) for row in rows)
            retrieved = rows[RETRIEVED][:] if RETRIEVED in rows.column_names else None
            texts = caption_pairs(
                model, processor, pairs, batch_size, pair_ids=ids, retrieved=retrieved, **generate_kwargs
            )
            batch = dict(zip(ids, texts, strict=True))
            captions |= batch
            if on_batch:
                on_batch(batch)
            bar.update(len(batch))
    return {name: captions[name] for name in names}


def change_maps(
    model: Any, processor: Any, pairs: Iterable[tuple[Any, Any]], batch_size: int = 16
) -> list[Any] | None:
    """Asks a system where its evidence lies.

    Args:
        model (`Any`): A model; one whose `forward` knows `output_evidence` has such evidence.
        processor (`Any`): Its processor.
        pairs (`Iterable[tuple[Any, Any]]`): (before, after) images.
        batch_size (`int`, *optional*, defaults to `16`): Pairs in one call.

    Returns:
        `list[Any]`: A float32 array (2, rows, columns) in 0..1 a pair, on before and on after; None if the system has
        no evidence.
    """
    if not gives_evidence(model):
        return None
    maps: list[Any] = []
    source = iter(pairs)
    while batch := list(islice(source, batch_size)):
        inputs = processor(images=[list(pair) for pair in batch], return_tensors="pt")
        pixels = inputs["pixel_values"].to(model.device, dtype=model.dtype)
        with evaluation_mode(model):
            features = model.get_image_features(pixels, return_dict=True)
        maps += list(features.evidence.change_map.float().cpu().numpy())
    return maps
