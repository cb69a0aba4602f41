# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The model: its sizes, its equations written out, what trains, and what captions depend on."""

import re

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from torch.nn import functional as F

from ssgpa.baselines.vir_vlfm import VIRVLFMConfig, VIRVLFMForConditionalGeneration
from ssgpa.baselines.vir_vlfm.conversion_vir_vlfm import PROMPT, RELEASED_TEST_PROMPT
from ssgpa.baselines.vir_vlfm.modeling_vir_vlfm import FusedAdapter, ImageAdapter, warp
from ssgpa.benchmarks.measure_parity import read_specification
from ssgpa.training.arguments import ModelArguments, parse_arguments
from ssgpa.training.model_setup import prepare_training
from ssgpa.training.systems import read_config, set_trainable

from ...examples.runs import ROOT
from ...tiny_systems import TINY_SYSTEMS
from .cases import SIZES, random_batch, random_model


CLOSE = {"atol": 1e-5, "rtol": 1e-5}
CONFIGS = ROOT / "examples" / "configs"
# What the released code's own modules have at full size, built on the meta device: adapters and registration.
RELEASED_ADAPTERS, RELEASED_REGISTRATION = 86_395_584, 2_033_152
# Parameters that ask for gradients in the released code at the sizes of the comparison.
RELEASED_TRAINABLE = {"tiny": 13_904, "wide": 20_179_968}


@pytest.fixture(scope="module")
def model():
    return random_model()


@pytest.fixture(scope="module")
def whole():
    with torch.device("meta"):
        return VIRVLFMForConditionalGeneration(VIRVLFMConfig())


def count(named, pattern):
    return sum(value.numel() for name, value in named if re.search(pattern, name))


def trainable():
    """Patterns of the shipped runs."""
    words = ["--use_cpu", "true", "--output_dir", "unused"]
    return parse_arguments([str(CONFIGS / "vir_vlfm" / "clevr.yaml"), *words])[0].trainable


def test_counts_are_those_of_the_released_code(whole):
    named = list(whole.named_parameters())
    assert count(named, r"_adapter\.") == RELEASED_ADAPTERS
    assert count(named, r"^model\.registration\.") == RELEASED_REGISTRATION
    assert count(named, r"^model\.emphasis\.") == count(named, r"^model\.pair_projection\.") == 1536 * 768 + 768
    assert count(named, r"^model\.language_projection\.") == 768 * 4096 + 4096
    assert sum(set_trainable(whole, trainable(), set()).values()) == 93_939_392
    # Frozen: EVA-ViT-g and the norm behind it, BLIP-2's Q-Former and its queries, Vicuna-7B with a placeholder.
    assert count(named, r"vision_model\.(?!.*_adapter)") == 985_952_256
    assert count(named, r"^model\.(qformer|query_tokens)") == 105_137_664 + 32 * 768
    assert count(named, r"^(model\.language_model|lm_head)\.") == 6_738_415_616 + 2 * 4096


@pytest.mark.parametrize("size", RELEASED_TRAINABLE)
def test_as_many_train_as_in_the_released_code(size):
    weights = read_specification("vir_vlfm", size)["weights"]
    trained = r"Adapter|^flow|^change_att|^llama_proj"
    total = sum(int(np.prod(shape)) for name, shape in weights.items() if re.search(trained, name))
    assert total == RELEASED_TRAINABLE[size]


def test_every_sixth_block_reads_both_images(whole):
    layers = whole.model.vision_model.encoder.layers
    kinds = [{type(layer.attention_adapter), type(layer.mlp_adapter)} for layer in layers]
    fused = [number for number, kind in enumerate(kinds, 1) if kind == {FusedAdapter}]
    assert fused == [6, 12, 18, 24, 30, 36]
    assert sum(kind == {ImageAdapter} for kind in kinds) == 33


def test_configurations_of_the_folder_are_those_of_the_class():
    config = read_config(str(CONFIGS / "models" / "vir-vlfm-eva-vicuna7b.json"))
    assert config.adapter_hidden_size == VIRVLFMConfig().adapter_hidden_size == 352
    with torch.device("meta"):
        states = VIRVLFMForConditionalGeneration(config).state_dict()
        wanted = VIRVLFMForConditionalGeneration(VIRVLFMConfig()).state_dict()
    assert {name: value.shape for name, value in states.items()} == {
        name: value.shape for name, value in wanted.items()
    }


def test_shapes_at_real_size(whole):
    ids = torch.full((3, 40), 32000)
    with torch.device("meta"):
        output = whole.eval()(ids.to("meta"), torch.zeros(3, 2, 3, 224, 224))
    assert output.logits.shape == (3, 40, 32001)
    assert output.image_hidden_states.shape == (3, 32, 4096)
    assert output.image_outputs.last_hidden_state.shape == (3, 2, 257, 1408)


def test_a_pair_takes_as_many_placeholders_as_the_q_former_has_queries():
    model, processor = TINY_SYSTEMS["vir_vlfm"]()
    inputs = processor(images=[[torch.rand(3, 32, 32), torch.rand(3, 32, 32)]], return_tensors="pt")
    found = (inputs["input_ids"] == model.config.image_token_id).sum().item()
    assert found == model.config.visual_tokens == model.config.num_query_tokens == 4
    for prompt in (PROMPT, RELEASED_TEST_PROMPT):
        assert "<Img><image><image></Img> Describe the differences between this two image." in prompt.format("<image>")


def linear(layer, states):
    return states @ layer.weight.T + layer.bias


def test_adapters_are_their_equations(model):
    """W2 GELU(W1 x); and s = W3 [h_1; h_2], W2 s with up-projections of their own."""
    layers = model.model.vision_model.encoder.layers
    images = torch.randn(4, 5, 88)
    adapter = layers[0].mlp_adapter
    wanted = linear(adapter.up_proj, F.gelu(linear(adapter.down_proj, images)))
    torch.testing.assert_close(adapter(images), wanted, **CLOSE)
    adapter = layers[1].mlp_adapter
    before, after = (F.gelu(linear(adapter.down_proj, images[side::2])) for side in (0, 1))
    mixed = linear(adapter.mix_proj, torch.cat([before, after], 2))
    found = adapter(images)
    torch.testing.assert_close(found[0::2], linear(adapter.up_proj_before, mixed), **CLOSE)
    torch.testing.assert_close(found[1::2], linear(adapter.up_proj_after, mixed), **CLOSE)


def test_a_block_is_its_equations(model):
    """One adapter in series behind attention, with its skip; one beside the linear layers, at half strength."""
    layer = model.model.vision_model.encoder.layers[1]
    images = torch.randn(2, 5, 88)
    attended = layer.self_attn(layer.layer_norm1(images))[0]
    images_after = images + (attended + layer.attention_adapter(attended))
    normed = layer.layer_norm2(images_after)
    wanted = images_after + layer.mlp(normed) + 0.5 * layer.mlp_adapter(normed)
    torch.testing.assert_close(layer(images), wanted, **CLOSE)


def test_images_meet_in_fused_blocks_alone(model):
    pairs = torch.randn(1, 2, 3, 32, 32)
    other = pairs.clone()
    other[:, 1] += 1
    states, others = (
        model.model.vision_model(pixels, output_hidden_states=True).hidden_states for pixels in (pairs, other)
    )
    changed = [not torch.equal(one[0], two[0]) for one, two in zip(states, others, strict=True)]
    # In front of the first block, behind it, and behind the second, which is fused.
    assert changed == [False, False, True, True]


def test_a_warp_reads_where_the_flow_points():
    """Bilinear, written out: a flow of 1 is 1 / columns of the way from -1 to 1."""
    generator = np.random.default_rng(0)
    maps, flow = generator.standard_normal((2, 3, 4)), generator.standard_normal((2, 3, 4))
    wanted = np.zeros_like(maps)
    for row in range(3):
        for column in range(4):
            x = column + flow[0, row, column] / 4 * (4 - 1) / 2
            y = row + flow[1, row, column] / 3 * (3 - 1) / 2
            for j in (int(np.floor(y)), int(np.floor(y)) + 1):
                for i in (int(np.floor(x)), int(np.floor(x)) + 1):
                    if 0 <= i < 4 and 0 <= j < 3:
                        wanted[:, row, column] += maps[:, j, i] * (1 - abs(x - i)) * (1 - abs(y - j))
    found = warp(*(torch.from_numpy(values)[None] for values in (maps, flow)))[0]
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-12)


def test_registration_adds_the_warped_other_image(model):
    registration = model.model.registration
    images = torch.randn(2, 2, 17, 88)
    maps = images[:, :, 1:].permute(0, 1, 3, 2).reshape(2, 2, 88, 4, 4)
    reduced = [F.conv2d(maps[:, 0], registration.reduction_before.weight)]
    reduced += [F.conv2d(maps[:, 1], registration.reduction_after.weight)]
    flow = F.conv2d(torch.cat(reduced, 1), registration.flow.weight, padding=1)
    before = maps[:, 0] + warp(maps[:, 1], flow[:, 2:])
    after = maps[:, 1] + warp(maps[:, 0], flow[:, :2])
    found, told = registration(images)
    torch.testing.assert_close(told.flatten(1, 2), flow, **CLOSE)
    assert torch.equal(found[:, :, 0], images[:, :, 0])
    for side, wanted in enumerate((before, after)):
        torch.testing.assert_close(found[:, side, 1:].transpose(1, 2).reshape(2, 88, 4, 4), wanted, **CLOSE)


def test_emphasis_is_its_equation(model):
    emphasis, before, after = model.model.emphasis, torch.randn(2, 4, 64), torch.randn(2, 4, 64)
    weights = [linear(emphasis.gate, torch.cat(both, 2)).sigmoid() for both in ((before, after), (after, before))]
    wanted = torch.cat([weights[0] * before, weights[1] * after], 2)
    torch.testing.assert_close(emphasis(torch.stack([before, after], 1)), wanted, **CLOSE)


def test_an_untrained_tower_is_the_one_it_started_from():
    torch.manual_seed(0)
    fresh = VIRVLFMForConditionalGeneration(VIRVLFMConfig(**SIZES)).eval()
    tower, pixels = fresh.model.vision_model, torch.randn(1, 2, 3, 32, 32)
    wanted = tower(pixels).last_hidden_state
    for layer in tower.encoder.layers:
        layer.adapter_scale = 0.0
        layer.attention_adapter = torch.nn.Identity()
        layer.attention_adapter.forward = torch.zeros_like
    assert torch.equal(tower(pixels).last_hidden_state, wanted)


def test_losses_average_tokens_or_pairs(model):
    batch = random_batch(model.config, rows=3)
    batch["labels"][0, -3:] = -100
    logits = model(**batch).logits
    rows = [
        F.cross_entropy(one[:-1], labels[1:], reduction="none")
        for one, labels in zip(logits, batch["labels"], strict=True)
    ]
    rows = [row[row != 0] for row in rows]
    assert [len(row) for row in rows] == [2, 5, 5]
    assert model(**batch).loss.item() == pytest.approx(torch.cat(rows).mean().item(), rel=1e-5)
    pairs = torch.stack([row.mean() for row in rows]).mean().item()
    other = random_model(average_pairs=True)
    assert other(**batch).loss.item() == pytest.approx(pairs, rel=1e-5)
    # Of a batch that is accumulated, so that both batches have 24 tokens.
    assert other(**batch, num_items_in_batch=24).loss.item() == pytest.approx(pairs / 2, rel=1e-5)
    assert model(**batch, num_items_in_batch=24).loss.item() == pytest.approx(
        torch.cat(rows).sum().item() / 24, rel=1e-5
    )


def test_a_frozen_q_former_drops_nothing():
    model = random_model()
    model.train()
    assert model.model.qformer.training
    set_trainable(model, trainable(), set())
    model.train()
    assert not any(module.training for module in model.model.qformer.modules())
    batch = random_batch(model.config)
    assert torch.equal(model(**batch).loss, model(**batch).loss)


def test_recomputed_blocks_give_the_same_gradients():
    """And frozen parts in bfloat16 beside adapters in float32 come close."""
    gradients = []
    for options in ({}, {"checkpointing": [r"^model\.vision_model\.encoder\.layers\.", r"^model\.language_model\."]}):
        model = random_model()
        prepare_training(model, ModelArguments(trainable=trainable(), **options), set(), torch.device("cpu"))
        model.train()(**random_batch(model.config)).loss.backward()
        found = {name: value.grad for name, value in model.named_parameters() if value.requires_grad}
        assert all(value is not None for value in found.values())
        gradients.append(found)
    for name, value in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], value, **CLOSE)
    model = random_model()
    arguments = ModelArguments(trainable=trainable(), frozen_dtype="bfloat16")
    prepare_training(model, arguments, set(), torch.device("cpu"))
    dtypes = {name: value.dtype for name, value in model.named_parameters()}
    assert {dtype for name, dtype in dtypes.items() if name in gradients[0]} == {torch.float32}
    assert {dtype for name, dtype in dtypes.items() if name not in gradients[0]} == {torch.bfloat16}
    model.train()(**random_batch(model.config)).loss.backward()
    value, wanted = (one["model.registration.flow.weight"] for one in (dict(_grads(model)), gradients[0]))
    assert F.cosine_similarity(value.flatten(), wanted.flatten(), dim=0) > 0.9


def _grads(model):
    return ((name, value.grad) for name, value in model.named_parameters())


def test_captions_do_not_depend_on_the_cache_or_the_batch(model):
    batch = random_batch(model.config, rows=3, labels=False)
    options = {"max_new_tokens": 6, "num_beams": 3, "eos_token_id": None, "do_sample": False}
    wanted = model.generate(**batch, **options)
    assert torch.equal(model.generate(**batch, **options, use_cache=False), wanted)
    for row in range(3):
        alone = {name: value[row : row + 1] for name, value in batch.items()}
        assert torch.equal(model.generate(**alone, **options), wanted[row : row + 1])
    assert not torch.equal(*(wanted[row, -6:] for row in (0, 1)))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"num_query_tokens": 3}, "must be even"),
        ({"fusion_interval": 0}, "`fusion_interval` must be at least 1"),
        ({"adapter_scale": float("nan")}, "`adapter_scale` must be a finite number"),
        ({"qformer_input_ids": [1]}, "BLIP-2's Q-Former reads no instruction"),
        ({"image_token_id": -1}, "`image_token_id` must not be negative"),
        ({"vision_config": SIZES["vision_config"] | {"patch_size": 7}}, "must be a multiple of its `patch_size`"),
    ],
)
def test_values_that_make_no_model_are_refused(values, told):
    with pytest.raises(StrictDataclassError, match=told):
        VIRVLFMConfig(**SIZES | values)


@pytest.mark.parametrize(
    ("pixels", "told"),
    [
        (torch.zeros(1, 2, 3, 32, 32, dtype=torch.uint8), "reads normalized pixel_values"),
        (torch.zeros(1, 3, 32, 32), "of shape"),
        (torch.zeros(1, 2, 3, 32, 48), "of shape"),
    ],
)
def test_images_that_are_no_pairs_are_refused(model, pixels, told):
    with pytest.raises(ValueError, match=told):
        model.get_image_features(pixels)
