# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Values of tensors on the meta device: those that follow from known ones, and no others."""

import pytest
import torch

from ssgpa.training.memory.known_values import KnownValues


def test_what_follows_from_known_values_is_known():
    real = torch.tensor([[3, 5, 5], [5, 1, 2]])
    ids = real.to("meta")
    with KnownValues({ids: real}) as known:
        mask = ids == 5
        assert mask.sum().item() == 3
        assert ids[0].tolist() == [3, 5, 5]
        assert torch.nonzero(mask).shape == (3, 2)
        counts = torch.tensor([1, 2], device="meta")
        assert torch.repeat_interleave(counts, counts).tolist() == [1, 2, 2]
        assert torch.tensor([ids.max(), 7], device="meta").tolist() == [5, 7]
        states = torch.empty(2, 3, 4, device="meta", requires_grad=True)
        picked = states[mask]
        assert picked.shape == (3, 4)
        picked.sum().backward()
        assert states.grad.shape == states.shape
        assert known.of(states) is None


def test_what_reads_a_weight_has_no_values():
    weight, real = torch.empty(4, device="meta"), torch.tensor([0, 1])
    places = real.to("meta")
    with KnownValues({places: real}), pytest.raises(RuntimeError, match="meta"):
        weight[places].sum().item()
