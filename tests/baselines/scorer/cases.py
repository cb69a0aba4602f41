# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Batches for SCORER."""

import torch


def random_batch(config, rows, length=5, labels=False):
    """Pairs of noise with captions of 2 to `length` - 1 words, padded on the right."""
    generator = torch.Generator().manual_seed(rows)
    sizes = torch.arange(rows) % (length - 2) + 3 if labels else torch.full((rows,), length)
    words = torch.randint(5, config.vocab_size, (rows, length), generator=generator)
    mask = (torch.arange(length) < sizes.unsqueeze(1)).long()
    ids = torch.where(mask.bool(), words, config.pad_token_id)
    ids[:, 0] = config.bos_token_id
    batch = {
        "input_ids": ids,
        "attention_mask": mask,
        "pixel_values": torch.randn(rows, 2, 3, 32, 32, generator=generator),
    }
    if labels:
        batch["labels"] = ids.masked_fill(mask == 0, -100)
        batch["labels"][:, 0] = -100
    return batch
