# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Training-only heads: their losses, and that they stay out of the model."""

import math

import numpy as np
import pytest
import torch

from ssgpa.baselines.procap import ProCapForImageReconstruction
from ssgpa.training.arguments import ChangeCaptioningArguments
from ssgpa.training.auxiliary import ATTRIBUTE_BITS, CHANGE_TYPES, CHANGED_WEIGHT, AuxiliaryHeads, auxiliary_heads_of
from ssgpa.training.collator import PairCollator, stack_objects
from ssgpa.training.dataset import CHANGE_UNKNOWN, PairDataset

from ..tiny_systems import TINY_SYSTEMS


ALL = {"attributes": 1.0, "counterpart": 1.0, "changed": 1.0, "type": 1.0}
CHANGED = 1 << 15


def log_loss(logit, target):
    """Cross-entropy of one logit by its definition."""
    probability = 1 / (1 + math.exp(-logit))
    return -math.log(probability if target else 1 - probability)


@pytest.fixture
def heads():
    """Heads that answer a constant: zero weights, small biases."""
    heads = AuxiliaryHeads(4, dict(ALL))
    for layer in (heads.attributes, heads.changed, heads.change_type):
        torch.nn.init.zeros_(layer.weight)
    torch.nn.init.constant_(heads.attributes.bias, 0.5)
    torch.nn.init.constant_(heads.changed.bias, -1.0)
    heads.change_type.bias.data = torch.arange(6.0)
    heads._features = {"tower": torch.randn(1, 2, 3, 4), "compared": torch.randn(1, 2, 3, 4)}
    return heads


def test_attribute_loss_sums_the_bits_of_a_cell(heads):
    cells = torch.tensor([[[0b101, 0], [CHANGED | 1, 0b11]]])
    ones = 2 + 0 + 1 + 2
    wanted = (ones * log_loss(0.5, True) + (4 * ATTRIBUTE_BITS - ones) * log_loss(0.5, False)) / 4
    assert heads.losses(cells, ["move"])["aux_attributes"].item() == pytest.approx(wanted, rel=1e-5)


def test_counterpart_loss_is_of_the_same_cell_of_the_other_image(heads):
    heads = AuxiliaryHeads(4, {"counterpart": 1.0})
    torch.nn.init.zeros_(heads.counterpart.weight)
    compared = torch.zeros(1, 2, 3, 4)
    # One cell of the image before says that it is sure of its first bit.
    compared[0, 0, 2, 0] = 1.0
    heads.counterpart.weight.data[0, 0] = 9.0
    torch.nn.init.constant_(heads.counterpart.bias, -9.0)
    heads.counterpart.bias.data[0] = -4.0
    heads._features = {"tower": torch.randn(1, 2, 3, 4), "compared": compared}
    found = {
        name: heads.losses(torch.tensor(cells), ["move"])["aux_counterpart"].item()
        for name, cells in {
            "after": [[[0, 0], [0, 1]]],
            "before": [[[0, 1], [0, 0]]],
            "elsewhere": [[[0, 0], [1, 0]]],
        }.items()
    }
    right = (log_loss(5.0, True) + 3 * log_loss(-4.0, False) + 4 * (ATTRIBUTE_BITS - 1) * log_loss(-9.0, False)) / 4
    assert found["after"] == pytest.approx(right, rel=1e-3)
    assert min(found["before"], found["elsewhere"]) > found["after"] + 2


def test_changed_loss_skips_cells_of_which_nothing_is_known(heads):
    cells = torch.tensor([[[CHANGED, 0], [CHANGE_UNKNOWN | CHANGED, CHANGE_UNKNOWN]]])
    wanted = (CHANGED_WEIGHT * log_loss(-1.0, True) + log_loss(-1.0, False)) / 2
    assert heads.losses(cells, ["move"])["aux_changed"].item() == pytest.approx(wanted, rel=1e-5)
    unknown = cells | CHANGE_UNKNOWN
    assert heads.losses(unknown, ["move"])["aux_changed"].item() == 0


def test_object_loss_is_the_cross_entropy_of_the_mean_of_an_objects_cells(heads):
    heads = AuxiliaryHeads(4, {"objects": 2.0})
    tower = torch.randn(1, 2, 1 + 2, 4)
    heads._features = {"tower": tower}
    # Of the first image a large red metal cube in both cells; of the second one a small cyan rubber sphere in one.
    bits = [1 << 0 | 1 << 4 | 1 << 12 | 1 << 13, 1 << 1 | 1 << 9 | 1 << 11 | 1 << 14]
    images = [np.array([bits[0], 30, 10]), np.array([bits[1], 0, 7])]
    cells = torch.zeros(1, 2, 2, dtype=torch.long)
    found = heads.losses(cells, ["move"], stack_objects(images, cells))["aux_objects"]
    scores = [heads.attributes(0.75 * tower[0, 0, 1] + 0.25 * tower[0, 0, 2]), heads.attributes(tower[0, 1, 2])]
    wanted = 0.0
    for row, chosen in zip(scores, ((0, 4, 12, 13), (1, 9, 11, 14)), strict=True):
        for (start, stop), place in zip(((0, 3), (3, 11), (11, 13), (13, 15)), chosen, strict=True):
            wanted += (row[start:stop].logsumexp(0) - row[place]).item()
    assert found.item() == pytest.approx(2.0 * wanted / 2, rel=1e-5)


def test_objects_need_data_that_has_them(make_system, splits):
    model, _ = make_system()
    columns = splits["train"].column_names
    assert auxiliary_heads_of(model, options(aux_objects=1.0), columns).weights["objects"] == 1.0
    with pytest.raises(ValueError, match="prepared anew"):
        auxiliary_heads_of(model, options(aux_objects=1.0), ["before_cells", "after_cells"])


def test_a_stage_goes_on_with_the_heads_of_the_one_before(make_system, splits, tmp_path):
    model, _ = make_system()
    columns = splits["train"].column_names
    first = auxiliary_heads_of(model, options(aux_objects=1.0, aux_attributes=0.3), columns)
    first.save(tmp_path)
    second = auxiliary_heads_of(model, options(aux_objects=0.5, aux_type=0.3), columns, str(tmp_path))
    assert torch.equal(second.attributes.weight, first.attributes.weight)
    assert second.change_type.out_features == len(CHANGE_TYPES)
    # A saved model alone has none.
    third = auxiliary_heads_of(model, options(aux_objects=1.0), columns, str(tmp_path / "best"))
    assert not torch.equal(third.attributes.weight, first.attributes.weight)


def test_objects_come_with_every_batch_and_train_the_tower(make_system, splits):
    model, processor = make_system()
    heads = auxiliary_heads_of(model, options(aux_objects=1.0), splits["train"].column_names)
    heads.attach(model)
    dataset = PairDataset(splits["train"], processor, distractor_swap=True)
    batch = PairCollator(processor, aux_targets=True)([dataset[0], dataset[1]])
    del batch["pair_ids"]
    assert set(batch["objects"]["image"].tolist()) == {0, 1, 2, 3}
    torch.testing.assert_close(batch["objects"]["shares"].sum(-1), torch.ones(len(batch["objects"]["bits"])))
    model.train()(**batch).loss_parts["aux_objects"].backward()
    assert model.model.vision_tower.patch_projection.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("change_type", CHANGE_TYPES)
def test_type_loss_is_the_cross_entropy(heads, change_type):
    index = CHANGE_TYPES.index(change_type)
    wanted = math.log(sum(math.exp(value) for value in range(6))) - index
    losses = heads.losses(torch.zeros(1, 2, 2, dtype=torch.long), [change_type])
    assert losses["aux_type"].item() == pytest.approx(wanted, rel=1e-5)


def test_weights_and_scale_multiply(heads):
    cells = torch.zeros(1, 2, 2, dtype=torch.long)
    plain = heads.losses(cells, ["add"])
    heads.weights, heads.scale = {"attributes": 0.5, "changed": 0.0, "type": 2.0}, 0.25
    scaled = heads.losses(cells, ["add"])
    assert set(scaled) == {"aux_attributes", "aux_type"}
    assert scaled["aux_attributes"].item() == pytest.approx(plain["aux_attributes"].item() / 8)
    assert scaled["aux_type"].item() == pytest.approx(plain["aux_type"].item() / 2)


def test_wrong_grid_and_unknown_type_are_named(heads):
    with pytest.raises(ValueError, match="aux_grid"):
        heads.losses(torch.zeros(1, 2, 5, dtype=torch.long), ["add"])
    with pytest.raises(ValueError, match="melted"):
        heads.losses(torch.zeros(1, 2, 2, dtype=torch.long), ["melted"])


def options(**weights):
    return ChangeCaptioningArguments(output_dir="unused", use_cpu=True, **weights)


def test_aux_heads_are_off_by_default_and_need_their_columns(make_system, splits):
    model, _ = make_system()
    columns = splits["train"].column_names
    assert auxiliary_heads_of(model, options(), columns) is None
    assert auxiliary_heads_of(model, options(aux_type=0.1), columns).weights["type"] == 0.1
    with pytest.raises(ValueError, match="aux_grid"):
        auxiliary_heads_of(model, options(aux_type=0.1), [name for name in columns if not name.endswith("_cells")])
    without_alignment, _ = TINY_SYSTEMS["toy_cross_attending"]()
    with pytest.raises(ValueError, match="lacks them"):
        auxiliary_heads_of(without_alignment, options(aux_type=0.1), columns)


@pytest.fixture
def attached(make_system, splits):
    model, processor = make_system()
    heads = auxiliary_heads_of(model, options(aux_attributes=0.3, aux_changed=0.5, aux_type=0.3), ["before_cells"])
    heads.attach(model)
    batch = PairCollator(processor, aux_targets=True)([PairDataset(splits["train"], processor)[0]])
    return model, heads, batch


def test_gradients_reach_the_vision_tower_through_the_aux_heads(attached):
    model, _, batch = attached
    del batch["pair_ids"]
    output = model.train()(**batch)
    losses = {name: output.loss_parts.pop(name) for name in ("aux_attributes", "aux_changed", "aux_type")}
    torch.testing.assert_close(output.loss, sum(output.loss_parts.values()))
    assert all(loss.item() > 0 for loss in losses.values())
    sum(losses.values()).backward()
    assert model.model.vision_tower.patch_projection.weight.grad.abs().sum() > 0
    assert model.model.alignment.evidence_mlp.fc2.weight.grad.abs().sum() > 0
    assert model.model.language_model.embed_tokens.weight.grad is None


def test_without_cells_there_are_no_aux_heads(attached):
    model, _, batch = attached
    whole = {name: value for name, value in batch.items() if name not in ("pair_ids", "cells", "change_types")}
    del batch["pair_ids"]
    model.train()(**batch)
    assert not [name for name in model(**whole).loss_parts if name.startswith("aux_")]


def test_saved_model_holds_no_aux_heads(attached, tmp_path):
    from safetensors.torch import load_file

    model, heads, _ = attached
    model.save_pretrained(tmp_path)
    assert not [name for name in load_file(tmp_path / "model.safetensors") if "auxiliary" in name]
    _, info = type(model).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    with pytest.raises(FileNotFoundError, match="without auxiliary heads"):
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


# Where no gradient reaches the pixels, or convolutions spread it over them, what the tower made of them.
READS_FEATURES = ("procap", "scorer")
SYSTEMS_WITH_PATCHES = [name for name in TINY_SYSTEMS if TINY_SYSTEMS[name]()[0].get_auxiliary_features()]


def influence(source, patches):
    """By how much each cell of each image decides the last patch of the image after: (2, patches)."""
    (gradient,) = torch.autograd.grad(patches[0, 1, -1].square().sum(), source, retain_graph=True)
    gradient = gradient.abs()
    if gradient.dim() == 4 and gradient.shape[1] == 2:
        return gradient[0].sum(-1)
    if gradient.dim() == 4:
        gradient = gradient.unflatten(2, (2, -1)).transpose(1, 2)
    height, width = gradient.shape[3:]
    rows = round((patches.shape[2] * height / width) ** 0.5)
    pooled = torch.nn.functional.adaptive_avg_pool2d(gradient[0].sum(1), (rows, patches.shape[2] // rows))
    return pooled.flatten(1)


@pytest.mark.parametrize("name", SYSTEMS_WITH_PATCHES)
def test_heads_read_each_patch_of_each_image_where_it_is(name, splits):
    model, processor = TINY_SYSTEMS[name]()
    features = model.eval().get_auxiliary_features()
    read = {}
    features.tower.register_forward_hook(lambda module, inputs, output: read.update(tower=features.read(output)))
    batch = PairCollator(processor)([PairDataset(splits["train"], processor)[0]])
    del batch["pair_ids"]
    source = batch["pixel_values"] = torch.randn(batch["pixel_values"].shape)
    if name in READS_FEATURES:
        source = model.get_vision_encoder()(batch.pop("pixel_values")).last_hidden_state.detach()
        batch["vision_features"] = source
    source.requires_grad_(True)
    model(**batch)
    states = read["tower"]
    assert states.shape[:2] == (1, 2)
    assert states.shape[3] == features.hidden_size
    patches = states[:, :, features.leading_tokens :]
    found = influence(source, patches)
    assert found.shape == (2, patches.shape[2])
    assert found.argmax().item() == 2 * patches.shape[2] - 1


def test_a_head_without_a_loss_is_not_there(attached, tmp_path):
    _, whole, _ = attached
    heads = AuxiliaryHeads(whole.attributes.in_features, {"attributes": 1.0, "changed": 0.0, "type": 0.0})
    assert {name.partition(".")[0] for name, _ in heads.named_parameters()} == {"attributes"}
    # A checkpoint of an earlier version has all of them.
    whole.save(tmp_path)
    heads.load(tmp_path)
    assert torch.equal(heads.attributes.weight, whole.attributes.weight)
    heads.save(tmp_path)
    with pytest.raises(ValueError, match=r"has no change_type\.bias.*without this head"):
        whole.load(tmp_path)


@pytest.mark.parametrize("name", ["toy_cross_attending", "procap"])
def test_a_model_without_patches_is_refused_before_it_is_changed(name):
    model, _ = TINY_SYSTEMS[name]()
    if name == "procap":
        # Over the captioner's configuration, whose encoder it lacks.
        model = ProCapForImageReconstruction(model.config)
    heads = AuxiliaryHeads(4, {"attributes": 1.0})
    with pytest.raises(ValueError, match=f"{type(model).__name__} lacks them"):
        heads.attach(model)
    assert not model._forward_pre_hooks
    assert not model._forward_hooks


@pytest.mark.parametrize("name", ["counterpart", "changed", "type"])
def test_a_system_whose_language_model_compares_takes_attributes_alone(name):
    model, _ = TINY_SYSTEMS["finer_mllm"]()
    with pytest.raises(ValueError, match="set them to 0"):
        auxiliary_heads_of(model, options(**{"aux_attributes": 0.3, f"aux_{name}": 0.1}), ["before_cells"])
    heads = auxiliary_heads_of(model, options(aux_attributes=0.3), ["before_cells"])
    heads.attach(model)
    assert list(heads.state_dict()) == ["attributes.weight", "attributes.bias"]
