"""The model's losses, and where their gradients go."""

import json

import pytest
import torch
from torch.nn import functional as F

from .ssgpa_cases import freeze, inputs_for, tiny_model


CLOSE = {"atol": 1e-5, "rtol": 1e-5}

# A key's bias shifts all of a query's scores alike, which softmax does not see.
BLIND = "k_proj.bias"


def test_loss_parts_add_up_and_contrast_counts_in_training_only():
    model, processor = tiny_model("resnet", caption_weight=0.7, contrast_weight=0.3)
    inputs = inputs_for(processor, captions=True)
    output = model(**inputs)
    assert set(output.loss_parts) == {"caption"}
    logits = output.logits[:, :-1].flatten(0, 1)
    expected = F.cross_entropy(logits, inputs["labels"][:, 1:].flatten(), ignore_index=-100)
    torch.testing.assert_close(output.loss, 0.7 * expected)
    model.train()
    torch.manual_seed(0)
    output = model(**inputs)
    assert set(output.loss_parts) == {"caption", "contrast"}
    torch.testing.assert_close(output.loss, output.loss_parts["caption"] + output.loss_parts["contrast"])
    torch.manual_seed(0)
    features = model.model.get_image_features(inputs["pixel_values"]).matching_features
    torch.testing.assert_close(
        output.loss_parts["contrast"], 0.3 * model.contrast(features, model.model.alignment.plan, None), **CLOSE
    )
    assert model(**{name: value for name, value in inputs.items() if name != "labels"}).loss is None


def test_weight_zero_leaves_the_contrast_out():
    model, processor = tiny_model("resnet", contrast_weight=0.0)
    assert set(model.train()(**inputs_for(processor, captions=True)).loss_parts) == {"caption"}


def test_scene_ids_reach_the_contrast():
    model, processor = tiny_model("resnet")
    inputs = inputs_for(processor, captions=True)
    parts = model.train()(**inputs, scene_ids=torch.tensor([4, 4, 4])).loss_parts
    assert parts["contrast"] == 0
    assert model(**inputs, scene_ids=torch.tensor([4, 4, 2])).loss_parts["contrast"] > 0


def test_micro_batches_add_up_to_the_batch():
    model, processor = tiny_model("resnet", contrast_weight=0.0)
    freeze(model)
    inputs = inputs_for(processor, captions=True)
    total = (inputs["labels"] != -100).sum()
    whole = model.train()(**inputs)
    micro = [{name: value[rows] for name, value in inputs.items()} for rows in (slice(0, 1), slice(1, 3))]
    parts = [model(**batch, num_items_in_batch=total).loss for batch in micro]
    torch.testing.assert_close(sum(parts), whole.loss, **CLOSE)
    torch.testing.assert_close(model(**inputs, num_items_in_batch=total).loss, whole.loss, **CLOSE)


def test_contrast_takes_the_micro_batchs_share_of_the_tokens():
    model, processor = tiny_model("resnet", contrast_negatives=2)  # both negatives always: nothing is drawn
    inputs = inputs_for(processor, captions=True)
    tokens = int((inputs["labels"] != -100).sum())
    alone = model.train()(**inputs).loss_parts["contrast"]
    for count in (4 * tokens, torch.tensor(4 * tokens)):
        shared = model(**inputs, num_items_in_batch=count).loss_parts["contrast"]
        torch.testing.assert_close(shared, alone / 4)


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
