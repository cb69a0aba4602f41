# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""How well the frames between two images go with a pair's captions, by CLIP4IDC's retrieval model."""

import hashlib
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import normalize

from ..clip4idc.retrieval import embed_texts


def frame_similarities(
    model: Any,
    processor: Any,
    images: tuple[np.ndarray, np.ndarray],
    frames: np.ndarray,
    captions: list[str],
    batch_size: int = 32,
) -> np.ndarray:
    """Cosines of a pair's captions with the pairs that each frame makes with its two images.

    Args:
        model (`CLIP4IDCForPairTextRetrieval`): In evaluation mode, as trained on the same data.
        processor (`SSGPAProcessor`): The model's; it resizes frames to what the model reads.
        images (`tuple[np.ndarray, np.ndarray]`): Before and after, (channels, height, width), uint8.
        frames (`np.ndarray` of shape `(frames, channels, height, width)`): Between the two, uint8.
        captions (`list[str]`): Of the pair, 1 at least; similarities are means over them.
        batch_size (`int`): Pairs, and captions, at once.

    Returns:
        `np.ndarray` of shape `(2, frames)`: Of (before, frame), and of (frame, after), float64.
    """
    before, *inner, after = (Image.fromarray(image.transpose(1, 2, 0)) for image in (images[0], *frames, images[1]))
    pairs = [[before, frame] for frame in inner] + [[frame, after] for frame in inner]
    with torch.inference_mode():
        texts = normalize(embed_texts(model, processor, captions, batch_size).double(), dim=-1).mean(0)
        cosines = [
            normalize(_embed(model, processor, pairs[start : start + batch_size]).double(), dim=-1) @ texts
            for start in range(0, len(pairs), batch_size)
        ]
    return torch.cat(cosines).view(2, len(inner)).cpu().numpy()


def _embed(model: Any, processor: Any, pairs: list[list[Image.Image]]) -> Tensor:
    pixels = processor(images=pairs, return_tensors="pt")["pixel_values"].to(model.device, model.dtype)
    return model.get_pair_features(pixels, return_dict=True).pooler_output


def fingerprint_of(model: nn.Module) -> str:
    """What tells a model's weights from those of another, a hash."""
    found = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        found.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        found.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


__all__ = ["fingerprint_of", "frame_similarities"]
