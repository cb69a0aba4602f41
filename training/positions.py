# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Whether captions can be learned: as text, and within the positions that a language model was made for."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from transformers import PreTrainedConfig


BATCH = 1024


def positions_of(config: PreTrainedConfig) -> int | None:
    """Positions of a model's language model; None where its configuration tells none.

    Args:
        config (`PreTrainedConfig`): The model's.
    """
    found = getattr(config.get_text_config(), "max_position_embeddings", None)
    return found if isinstance(found, int) and found > 0 else None


def check_captions_fit(processor: Any, rows: Iterable[Mapping[str, Any]], positions: int | None) -> None:
    """Refuse, before the first step, captions that training could not learn.

    They are encoded as training does it. Beyond the language model's positions, learned positions have no embedding
    and rotary ones were never trained; the latter give no error.

    Args:
        processor (`SSGPAProcessor`): Its prompt goes before every caption, an end token behind.
        rows (`Iterable[Mapping[str, Any]]`): Records with `pair_id` and `captions`.
        positions (`int`, *optional*): How many there are; None checks no length.

    Raises:
        ValueError: A caption is no text or holds a special token; the error names its pair. Or one is too long; the
            error names the longest one's pair and counts the others.
    """
    prompt = len(processor.prompt_ids())
    long: dict[str, int] = {}
    for batch in _batches((row["pair_id"], text) for row in rows for text in row["captions"]):
        ids = processor.caption_ids([text for _, text in batch], [f"pair {pair!r}" for pair, _ in batch])
        for (pair, _), tokens in zip(batch, ids, strict=True):
            if positions is not None and prompt + len(tokens) > positions:
                # Without the end token.
                long[pair] = max(len(tokens) - 1, long.get(pair, 0))
    if long:
        pair = max(long, key=long.__getitem__)
        more = f"; {len(long) - 1} other pairs have such captions too" if len(long) > 1 else ""
        raise ValueError(
            f"pair {pair!r}: a caption of {long[pair]} tokens does not fit: the language model has {positions} "
            f"positions, of which the prompt and the end token take {prompt + 1}{more}. Shorten these captions "
            "or leave them out."
        )


def check_generation_fits(processor: Any, max_new_tokens: int, positions: int | None) -> None:
    """Refuse captions generated beyond the language model's positions.

    Raises:
        ValueError: The prompt and `max_new_tokens` together are longer than the positions.
    """
    prompt = len(processor.prompt_ids())
    if positions is not None and prompt + max_new_tokens > positions:
        raise ValueError(
            f"`generation_max_new_tokens` {max_new_tokens} does not fit: the language model has {positions} "
            f"positions, of which the prompt takes {prompt}."
        )


def check_batch_fits(batch: Mapping[str, Any], positions: int | None) -> None:
    """Refuse a batch of `PairCollator` that reaches beyond the language model's positions.

    Args:
        batch (`Mapping[str, Any]`): With `position_ids` (batch, width); packed captions restart them, so a batch may
            be wider than the positions and yet fit.
        positions (`int`, *optional*): How many there are; None checks nothing.

    Raises:
        ValueError: It does; the error names its pairs.
    """
    ids = batch.get("position_ids")
    # Most batches are narrow, and need no look at what lies on a GPU.
    if positions is None or not isinstance(ids, torch.Tensor) or ids.shape[-1] <= positions:
        return
    last = ids.amax(dim=-1).tolist()
    names = batch.get("pair_ids") or [f"row {number}" for number in range(len(last))]
    long = [name for name, position in zip(names, last, strict=True) if position >= positions]
    if long:
        raise ValueError(
            f"pairs {long}: prompt and caption take up to {max(last) + 1} tokens, and the language model has "
            f"{positions} positions. Shorten these captions or leave them out."
        )


def _batches(texts: Iterable[tuple[str, str]]) -> Iterable[list[tuple[str, str]]]:
    batch: list[tuple[str, str]] = []
    for item in texts:
        batch.append(item)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


__all__ = ["check_batch_fits", "check_captions_fit", "check_generation_fits", "positions_of"]
