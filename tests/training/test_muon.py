# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Muon beside AdamW, against both optimizers of torch on their own."""

import copy
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from ssgpa.training.muon import matrices_of, with_muon

from ..scripts import load_script
from ..tiny_systems import TINY_SYSTEMS, tiny_ssgpa


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(20, 16)
        self.conv = nn.Conv2d(3, 16, 3)
        self.hidden = nn.Linear(16, 32)
        self.narrow = nn.Linear(32, 2)
        self.head = nn.Linear(32, 20, bias=False)

    def get_output_embeddings(self):
        return self.head

    def forward(self, ids, images):
        hidden = self.hidden(self.words(ids) + self.conv(images).mean((2, 3)))
        return self.head(hidden).square().mean() + self.narrow(hidden).square().mean()


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net()


def take_steps(net, optimizer, steps=4):
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        ids = torch.randint(20, (5,), generator=generator)
        images = torch.randn(5, 3, 8, 8, generator=generator)
        optimizer.zero_grad()
        net(ids, images).backward()
        optimizer.step()


def test_matrices_are_weights_of_hidden_layers(net):
    names = {name for name, value in net.named_parameters() if id(value) in matrices_of(net)}
    assert names == {"conv.weight", "hidden.weight"}
    net.hidden.weight.requires_grad_(False)
    assert {id(net.conv.weight)} == matrices_of(net)


@pytest.mark.parametrize("name", list(TINY_SYSTEMS))
def test_no_word_of_a_system_is_a_matrix(name):
    model, _ = TINY_SYSTEMS[name]()
    matrices = matrices_of(model)
    words = [model.get_input_embeddings(), model.get_output_embeddings()]
    assert not matrices & {id(module.weight) for module in words if module is not None}
    assert matrices


def test_each_part_does_what_it_does_alone(net):
    """Muon and AdamW of torch, each with the other's parameters frozen by hand."""
    other = copy.deepcopy(net)
    both = with_muon(torch.optim.AdamW(net.parameters(), lr=0.01, weight_decay=0.1), net, 0.02, 0.01)
    matrices = [other.conv.weight, other.hidden.weight]
    rest = [value for value in other.parameters() if not any(value is matrix for matrix in matrices)]
    adam = torch.optim.AdamW(rest, lr=0.01, weight_decay=0.1)
    flat = [nn.Parameter(value.detach().clone().flatten(1)) for value in matrices]
    muon = torch.optim.Muon(flat, lr=0.02, momentum=0.95, weight_decay=0.01)
    generator = torch.Generator().manual_seed(1)
    for _ in range(4):
        ids, images = torch.randint(20, (5,), generator=generator), torch.randn(5, 3, 8, 8, generator=generator)
        other.zero_grad()
        other(ids, images).backward()
        for value, copied in zip(matrices, flat, strict=True):
            copied.grad = value.grad.flatten(1)
        adam.step()
        muon.step()
        with torch.no_grad():
            for value, copied in zip(matrices, flat, strict=True):
                value.copy_(copied.view_as(value))
    take_steps(net, both)
    for value, expected in zip(net.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(value, expected, atol=0, rtol=0)


def test_a_schedule_acts_on_both(net):
    both = with_muon(torch.optim.AdamW(net.parameters(), lr=0.01), net, 0.02, 0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(both, lambda step: 0.5**step)
    take_steps(net, both, 1)
    schedule.step()
    assert sorted(group["lr"] for part in both.parts for group in part.param_groups) == [0.005, 0.01]


def test_a_run_goes_on_from_its_state(net):
    whole, resumed = net, copy.deepcopy(net)
    first = with_muon(torch.optim.AdamW(whole.parameters(), lr=0.01), whole, 0.02, 0.01)
    take_steps(whole, first, 2)
    state, weights = copy.deepcopy(first.state_dict()), copy.deepcopy(whole.state_dict())
    take_steps(whole, first, 2)
    resumed.load_state_dict(weights)
    second = with_muon(torch.optim.AdamW(resumed.parameters(), lr=0.01), resumed, 0.02, 0.01)
    second.load_state_dict(state)
    take_steps(resumed, second, 2)
    for value, expected in zip(resumed.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(value, expected, atol=0, rtol=0)
    with pytest.raises(ValueError, match="another run"):
        second.load_state_dict(torch.optim.AdamW(net.parameters()).state_dict())


def test_gradients_are_forgotten(net):
    both = with_muon(torch.optim.AdamW(net.parameters(), lr=0.01), net, 0.02, 0.01)
    take_steps(net, both, 1)
    both.zero_grad()
    assert all(value.grad is None for value in net.parameters())


def test_what_does_not_go_together_is_told(net):
    with pytest.raises(ValueError, match="SGD"):
        with_muon(torch.optim.SGD(net.parameters(), lr=0.1), net, 0.02, 0.1)
    with pytest.raises(ValueError, match="must be positive"):
        with_muon(torch.optim.AdamW(net.parameters()), net, 0.0, 0.1)
    net.requires_grad_(False)
    net.words.weight.requires_grad_(True)
    with pytest.raises(ValueError, match="no matrices"):
        with_muon(torch.optim.AdamW([net.words.weight]), net, 0.02, 0.1)


def test_every_parameter_is_trained_once():
    model, _ = tiny_ssgpa()
    both = with_muon(torch.optim.AdamW(model.parameters(), lr=0.01), model, 0.02, 0.01)
    trained = {id(value) for group in both.parts[0].param_groups for value in group["params"]}
    trained |= {id(value) for value, _ in both.pairs}
    assert trained == {id(value) for value in model.parameters()}


def test_a_resumed_run_ends_where_a_whole_one_does(prepared_dir, model_config, tmp_path):
    train = load_script("train")
    path = tmp_path / "run.yaml"
    settings = {
        "model_config": str(model_config),
        "image_size": [32, 48],
        "data_dir": str(prepared_dir),
        "per_device_train_batch_size": 4,
        "muon_learning_rate": 0.02,
        "learning_rate_factors": {"vision_tower": 0.5},
        "max_steps": 4,
        "save_steps": 2,
        "logging_steps": 1,
        "eval_strategy": "no",
        "use_cpu": True,
        "report_to": "none",
        "seed": 3,
    }
    path.write_text(json.dumps(settings), encoding="utf-8")
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    assert train.main([str(path), "--output_dir", str(whole)]) == 0
    shutil.copytree(whole / "checkpoint-2", parted / "checkpoint-2")
    assert train.main([str(path), "--output_dir", str(parted), "--resume_from_checkpoint", "true"]) == 0
    expected, found = (load_file(folder / "best" / "model.safetensors") for folder in (whole, parted))
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=0, rtol=0, msg=name)
    start = load_file(whole / "checkpoint-2" / "model.safetensors")
    assert any(not torch.equal(start[name], value) for name, value in expected.items())
