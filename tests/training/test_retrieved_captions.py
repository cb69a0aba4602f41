# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""How captions that were retrieved for a pair come to the model: by data set, collator, evaluation and pipeline."""

import inspect

import pytest
import torch
from PIL import Image
from transformers import pipeline

from ssgpa.training.collator import PairCollator
from ssgpa.training.dataset import PairDataset
from ssgpa.training.generation import caption_pairs, caption_rows
from ssgpa.training.memory.inputs import TextSizes, example_batch

from ..tiny_systems import TINY_SYSTEMS


@pytest.fixture(scope="module")
def system():
    return TINY_SYSTEMS["finer_mllm"]()


@pytest.fixture
def rows(splits):
    found = splits["train"]
    texts = [["the cube has moved", "the sphere has moved"], ["nothing changed"]]
    return found.add_column("retrieved", [texts[number % 2] for number in range(len(found))])


@pytest.fixture
def seen(system, monkeypatch):
    """What the model's forward gets."""
    model, _ = system
    calls, forward = [], type(model).forward

    def spy(self, *args, **kwargs):
        calls.append({name: kwargs.get(name) for name in ("retrieved_ids", "retrieved_mask")})
        return forward(self, *args, **kwargs)

    spy.__signature__ = inspect.signature(forward)
    monkeypatch.setattr(type(model), "forward", spy)
    return calls


def words_of(processor, ids, mask):
    return processor.tokenizer.convert_ids_to_tokens(ids[mask.bool()].tolist())


def test_each_word_of_a_pair_comes_once(system):
    _, processor = system
    found = processor.retrieved_inputs([["the cube has moved", "the sphere has  moved"], [], ["gone"]])
    ids, mask = torch.tensor(found["retrieved_ids"]), torch.tensor(found["retrieved_mask"])
    assert [words_of(processor, *row) for row in zip(ids, mask, strict=True)] == [
        ["the", "cube", "has", "moved", "sphere"],
        [],
        ["gone"],
    ]
    assert processor.retrieved_inputs([[]])["retrieved_mask"] == [[0]]


@pytest.mark.parametrize(
    ("retrieved", "named"),
    [
        (["the cube"], "a list of captions a pair"),
        ([[3]], "a list of captions a pair"),
        ([["the </s> cube"]], "special to the tokenizer"),
        ([["the cube"], ["the cube"]], "2 pairs for 1"),
    ],
)
def test_what_is_no_list_of_captions_is_refused(system, retrieved, named):
    _, processor = system
    images = [[Image.new("RGB", (40, 40)), Image.new("RGB", (40, 40))]]
    with pytest.raises(ValueError, match=named):
        processor(images=images, retrieved=retrieved, return_tensors="pt")


def test_data_set_and_collator_hand_them_on(system, rows):
    model, processor = system
    data = PairDataset(rows, processor, captions_per_pair=2)
    batch = PairCollator(processor)([data[0], data[1]])
    words = [words_of(processor, *row) for row in zip(batch["retrieved_ids"], batch["retrieved_mask"], strict=True)]
    assert words == [["the", "cube", "has", "moved", "sphere"], ["nothing", "changed"]]
    del batch["pair_ids"], batch["scene_ids"]
    assert torch.isfinite(model(**batch).loss)
    plain = PairDataset(rows.remove_columns("retrieved"), processor)
    assert "retrieved_ids" not in PairCollator(processor)([plain[0]])


def test_rows_and_pairs_are_captioned_with_theirs(system, rows, seen):
    model, processor = system
    few = rows.select(range(3))
    options = {"num_beams": 2, "max_new_tokens": 2}
    found = caption_rows(model, processor, few, batch_size=2, **options)
    assert [len(call["retrieved_ids"]) for call in seen] == [4, 4, 2, 2]
    assert words_of(processor, seen[0]["retrieved_ids"][3], seen[0]["retrieved_mask"][3]) == ["nothing", "changed"]
    seen.clear()
    pairs = [(row["before"], row["after"]) for row in few]
    again = caption_pairs(model, processor, pairs, 2, retrieved=few["retrieved"][:], **options)
    assert again == list(found.values())
    seen.clear()
    caption_rows(model, processor, few.remove_columns("retrieved"), **options)
    assert all(call["retrieved_ids"] is None for call in seen)


@pytest.mark.parametrize("batch_size", [1, 2])
def test_a_pipeline_takes_them_beside_the_images(system, rows, batch_size):
    model, processor = system
    pipe = pipeline("change-captioning", model=model, processor=processor, num_beams=1, max_new_tokens=3)
    pairs = [
        {"before": row["before"], "after": row["after"], "retrieved": row["retrieved"]} for row in rows.select([0, 1])
    ]
    found = [result[0]["generated_text"] for result in pipe(pairs, batch_size=batch_size)]
    wanted = caption_rows(model, processor, rows.select([0, 1]), num_beams=1, max_new_tokens=3)
    assert found == list(wanted.values())
    # An emphasis of 10 has the say in a model of random weights.
    assert set(found[1].split()) <= {"nothing", "changed"}
    assert pipe(pairs[1])[0]["generated_text"] == found[1]
    assert pipe(pairs[1], on_error="return")[0]["generated_text"] == found[1]
    plain = pipe({name: pairs[1][name] for name in ("before", "after")})[0]["generated_text"]
    assert not set(plain.split()) <= {"nothing", "changed"}


def test_memory_is_counted_with_them(system):
    model, _ = system
    batch = example_batch(model.config, [32, 32], 2, TextSizes(retrieved=7), "cpu")
    assert batch["retrieved_ids"].shape == batch["retrieved_mask"].shape == (2, 7)
    assert "retrieved_ids" not in example_batch(TINY_SYSTEMS["ssgpa"]()[0].config, [32, 32], 2, TextSizes(), "cpu")
