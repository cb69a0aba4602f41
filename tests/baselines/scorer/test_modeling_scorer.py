# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The model: its sizes, its layers, what trains, and what captions depend on."""

import json

import pytest
import torch
from torch.nn import functional as F

from ssgpa import SSGPAProcessor
from ssgpa.baselines.scorer import SCORERConfig, SCORERForConditionalGeneration

from ...tiny_systems import TINY_SYSTEMS
from .cases import random_batch


@pytest.fixture
def tiny():
    return TINY_SYSTEMS["scorer"]()


def changed(model, **fields):
    """The same weights under other fields."""
    config = SCORERConfig.from_dict(model.config.to_dict() | fields)
    other = SCORERForConditionalGeneration(config)
    other.load_state_dict(model.state_dict())
    return other


def test_counts_are_those_of_the_released_code():
    with torch.device("meta"):
        model = SCORERForConditionalGeneration(SCORERConfig())

    def count(*modules):
        return sum(value.numel() for module in modules for value in module.parameters())

    # The released detector has a scale in each of two layers and uses the last one's.
    assert count(model.model.encoder, model.contrast) == 2_635_778 - 1
    assert count(model.model.decoder, model.lm_head) == 4_425_564
    assert count(model.backward_reasoning) == 2_361_345
    assert model.config.vocab_size == 76
    # Three of ResNet-101's four stages, without the classifier.
    assert count(model.model.vision_tower) == 27_535_424


def test_shapes_at_real_size():
    with torch.device("meta"):
        model = SCORERForConditionalGeneration(SCORERConfig()).eval()
        output = model(torch.zeros(3, 24, dtype=torch.long), torch.zeros(3, 2, 3, 224, 224))
    assert output.logits.shape == (3, 24, 76)
    assert output.image_outputs.last_hidden_state.shape == (3, 196, 512)


def test_both_images_are_reconstructed_at_once(tiny):
    """Each reads what the other was before the layer: exchanged images give exchanged results, to the bit."""
    model, _ = tiny
    layer = model.model.encoder.layers[0]
    images = torch.randn(2, 2, 16, 32)
    states, *_ = layer(images)
    other, *_ = layer(images.flip(1))
    assert torch.equal(states, other.flip(1))
    assert not torch.allclose(states[:, 0], states[:, 1])


def test_a_layer_is_attention_to_the_other_image(tiny):
    model, _ = tiny
    layer, (before, after) = model.model.encoder.layers[0], torch.randn(2, 3, 16, 32)
    attention = layer.attention
    wanted = []
    for own, other in ((before, after), (after, before)):
        heads = [
            project(side).view(3, 16, 4, 8).transpose(1, 2)
            for project, side in ((attention.q_proj, own), (attention.k_proj, other), (attention.v_proj, other))
        ]
        shares = (heads[0] @ heads[1].transpose(2, 3) / 8**0.5).softmax(-1)
        read = (shares @ heads[2]).transpose(1, 2).flatten(2)
        wanted.append(F.layer_norm(own + read, (32,), layer.norm.weight, layer.norm.bias, 1e-6))
    states, *_ = layer(torch.stack([before, after], 1))
    torch.testing.assert_close(states, torch.stack(wanted, 1))


def test_cells_know_their_places(tiny):
    """Row by row, with coordinates from -1 on; the columns' table comes first."""
    model, _ = tiny
    embeddings = model.model.encoder.embeddings
    features = torch.randn(1, 2, 16, 16)
    cell = 4 * 2 + 3  # third row, fourth column
    place = torch.cat([embeddings.column_embeddings.weight[3], embeddings.row_embeddings.weight[2]])
    coordinates = torch.tensor([2 * 3 / 4 - 1, 2 * 2 / 4 - 1])
    wanted = embeddings.projection(features) + place + embeddings.coordinate_projection(coordinates)
    torch.testing.assert_close(embeddings(features)[:, :, cell], wanted[:, :, cell])


def test_words_have_sines_and_cosines(tiny):
    model, _ = tiny
    decoder = model.model.decoder
    words, positions = torch.randn(1, 3, 24), torch.tensor([[0, 1, 5]])
    waves = torch.zeros(3, 24)
    for row, position in enumerate((0, 1, 5)):
        for pair in range(12):
            angle = torch.tensor(position / 10000 ** (2 * pair / 24))
            waves[row, 2 * pair], waves[row, 2 * pair + 1] = angle.sin(), angle.cos()
    wanted = decoder.embedding_norm(decoder.embedding_projection(words + waves))
    torch.testing.assert_close(decoder.embed(words, positions), wanted)


def test_residual_connections_differ_as_told(tiny):
    model, _ = tiny
    layer = model.model.decoder.layers[0]
    states, keys, values = torch.randn(1, 5, 32), torch.randn(1, 4, 16, 8), torch.randn(1, 4, 16, 8)
    read = layer.self_attn_norm(states + layer.self_attn(states)[0])
    seen = layer.cross_attn_norm(read + layer.cross_attn(read, (keys, values))[0])
    inner = F.gelu(layer.fc1(seen))
    torch.testing.assert_close(layer(states, keys, values), layer.final_norm(seen + layer.fc2(inner)))
    other = changed(model, decoder_residual="inner").model.decoder.layers[0].eval()
    torch.testing.assert_close(other(states, keys, values), layer.final_norm(inner + layer.fc2(inner)))


def test_padding_on_either_side_changes_no_logits(tiny):
    model, _ = tiny
    batch = random_batch(model.config, rows=2)
    plain = model(**batch).logits
    left = {name: F.pad(batch[name], (3, 0)) for name in ("input_ids", "attention_mask")}
    right = {name: F.pad(batch[name], (0, 3)) for name in ("input_ids", "attention_mask")}
    pixels = {"pixel_values": batch["pixel_values"]}
    torch.testing.assert_close(model(**left, **pixels).logits[:, 3:], plain, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(model(**right, **pixels).logits[:, :-3], plain, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("options", [{"num_beams": 1}, {"num_beams": 3}, {"num_beams": 3, "num_return_sequences": 2}])
def test_captions_do_not_depend_on_the_cache_or_the_batch(tiny, options):
    model, _ = tiny
    torch.manual_seed(0)
    for parameter in model.model.decoder.parameters():  # words that follow the images
        parameter.data += 0.3 * torch.randn_like(parameter)
    model.model.encoder.fusion.weight.data.mul_(10)
    model.lm_head.weight.data.mul_(50)
    model.generation_config.eos_token_id = None
    batch = random_batch(model.config, rows=3)
    batch["pixel_values"][:, 1] = torch.tensor([-50.0, 0.0, 50.0]).view(3, 1, 1, 1)
    inputs = {"input_ids": batch["input_ids"][:, :1], "pixel_values": batch["pixel_values"]}
    wanted = model.generate(**inputs, max_new_tokens=6, do_sample=False, **options)
    for other in ({"use_cache": False}, {"cache_implementation": "static"}):
        assert torch.equal(model.generate(**inputs, max_new_tokens=6, do_sample=False, **options, **other), wanted)
    per_row = options.get("num_return_sequences", 1)
    for row in range(3):
        alone = {name: value[row : row + 1] for name, value in inputs.items()}
        found = model.generate(**alone, max_new_tokens=6, do_sample=False, **options)
        assert torch.equal(found, wanted[row * per_row : (row + 1) * per_row])
    assert len(wanted.unique(dim=0)) > 1


def test_images_are_encoded_once_a_caption(tiny):
    model, _ = tiny
    batch = random_batch(model.config, rows=2)
    calls = {"encoder": 0, "cross": 0}
    model.model.encoder.register_forward_hook(lambda *_: calls.update(encoder=calls["encoder"] + 1))
    model.model.decoder.layers[0].cross_attn.k_proj.register_forward_hook(
        lambda *_: calls.update(cross=calls["cross"] + 1)
    )
    inputs = {"input_ids": batch["input_ids"][:, :1], "pixel_values": batch["pixel_values"]}
    model.generate(**inputs, max_new_tokens=5, num_beams=3)
    assert calls == {"encoder": 1, "cross": 1}


def test_features_take_the_place_of_pixels(tiny):
    model, _ = tiny
    batch = random_batch(model.config, rows=2)
    features = model.get_vision_encoder()(batch["pixel_values"]).last_hidden_state
    assert features.shape == (2, 2, 16, 16)
    given = {name: value for name, value in batch.items() if name != "pixel_values"} | {"vision_features": features}
    torch.testing.assert_close(model(**given).logits, model(**batch).logits)
    start = {"input_ids": batch["input_ids"][:, :1]}
    one = model.generate(**start, vision_features=features, max_new_tokens=4, num_beams=2)
    assert torch.equal(one, model.generate(**start, pixel_values=batch["pixel_values"], max_new_tokens=4, num_beams=2))
    with pytest.raises(ValueError, match="either"):
        model(**batch, vision_features=features)


def test_wrong_images_are_told(tiny):
    model, _ = tiny
    ids = torch.ones(1, 2, dtype=torch.long)
    with pytest.raises(ValueError, match="pair_layout"):
        model(ids, torch.zeros(1, 3, 32, 32))
    with pytest.raises(ValueError, match=r"\(8, 8\) cells, .patch_grid. says \(4, 4\)"):
        model(ids, torch.zeros(1, 2, 3, 64, 64))


def test_losses_beside_the_captions_are_for_training(tiny):
    model, _ = tiny
    batch = random_batch(model.config, rows=4, labels=True)
    assert set(model.eval()(**batch).loss_parts) == {"caption"}
    output = model.train()(**batch)
    assert set(output.loss_parts) == {"caption", "cross_view", "cross_modal"}
    torch.testing.assert_close(output.loss, sum(output.loss_parts.values()))
    assert set(changed(model, cross_modal_weight=0.0).train()(**batch).loss_parts) == {"caption", "cross_view"}
    doubled = changed(model, cross_view_weight=0.2, cross_modal_weight=0.002).train()(**batch).loss_parts
    for name in ("cross_view", "cross_modal"):
        torch.testing.assert_close(doubled[name], 2 * output.loss_parts[name])


def test_accumulated_batches_add_up(tiny):
    model, _ = tiny
    batch = random_batch(model.config, rows=4, labels=True)
    whole = model.train()(**batch).loss_parts
    labels = (batch["labels"][:, 1:] != -100).sum()
    halved = model(**batch, num_items_in_batch=2 * labels).loss_parts
    for name, value in whole.items():
        torch.testing.assert_close(halved[name], value / 2)


def test_halves_are_averaged_as_batches_of_their_own(tiny):
    model, _ = tiny
    model = changed(model, loss_groups="halves").train()
    model.requires_grad_(False)  # the backbone's batch norms then read no batch
    model.train()
    batch = random_batch(model.config, rows=6, labels=True)
    batch["labels"][2, 3:] = -100  # the halves have different numbers of words
    found = model(**batch, scene_ids=torch.tensor([0, 1, 2, 2, 0, 1])).loss_parts
    halves = [
        model(**{name: value[rows] for name, value in batch.items()}).loss_parts for rows in ([0, 1, 2], [3, 4, 5])
    ]
    for name, value in found.items():
        torch.testing.assert_close(value, (halves[0][name] + halves[1][name]) / 2)
    # As one batch, captions of different length weigh by their tokens.
    together = changed(model, loss_groups="batch").requires_grad_(False).train()
    assert not torch.allclose(together(**batch).loss_parts["caption"], found["caption"])


def test_backward_reasoning_may_stay_random_and_still_teach(tiny):
    model, _ = tiny
    for trains in (True, False):
        other = changed(model, train_backward_reasoning=trains, cross_modal_weight=1.0).train()
        batch = random_batch(other.config, rows=4, labels=True)
        other(**batch).loss_parts["cross_modal"].backward()
        own = [value.grad is not None for value in other.backward_reasoning.parameters()]
        assert own == [trains] * len(own)
        assert other.model.encoder.embeddings.projection.weight.grad.abs().max() > 0
        assert other.model.decoder.embed_tokens.weight.grad.abs().max() > 0


def test_captions_do_not_depend_on_backward_reasoning(tiny):
    model, _ = tiny
    batch = random_batch(model.config, rows=2)
    wanted = model(**batch).logits
    for parameter in model.backward_reasoning.parameters():
        parameter.data.fill_(float("nan"))
    assert torch.equal(model(**batch).logits, wanted)


def test_a_frozen_backbone_keeps_its_statistics(tiny):
    model, _ = tiny
    tower = model.get_vision_encoder()
    batch = random_batch(model.config, rows=2, labels=True)
    before = {name: value.clone() for name, value in tower.named_buffers()}
    tower.requires_grad_(False)
    model.train()(**batch).loss.backward()
    assert all(torch.equal(value, before[name]) for name, value in tower.named_buffers())
    tower.requires_grad_(True)
    model.train()(**batch)
    assert any(not torch.equal(value, before[name]) for name, value in tower.named_buffers())


def test_parts_start_as_their_definition_says():
    config = TINY_SYSTEMS["scorer"]()[0].config
    config.hidden_size = config.intermediate_size = 256
    model = SCORERForConditionalGeneration(config)
    assert model.model.decoder.layers[0].fc1.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert model.lm_head.bias.abs().max() == 0
    # Uniform within one by the root of the inputs, as torch does.
    bound = 512**-0.5
    for weight in (model.model.encoder.fusion.weight, model.backward_reasoning.condition.weight):
        assert bound * 0.99 < weight.abs().max() <= bound
    assert model.model.encoder.embeddings.row_embeddings.weight.std().item() == pytest.approx(1, rel=0.2)
    assert model.contrast.logit_scale.item() == model.backward_reasoning.contrast.logit_scale.item() == 1.0


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"matching": "each"}, "matching"),
        ({"decoder_residual": "outer"}, "decoder_residual"),
        ({"decoder_residual": "inner", "intermediate_size": 64}, "intermediate_size"),
        ({"loss_groups": "thirds"}, "loss_groups"),
        ({"sentence_pooling": "max"}, "sentence_pooling"),
        ({"num_attention_heads": 7}, "num_attention_heads"),
        ({"patch_grid": [14]}, "patch_grid"),
        ({"matching_chunk_size": 0}, "matching_chunk_size"),
    ],
)
def test_configurations_that_make_no_model_are_refused(fields, named):
    with pytest.raises(Exception, match=named):
        SCORERConfig(**fields)


def test_the_configuration_survives_json(tmp_path):
    config = SCORERConfig(loss_groups="halves", encoder_layers=3)
    config.save_pretrained(tmp_path)
    assert SCORERConfig.from_pretrained(tmp_path).to_dict() == config.to_dict()
    assert json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))["model_type"] == "scorer"


def test_the_image_processor_is_imagenets(tiny):
    _, processor = tiny
    assert isinstance(processor, SSGPAProcessor)
    assert tuple(processor.image_processor.image_mean) == (0.485, 0.456, 0.406)
    assert tuple(processor.image_processor.image_std) == (0.229, 0.224, 0.225)
    assert processor.prompt_ids() == [processor.tokenizer.bos_token_id]
