# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""FINER-MLLM's parts: what its tower and Q-Former are, its constraints, and the emphasis of retrieved captions."""

import math

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from torch import nn

from ssgpa.baselines.finer_mllm import FinerMLLMConfig, FinerMLLMForConditionalGeneration
from ssgpa.baselines.finer_mllm.losses_finer_mllm import consistency_loss, orthogonality_loss
from ssgpa.baselines.finer_mllm.modeling_finer_mllm import FinerMLLMEmphasis

from ...tiny_systems import TINY_SYSTEMS
from .cases import instructblip


CLOSE = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture
def system():
    return TINY_SYSTEMS["finer_mllm"]()


def pair_inputs(model, pairs=2, captions=True, seed=0):
    """A prompt of placeholders and words, with a caption to learn."""
    generator = torch.Generator().manual_seed(seed)
    config = model.config
    images = torch.full((pairs, config.visual_tokens), config.image_token_id)
    words = torch.randint(5, config.text_config.vocab_size, (pairs, 6), generator=generator)
    ids = torch.cat([images, words], 1)
    labels = ids.clone()
    labels[:, : config.visual_tokens + 2] = -100
    size = config.vision_config.image_size
    inputs = {"input_ids": ids, "pixel_values": torch.randn(pairs, 2, 3, size, size, generator=generator)}
    return inputs | ({"labels": labels} if captions else {})


def test_tower_and_qformer_are_those_of_instructblip():
    source = instructblip()
    model = FinerMLLMForConditionalGeneration.from_instructblip(source)
    pixels = torch.randn(2, 2, 3, 32, 32)
    with torch.no_grad():
        features = model.get_image_features(pixels, return_dict=True)
        states = source.vision_model(pixels.flatten(0, 1)).last_hidden_state
        queries = source.query_tokens.expand(4, -1, -1)
        summary = source.qformer(None, query_embeds=queries, encoder_hidden_states=states).last_hidden_state
        tokens = source.language_projection(summary)
    torch.testing.assert_close(features.last_hidden_state.flatten(0, 1), states, **CLOSE)
    torch.testing.assert_close(features.pooler_output, tokens.unflatten(0, (2, 2)).flatten(1, 2), **CLOSE)
    assert model.generation_config.eos_token_id == source.generation_config.eos_token_id


def test_all_of_an_instructblip_but_its_instruction_is_taken_over():
    source = instructblip()
    model = FinerMLLMForConditionalGeneration.from_instructblip(source)
    emphasis = sum(parameter.numel() for parameter in model.emphasis.parameters())
    unread = [
        name for name, _ in source.named_parameters() if "word_embeddings" in name or "position_embeddings" in name
    ]
    unread += [
        name
        for name, _ in source.named_parameters()
        if name.startswith("qformer.encoder.layer.") and name.split(".")[4] in ("intermediate", "output")
    ]
    left_out = sum(source.get_parameter(name).numel() for name in unread if name.startswith("qformer."))
    assert left_out > 0
    assert model.num_parameters() - emphasis == source.num_parameters() - left_out


def test_an_instructblip_that_lacks_a_weight_is_refused():
    source = instructblip()
    del source.qformer.encoder.layer[0].output_query.dense
    with pytest.raises(ValueError, match=r"missing: .*layer\.0\.output_query\.dense"):
        FinerMLLMForConditionalGeneration.from_instructblip(source)
    with pytest.raises(ValueError, match="image_token_id"):
        FinerMLLMForConditionalGeneration.from_instructblip(instructblip(), image_token_id=10_000)


def test_a_pair_takes_64_visual_tokens_at_real_size():
    config = FinerMLLMConfig()
    assert config.visual_tokens == 64
    assert (config.num_patches, config.vision_config.num_hidden_layers) == (256, 39)
    assert config.qformer_config.encoder_hidden_size == 1408


def test_tokens_of_the_image_before_come_first(system):
    model, _ = system
    pixels = torch.randn(1, 2, 3, 32, 32)
    tokens, other = (model.get_image_features(one, return_dict=True).pooler_output for one in (pixels, pixels.flip(1)))
    count = model.config.num_query_tokens
    torch.testing.assert_close(tokens, torch.cat([other[:, count:], other[:, :count]], 1), **CLOSE)


# Constraints


def plain_softmax(values):
    exponents = [math.exp(value - max(values)) for value in values]
    return [value / sum(exponents) for value in exponents]


def plain_constraints(scores, released):
    """Both terms, number by number, as the specification writes them."""
    patches = []
    for pair in scores.tolist():
        sides = [[[plain_softmax(row)[1:] if released else row[1:] for row in head] for head in side] for side in pair]
        patches.append(sides)
    divergences, entropies = [], []
    temperature, target = (0.1, 0.05) if released else (1.0, 0.5)
    for before, after in patches:
        for one, other in ((before, after), (after, before)):
            for head, other_head in zip(one, other, strict=True):
                for row, other_row in zip(head, other_head, strict=True):
                    found = plain_softmax([value / temperature for value in row])
                    wanted = plain_softmax([value / target for value in other_row])
                    terms = [w * math.log(w / f) for w, f in zip(wanted, found, strict=True)]
                    divergences += terms if released else [sum(terms)]
                maps = [plain_softmax(row) for row in head]
                if not released:
                    maps = [[value / math.hypot(*row) for value in row] for row in maps]
                for number, row in enumerate(maps):
                    products = [sum(a * b for a, b in zip(row, line, strict=True)) / 0.05 for line in maps]
                    entropies.append(-math.log(plain_softmax(products)[number]))
    return sum(divergences) / len(divergences), sum(entropies) / len(entropies)


@pytest.mark.parametrize("released", [False, True])
def test_constraints_are_those_of_the_specification(released):
    scores = 2 * torch.randn(2, 2, 3, 4, 6, generator=torch.Generator().manual_seed(1))
    temperatures = (0.1, 0.05) if released else (1.0, 0.5)
    found = consistency_loss(scores, *temperatures, released), orthogonality_loss(scores, 0.05, released)
    assert [value.item() for value in found] == pytest.approx(plain_constraints(scores, released), rel=1e-4)


def test_constraints_tell_what_they_are_for():
    generator = torch.Generator().manual_seed(2)
    same = torch.randn(1, 1, 2, 5, 9, generator=generator).expand(-1, 2, -1, -1, -1)
    other = torch.randn(1, 2, 2, 5, 9, generator=generator)
    # Of the attention itself, two images alike diverge by nothing.
    assert consistency_loss(same, 1.0, 1.0).item() == pytest.approx(0, abs=1e-6)
    assert consistency_loss(other, 1.0, 1.0) > 0.1
    # The class token has no place.
    moved = same.clone()
    moved[..., 0] += torch.tensor([0.0, 5.0]).view(1, 2, 1, 1)
    assert consistency_loss(moved, 1.0, 1.0).item() == pytest.approx(0, abs=1e-6)
    apart = 50 * torch.eye(5, 9).roll(1, 1).expand(1, 2, 2, 5, 9)
    assert orthogonality_loss(apart, 0.05).item() == pytest.approx(0, abs=1e-4)
    alike = torch.zeros(1, 2, 2, 5, 9)
    assert orthogonality_loss(alike, 0.05).item() == pytest.approx(math.log(5), abs=1e-5)


def test_the_released_form_hardly_feels_what_the_queries_do():
    """Of probabilities of 256 patches, a second softmax makes maps that are nearly flat."""
    scores = torch.randn(1, 2, 12, 32, 257, generator=torch.Generator().manual_seed(3), requires_grad=True)
    gradients = []
    for released, temperatures in ((True, (0.1, 0.05)), (False, (1.0, 0.5))):
        loss = consistency_loss(scores, *temperatures, released) + orthogonality_loss(scores, 0.05, released)
        (gradient,) = torch.autograd.grad(loss, scores)
        gradients.append(gradient.norm().item())
    assert gradients[1] > 100 * gradients[0]


def test_constraints_train_tower_and_qformer(system):
    model, _ = system
    outputs = model.train()(**pair_inputs(model))
    assert outputs.loss_parts.keys() == {"caption", "consistency", "orthogonality"}
    assert outputs.loss.item() == pytest.approx(sum(part.item() for part in outputs.loss_parts.values()))
    (outputs.loss_parts["consistency"] + outputs.loss_parts["orthogonality"]).backward()
    attention = model.model.connector.qformer.encoder.layer[0].crossattention.attention
    touched = [attention.query.weight, attention.key.weight, model.model.connector.query_tokens]
    touched.append(model.model.vision_tower.tower.encoder.layers[0].self_attn.qkv.q.weight)
    assert all(parameter.grad.abs().sum() > 0 for parameter in touched)
    assert attention.value.weight.grad is None
    assert model.lm_head.weight.grad is None


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_scores_are_those_of_the_last_cross_attention(system, attention):
    model, _ = system
    model.set_attn_implementation("eager")
    pixels = torch.randn(2, 2, 3, 32, 32)
    with torch.no_grad():
        states = model.model.vision_tower(pixels).last_hidden_state.flatten(0, 1)
        queries = model.model.connector.query_tokens.expand(4, -1, -1)
        recorded = model.model.connector.qformer(
            query_embeds=queries, encoder_hidden_states=states, output_attentions=True
        )
        model.set_attn_implementation(attention)
        scores = model.get_image_features(pixels, return_dict=True).attention_scores
    assert scores.shape == (2, 2, 4, 4, 17)
    torch.testing.assert_close(scores.softmax(-1).flatten(0, 1), recorded.cross_attentions[-1], **CLOSE)


def test_an_accumulated_batch_shrinks_means_as_the_caption(system):
    model, _ = system
    inputs = pair_inputs(model)
    tokens = (inputs["labels"][:, 1:] != -100).sum().item()
    whole, half = (model(**inputs, num_items_in_batch=count).loss_parts for count in (tokens, 2 * tokens))
    for name, value in whole.items():
        assert half[name].item() == pytest.approx(value.item() / 2, rel=1e-5), name


# Emphasis


def emphasis(**fields):
    torch.manual_seed(0)
    text = {"model_type": "llama", "hidden_size": 8, "num_attention_heads": 2, "vocab_size": 12}
    return FinerMLLMEmphasis(FinerMLLMConfig(text_config=text, **fields)).eval()


def emphasized(module, seed=0):
    """Logits, what is emphasized, and the weights by torch's own attention, whose parameters are the module's."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 3, 12, generator=generator) - 1
    hidden, states = (torch.randn(2, size, 8, generator=generator) for size in (3, 5))
    ids = torch.tensor([[4, 7, 4, 9, 0], [2, 3, 0, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 0, 0, 0]])
    attention = nn.MultiheadAttention(8, 1, batch_first=True).eval()
    with torch.no_grad():
        for number, layer in enumerate((module.q_proj, module.k_proj)):
            attention.in_proj_weight[8 * number : 8 * number + 8] = layer.weight
            attention.in_proj_bias[8 * number : 8 * number + 8] = layer.bias
        _, weights = attention(hidden, states, states, key_padding_mask=mask == 0)
        found = module(logits, hidden, ids, mask, states)
    return logits, ids, mask, weights, found


@pytest.mark.parametrize("released", [False, True])
def test_emphasis_is_attention_to_the_retrieved_tokens(released):
    logits, ids, mask, weights, found = emphasized(emphasis(released_emphasis=released, emphasis_scale=3.0))
    assert (logits < 0).any()
    for row in range(2):
        for place in range(3):
            wanted = logits[row, place].clone()
            kept = [number for number in range(5) if mask[row, number]]
            for number in kept:
                token, weight = ids[row, number], weights[row, place, number]
                if released:
                    # The last of a token's emphases counts; negative logits fall.
                    wanted[token] = logits[row, place, token] * (1 + weight)
                else:
                    wanted[token] += 3.0 * weight
            torch.testing.assert_close(found[row, place], wanted, **CLOSE)
    changed = found != logits
    assert changed[0].any(0).nonzero().flatten().tolist() == [4, 7, 9]
    assert (found[changed] > logits[changed]).all() != released


def test_a_pair_without_captions_has_no_emphasis():
    module = emphasis()
    logits, hidden, states = torch.randn(1, 3, 12), torch.randn(1, 3, 8), torch.randn(1, 2, 8)
    nothing = torch.zeros(1, 2, dtype=torch.long)
    assert torch.equal(module(logits, hidden, nothing, nothing, states), logits)


def test_emphasis_learns_without_moving_what_it_reads():
    module = emphasis().train()
    hidden = torch.randn(1, 3, 8, requires_grad=True)
    logits = torch.zeros(1, 3, 12)
    ids, mask = torch.tensor([[4, 7, 9]]), torch.ones(1, 3, dtype=torch.long)
    module(logits, hidden, ids, mask, torch.randn(1, 3, 8))[0, :, 7].sum().backward()
    assert hidden.grad is None
    assert all(layer.weight.grad.abs().sum() > 0 for layer in (module.q_proj, module.k_proj))


def test_retrieved_words_become_likelier(system):
    model, processor = system
    inputs = pair_inputs(model, captions=False)
    told = {name: torch.tensor(rows) for name, rows in processor.retrieved_inputs([["cube"], []]).items()}
    with torch.no_grad():
        plain, found = model(**inputs).logits, model(**inputs, **told).logits
    (cube,) = processor.caption_ids(["cube"])[0][:-1]
    change = found - plain
    torch.testing.assert_close(change[0, :, cube], torch.full((inputs["input_ids"].shape[1],), 10.0), **CLOSE)
    change[0, :, cube] = 0
    torch.testing.assert_close(change, torch.zeros_like(change), **CLOSE)


def test_beams_keep_the_captions_of_their_pair(system):
    model, processor = system
    inputs = pair_inputs(model, captions=False)
    told = {name: torch.tensor(rows) for name, rows in processor.retrieved_inputs([["cube red"], ["sphere"]]).items()}
    options = {"max_new_tokens": 3, "do_sample": False}
    together = model.generate(**inputs, **told, num_beams=3, **options)[:, -3:]
    for row in range(2):
        alone = {name: value[row : row + 1] for name, value in (inputs | told).items()}
        assert torch.equal(model.generate(**alone, num_beams=3, **options)[:, -3:], together[row : row + 1])
    assert together[1].unique().tolist() == told["retrieved_ids"][1, :1].tolist()


def test_without_captions_the_user_is_told_once(system, monkeypatch):
    model, processor = system
    lines = []
    monkeypatch.setattr("ssgpa.baselines.finer_mllm.modeling_finer_mllm.logger.warning_once", lines.append)
    inputs = pair_inputs(model, captions=False)
    told = {name: torch.tensor(rows) for name, rows in processor.retrieved_inputs([["cube"], []]).items()}
    model(**inputs, **told)
    assert not lines
    model(**inputs)
    assert "goes without its emphasis" in lines[0]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"emphasis_dropout": 1.0}, "emphasis_dropout"),
        ({"emphasis_scale": -1.0}, "emphasis_scale"),
        ({"consistency_weight": math.nan}, "consistency_weight"),
        ({"orthogonality_temperature": 0.0}, "orthogonality_temperature"),
        ({"num_query_tokens": 0}, "num_query_tokens"),
        ({"image_token_id": -1}, "image_token_id"),
        ({"qformer_config": {"use_qformer_text_input": True}}, "reads no text"),
    ],
)
def test_what_means_nothing_is_refused(fields, named):
    with pytest.raises(StrictDataclassError, match=named):
        FinerMLLMConfig(**fields)


def test_images_that_are_no_pairs_are_refused(system):
    model, _ = system
    with pytest.raises(ValueError, match="pair_layout"):
        model.get_image_features(torch.zeros(2, 3, 32, 32))
    with pytest.raises(ValueError, match="normalized"):
        model.get_image_features(torch.zeros(2, 2, 3, 32, 32, dtype=torch.uint8))
