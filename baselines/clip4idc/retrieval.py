# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""How captions and pairs find each other, and how well: recall among all of a split."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ...data.decoding import load_pair, undecoded


RANKS = (1, 5, 10)


def embed_texts(model: Any, processor: Any, texts: list[str], batch_size: int) -> Tensor:
    """Embed captions as the retrieval model reads them.

    Args:
        model (`CLIP4IDCForPairTextRetrieval`): In evaluation mode.
        processor (`SSGPAProcessor`): Its tokenizer puts start and end around them.
        texts (`list[str]`): The captions, 1 at least.
        batch_size (`int`): How many at once.

    Returns:
        `torch.Tensor` of shape `(texts, projection_dim)`: Not normalized.
    """
    found = []
    prompt = processor.prompt_ids()
    for start in range(0, len(texts), batch_size):
        rows = [torch.tensor([*prompt, *ids]) for ids in processor.caption_ids(texts[start : start + batch_size])]
        mask = pad_sequence([torch.ones_like(ids) for ids in rows], batch_first=True)
        ids = pad_sequence(rows, batch_first=True, padding_value=processor.tokenizer.pad_token_id)
        inputs = {"input_ids": ids.to(model.device), "attention_mask": mask.to(model.device)}
        found.append(model.get_text_features(**inputs, return_dict=True).pooler_output)
    return torch.cat(found)


def recalls(similarity: Tensor, owners: Tensor) -> dict[str, float]:
    """Recall both ways.

    A caption ranks all pairs. A pair ranks the caption sets of all pairs, each by its most similar caption. Of equally
    similar candidates the wanted one comes last, so that a model that tells nothing apart has no recall.

    Args:
        similarity (`torch.Tensor` of shape `(texts, pairs)`): The larger, the more alike.
        owners (`torch.Tensor` of shape `(texts,)`): The pair of each caption; every pair has one at least.

    Returns:
        `dict[str, float]`: `text_to_pair_r1`, ..., `pair_to_text_r10`, in percent.

    Raises:
        ValueError: A pair has no caption.
    """
    pairs = similarity.shape[1]
    if len(owners.unique()) != pairs:
        raise ValueError("Every pair needs a caption to be found by.")
    sets = similarity.new_full((pairs, pairs), -torch.inf)
    # (sets, pairs): the most similar caption of a set.
    sets = sets.scatter_reduce(0, owners.unsqueeze(1).expand(-1, pairs), similarity, "amax")
    ranks = {
        "text_to_pair": _ranks(similarity, similarity.gather(1, owners.unsqueeze(1))),
        "pair_to_text": _ranks(sets.T, sets.diagonal().unsqueeze(1)),
    }
    return {
        f"{name}_r{rank}": 100 * (found < rank).double().mean().item()
        for name, found in ranks.items()
        for rank in RANKS
    }


def _ranks(scores: Tensor, wanted: Tensor) -> Tensor:
    return (scores >= wanted).sum(1) - 1


def embed_pairs(model: Any, processor: Any, rows: Dataset, batch_size: int) -> Tensor:
    """Embed the pairs of a split.

    Args:
        model (`CLIP4IDCForPairTextRetrieval`): In evaluation mode.
        processor (`SSGPAProcessor`): Reads the images.
        rows (`datasets.Dataset`): A prepared split.
        batch_size (`int`): How many at once.

    Returns:
        `torch.Tensor` of shape `(pairs, projection_dim)`: Not normalized.
    """
    files, found = undecoded(rows), []
    for start in range(0, len(rows), batch_size):
        chosen = files.select(range(start, min(start + batch_size, len(rows))))
        images = [list(load_pair(row, processor)) for row in chosen]
        pixels = processor(images=images, return_tensors="pt")["pixel_values"].to(model.device, model.dtype)
        found.append(model.get_pair_features(pixels, return_dict=True).pooler_output)
    return torch.cat(found)


def retrieve_captions(
    pairs: Tensor, texts: Tensor, scenes: Sequence[str], owners: Sequence[set[str]], count: int, batch_size: int = 256
) -> list[list[int]]:
    """The texts that are most similar to each pair, none of which is told of the pair's own scene alone.

    Args:
        pairs (`torch.Tensor` of shape `(pairs, width)`): Embeddings of pairs, of unit length.
        texts (`torch.Tensor` of shape `(texts, width)`): Embeddings of texts, of unit length.
        scenes (`Sequence[str]`): The scene of each pair.
        owners (`Sequence[set[str]]`): The scenes that each text is told of. One that is told of other scenes too may
            be retrieved, as it would be for a new pair.
        count (`int`): How many of them.
        batch_size (`int`, *optional*, defaults to 256): Pairs that are compared at once.

    Returns:
        `list[list[int]]`: Numbers of texts for each pair, the most similar first; fewer where there are not so many.
    """
    own: dict[str, list[int]] = defaultdict(list)
    for number, told in enumerate(owners):
        if len(told) == 1:
            own[next(iter(told))].append(number)
    found = []
    for start in range(0, len(pairs), batch_size):
        similarity = pairs[start : start + batch_size] @ texts.T
        for row, scene in zip(similarity, scenes[start : start + batch_size], strict=True):
            row[own.get(scene, [])] = -torch.inf
        values, numbers = similarity.topk(min(count, len(texts)), dim=1)
        kept = values > -torch.inf
        found += [line[keep].tolist() for line, keep in zip(numbers, kept, strict=True)]
    return found


__all__ = ["embed_pairs", "embed_texts", "recalls", "retrieve_captions"]
