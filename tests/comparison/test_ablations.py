# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The model without its mechanism."""

import pytest
import torch

from ssgpa.comparison.ablations import SSGPAWithoutAlignment
from ssgpa.training.arguments import ModelArguments
from ssgpa.training.systems import load_system

from ..tiny_systems import tiny_config, tiny_ssgpa


@pytest.fixture(params=[{}, {"vision": "resnet"}, {"qformer": True}], ids=["vit", "resnet", "qformer"])
def systems(request):
    """SSGPA at its start, the same weights without the mechanism, and a processor."""
    full, processor = tiny_ssgpa(**request.param)
    plain = SSGPAWithoutAlignment(full.config).eval()
    names = plain.state_dict().keys()
    plain.load_state_dict({name: value for name, value in full.state_dict().items() if name in names})
    return full, plain, processor


def inputs_of(processor):
    generator = torch.Generator().manual_seed(0)
    pairs = [list(torch.rand(2, 3, 32, 32, generator=generator)) for _ in range(2)]
    return processor(images=pairs, suffix=["the red cube moved", "no change"], return_tensors="pt")


def test_mechanism_adds_nothing_at_the_start(systems):
    full, plain, processor = systems
    inputs = inputs_of(processor)
    with torch.no_grad():
        wanted, found = full(**inputs), plain(**inputs)
        features = plain.get_image_features(inputs["pixel_values"])
    assert torch.allclose(found.logits, wanted.logits, atol=1e-5)
    assert torch.allclose(features.pooler_output, wanted.image_hidden_states, atol=1e-5)
    assert features.evidence is None


def test_no_parameter_of_the_mechanism_is_left(systems):
    full, plain, _ = systems
    removed = set(full.state_dict()) - set(plain.state_dict())
    assert removed == {name for name in full.state_dict() if "change_fusion_adapter" in name or ".alignment" in name}
    assert full.config.fusion_layers > 0
    weights = ("contrast_weight", "warp_weight", "cycle_weight", "global_weight")
    assert all(getattr(full.config, name) > 0 for name in weights)
    assert not any(getattr(plain.config, name) for name in weights)


def test_trains_and_generates(systems):
    _, plain, processor = systems
    inputs = inputs_of(processor)
    out = plain.train()(**inputs, scene_ids=torch.tensor([0, 1]))
    assert set(out.loss_parts) == {"caption"}
    out.loss.backward()
    without = {name for name, parameter in plain.named_parameters() if parameter.grad is None}
    assert without == {"contrast.logit_scale"}
    prompt = {name: value for name, value in inputs.items() if name != "labels"}
    assert len(plain.eval().generate(**prompt, max_new_tokens=3, num_beams=2)) == 2


def test_comes_back_by_its_class_path(tmp_path):
    plain = SSGPAWithoutAlignment(tiny_config())
    plain.save_pretrained(tmp_path)
    tiny_ssgpa()[1].save_pretrained(tmp_path)
    path = "ssgpa.comparison.ablations.SSGPAWithoutAlignment"
    loaded, _, missing = load_system(ModelArguments(model_name_or_path=str(tmp_path), model_class=path))
    assert type(loaded) is SSGPAWithoutAlignment
    assert not missing
    assert all(torch.equal(value, plain.state_dict()[name]) for name, value in loaded.state_dict().items())
    # The model with the mechanism does not pass for it.
    assert load_system(ModelArguments(model_name_or_path=str(tmp_path)))[2]
