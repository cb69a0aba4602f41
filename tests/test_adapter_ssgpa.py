# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The Change Fusion Adapter: nothing at the start, the same for both images, full attention behind a gate."""

import pytest
import torch
from torch.nn import functional as F

from ssgpa.alignment_ssgpa import ChangeFusionAdapter

from .ssgpa_cases import tiny_model, wake
from .tiny_systems import tiny_ssgpa


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def test_adapter_is_nothing_at_the_start_and_swaps_with_the_images(generator):
    model, _ = tiny_ssgpa()
    adapter = model.model.change_fusion_adapter
    states = torch.randn(2, 2, 17, 32, generator=generator)
    assert torch.equal(adapter(states)[0], states)
    wake(adapter)
    output, gate = adapter(states)
    assert not torch.allclose(output, states, atol=1e-2)
    torch.testing.assert_close(adapter(states.flip(1))[0], output.flip(1), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(adapter(states.flip(1))[1], gate)


def test_adapter_mixes_across_the_images_and_within(generator):
    adapter = tiny_model("instructblip")[0].model.change_fusion_adapter
    states = torch.randn(1, 2, 17, 32, generator=generator)
    for image, place in ((1, 5), (0, 5)):
        touched = states.clone()
        touched[0, image, place] = torch.randn(32, generator=generator)
        difference = (adapter(touched)[0] - adapter(states)[0])[0, 0].abs().amax(-1)
        assert (difference > 1e-6).all()  # full attention: every token of the image before, the global one too


def test_gate_opens_with_the_best_counterpart(generator):
    layer = tiny_ssgpa()[0].model.change_fusion_adapter.layers[0]
    hidden = torch.randn(1, 2, 17, 16, generator=generator)
    hidden[0, 1, 1:5] = hidden[0, 0, 5:9]
    gate = layer.similarity_gate(hidden)
    assert gate.shape == (1, 2, 16)
    mean = hidden[:, :, 1:].mean((1, 2))
    unit = F.normalize(hidden[:, :, 1:] - 0.5 * mean, dim=-1)
    best = (unit[0, 0] @ unit[0, 1].T).amax(1)
    torch.testing.assert_close(gate[0, 0], torch.sigmoid(10 * (best - 0.5)))
    assert gate[0, 0, 4:8].min() > 0.99
    assert gate[0, 1, 0:4].min() > 0.99


def test_a_shut_gate_keeps_the_images_apart_but_for_the_global_tokens(generator):
    layer = tiny_model("instructblip")[0].model.change_fusion_adapter.layers[0]
    layer.gate_threshold.data.fill_(100.0)
    states = torch.randn(1, 2, 17, 32, generator=generator)
    other = states.clone()
    other[:, 1] = torch.randn(1, 17, 32, generator=generator)
    (left, gate), (right, _) = layer(states), layer(other)
    assert gate.max() == 0
    torch.testing.assert_close(left[0, 0, 1:], right[0, 0, 1:])
    assert (left[0, 0, 0] - right[0, 0, 0]).abs().max() > 1e-4


def test_adapter_without_layers_passes_on():
    model, _ = tiny_ssgpa(fusion_layers=0)
    adapter = model.model.change_fusion_adapter
    assert isinstance(adapter, ChangeFusionAdapter)
    states = torch.randn(1, 2, 17, 32)
    output, gate = adapter(states)
    assert output is states
    assert gate is None
