# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The public reproduction's variants: what is random, what trains, how the images meet, and that they run."""

import json
from pathlib import Path

import pytest
import torch
from transformers import ResNetConfig, ResNetModel

from ssgpa import SSGPAConfig
from ssgpa.benchmarks.variants import reproduction
from ssgpa.benchmarks.variants.reproduction import (
    RANDOM_FROZEN,
    TRAINABLE,
    ResNetReproduction,
    ResNetViTConfig,
    ViTReproduction,
)
from ssgpa.training.arguments import ModelArguments
from ssgpa.training.systems import load_base, set_trainable

from ..tiny_systems import VISION, tiny_config, tiny_processor, tiny_ssgpa


ROOT = Path(__file__).resolve().parents[2]
PRESET = ROOT / "examples/configs/models/ssgpa-eva-vicuna7b.json"
# As the description counts them at real size.
CROSS_ATTENTION, TRAINED = 309_319_296, 313_556_864


def tiny_resnet():
    torch.manual_seed(0)
    return ResNetModel(ResNetConfig(**{name: v for name, v in VISION["resnet"].items() if name != "model_type"}))


def build(kind, qformer=True):
    """A variant out of a tiny SSGPA, and that SSGPA."""
    base, _ = tiny_ssgpa(qformer=qformer)
    torch.manual_seed(1)
    if kind == "vit":
        return ViTReproduction.from_base(base), base
    return ResNetReproduction.from_base(base, resnet=tiny_resnet()), base


@pytest.fixture(params=["vit", "resnet"])
def variant(request):
    return build(request.param)[0]


def inputs_of(model, labels=True):
    generator = torch.Generator().manual_seed(0)
    pairs = [list(torch.rand(2, 3, 32, 32, generator=generator)) for _ in range(3)]
    words = {"suffix": ["the red cube moved", "no change", "the sphere is gone"]} if labels else {}
    return tiny_processor(model.config)(images=pairs, **words, return_tensors="pt")


@pytest.mark.parametrize("qformer", [False, True])
def test_every_weight_of_the_base_is_taken_over_and_the_tower_twice(qformer):
    model, base = build("vit", qformer)
    theirs, ours = base.state_dict(), model.state_dict()
    for name, value in theirs.items():
        if name.startswith(("model.vision_tower.", "model.language_model.", "lm_head.")):
            assert torch.equal(ours[name], value), name
        if ".encoder.layers." in name:
            copy = name.replace("model.vision_tower.tower.encoder", "model.change_fusion_adapter")
            assert torch.equal(ours[copy], value), name
            assert ours[copy].data_ptr() != ours[name].data_ptr()
    projection = "model.connector.language_projection.weight"
    assert torch.equal(ours[projection], theirs[projection])
    assert base.config.qformer_config is not None or not qformer
    assert model.config.image_seq_length == 1 + 16


def test_a_base_with_another_tower_is_refused():
    base, _ = tiny_ssgpa(vision="resnet")
    with pytest.raises(ValueError, match="tower of InstructBLIP"):
        ViTReproduction.from_base(base)
    with pytest.raises(ValueError, match="make_reproduction_base"):
        ResNetReproduction(tiny_config())


def test_one_block_by_its_equations():
    """Written out: the image after attends to a before that has attended already."""
    model, _ = build("vit")
    layer = model.model.change_fusion_adapter.layers[0].double()
    before, after = torch.randn(2, 2, 17, 32, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    norm, cross = layer.layer_norm1, layer.cross_attn

    def attend(states, context):
        query, (key, value) = cross.query.weight, cross.key_value.weight.chunk(2)
        heads = []
        for head in range(4):
            part = slice(8 * head, 8 * head + 8)
            scores = (states @ query[part].T) @ (context @ key[part].T).transpose(1, 2) / 8**0.5
            weights = scores.exp() / scores.exp().sum(-1, keepdim=True)
            heads.append(weights @ (context @ value[part].T))
        return torch.cat(heads, -1) @ cross.output.weight.T + cross.output.bias

    a, b = (states + layer.self_attn(norm(states))[0] for states in (before, after))
    a = a + attend(norm(a), norm(b))
    b = b + attend(norm(b), norm(a))
    a, b = (states + layer.mlp(layer.layer_norm2(states)) for states in (a, b))
    found = layer(before, after)
    assert torch.allclose(found[0], a, atol=1e-6)
    assert torch.allclose(found[1], b, atol=1e-6)


def test_swapped_images_do_not_swap_the_outputs(variant):
    pixels = inputs_of(variant)["pixel_values"]
    with torch.no_grad():
        straight = variant.get_image_features(pixels).last_hidden_state
        swapped = variant.get_image_features(pixels.flip(1)).last_hidden_state
    # Every output differs, and by more than rounding.
    assert (straight - swapped.flip(1)).abs().amax((1, 2, 3)).min() > 1e-5
    # With the cross-attention gone, nothing tells the two apart.
    for layer in variant.model.change_fusion_adapter.layers:
        torch.nn.init.zeros_(layer.cross_attn.output.weight)
        torch.nn.init.zeros_(layer.cross_attn.output.bias)
    with torch.no_grad():
        straight = variant.get_image_features(pixels).last_hidden_state
        swapped = variant.get_image_features(pixels.flip(1)).last_hidden_state
    assert torch.allclose(straight, swapped.flip(1), atol=1e-6)


def test_the_second_tower_is_not_neutral_at_the_start(variant):
    """Ours gives back what the tower gave; this one does not, nor what a tower would make of the same again."""
    pixels = inputs_of(variant)["pixel_values"]
    with torch.no_grad():
        plain = variant.model.vision_tower(pixels).last_hidden_state
        fused = variant.get_image_features(pixels).last_hidden_state
        again = plain.flatten(0, 1)
        for layer in variant.model.vision_tower.tower.encoder.layers:
            again = layer(again)
    assert (fused - plain).abs().max() > 1e-3
    assert (fused - again.unflatten(0, (-1, 2))).abs().max() > 1e-5
    ours, processor = tiny_ssgpa()
    pixels = processor(images=[list(torch.rand(2, 3, 32, 32))], return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        tower = ours.model.vision_tower(pixels).last_hidden_state
        assert torch.equal(ours.model.change_fusion_adapter(tower)[0], tower)


def test_new_weights_are_drawn_as_described(variant):
    layers = variant.model.change_fusion_adapter.layers
    drawn = torch.cat([layer.cross_attn.key_value.weight.flatten() for layer in layers])
    assert drawn.std().item() == pytest.approx(0.02, rel=0.05)
    assert not any(layer.cross_attn.output.bias.any() for layer in layers)
    assert all(layer.cross_attn.query.bias is None for layer in layers)
    assert not hasattr(layers[0], "gate")


def test_what_trains_and_what_stays_random(variant):
    trained = set_trainable(variant, list(TRAINABLE), set())
    parts = ("cross_attn.", "connector.", "post_layernorm.")
    assert all(any(part in name for part in parts) for name in trained)
    inputs = inputs_of(variant)
    variant.train()(**inputs).loss.backward()
    got = {name for name, value in variant.named_parameters() if value.grad is not None}
    assert got == set(trained)
    frozen = {name for name, value in variant.named_parameters() if not value.requires_grad}
    # A ViT has its position table from the base.
    named = isinstance(variant, ResNetReproduction)
    random = {name for name in frozen if name.startswith(RANDOM_FROZEN)} if named else set()
    assert set(ViTReproduction.new_parts) | set(RANDOM_FROZEN) == set(ResNetReproduction.new_parts)
    embeddings = "model.vision_tower.tower.embeddings."
    expected = [f"{embeddings}{name}" for name in ("position_embedding", "projection.bias", "projection.weight")]
    assert sorted(random) == (expected if named else [])
    # A run from a base without these weights is refused: our trainer would not let them stay random.
    if random:
        with pytest.raises(ValueError, match="3 parameters are neither loaded nor trainable"):
            set_trainable(variant, list(TRAINABLE), random)


def test_a_resnets_statistics_stay(variant):
    if not isinstance(variant, ResNetReproduction):
        assert not hasattr(variant.model.vision_tower.tower.embeddings, "resnet")
        return
    resnet = variant.model.vision_tower.tower.embeddings.resnet
    set_trainable(variant, list(TRAINABLE), set())
    kept = {name: value.clone() for name, value in resnet.named_buffers()}
    variant.train()(**inputs_of(variant))
    assert kept
    assert all(torch.equal(value, kept[name]) for name, value in resnet.named_buffers())


def test_trains_saves_and_comes_back_by_its_class_path(variant, tmp_path):
    set_trainable(variant, list(TRAINABLE), set())
    inputs = inputs_of(variant)
    optimizer = torch.optim.AdamW([value for value in variant.parameters() if value.requires_grad], lr=3e-3)
    losses = []
    for _ in range(6):
        output = variant.train()(**inputs)
        assert set(output.loss_parts) == {"caption"}
        output.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(output.loss.item())
    assert losses[-1] < losses[0]
    variant.save_pretrained(tmp_path)
    tiny_processor(variant.config).save_pretrained(tmp_path)
    path = f"{reproduction.__name__}.{type(variant).__name__}"
    loaded, _, missing = load_base(ModelArguments(model_name_or_path=str(tmp_path), model_class=path))
    assert type(loaded) is type(variant)
    assert not missing
    with torch.no_grad():
        assert torch.allclose(loaded(**inputs).logits, variant.eval()(**inputs).logits, atol=1e-6)


def test_captions_the_same_with_and_without_a_cache_alone_and_in_a_batch(variant):
    # Awake, so that captions differ from pair to pair.
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for value in variant.parameters():
            value.add_(0.2 * torch.randn(value.shape, generator=generator))
    inputs = inputs_of(variant, labels=False)
    for beams in (1, 3):
        options = {"num_beams": beams, "max_new_tokens": 6, "suppress_tokens": [variant.config.image_token_id]}
        together = variant.eval().generate(**inputs, **options)
        assert torch.equal(together, variant.generate(**inputs, **options, use_cache=False))
        for row in range(3):
            alone = variant.generate(**{name: value[row : row + 1] for name, value in inputs.items()}, **options)
            assert torch.equal(alone[0], together[row, : alone.shape[1]])


def real_config():
    values = json.loads(PRESET.read_text(encoding="utf-8"))
    values.pop("model_type"), values.pop("qformer_config"), values.pop("qformer_input_ids")
    return values | {"fusion_hidden_size": 768}


@pytest.mark.parametrize("kind", [ViTReproduction, ResNetReproduction])
def test_counts_at_real_size(kind):
    values = real_config()
    if kind is ResNetReproduction:
        resnet = json.loads((PRESET.parent / "ssgpa-resnet101-vicuna7b.json").read_text("utf-8"))["vision_config"]
        resnet.pop("model_type")
        vision = {name: value for name, value in values["vision_config"].items() if name != "model_type"}
        values["vision_config"] = ResNetViTConfig(**vision | {"patch_size": 32, "resnet_config": resnet})
    with torch.device("meta"):
        model = kind(SSGPAConfig(**values))
    trained = set_trainable(model, list(TRAINABLE), set())
    assert sum(size for name, size in trained.items() if "cross_attn" in name) == CROSS_ATTENTION
    assert sum(trained.values()) == TRAINED
    tower = model.model.vision_tower.tower
    random = {name: value.numel() for name, value in tower.embeddings.named_parameters(recurse=True)}
    if kind is ResNetReproduction:
        assert random["projection.weight"] + random["projection.bias"] == 2_884_992
        assert random["position_embedding"] == 70_400
    else:
        assert sum(value.numel() for value in tower.parameters()) == 985_894_528 + 2 * 1408 + bias_of_keys(tower)
    layer = model.model.change_fusion_adapter.layers[0]
    assert sum(value.numel() for value in layer.parameters()) == 33_182_848 - 2 * 1408 + 1408
    assert model.config.image_seq_length == (50 if kind is ResNetReproduction else 257)


def bias_of_keys(tower):
    """Transformers keeps a bias of zeros for the keys, which the description's blocks do not have."""
    return len(tower.encoder.layers) * tower.config.hidden_size
