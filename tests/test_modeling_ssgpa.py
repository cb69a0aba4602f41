# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Towers and connectors, and what must not depend on how the model is run."""

import pytest
import torch
from accelerate.hooks import AlignDevicesHook, add_hook_to_module
from torch.nn import functional as F

from .ssgpa_cases import LOSSES, TOWERS, VARIANTS, freeze, inputs_for, random_pixels, row, tiny_model, wake
from .tiny_systems import tiny_ssgpa


CLOSE = {"atol": 1e-5, "rtol": 1e-5}


def at_mask(output, inputs):
    return output.logits[inputs["attention_mask"].bool()]


@pytest.mark.parametrize("variant", TOWERS)
def test_tower_gives_a_global_token_and_a_grid_of_parts(variant):
    model, _ = tiny_model(variant)
    tower, pixels = model.model.vision_tower, random_pixels(2)
    features = tower(pixels).last_hidden_state
    assert features.shape == (2, 2, 17, 32)
    last = tower.tower(pixels.flatten(0, 1)).last_hidden_state
    if variant in ("resnet", "convnext"):
        patches = tower.patch_projection(last).flatten(2).transpose(1, 2) + tower.position_embeddings
        global_token = tower.global_token.expand(4, -1, -1)
    else:
        patches = last[:, -16:]
        global_token = patches.mean(1, keepdim=True) if variant == "siglip" else last[:, :1]
    torch.testing.assert_close(features.flatten(0, 1), torch.cat([global_token, patches], 1))


def test_tower_that_makes_another_grid_is_refused():
    model, _ = tiny_model("resnet")
    with pytest.raises(ValueError, match=r"grid of \(8, 8\) patches, `patch_grid` says \(4, 4\)"):
        model.model.vision_tower(torch.zeros(1, 2, 3, 64, 64))


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_learns_and_writes(variant):
    model, processor = tiny_model(variant)
    inputs = inputs_for(processor, captions=True)
    output = model.train()(**inputs)
    assert output.image_hidden_states.shape == (3, 2 * model.config.image_seq_length, 32)
    assert output.loss.isfinite()
    output.loss.backward()
    assert model.model.alignment.match_proj.weight.grad.abs().max() > 0
    assert model.eval().generate(**inputs_for(processor), max_new_tokens=3).shape[0] == 3


@pytest.mark.parametrize("variant", ["instructblip", "resnet", "instructblip-qformer", "blip2-qformer"])
def test_swapping_the_images_swaps_the_tokens(variant):
    model, _ = tiny_model(variant)
    pixels = random_pixels(2)
    one, other = (model.get_image_features(value, return_dict=True) for value in (pixels, pixels.flip(1)))
    tokens = one.pooler_output.unflatten(1, (2, -1)).flip(1).flatten(1, 2)
    torch.testing.assert_close(other.pooler_output, tokens, **CLOSE)
    torch.testing.assert_close(other.evidence.transport, one.evidence.transport.transpose(1, 2), **CLOSE)


@pytest.mark.parametrize("variant", ["instructblip", "resnet", "resnet-qformer"])
def test_adapter_and_alignment_are_nothing_at_the_start(variant):
    model, processor = tiny_ssgpa(**VARIANTS[variant])
    inputs = inputs_for(processor)
    with_both = model(**inputs).logits
    features = model.model.vision_tower(inputs["pixel_values"]).last_hidden_state
    tokens = model.model.connector(features)
    embeddings = model.get_input_embeddings()(inputs["input_ids"])
    embeddings[inputs["input_ids"] == model.config.image_token_id] = tokens.flatten(0, 1)
    plain = model.model.language_model(inputs_embeds=embeddings, attention_mask=inputs["attention_mask"])
    torch.testing.assert_close(with_both, model.lm_head(plain.last_hidden_state), **CLOSE)
    torch.testing.assert_close(wake(model)(**inputs).logits.isfinite().all(), torch.tensor(True))
    assert not torch.allclose(model(**inputs).logits, with_both, atol=1e-3)


def test_qformer_reads_its_instruction():
    inputs = random_pixels(1)
    model, _ = tiny_model("instructblip-qformer")
    before = model.get_image_features(inputs).pooler_output
    model.model.connector.instruction = [7, 8, 9]
    assert not torch.allclose(model.get_image_features(inputs).pooler_output, before, atol=1e-4)


@pytest.mark.parametrize("variant", ["instructblip", "resnet", "siglip", "instructblip-qformer", "blip2-qformer"])
@pytest.mark.parametrize("captions", [False, True])
def test_batch_of_mixed_prompts_equals_its_rows(variant, captions):
    model, processor = tiny_model(variant)
    inputs = inputs_for(processor, captions=captions)
    assert (inputs["attention_mask"] == 0).any()
    together = model(**inputs, output_evidence=True)
    for index in range(3):
        alone = model(**row(inputs, index), output_evidence=True)
        kept = inputs["attention_mask"][index].bool()
        torch.testing.assert_close(together.logits[index, kept], alone.logits[0], **CLOSE)
        torch.testing.assert_close(together.evidence.change_map[index], alone.evidence.change_map[0], **CLOSE)


def test_padding_on_the_left_changes_nothing():
    model, processor = tiny_model("instructblip")
    inputs = row(inputs_for(processor), 0)
    padded = dict(inputs)
    padded["input_ids"] = F.pad(inputs["input_ids"], (7, 0), value=processor.tokenizer.pad_token_id)
    padded["attention_mask"] = F.pad(inputs["attention_mask"], (7, 0), value=0)
    torch.testing.assert_close(model(**padded).logits[:, 7:], model(**inputs).logits, **CLOSE)


@pytest.mark.parametrize("variant", ["instructblip", "resnet", "clip", "instructblip-qformer", "blip2-qformer"])
def test_eager_and_sdpa_agree(variant):
    model, processor = tiny_model(variant)
    inputs = inputs_for(processor)
    assert model.config._attn_implementation == "sdpa"
    fused = model(**inputs)
    model.set_attn_implementation("eager")
    assert model.model.alignment.global_attn.config._attn_implementation == "eager"
    torch.testing.assert_close(at_mask(model(**inputs), inputs), at_mask(fused, inputs), **CLOSE)


@pytest.mark.parametrize("variant", ["instructblip", "resnet", "instructblip-qformer"])
@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_changes_neither_loss_nor_gradients(variant, reentrant):
    losses, gradients = [], []
    for checkpointing in (False, True):
        model, processor = tiny_model(variant)
        freeze(model).train()
        if checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": reentrant})
            if reentrant:
                model.enable_input_require_grads()
        torch.manual_seed(0)
        loss = model(**inputs_for(processor, captions=True), use_cache=False).loss
        loss.backward()
        losses.append(loss)
        gradients.append({name: value.grad for name, value in model.named_parameters() if value.requires_grad})
    torch.testing.assert_close(losses[0], losses[1], **CLOSE)
    for name, gradient in gradients[0].items():
        assert gradients[1][name] is not None, name
        torch.testing.assert_close(gradients[1][name], gradient, **CLOSE)


def test_checkpointing_leaves_cached_features_as_they_were():
    model, processor = tiny_model("resnet", warp_weight=0.0)
    freeze(model).train().activation_checkpointing_enable({"use_reentrant": True})
    inputs = inputs_for(processor, captions=True)
    features = model.model.vision_tower(inputs.pop("pixel_values")).last_hidden_state.detach()
    model(**inputs, vision_features=features, use_cache=False).loss.backward()
    assert not features.requires_grad
    assert features.grad is None
    assert model.model.change_fusion_adapter.layers[0].down_proj.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("variant", VARIANTS)
def test_bfloat16_stays_finite(variant):
    model, processor = tiny_model(variant)
    inputs = inputs_for(processor, captions=True)
    reference = model(**inputs)
    output = model.to(torch.bfloat16)(**inputs, output_evidence=True)
    assert output.logits.dtype == torch.bfloat16
    assert output.logits.isfinite().all()
    assert output.evidence.transport.dtype == torch.float32
    torch.testing.assert_close(output.loss.float(), reference.loss, atol=0.1, rtol=0.05)


@pytest.mark.parametrize("variant", ["resnet", "instructblip-qformer"])
def test_training_under_bfloat16_autocast(variant):
    model, processor = tiny_model(variant)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = freeze(model).train()(**inputs_for(processor, captions=True)).loss
    loss.backward()
    gradients = [value.grad for value in model.parameters() if value.requires_grad]
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("variant", ["instructblip", "resnet", "instructblip-qformer", "resnet-qformer"])
@pytest.mark.parametrize("autocast", [False, True])
def test_frozen_parts_may_be_bfloat16(variant, autocast):
    """Tower, Q-Former and language model in half precision, what trains in full."""
    model, processor = tiny_model(variant)
    freeze(model)
    inputs = inputs_for(processor, captions=True)
    reference = model(**inputs).loss
    frozen = [model.model.vision_tower.tower, model.model.language_model]
    frozen += [model.model.connector.qformer] if "qformer" in variant else []
    for part in frozen:
        part.to(torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        torch.testing.assert_close(model(**inputs).loss.float(), reference, atol=0.1, rtol=0.05)
        model.train()(**inputs).loss.backward()
        ids = model.eval().generate(**inputs_for(processor), max_new_tokens=3)
    assert ids.shape[0] == 3
    gradients = [value.grad for value in model.parameters() if value.requires_grad]
    assert all(gradient.dtype == torch.float32 and gradient.isfinite().all() for gradient in gradients)


PLACES = [
    "change_fusion_adapter.layers.0",
    "change_fusion_adapter.layers.1",
    "alignment",
    "connector",
    "language_model",
]


@pytest.mark.parametrize("variant", ["resnet", "instructblip-qformer"])
@pytest.mark.parametrize("place", ["vision_tower.patch_projection", *PLACES, "lm_head"])
def test_model_may_be_split_between_devices(variant, place):
    """As a device map splits it: hooks move the inputs of the blocks. `meta` stands for the second device."""
    model, processor = tiny_model(variant)
    model.train().set_attn_implementation("eager")  # another one asks for a mask's values
    if place == "vision_tower.patch_projection" and variant != "resnet":
        pytest.skip("a tower of tokens projects nothing")
    blocks = {name: model.get_submodule(f"model.{name}") for name in PLACES}
    blocks |= {"lm_head": model.lm_head, "contrast": model.contrast}
    if variant == "resnet":
        blocks = {"vision_tower.patch_projection": model.model.vision_tower.patch_projection} | blocks
    names = list(blocks)
    for name in names[names.index(place) :]:
        add_hook_to_module(blocks[name].to("meta"), AlignDevicesHook("meta", io_same_device=False))
    output = model(**inputs_for(processor, captions=True), scene_ids=torch.arange(3))
    assert set(output.loss_parts) == LOSSES
    assert {part.device for part in output.loss_parts.values()} == {output.logits.device}
    assert next(model.model.vision_tower.tower.parameters()).device.type == "cpu"
    assert (model.model.alignment.match_proj.weight.device.type == "cpu") == (place in [*PLACES[3:], "lm_head"])


@pytest.mark.parametrize("variant", VARIANTS)
def test_modules_with_parameters_of_their_own_are_not_split(variant):
    """But for the vision tower, which moves its own."""
    model, _ = tiny_model(variant)
    owners = {
        type(module).__name__
        for module in (model.model, *model.model.alignment.modules(), *model.model.connector.modules())
        if list(module.parameters(recurse=False)) and list(module.children())
    }
    assert owners <= set(model._no_split_modules)


@pytest.mark.parametrize("variant", ["resnet", "instructblip-qformer"])
def test_features_computed_before_give_the_same(variant):
    model, processor = tiny_model(variant)
    inputs = inputs_for(processor, captions=True)
    expected = model(**inputs)
    pixels = inputs.pop("pixel_values")
    cached = model(**inputs, vision_features=model.model.vision_tower(pixels).last_hidden_state)
    encoded = model(**inputs, mm_encoder_outputs={"image": model.get_image_features(pixels, return_dict=True)})
    embedded = model(
        **{name: value for name, value in inputs.items() if name != "input_ids"},
        inputs_embeds=model.get_input_embeddings()(inputs["input_ids"]),
        pixel_values=pixels,
    )
    for output in (cached, encoded, embedded):
        torch.testing.assert_close(output.logits, expected.logits, **CLOSE)
        torch.testing.assert_close(output.loss, expected.loss, **CLOSE)


def test_ambiguous_inputs_are_refused():
    model, processor = tiny_model("resnet")
    inputs = inputs_for(processor)
    features = model.get_image_features(inputs["pixel_values"])
    with pytest.raises(ValueError, match="either `pixel_values` or `vision_features`"):
        model(**inputs, vision_features=torch.zeros(3, 2, 17, 32))
    with pytest.raises(ValueError, match="both pixel_values and mm_encoder_outputs"):
        model(**inputs, mm_encoder_outputs={"image": features})
    with pytest.raises(ValueError, match="exactly one of input_ids or inputs_embeds"):
        model(pixel_values=inputs["pixel_values"])


@pytest.mark.parametrize("shape", [(3, 3, 32, 32), (3, 1, 3, 32, 32), (3, 3, 3, 32, 32)])
def test_other_layouts_are_refused_by_name(shape):
    model, processor = tiny_model("resnet")
    inputs = inputs_for(processor) | {"pixel_values": torch.zeros(shape)}
    with pytest.raises(ValueError, match=r"normalized pixel_values, got torch\.uint8"):
        model(**inputs | {"pixel_values": inputs["pixel_values"].to(torch.uint8)})
    with pytest.raises(ValueError, match=r'pair_layout="pair"'):
        model(**inputs)


def test_placeholders_must_match_the_tokens_prompt_by_prompt():
    model, processor = tiny_model("resnet")
    inputs = inputs_for(processor)
    ids = inputs["input_ids"].clone()
    place = (ids[0] == model.config.image_token_id).nonzero()[0, 0]
    ids[0, place] = 7
    with pytest.raises(ValueError, match=r"\[33, 34, 34\] image tokens, the 3 pairs give 34"):
        model(**inputs | {"input_ids": ids})
    ids[1, (inputs["attention_mask"][1] == 1).nonzero()[0, 0]] = model.config.image_token_id
    with pytest.raises(ValueError, match="image tokens"):
        model(**inputs | {"input_ids": ids})
    with pytest.raises(ValueError, match="the 2 pairs give"):
        model(**inputs | {"pixel_values": inputs["pixel_values"][:2]})


def test_a_frozen_head_is_not_copied_for_every_pair():
    """As a batched product would do where the last positions alone are scored: Vicuna's head takes 262 MB."""
    model, processor = tiny_model("instructblip")
    freeze(model).train()
    shapes = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: shapes.append(tuple(tensor.shape)), lambda _: None):
        model(**inputs_for(processor, captions=True), logits_to_keep=6)
    vocabulary, width = model.lm_head.weight.shape
    assert (width, vocabulary) in shapes or (vocabulary, width) in shapes
    assert not [shape for shape in shapes if len(shape) == 3 and set(shape[1:]) == {vocabulary, width}]
