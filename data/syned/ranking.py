# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Similarity of edited images to their instruction and to their original, by CLIP."""

from __future__ import annotations

from typing import Any

import torch
from PIL import Image
from transformers import AutoProcessor, CLIPModel

from .models import check_complete, hub_commit, model_facts, naming, source, torch_dtype
from .settings import RANKINGS, SynedSettings


def load_clip(settings: SynedSettings) -> tuple[Any, dict[str, Any]]:
    """Load CLIP.

    Returns:
        `tuple[Any, dict[str, Any]]`: The model in evaluation mode with its processor, and what their scores depend on.

    Raises:
        ValueError: If it cannot be loaded or lacks weights; the error names it.
    """
    rank = settings.rank
    with naming(rank.model):
        model, info = CLIPModel.from_pretrained(
            rank.model, dtype=torch_dtype(settings), output_loading_info=True, **source(rank)
        )
        check_complete(info)
        processor = AutoProcessor.from_pretrained(rank.model, **source(rank))
        return (model.eval().to(settings.device), processor), model_facts(rank, hub_commit(model))


@torch.inference_mode()
def clip_similarities(
    clip: Any, before: Image.Image, variants: list[Image.Image], instruction: str
) -> dict[str, list[float]]:
    """Cosines of CLIP's embeddings.

    Args:
        clip (`Any`): What `load_clip` gives.
        before (`Image.Image`): The original image.
        variants (`list[Image.Image]`): The edited images.
        instruction (`str`): What was to change; CLIP reads as many of its tokens as it can.

    Returns:
        `dict[str, list[float]]`: "image_text", of variants and instruction, and "image_image", of variants and
        original: one value a variant.

    Raises:
        FloatingPointError: If a value is no number.
    """
    model, processor = clip
    inputs = processor(
        text=[instruction], images=[before, *variants], return_tensors="pt", padding=True, truncation=True
    ).to(model.device, model.dtype)
    output = model(**inputs)
    images, text = output.image_embeds.float(), output.text_embeds.float()
    values = (images[1:] @ text[0], images[1:] @ images[0])
    if not all(value.isfinite().all() for value in values):
        raise FloatingPointError("CLIP's similarities are no numbers; try --dtype float32")
    return {name: value.tolist() for name, value in zip(RANKINGS, values, strict=True)}


def best_first(scores: list[float | None], keep: int | None) -> list[int]:
    """Positions of the scores from the best down, equal ones in their order.

    Args:
        scores (`list[float | None]`): One a variant; None for one that was left out.
        keep (`int`, *optional*): How many to name; None for all.
    """
    there = [number for number, score in enumerate(scores) if score is not None]
    return sorted(there, key=lambda number: -scores[number])[:keep]
