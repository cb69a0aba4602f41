# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The model without its mechanism, and with others in its place."""

from pathlib import Path

import pytest
import torch

from ssgpa.benchmarks.variants import ablations
from ssgpa.benchmarks.variants.ablations import (
    BalancedTransportAlignment,
    SameCellAttention,
    SoftmaxAlignment,
    SSGPAVariant,
    SSGPAWithoutMechanism,
)
from ssgpa.training.arguments import ModelArguments, parse_arguments
from ssgpa.training.systems import create_system, load_base

from ..tiny_systems import tiny_config, tiny_ssgpa


ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / "examples/configs/ablations").glob("*_*.yaml"))
VARIANTS = [getattr(ablations, name) for name in ablations.__all__]


@pytest.fixture(params=[{}, {"vision": "resnet"}, {"qformer": True}], ids=["vit", "resnet", "qformer"])
def systems(request):
    """SSGPA at its start, the same weights without the mechanism, and a processor."""
    full, processor = tiny_ssgpa(**request.param)
    plain = SSGPAWithoutMechanism(full.config).eval()
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
    plain = SSGPAWithoutMechanism(tiny_config())
    plain.save_pretrained(tmp_path)
    tiny_ssgpa()[1].save_pretrained(tmp_path)
    path = "ssgpa.benchmarks.variants.ablations.SSGPAWithoutMechanism"
    loaded, _, missing = load_base(ModelArguments(model_name_or_path=str(tmp_path), model_class=path))
    assert type(loaded) is SSGPAWithoutMechanism
    assert not missing
    assert all(torch.equal(value, plain.state_dict()[name]) for name, value in loaded.state_dict().items())
    # The model with the mechanism does not pass for it.
    assert load_base(ModelArguments(model_name_or_path=str(tmp_path)))[2]


@pytest.fixture
def matching():
    """Unit features of two images, and the marginals of their patches."""
    features = torch.randn(2, 2, 4, 8, generator=torch.Generator().manual_seed(0))
    marginals = torch.rand(2, 2, 4, generator=torch.Generator().manual_seed(1)) + 0.5
    return torch.nn.functional.normalize(features, dim=-1), marginals / marginals.sum(-1, keepdim=True)


@pytest.mark.parametrize("variant", [ablations.SSGPAWithSoftmaxAlignment, ablations.SSGPAWithBalancedTransport])
def test_what_has_no_dustbin_has_no_warp_loss(variant):
    """New content would be infinitely unlikely; the other losses are finite and reach the matching space."""
    torch.manual_seed(0)
    model, processor = variant(tiny_config()), tiny_ssgpa()[1]
    output = model.train()(**inputs_of(processor), scene_ids=torch.tensor([0, 1]))
    assert set(output.loss_parts) == {"caption", "contrast", "cycle", "global"}
    output.loss.backward()
    gradient = model.model.alignment.match_proj.weight.grad
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0


def test_softmax_alignment_attends(matching):
    features, marginals = matching
    alignment = SoftmaxAlignment(tiny_config())
    cosine = features[:, 0] @ features[:, 1].transpose(1, 2)
    log_plan = alignment.plan(cosine, marginals)
    matched, weights = alignment.matches(log_plan, log_plan.exp(), marginals)
    forth = torch.exp(cosine / alignment.epsilon) / torch.exp(cosine / alignment.epsilon).sum(2, keepdim=True)
    back = torch.exp(cosine / alignment.epsilon) / torch.exp(cosine / alignment.epsilon).sum(1, keepdim=True)
    assert torch.allclose(weights[:, 0], forth, atol=1e-5)
    assert torch.allclose(weights[:, 1], back.transpose(1, 2), atol=1e-5)
    assert (matched == 1).all()
    assert torch.allclose(log_plan.exp().sum((1, 2)), torch.full((2,), 0.5), atol=1e-5)


def test_balanced_transport_matches_all_of_every_part(matching):
    features, marginals = matching
    config = tiny_config()
    config.sinkhorn_iterations = 200
    alignment = BalancedTransportAlignment(config)
    plan = alignment.plan(features[:, 0] @ features[:, 1].transpose(1, 2), marginals).exp()
    assert torch.allclose(plan[:, :-1].sum(2), marginals[:, 0] / 2, atol=1e-4)
    assert torch.allclose(plan[:, :, :-1].sum(1), marginals[:, 1] / 2, atol=1e-4)
    assert not plan[:, -1].any()
    assert not plan[:, :, -1].any()


def test_same_cell_attention_sees_its_own_cell_alone():
    attention = SameCellAttention(6)
    context = torch.randn(1, 5, 6)
    changed = context.clone()
    changed[:, 2] += 1
    moved = (attention(context, changed) - attention(context, context)).abs().sum(-1)[0]
    assert moved[2] > 1e-3
    assert moved[[0, 1, 3, 4]].max() < 1e-6


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.__name__)
def test_variants_start_train_and_come_back(variant, tmp_path):
    full, processor = tiny_ssgpa()
    torch.manual_seed(0)
    model = variant(full.config)
    inputs = inputs_of(processor)
    # New parts start as the model's own do: they add nothing.
    model.load_state_dict({name: value for name, value in full.state_dict().items() if "layers" in name}, strict=False)
    before = model.eval()(**inputs, output_evidence=True)
    assert torch.isfinite(before.loss)
    assert all(not layer.up_proj.weight.any() for layer in model.model.change_fusion_adapter.layers)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(6):
        loss = model.train()(**inputs, scene_ids=torch.tensor([0, 1])).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    after = model.eval()(**inputs)
    assert after.loss < before.loss
    model.save_pretrained(tmp_path)
    assert torch.allclose(variant.from_pretrained(tmp_path)(**inputs).logits, after.logits, atol=1e-6)


def test_variants_differ_from_the_model_only_where_they_say():
    config = tiny_config()
    parts = {type(module) for module in SSGPAVariant(config).modules()}
    for variant, own in (
        (ablations.SSGPAWithSoftmaxAlignment, SoftmaxAlignment),
        (ablations.SSGPAWithBalancedTransport, BalancedTransportAlignment),
        (ablations.SSGPAWithSameCellFusion, ablations.SameCellFusionLayer),
    ):
        found = {type(module) for module in variant(config).modules()}
        assert own in found - parts
        assert len(found - parts) <= 3


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """The saved system that all ablations start from, before it was trained."""
    path = tmp_path_factory.mktemp("start")
    arguments = parse_arguments([str(ROOT / "examples/configs/ablations/start.yaml")])[0]
    arguments.model_config = str(ROOT / arguments.model_config)
    model, processor, _ = create_system(arguments, ["the red cube moved", "there is no change"])
    assert type(model) is SSGPAWithoutMechanism
    model.save_pretrained(path)
    processor.save_pretrained(path)
    return str(path)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_configuration_builds_what_its_name_says(path, start):
    model_arguments, data, arguments = parse_arguments([str(path)])
    model_arguments.model_name_or_path = start
    model, _, missing = load_base(model_arguments)
    assert {name.split(".")[1] for name in missing} <= {"change_fusion_adapter", "alignment"}
    fusion, alignment = model.model.change_fusion_adapter, model.model.alignment
    first, second = path.stem.split("_")
    layers = [type(layer.cross_attn) for layer in fusion.layers]
    assert (not layers) == (first == "nofusion")
    assert (SameCellAttention in layers) == (first == "samecell")
    kinds = {"noalignment": ablations.NoAlignment, "softmax": SoftmaxAlignment, "balanced": BalancedTransportAlignment}
    assert type(alignment) is kinds.get(second, ablations.GlobalPartTransportAlignment)
    assert model.config.gate_sharpness == (0 if first in {"attention", "samecell"} else 10)
    for name in ("contrast", "warp", "cycle", "global"):
        assert (getattr(model.config, f"{name}_weight") > 0) == (path.stem in {f"{name}_on", "losses_on"})
    # One budget for all.
    assert (arguments.max_steps, arguments.per_device_train_batch_size, data.max_train_pairs) == (800, 16, None)


def test_epsilons_keep_the_dustbins_distance(start):
    distances = []
    for name in ("gated_dustbin", "epsilon_0.02", "epsilon_0.1"):
        arguments = parse_arguments([str(ROOT / f"examples/configs/ablations/{name}.yaml")])[0]
        arguments.model_name_or_path = start
        config = load_base(arguments)[0].config
        distances.append((1 - config.dustbin_score) / config.transport_epsilon)
    assert distances == pytest.approx(distances[:1] * 3)
