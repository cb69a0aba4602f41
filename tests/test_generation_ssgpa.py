# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""`generate`, as transformers brings it: what it may not change, and how often the tower runs."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import DynamicCache
from transformers.cache_utils import LinearAttentionLayer

from ssgpa import SSGPAForConditionalGeneration, visual_prompt_ssgpa
from ssgpa.compatibility_ssgpa import CACHE
from ssgpa.prompt_sharing_ssgpa import count_copies

from .ssgpa_cases import inputs_for, row, tiny_model


VARIANTS = ["instructblip", "resnet", "instructblip-qformer", "blip2-qformer"]
GREEDY = {"max_new_tokens": 6, "do_sample": False}


def sharp_model(variant: str = "resnet", **overrides):
    """A model that heeds the images, and whose tokens' probabilities differ by more than rounding."""
    model, processor = tiny_model(variant, **overrides)
    model.lm_head.weight.data.mul_(20)
    model.lm_head.weight.data[model.config.image_token_id] = 0  # a placeholder is no word
    model.model.connector.language_projection.weight.data.mul_(20)
    for layer in model.model.language_model.layers:
        layer.self_attn.o_proj.weight.data.mul_(20)
    model.generation_config.eos_token_id = None
    return model, processor


def count_tower_calls(model):
    sizes = []
    model.model.vision_tower.tower.register_forward_hook(lambda _, inputs, __: sizes.append(len(inputs[0])))
    return sizes


def new_tokens(ids, inputs):
    return ids[:, inputs["input_ids"].shape[1] :]


def test_generate_is_that_of_the_library():
    assert "generate" not in SSGPAForConditionalGeneration.__dict__


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("beams", [1, 4])
def test_tower_runs_once_on_the_pairs_alone(variant, beams):
    model, processor = sharp_model(variant)
    inputs = inputs_for(processor)
    sizes = count_tower_calls(model)
    ids = model.generate(**inputs, **GREEDY, num_beams=beams)
    assert sizes == [6]  # three pairs, two images each
    assert ids.shape == (3, inputs["input_ids"].shape[1] + 6)
    assert torch.equal(ids[:, : inputs["input_ids"].shape[1]], inputs["input_ids"])


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("beams", [1, 3])
def test_batch_generates_what_its_rows_generate(variant, beams):
    model, processor = sharp_model(variant)
    inputs = inputs_for(processor)
    together = new_tokens(model.generate(**inputs, **GREEDY, num_beams=beams), inputs)
    for index in range(3):
        alone = row(inputs, index)
        assert torch.equal(new_tokens(model.generate(**alone, **GREEDY, num_beams=beams), alone)[0], together[index])


@pytest.mark.parametrize("variant", VARIANTS)
def test_order_of_the_images_matters(variant):
    """Before and after exchanged, every pair at its place in the batch."""
    model, processor = sharp_model(variant)
    inputs = inputs_for(processor)
    swapped = inputs | {"pixel_values": inputs["pixel_values"].flip(1)}
    assert (model(**swapped).logits - model(**inputs).logits)[:, -1].abs().amax(-1).min() > 1e-3
    if "qformer" not in variant:  # a random one tells the images apart, though too little for other words
        one, other = (model.generate(**batch, **GREEDY, num_beams=3) for batch in (inputs, swapped))
        assert not torch.equal(one, other)


def test_greedy_follows_the_likeliest_token():
    model, processor = sharp_model()
    inputs = inputs_for(processor)
    expected = inputs["input_ids"]
    mask = inputs["attention_mask"]
    for _ in range(6):
        logits = model(input_ids=expected, attention_mask=mask, pixel_values=inputs["pixel_values"]).logits
        expected = torch.cat([expected, logits[:, -1].argmax(-1, keepdim=True)], 1)
        mask = torch.nn.functional.pad(mask, (0, 1), value=1)
    for options in ({}, {"num_beams": 1}, {"use_cache": False}, {"cache_implementation": "static"}):
        assert torch.equal(model.generate(**inputs, **GREEDY, **options), expected), options


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("other", [{"use_cache": False}, {"cache_implementation": "static"}])
def test_beams_do_not_depend_on_the_cache(variant, other):
    model, processor = sharp_model(variant)
    inputs = inputs_for(processor)
    options = GREEDY | {"num_beams": 3}
    assert torch.equal(model.generate(**inputs, **options, **other), model.generate(**inputs, **options))


def count_rows_read(model):
    rows = []
    layer = model.model.language_model.layers[0]
    layer.register_forward_hook(lambda _, inputs, __: rows.append(inputs[0].shape[:2]))
    return rows


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("options", [{"num_beams": 3}, {"do_sample": True, "num_return_sequences": 4}])
def test_copies_of_a_prompt_are_read_once_and_change_nothing(variant, options, monkeypatch):
    model, processor = sharp_model(variant)
    inputs = inputs_for(processor)
    length = inputs["input_ids"].shape[1]
    copies = options.get("num_beams") or options["num_return_sequences"]
    rows = count_rows_read(model)
    found = []
    for read in (3, 3 * copies):
        torch.manual_seed(0)
        found.append(model.generate(**inputs, **GREEDY | options, return_dict_in_generate=True, output_scores=True))
        assert rows == [(read, length), *[(3 * copies, 1)] * 5]
        rows.clear()
        # The second time as the library does it.
        monkeypatch.setattr(visual_prompt_ssgpa, "count_copies", lambda *_: 1)
    assert torch.equal(found[0].sequences, found[1].sequences)
    for own, stock in zip(found[0].scores, found[1].scores, strict=True):
        torch.testing.assert_close(own, stock, atol=1e-4, rtol=1e-4)


def test_states_of_copies_are_those_of_reading_each(monkeypatch):
    model, processor = sharp_model("instructblip")
    model.set_attn_implementation("eager")
    inputs = inputs_for(processor)
    wanted = {"return_dict_in_generate": True, "output_hidden_states": True, "output_attentions": True}
    own = model.generate(**inputs, **GREEDY, num_beams=3, **wanted)
    monkeypatch.setattr(visual_prompt_ssgpa, "count_copies", lambda *_: 1)
    stock = model.generate(**inputs, **GREEDY, num_beams=3, **wanted)
    for name in ("hidden_states", "attentions"):
        for got, expected in zip(own[name][0], stock[name][0], strict=True):
            assert len(got) == 9
            torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("way", ["given", "offloading", "recurrent", "started", "none", "subclass"])
def test_only_fresh_keys_and_values_are_shared(way):
    model, _ = sharp_model()
    cache = DynamicCache(config=model.config.get_text_config())
    if way == "offloading":
        cache.offloading = True
    if way == "recurrent":
        cache.layers[1] = LinearAttentionLayer(1)
    if way == "started":
        states = torch.zeros(1, 4, 2, 8)
        cache.update(states, states, 0)
    if way == "subclass":
        cache = type("OtherCache", (DynamicCache,), {})()
    tokens = torch.zeros(6, 5, 8)
    assert count_copies(2, tokens, None if way == "none" else cache) == (3 if way == "given" else 1)
    assert count_copies(2, tokens, DynamicCache()) == 3


def test_rows_that_differ_are_read_each():
    """Two pairs, three rows each: copies in every input, or not shared."""
    tokens, ids, mask = torch.arange(2.0).repeat_interleave(3)[:, None, None].expand(6, 5, 8), torch.ones(6, 7), None
    assert count_copies(2, tokens, DynamicCache(), ids, mask) == 3
    assert count_copies(6, tokens, DynamicCache(), ids) == count_copies(4, tokens, DynamicCache(), ids) == 1
    assert count_copies(3, tokens, DynamicCache(), ids) == 1  # rows 2 and 3 are of two pairs
    other = ids.clone()
    other[4, 6] = 0
    assert count_copies(2, tokens, DynamicCache(), ids, other) == 1
    assert count_copies(2, tokens, DynamicCache(), ids, torch.ones(1, 7)) == 1
    assert count_copies(2, tokens, DynamicCache(), ids, {"full_attention": mask}) == 1


def test_rows_with_adapters_of_their_own_are_read_each():
    """PEFT chooses one for each row that `generate` has, copies among them."""
    model, processor = sharp_model()
    adapters = LoraConfig(r=2, target_modules=r".*language_model.*q_proj", init_lora_weights=False)
    torch.manual_seed(0)
    tuned = get_peft_model(model, adapters, adapter_name="one")
    tuned.add_adapter("other", adapters)
    tuned.eval()
    inputs = {name: value[:2] for name, value in inputs_for(processor).items()}
    options = GREEDY | {"num_beams": 3}
    together = new_tokens(tuned.generate(**inputs, **options, adapter_names=["one", "other"]), inputs)
    for index, name in enumerate(("one", "other")):
        tuned.set_adapter(name)
        alone = row(inputs, index)
        assert torch.equal(new_tokens(tuned.generate(**alone, **options), alone)[0], together[index])


def test_what_a_forward_encoded_is_taken_again():
    model, processor = sharp_model(warp_weight=0.0)
    inputs = inputs_for(processor)
    expected = model.generate(**inputs, **GREEDY)
    encoded = model(**inputs).image_outputs
    inputs.pop("pixel_values")
    assert torch.equal(model.generate(**inputs, **GREEDY, mm_encoder_outputs={"image": encoded}), expected)
    with pytest.raises(ValueError, match="hold no evidence, which the losses read"):
        model.train()(**inputs, labels=inputs["input_ids"], mm_encoder_outputs={"image": encoded})


def test_a_prompt_for_two_pairs_is_refused():
    model, processor = sharp_model()
    inputs = {name: value[:2] for name, value in inputs_for(processor).items()}
    inputs["input_ids"] = inputs["input_ids"].reshape(1, -1)
    inputs["attention_mask"] = inputs["attention_mask"].reshape(1, -1)
    with pytest.raises(ValueError, match="image tokens, the 2 pairs give"):
        model(**inputs)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("beams", [1, 3])
def test_prompts_read_in_chunks_generate_the_same(variant, beams):
    model, processor = sharp_model(variant)
    inputs = inputs_for(processor)
    options = GREEDY | {"num_beams": beams}
    ids = model.generate(**inputs, **options, prefill_chunk_size=7)
    assert torch.equal(ids, model.generate(**inputs, **options))


def test_a_cache_of_the_callers_is_filled_for_every_beam():
    model, processor = sharp_model()
    inputs = inputs_for(processor)
    cache = DynamicCache()
    ids = model.generate(**inputs, **GREEDY, num_beams=3, **{CACHE: cache})
    assert torch.equal(ids, model.generate(**inputs, **GREEDY, num_beams=3))
    assert len(cache.layers[0].keys) == 9


def test_several_sequences_of_one_pair():
    model, processor = sharp_model()
    inputs = inputs_for(processor)
    sizes = count_tower_calls(model)
    ids = model.generate(**inputs, **GREEDY, num_beams=4, num_return_sequences=3)
    assert sizes == [6]
    assert ids.shape[0] == 9
    best = model.generate(**inputs, **GREEDY, num_beams=4)
    assert torch.equal(ids[::3], best)
    assert all(len(set(map(tuple, group.tolist()))) == 3 for group in new_tokens(ids, inputs).split(3))
    captions = processor.post_process_captions(ids, inputs)
    assert len(captions) == 9


def test_scores_of_beams_are_the_log_probabilities_of_their_tokens():
    model, processor = sharp_model()
    inputs = inputs_for(processor)
    output = model.generate(
        **inputs, **GREEDY, num_beams=3, length_penalty=0.0, return_dict_in_generate=True, output_scores=True
    )
    mask = torch.nn.functional.pad(inputs["attention_mask"], (0, 6), value=1)
    logits = model(input_ids=output.sequences, attention_mask=mask, pixel_values=inputs["pixel_values"]).logits
    steps = logits[:, -7:-1].log_softmax(-1).gather(2, output.sequences[:, -6:].unsqueeze(2)).squeeze(2)
    torch.testing.assert_close(output.sequences_scores, steps.sum(1), atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("beams", [1, 3])
def test_encoded_before_gives_the_same(beams):
    model, processor = sharp_model("instructblip-qformer")
    inputs = inputs_for(processor)
    options = GREEDY | {"num_beams": beams}
    expected = model.generate(**inputs, **options)
    pixels = inputs.pop("pixel_values")
    sizes = count_tower_calls(model)
    features = model.model.vision_tower(pixels).last_hidden_state
    assert torch.equal(model.generate(**inputs, vision_features=features, **options), expected)
    encoded = model.get_image_features(pixels, return_dict=True)
    assert torch.equal(model.generate(**inputs, mm_encoder_outputs={"image": encoded}, **options), expected)
    assert len(sizes) == 2  # by the two lines above, not by generate


def test_pixels_and_features_together_are_refused():
    model, processor = sharp_model()
    inputs = inputs_for(processor)
    with pytest.raises(ValueError, match="either `pixel_values` or `vision_features`"):
        model.generate(**inputs, vision_features=torch.zeros(3, 2, 17, 32), **GREEDY)


def test_embedded_prompts_generate_the_same():
    model, processor = sharp_model()
    inputs = inputs_for(processor)
    for beams in (1, 3):
        expected = new_tokens(model.generate(**inputs, **GREEDY, num_beams=beams), inputs)
        embeddings = model.get_input_embeddings()(inputs["input_ids"])
        options = GREEDY | {"num_beams": beams, "attention_mask": inputs["attention_mask"]}
        ids = model.generate(inputs_embeds=embeddings, pixel_values=inputs["pixel_values"], **options)
        assert torch.equal(ids, expected)


def test_sampling_is_repeatable():
    model, processor = sharp_model()
    inputs = inputs_for(processor)
    drawn = []
    for _ in range(2):
        torch.manual_seed(3)
        drawn.append(model.generate(**inputs, max_new_tokens=6, do_sample=True, temperature=5.0))
    assert torch.equal(*drawn)


def test_captions_end_at_the_end_token():
    model, processor = sharp_model()
    inputs = inputs_for(processor)
    ids = new_tokens(model.generate(**inputs, **GREEDY), inputs)
    end = ids[0, 2].item()
    stopped = new_tokens(model.generate(**inputs, **GREEDY, eos_token_id=end), inputs)
    place = (ids[0] == end).nonzero()[0, 0]
    assert torch.equal(stopped[0, : place + 1], ids[0, : place + 1])
    assert (stopped[0, place + 1 :] == model.generation_config.pad_token_id).all()
