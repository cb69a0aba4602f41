# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
from inspect import signature
from types import SimpleNamespace

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from transformers import BatchFeature, LlamaConfig, LlamaForCausalLM, LogitsProcessor
from transformers.generation import LogitsProcessorList

from ssgpa.pipeline_ssgpa import FiniteLogitsCheck
from ssgpa.training.generation import caption_pairs, caption_rows, change_maps, evaluation_mode

from ..tiny_systems import TINY_SYSTEMS


def image(value):
    return Image.fromarray(np.full((32, 32, 3), value, dtype=np.uint8))


def fake_processor(images, return_tensors):
    """A prompt of three tokens whose last one is the pair's number, which fake models read."""
    assert return_tensors == "pt"
    assert all(isinstance(pair, list) and len(pair) == 2 for pair in images)
    prompts = [[1, 2, 3 + before] for before, _ in images]
    return BatchFeature({"input_ids": torch.tensor(prompts), "attention_mask": torch.ones(len(images), 3).long()})


class FakeProcessor:
    """Captions are the generated tokens as text, after the number of the pair."""

    def __call__(self, images, return_tensors):
        return fake_processor(images, return_tensors)

    def post_process_captions(self, ids, inputs):
        self.batches = [*getattr(self, "batches", []), len(inputs["input_ids"])]
        return [" ".join(map(str, row[2:].tolist())) for row in ids]


@pytest.fixture
def processor():
    return FakeProcessor()


def language_model():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=None,
    )
    return LlamaForCausalLM(config)


def spoil(model, pair, value):
    """Makes the logits of one pair `value` wherever its number is in the prompt."""
    embedding = model.get_input_embeddings()

    def hook(module, inputs, output):
        spoilt = (inputs[0] == 3 + pair).any(dim=1)
        output = output.clone()
        output[spoilt] = value
        return output

    return embedding.register_forward_hook(hook)


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_order_and_batches(processor, batch_size):
    pairs = ((index, index) for index in range(7))
    captions = caption_pairs(language_model(), processor, pairs, batch_size, max_new_tokens=2)
    assert [caption.split()[0] for caption in captions] == [str(3 + index) for index in range(7)]
    assert sum(processor.batches) == 7
    assert max(processor.batches) == min(batch_size, 7)


def test_batching_changes_no_caption(processor):
    model = language_model()
    pairs = [(index, index) for index in range(6)]
    alone = [caption_pairs(model, processor, [pair], num_beams=3, max_new_tokens=4)[0] for pair in pairs]
    assert caption_pairs(model, processor, pairs, 4, num_beams=3, max_new_tokens=4) == alone
    assert len(set(alone)) == 6


def test_modes_come_back_one_by_one(processor):
    model = language_model().train()
    model.model.layers[0].eval()
    before = [module.training for module in model.modules()]
    seen = []
    model.register_forward_pre_hook(
        lambda module, inputs: seen.append((any(part.training for part in module.modules()), torch.is_grad_enabled()))
    )
    caption_pairs(model, processor, [(0, 0)], max_new_tokens=1)
    assert set(seen) == {(False, False)}
    assert [module.training for module in model.modules()] == before
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


def test_modes_come_back_after_an_error():
    model = language_model().train()
    with pytest.raises(KeyError), evaluation_mode(model):
        raise KeyError
    assert all(module.training for module in model.modules())
    assert not torch.is_inference_mode_enabled()


@pytest.mark.parametrize("num_beams", [1, 3])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_non_finite_logits_name_the_pair(processor, num_beams, value):
    model = language_model().train()
    spoil(model, 4, value)
    pairs = [(index, index) for index in range(6)]
    names = [f"scene {index}" for index in range(6)]
    assert len(caption_pairs(model, processor, pairs[:4], 4, num_beams=num_beams, max_new_tokens=2)) == 4
    with pytest.raises(FloatingPointError, match="not finite for scene 4:"):
        caption_pairs(model, processor, pairs, 6, pair_ids=names, num_beams=num_beams, max_new_tokens=2)
    with pytest.raises(FloatingPointError, match="not finite for pair 4:"):
        caption_pairs(model, processor, iter(pairs), 3, num_beams=num_beams, max_new_tokens=2)
    assert model.training


def test_check_tells_broken_rows_from_forbidden_tokens():
    check = FiniteLogitsCheck(["a", "b"])
    scores = torch.zeros(4, 5)
    scores[:, 1:] = -torch.inf
    assert check(None, scores) is scores
    scores[2] = -torch.inf
    with pytest.raises(FloatingPointError, match="for b"):
        check(None, scores)
    scores[2] = 0
    scores[1, 3] = torch.nan
    with pytest.raises(FloatingPointError, match="for a"):
        check(None, scores)


def test_own_logits_processors_stay(processor):
    class OnlySeven(LogitsProcessor):
        def __call__(self, input_ids, scores):
            return torch.full_like(scores, -torch.inf).index_fill(1, torch.tensor([7]), 0.0)

    own = LogitsProcessorList([OnlySeven()])
    assert caption_pairs(language_model(), processor, [(0, 0)], logits_processor=own, max_new_tokens=2) == ["3 7 7"]
    assert len(own) == 1


def test_inputs_go_to_the_model_and_keep_integers(processor):
    seen = {}

    def generate(**inputs):
        seen.update(inputs)
        return inputs["input_ids"]

    def process(images, return_tensors):
        return BatchFeature({**fake_processor(images, return_tensors), "pixel_values": torch.ones(len(images), 3)})

    process.post_process_captions = processor.post_process_captions
    model = torch.nn.Linear(1, 1)
    model.generate, model.device, model.dtype = generate, torch.device("cpu"), torch.bfloat16
    caption_pairs(model, process, [(0, 0)])
    assert seen["pixel_values"].dtype == torch.bfloat16
    assert seen["input_ids"].dtype == torch.int64


def test_bad_arguments(processor):
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        caption_pairs(language_model(), processor, [(0, 0)], 0)
    with pytest.raises(ValueError, match="2 captions came for 1 pairs"):
        caption_pairs(language_model(), processor, [(0, 0)], num_beams=2, num_return_sequences=2, max_new_tokens=1)
    assert caption_pairs(language_model(), processor, []) == []


@pytest.mark.parametrize("system", TINY_SYSTEMS)
def test_every_system_captions_pairs(system):
    model, system_processor = TINY_SYSTEMS[system]()
    pairs = [(image(10 * index), image(200 - 10 * index)) for index in range(3)]
    captions = caption_pairs(model, system_processor, pairs, 2, num_beams=2, max_new_tokens=5)
    inputs = system_processor(images=[list(pairs[2])], return_tensors="pt")
    ids = model.generate(**inputs, num_beams=2, max_new_tokens=5)
    assert captions[2] == system_processor.post_process_captions(ids, inputs)[0]
    assert len(captions) == 3
    assert all("before" not in caption for caption in captions) or all(
        len(caption.split()) <= 5 for caption in captions
    )


@pytest.fixture
def dataset():
    records = [
        {"pair_id": f"p{index}", "before": image(index), "after": image(99), "captions": ["x"]} for index in range(5)
    ]
    features = datasets.Features(
        {
            "pair_id": datasets.Value("string"),
            "before": datasets.Image(),
            "after": datasets.Image(),
            "captions": datasets.List(datasets.Value("string")),
        }
    )
    return datasets.Dataset.from_list(records, features=features)


def number_processor(images, return_tensors):
    return fake_processor([[before.getpixel((0, 0))[0], after] for before, after in images], return_tensors)


def test_rows_by_id_with_captions_that_were_there(dataset, processor):
    number_processor.post_process_captions = processor.post_process_captions
    written = []
    captions = caption_rows(
        language_model(), number_processor, dataset, 2, done={"p1": "kept"}, on_batch=written.append, max_new_tokens=1
    )
    assert list(captions) == ["p0", "p1", "p2", "p3", "p4"]
    assert captions["p1"] == "kept"
    assert [captions[f"p{index}"].split()[0] for index in (0, 2, 3, 4)] == ["3", "5", "6", "7"]
    assert [list(batch) for batch in written] == [["p0", "p2"], ["p3", "p4"]]
    assert processor.batches == [2, 2]


def test_rows_with_one_id_twice_are_refused(dataset):
    doubled = datasets.concatenate_datasets([dataset, dataset.select([2])])
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        caption_rows(SimpleNamespace(), None, dataset, 0)
    with pytest.raises(ValueError, match="rows hold ids twice: 'p2'"):
        caption_rows(SimpleNamespace(), None, doubled)


@pytest.mark.parametrize("system", TINY_SYSTEMS)
def test_change_maps_are_the_models_evidence(system):
    model, system_processor = TINY_SYSTEMS[system]()
    model.train()
    pairs = [(image(10 * index), image(200 - 10 * index)) for index in range(3)]
    maps = change_maps(model, system_processor, iter(pairs), batch_size=2)
    assert model.training
    if "output_evidence" not in signature(model.forward).parameters:
        assert maps is None
        return
    model.eval()
    inputs = system_processor(images=[list(pairs[2])], suffix=["x"], return_tensors="pt")
    expected = model(**inputs, output_evidence=True).evidence.change_map[0]
    assert len(maps) == 3
    np.testing.assert_allclose(maps[2], expected.detach().numpy(), atol=1e-5)


def test_a_system_without_evidence_has_no_maps(processor):
    assert change_maps(language_model(), processor, [(0, 0)]) is None


def test_a_repetition_penalty_spares_the_prompt(processor):
    """As `generate` itself does where it is given the prompt's embeddings, so that no prompt is counted."""
    model = language_model()
    options = {"max_new_tokens": 12, "num_beams": 2, "do_sample": False}
    found = caption_pairs(model, processor, [(4, 4)], repetition_penalty=1e6, **options)[0].split()[1:]
    prompt = torch.tensor([[1, 2, 7]])
    embeds = model.get_input_embeddings()(prompt)
    wanted = model.generate(inputs_embeds=embeds, repetition_penalty=1e6, **options)[0]
    assert found == [str(token) for token in wanted.tolist()]
    assert len(set(found)) == 12
    counted = model.generate(input_ids=prompt, repetition_penalty=1e6, **options)[0, 3:]
    plain = caption_pairs(model, processor, [(4, 4)], **options)[0].split()[1:]
    assert found != plain
    assert not {1, 2, 7} & set(counted.tolist())
