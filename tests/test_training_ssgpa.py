# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The model's losses, and where their gradients go."""

import json

import pytest
import torch
from torch.nn import functional as F

from ssgpa.losses_ssgpa import cycle_loss, global_loss, warp_loss
from ssgpa.warp_ssgpa import warped_pairs

from .ssgpa_cases import LOSSES, NO_LOSSES, freeze, inputs_for, random_pixels, tiny_model


CLOSE = {"atol": 1e-5, "rtol": 1e-5}

# A key's bias shifts all of a query's scores alike, which softmax does not see.
BLIND = "k_proj.bias"


def test_loss_parts_add_up_and_all_but_the_captions_count_in_training_only():
    model, processor = tiny_model("resnet", caption_weight=0.7)
    inputs = inputs_for(processor, captions=True)
    output = model(**inputs)
    assert set(output.loss_parts) == {"caption"}
    logits = output.logits[:, :-1].flatten(0, 1)
    expected = F.cross_entropy(logits, inputs["labels"][:, 1:].flatten(), ignore_index=-100)
    torch.testing.assert_close(output.loss, 0.7 * expected)
    output = model.train()(**inputs)
    assert set(output.loss_parts) == LOSSES
    torch.testing.assert_close(output.loss, sum(output.loss_parts.values()))
    assert all(part > 0 for part in output.loss_parts.values())
    assert model(**{name: value for name, value in inputs.items() if name != "labels"}).loss is None


def losses_by_hand(model, pixels):
    """The auxiliary losses, unweighted, by their functions; the tower is frozen, so that no batch matters."""
    torch.manual_seed(0)
    pairs = warped_pairs(pixels, (4, 4), 0.25)
    features, warped = (model.model.get_image_features(each) for each in (pixels, pairs.pixel_values))
    matched = 1 - features.evidence.unmatched_mass
    return {
        "contrast": model.contrast(features.matching.features, model.model.alignment.plan, None),
        "warp": warp_loss(warped.matching.log_plan, warped.matching.marginals, pairs.targets),
        "cycle": cycle_loss(features.matching.round_trip, matched),
        "global": global_loss(features.matching.projected, matched),
    }


@pytest.mark.parametrize("variant", ["resnet", "instructblip-qformer"])
@pytest.mark.parametrize("name", ["contrast", "warp", "cycle", "global"])
def test_each_loss_has_its_own_weight(variant, name):
    model, processor = tiny_model(variant, **(NO_LOSSES | {f"{name}_weight": 0.3}))
    inputs = inputs_for(processor, captions=True)
    freeze(model).train()
    torch.manual_seed(0)
    parts = model(**inputs).loss_parts
    assert set(parts) == {"caption", name}
    model.config.warp_weight = model.config.cycle_weight = 1.0  # for the evidence alone
    torch.testing.assert_close(parts[name], 0.3 * losses_by_hand(model, inputs["pixel_values"])[name], **CLOSE)


def test_weight_zero_costs_nothing(monkeypatch):
    model, processor = tiny_model("resnet", **NO_LOSSES)
    called = []
    for module in ("losses", "modeling"):
        for name in ("cycle_loss", "global_loss", "warp_loss", "warped_pairs"):
            target = f"ssgpa.{module}_ssgpa.{name}"
            monkeypatch.setattr(target, lambda *_, name=name: called.append(name), raising=False)
    model.contrast.register_forward_hook(lambda *_: called.append("contrast"))
    sizes = []
    model.model.vision_tower.tower.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    state = torch.get_rng_state()
    assert set(model.train()(**inputs_for(processor, captions=True)).loss_parts) == {"caption"}
    assert torch.equal(torch.get_rng_state(), state)
    assert (called, sizes) == ([], [6])
    matching = model.model.get_image_features(random_pixels(1)).matching
    assert set(matching) == {"features", "projected", "marginals"}


def test_captions_of_weight_zero_leave_the_language_model_without_gradients():
    model, processor = tiny_model("resnet", **(NO_LOSSES | {"caption_weight": 0.0, "contrast_weight": 0.5}))
    outputs = model.train()(**inputs_for(processor, captions=True))
    assert outputs.loss_parts["caption"] == 0
    outputs.loss.backward()
    assert all(parameter.grad is None for parameter in model.model.language_model.parameters())
    assert model.model.vision_tower.patch_projection.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(("fraction", "images"), [(0.25, 6 + 2), (0.5, 6 + 4), (1.0, 6 + 6)])
def test_warped_images_go_through_the_tower_with_the_pairs(fraction, images):
    model, processor = tiny_model("resnet", warp_fraction=fraction)
    sizes = []
    model.model.vision_tower.tower.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    output = model.train()(**inputs_for(processor, captions=True), output_evidence=True)
    assert sizes == [images]
    assert output.image_hidden_states.shape[0] == output.evidence.unmatched_mass.shape[0] == 3
    sizes.clear()
    model.eval()(**inputs_for(processor, captions=True))
    assert sizes == [6]


def test_warps_leave_what_is_said_of_the_pairs_as_it_is():
    model, processor = tiny_model("instructblip")
    inputs = inputs_for(processor, captions=True)
    with_warps = model.train()(**inputs, output_evidence=True)
    model.loss_weights["warp"] = 0.0
    without = model(**inputs, output_evidence=True)
    torch.testing.assert_close(with_warps.logits, without.logits, **CLOSE)
    torch.testing.assert_close(with_warps.fusion_gate, without.fusion_gate)
    for name, value in without.evidence.items():
        torch.testing.assert_close(with_warps.evidence[name], value, **CLOSE)
    for name in ("caption", "cycle", "global"):
        torch.testing.assert_close(with_warps.loss_parts[name], without.loss_parts[name], **CLOSE)


def test_the_same_seed_warps_alike():
    model, processor = tiny_model("instructblip")
    inputs = inputs_for(processor, captions=True)
    losses = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        losses.append(model.train()(**inputs).loss_parts["warp"])
    assert torch.equal(losses[0], losses[1])
    assert not torch.equal(losses[0], losses[2])


@pytest.mark.parametrize("given", ["vision_features", "mm_encoder_outputs"])
def test_warp_loss_without_pixels_is_refused(given):
    model, processor = tiny_model("resnet")
    inputs = inputs_for(processor, captions=True)
    pixels = inputs.pop("pixel_values")
    if given == "vision_features":
        inputs[given] = model.model.vision_tower(pixels).last_hidden_state
    else:
        inputs[given] = {"image": model.get_image_features(pixels)}
    assert model(**inputs).loss.isfinite()  # in evaluation nothing is warped
    with pytest.raises(ValueError, match="`warp_weight`"):
        model.train()(**inputs)
    model.loss_weights["warp"] = 0.0
    assert set(model(**inputs).loss_parts) == LOSSES - {"warp"}


def test_images_that_are_no_pairs_are_refused_before_they_are_warped():
    model, processor = tiny_model("resnet")
    inputs = inputs_for(processor, captions=True)
    inputs["pixel_values"] = inputs["pixel_values"][:, 0]
    with pytest.raises(ValueError, match="pair_layout"):
        model.train()(**inputs)


def test_labels_are_smoothed_in_training_only():
    model, processor = tiny_model("resnet", label_smoothing=0.2, **NO_LOSSES)
    freeze(model)
    inputs = inputs_for(processor, captions=True)
    output = model(**inputs)
    kept = inputs["labels"][:, 1:] != -100
    scores = output.logits[:, :-1][kept].log_softmax(-1)
    plain = -scores.gather(1, inputs["labels"][:, 1:][kept].unsqueeze(1)).mean()
    torch.testing.assert_close(output.loss, plain)
    smooth = 0.8 * plain - 0.2 * scores.mean()
    torch.testing.assert_close(model.train()(**inputs).loss, smooth, **CLOSE)
    shared = model(**inputs, num_items_in_batch=torch.tensor(100)).loss
    torch.testing.assert_close(shared, smooth * kept.sum() / 100, **CLOSE)


def test_scene_ids_reach_the_contrast():
    model, processor = tiny_model("resnet")
    inputs = inputs_for(processor, captions=True)
    parts = model.train()(**inputs, scene_ids=torch.tensor([4, 4, 4])).loss_parts
    assert parts["contrast"] == 0
    assert model(**inputs, scene_ids=torch.tensor([4, 4, 2])).loss_parts["contrast"] > 0


def test_micro_batches_add_up_to_the_batch():
    model, processor = tiny_model("resnet", **NO_LOSSES)
    freeze(model)
    inputs = inputs_for(processor, captions=True)
    total = (inputs["labels"] != -100).sum()
    whole = model.train()(**inputs)
    micro = [{name: value[rows] for name, value in inputs.items()} for rows in (slice(0, 1), slice(1, 3))]
    parts = [model(**batch, num_items_in_batch=total).loss for batch in micro]
    torch.testing.assert_close(sum(parts), whole.loss, **CLOSE)
    torch.testing.assert_close(model(**inputs, num_items_in_batch=total).loss, whole.loss, **CLOSE)


def test_auxiliary_losses_take_the_micro_batchs_share_of_the_tokens():
    model, processor = tiny_model("resnet", contrast_negatives=2)
    inputs = inputs_for(processor, captions=True)
    tokens = int((inputs["labels"] != -100).sum())
    shares = []
    for count in (None, 4 * tokens, torch.tensor(4 * tokens)):
        torch.manual_seed(0)
        shares.append(model.train()(**inputs, num_items_in_batch=count).loss_parts)
    for name in LOSSES - {"caption"}:
        for shared in shares[1:]:
            torch.testing.assert_close(shared[name], shares[0][name] / 4)


def test_logits_of_the_end_alone_give_the_same_loss():
    model, processor = tiny_model("resnet")
    inputs = inputs_for(processor, captions=True)
    keep = int((inputs["labels"] != -100).sum(1).max()) + 1
    output = model(**inputs, logits_to_keep=keep)
    assert output.logits.shape[1] == keep
    torch.testing.assert_close(output.loss, model(**inputs).loss, **CLOSE)


@pytest.mark.parametrize("variant", ["instructblip", "resnet", "instructblip-qformer", "blip2-qformer"])
def test_every_trained_parameter_has_a_gradient_and_no_frozen_one(variant):
    model, processor = tiny_model(variant)
    freeze(model).train()
    model(**inputs_for(processor, captions=True)).loss.backward()
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            assert parameter.grad is None, name
        elif not name.endswith(BLIND):
            assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("variant", ["instructblip", "resnet"])
def test_frozen_tower_runs_without_a_graph_and_keeps_its_statistics(variant):
    model, processor = tiny_model(variant)
    freeze(model).train()
    tower = model.model.vision_tower.tower
    assert not tower.training
    modes, statistics = [], {name: value.clone() for name, value in tower.named_buffers()}
    tower.register_forward_hook(lambda *_: modes.append(torch.is_grad_enabled()))
    model(**inputs_for(processor, captions=True)).loss.backward()
    assert modes == [False]
    assert all(torch.equal(value, statistics[name]) for name, value in tower.named_buffers())


def test_trained_tower_has_gradients_and_moves_its_statistics():
    model, processor = tiny_model("resnet")
    tower = model.train().model.vision_tower.tower
    assert tower.training
    before = {name: value.clone() for name, value in tower.named_buffers()}
    model(**inputs_for(processor, captions=True)).loss.backward()
    assert any(parameter.grad.abs().max() > 0 for parameter in tower.parameters())
    assert any(not torch.equal(value, before[name]) for name, value in tower.named_buffers())


def test_a_few_steps_of_training_lower_the_loss():
    model, processor = tiny_model("resnet", contrast_weight=0.1)
    inputs = inputs_for(processor, captions=True)
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=3e-3)
    losses = []
    for _ in range(15):
        optimizer.zero_grad()
        loss = model(**inputs).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


def test_evidence_is_returned_on_request():
    model, processor = tiny_model("instructblip")
    inputs = inputs_for(processor)
    assert model(**inputs).evidence is None
    output = model(**inputs, output_evidence=True)
    assert output.evidence.change_map.shape == (3, 2, 4, 4)
    assert 0 < output.fusion_gate < 1
    assert model(input_ids=torch.tensor([[5, 6, 7]])).image_hidden_states is None


def test_config_file_names_the_architecture(tmp_path):
    tiny_model("resnet")[0].save_pretrained(tmp_path)
    content = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert content["architectures"] == ["SSGPAForConditionalGeneration"]
    assert content["model_type"] == "ssgpa"
