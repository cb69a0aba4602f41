# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Training-only hints: their losses, and that they stay out of the model."""

import math

import pytest
import torch

from ssgpa.training.arguments import ChangeCaptioningArguments
from ssgpa.training.collator import PairCollator
from ssgpa.training.hints import ATTRIBUTE_BITS, CHANGE_TYPES, CHANGED_WEIGHT, CellHints, hints_of
from ssgpa.training.pairs import CHANGE_UNKNOWN, PairDataset


ALL = {"attributes": 1.0, "changed": 1.0, "type": 1.0}
CHANGED = 1 << 15


def log_loss(logit, target):
    """Cross-entropy of one logit by its definition."""
    probability = 1 / (1 + math.exp(-logit))
    return -math.log(probability if target else 1 - probability)


@pytest.fixture
def hints():
    """Heads that answer a constant: zero weights, small biases."""
    heads = CellHints(4, dict(ALL))
    for layer in (heads.attributes, heads.changed, heads.change_type):
        torch.nn.init.zeros_(layer.weight)
    torch.nn.init.constant_(heads.attributes.bias, 0.5)
    torch.nn.init.constant_(heads.changed.bias, -1.0)
    heads.change_type.bias.data = torch.arange(6.0)
    heads._features = {"tower": torch.randn(1, 2, 3, 4), "aligned": torch.randn(1, 2, 3, 4)}
    return heads


def test_attribute_loss_sums_the_bits_of_a_cell(hints):
    cells = torch.tensor([[[0b101, 0], [CHANGED | 1, 0b11]]])
    ones = 2 + 0 + 1 + 2
    wanted = (ones * log_loss(0.5, True) + (4 * ATTRIBUTE_BITS - ones) * log_loss(0.5, False)) / 4
    assert hints.losses(cells, ["move"])["hint_attributes"].item() == pytest.approx(wanted, rel=1e-5)


def test_changed_loss_skips_cells_of_which_nothing_is_known(hints):
    cells = torch.tensor([[[CHANGED, 0], [CHANGE_UNKNOWN | CHANGED, CHANGE_UNKNOWN]]])
    wanted = (CHANGED_WEIGHT * log_loss(-1.0, True) + log_loss(-1.0, False)) / 2
    assert hints.losses(cells, ["move"])["hint_changed"].item() == pytest.approx(wanted, rel=1e-5)
    unknown = cells | CHANGE_UNKNOWN
    assert hints.losses(unknown, ["move"])["hint_changed"].item() == 0


@pytest.mark.parametrize("change_type", CHANGE_TYPES)
def test_type_loss_is_the_cross_entropy(hints, change_type):
    index = CHANGE_TYPES.index(change_type)
    wanted = math.log(sum(math.exp(value) for value in range(6))) - index
    losses = hints.losses(torch.zeros(1, 2, 2, dtype=torch.long), [change_type])
    assert losses["hint_type"].item() == pytest.approx(wanted, rel=1e-5)


def test_weights_and_scale_multiply(hints):
    cells = torch.zeros(1, 2, 2, dtype=torch.long)
    plain = hints.losses(cells, ["add"])
    hints.weights, hints.scale = {"attributes": 0.5, "changed": 0.0, "type": 2.0}, 0.25
    scaled = hints.losses(cells, ["add"])
    assert set(scaled) == {"hint_attributes", "hint_type"}
    assert scaled["hint_attributes"].item() == pytest.approx(plain["hint_attributes"].item() / 8)
    assert scaled["hint_type"].item() == pytest.approx(plain["hint_type"].item() / 2)


def test_wrong_grid_and_unknown_type_are_named(hints):
    with pytest.raises(ValueError, match="hint_grid"):
        hints.losses(torch.zeros(1, 2, 5, dtype=torch.long), ["add"])
    with pytest.raises(ValueError, match="melted"):
        hints.losses(torch.zeros(1, 2, 2, dtype=torch.long), ["melted"])


def options(**weights):
    return ChangeCaptioningArguments(output_dir="unused", use_cpu=True, **weights)


def test_hints_are_off_by_default_and_need_their_columns(make_system, splits):
    model, _ = make_system()
    columns = splits["train"].column_names
    assert hints_of(model, options(), columns) is None
    assert hints_of(model, options(hint_type=0.1), columns).weights["type"] == 0.1
    with pytest.raises(ValueError, match="hint_grid"):
        hints_of(model, options(hint_type=0.1), [name for name in columns if not name.endswith("_cells")])
    del model.model.alignment
    with pytest.raises(ValueError, match="lacks one"):
        hints_of(model, options(hint_type=0.1), columns)


@pytest.fixture
def attached(make_system, splits):
    model, processor = make_system()
    heads = hints_of(model, options(hint_attributes=0.3, hint_changed=0.5, hint_type=0.3), ["before_cells"])
    heads.attach(model)
    batch = PairCollator(processor, visual_hints=True)([PairDataset(splits["train"], processor)[0]])
    return model, heads, batch


def test_gradients_reach_the_vision_tower_through_the_hints(attached):
    model, _, batch = attached
    del batch["pair_ids"]
    output = model.train()(**batch)
    losses = {name: output.loss_parts.pop(name) for name in ("hint_attributes", "hint_changed", "hint_type")}
    torch.testing.assert_close(output.loss, sum(output.loss_parts.values()))  # the model's own loss has no hints
    assert all(loss.item() > 0 for loss in losses.values())
    sum(losses.values()).backward()
    assert model.model.vision_tower.part_projection.weight.grad.abs().sum() > 0
    assert model.model.alignment.evidence_mlp.fc2.weight.grad.abs().sum() > 0
    assert model.model.language_model.embed_tokens.weight.grad is None


def test_without_cells_there_are_no_hints(attached):
    model, _, batch = attached
    whole = {name: value for name, value in batch.items() if name not in ("pair_ids", "cells", "change_types")}
    del batch["pair_ids"]
    model.train()(**batch)
    assert not [name for name in model(**whole).loss_parts if name.startswith("hint_")]


def test_saved_model_holds_no_hints(attached, tmp_path):
    from safetensors.torch import load_file

    model, heads, _ = attached
    model.save_pretrained(tmp_path)
    assert not [name for name in load_file(tmp_path / "model.safetensors") if "hint" in name]
    _, info = type(model).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    with pytest.raises(FileNotFoundError, match="without hints"):
        heads.load(tmp_path)


@pytest.mark.parametrize("gathered", [False, True])
def test_heads_come_back_from_a_checkpoint(attached, tmp_path, gathered):
    model, heads, _ = attached
    heads.save(tmp_path, model.state_dict() if gathered else None)
    wanted = {name: value.clone() for name, value in heads.state_dict().items()}
    for parameter in heads.parameters():
        torch.nn.init.normal_(parameter)
    heads.load(tmp_path)
    assert all(torch.equal(value, wanted[name]) for name, value in heads.state_dict().items())
