# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Tiny models of both stages, clips and captions."""

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ssgpa.baselines.procap import ProCapConfig


CLOSE = {"atol": 1e-5, "rtol": 1e-5}
SIZES = {
    "vision_config": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4},
    "vq_config": {
        "embed_dim": 16,
        "num_embeddings": 32,
        "latent_channels": 16,
        "resolution": 32,
        "base_channels": 32,
        "channel_multiplier": [1, 1, 1, 1],
        "num_res_blocks": 1,
    },
    "text_length": 8,
    "vocab_size": 50,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
# As the configuration's defaults.
START, END = 4, 5


def tiny_config(**fields: object) -> ProCapConfig:
    """Sizes of the tiny models: 4 x 4 patches, 64 in a clip."""
    return ProCapConfig(**SIZES | fields)


def tiny(model_class: type[PreTrainedModel], **fields: object) -> PreTrainedModel:
    """A model with the same random weights at every call, in evaluation mode."""
    torch.manual_seed(0)
    return model_class(tiny_config(**fields)).eval()


def clips(batch: int = 4) -> Tensor:
    """Frames in [-1, 1], (batch, 4, 3, 32, 32)."""
    return 2 * torch.rand(batch, 4, 3, 32, 32, generator=torch.Generator().manual_seed(1)) - 1


def captions(batch: int = 4) -> tuple[Tensor, Tensor]:
    """Ids of captions of 5, 4, ... words, padded on the right with 0, and their mask."""
    ids = torch.zeros(batch, 7, dtype=torch.long)
    for row in range(batch):
        words = max(5 - row, 1)
        ids[row, : words + 2] = torch.tensor([START, *range(10 + row, 10 + row + words), END])
    return ids, (ids != 0).long()
