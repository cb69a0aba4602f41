# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Packed captions against the same captions one a row, and against the processor's own batches."""

import pytest
import torch
from PIL import Image
from transformers.loss.loss_utils import ForCausalLMLoss

from ssgpa.training.collator import IGNORED, PairCollator
from ssgpa.training.dataset import PairDataset
from ssgpa.training.pixels import PixelNormalizer

from ..ssgpa_cases import wake
from ..tiny_systems import TINY_SYSTEMS


MODEL_KEYS = ("input_ids", "labels", "position_ids", "attention_mask", "pixel_values")


def model_inputs(batch):
    return {key: batch[key] for key in MODEL_KEYS}


@pytest.fixture
def items(splits, make_system):
    """Three pairs with three captions each, of different lengths."""
    processor = make_system()[1]
    dataset = PairDataset(splits["train"], processor, captions_per_pair=3)
    return [dataset[index] for index in (0, 1, 4)]


def one_by_one(items):
    return [{**item, "captions": [caption]} for item in items for caption in item["captions"]]


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_packed_captions_are_computed_as_if_each_stood_alone(make_system, items, attention):
    model, processor = make_system(attn_implementation=attention)
    wake(model).eval()
    collator = PairCollator(processor)
    packed, single = collator(items), collator(one_by_one(items))
    with torch.no_grad():
        packed_logits = model(**model_inputs(packed)).logits
        single_logits = model(**model_inputs(single)).logits
    # The token before each label predicts it.
    rows, places = (packed["labels"][:, 1:] != IGNORED).nonzero(as_tuple=True)
    single_rows, single_places = (single["labels"][:, 1:] != IGNORED).nonzero(as_tuple=True)
    assert torch.equal(packed["labels"][rows, places + 1], single["labels"][single_rows, single_places + 1])
    assert torch.allclose(packed_logits[rows, places], single_logits[single_rows, single_places], atol=1e-5)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_packed_loss_is_the_token_mean_of_the_rows(make_system, items, attention):
    model, processor = make_system(attn_implementation=attention)
    wake(model).eval()
    collator = PairCollator(processor)
    with torch.no_grad():
        packed = model(**model_inputs(collator(items))).loss
        rows = [collator([item]) for item in one_by_one(items)]
        losses = torch.stack([model(**model_inputs(row)).loss for row in rows])
    counts = torch.tensor([(row["labels"] != IGNORED).sum() for row in rows])
    assert torch.allclose(packed, (losses * counts).sum() / counts.sum(), atol=1e-5)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_packed_mask_works_under_bf16_autocast(make_system, items, attention):
    model, processor = make_system(attn_implementation=attention)
    wake(model).eval()
    batch = model_inputs(PairCollator(processor)(items))
    assert batch["attention_mask"].dtype == torch.float32
    with torch.no_grad():
        exact = model(**batch).logits
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = model(**batch).logits
    supervised = batch["labels"] != IGNORED
    assert rounded[supervised].isfinite().all()
    assert (rounded.float() - exact)[supervised].abs().max() < 0.1 * exact[supervised].abs().max()


def test_lone_caption_equals_the_processor(make_system, splits):
    model, processor = make_system()
    wake(model).eval()
    dataset = PairDataset(splits["train"], processor, captions_per_pair=1)
    items = [dataset[index] for index in (0, 1, 2)]
    rows = splits["train"].select([0, 1, 2])
    captions = [item["captions"][0] for item in items]
    wanted = processor(images=[[row["before"], row["after"]] for row in rows], suffix=captions, return_tensors="pt")
    batch = PairCollator(processor)(items)
    assert batch["attention_mask"].shape == batch["input_ids"].shape
    assert torch.equal(batch["pixel_values"], wanted["pixel_values"])
    for ours, ids in ((batch["input_ids"], wanted["input_ids"]), (batch["labels"], wanted["labels"])):
        for own_row, row, own_kept, kept in zip(
            ours, ids, batch["attention_mask"].bool(), wanted["attention_mask"].bool(), strict=True
        ):
            assert torch.equal(own_row[own_kept], row[kept])
    with torch.no_grad():
        assert torch.allclose(model(**model_inputs(batch)).loss, model(**wanted).loss, atol=1e-5)


def test_only_captions_and_end_tokens_are_supervised(make_system, items):
    _, processor = make_system()
    tokenizer = processor.tokenizer
    batch = PairCollator(processor)(items)
    for labels, item in zip(batch["labels"], items, strict=True):
        text = tokenizer.decode(labels[labels != IGNORED])
        assert text.replace(" ", "") == "".join(f"{caption}</s>" for caption in item["captions"]).replace(" ", "")


@pytest.mark.parametrize("token", ["</s>", "<s>", "<pad>", "<image>"])
def test_processor_and_collator_refuse_the_same_captions(make_system, items, token):
    _, processor = make_system()
    items[1] = {**items[1], "captions": [f"the cube {token} is gone", *items[1]["captions"][1:]]}
    with pytest.raises(
        ValueError, match=f"pair '{items[1]['pair_id']}': the caption 'the cube {token} is gone' holds"
    ):
        PairCollator(processor)(items)
    with pytest.raises(ValueError, match=f"'the cube {token} is gone' holds"):
        processor.caption_ids(items[1]["captions"])


def test_loss_counts_every_supervised_token(make_system, items):
    model, processor = make_system()
    batch = PairCollator(processor)(items)
    count = sum(len(caption.split()) + 1 for item in items for caption in item["captions"])
    assert (batch["labels"][:, 1:] != IGNORED).sum() == count
    logits = torch.randn(*batch["labels"].shape, model.config.text_config.vocab_size)
    total = ForCausalLMLoss(logits, batch["labels"], logits.shape[-1], num_items_in_batch=1)
    mean = ForCausalLMLoss(logits, batch["labels"], logits.shape[-1])
    assert torch.allclose(total / count, mean)


def test_aux_heads_and_names_travel_with_the_batch(make_system, items):
    _, processor = make_system()
    batch = PairCollator(processor, aux_targets=True)(items)
    assert batch["cells"].shape == (3, 2, 24)
    assert batch["pair_ids"] == [item["pair_id"] for item in items]
    assert batch["change_types"] == [item["change_type"] for item in items]
    assert "cells" not in PairCollator(processor)(items)


def test_prompt_that_ends_with_an_image(make_system, splits):
    model, processor = make_system(prompt="<image> <image>")
    dataset = PairDataset(splits["train"], processor, captions_per_pair=2)
    with pytest.raises(ValueError, match="ends with an image"):
        PairCollator(processor)([dataset[0]])
    dataset.captions_per_pair = 1
    assert model(**model_inputs(PairCollator(processor)([dataset[0]]))).loss.isfinite()


@pytest.mark.parametrize("multiple", [1, 8, 32])
def test_rows_are_padded_to_a_multiple(make_system, items, multiple):
    model, processor = make_system()
    wake(model).eval()
    plain = PairCollator(processor)(items)
    batch = PairCollator(processor, pad_to_multiple_of=multiple)(items)
    width, longest = batch["input_ids"].shape[1], plain["input_ids"].shape[1]
    assert width % multiple == 0
    assert longest <= width < longest + multiple
    with torch.no_grad():
        losses = [model(**model_inputs(one), logits_to_keep=one["logits_to_keep"]).loss for one in (plain, batch)]
    assert torch.allclose(*losses, atol=1e-5)


def test_rows_are_padded_to_something(make_system):
    with pytest.raises(ValueError, match="`pad_to_multiple_of` must be at least 1"):
        PairCollator(make_system()[1], pad_to_multiple_of=0)


@pytest.mark.parametrize("normalize", [True, False])
def test_concatenated_images_are_the_processors_own(splits, normalize):
    _, processor = TINY_SYSTEMS["toy_concatenating"]()
    row = splits["train"][3]
    wanted = processor(images=[row["before"], row["after"]], return_tensors="pt")["pixel_values"]
    found = PairCollator(processor, normalize=normalize)([PairDataset(splits["train"], processor)[3]])["pixel_values"]
    assert torch.equal(found if normalize else PixelNormalizer(processor.image_processor)(found), wanted)


def test_images_of_any_size_give_the_processors_pixels(make_system, splits):
    _, processor = make_system()
    dataset = PairDataset(splits["train"], processor, cache=True)
    row = splits["train"][3]
    wanted = processor(images=[row["before"], row["after"]], return_tensors="pt")["pixel_values"]
    assert isinstance(row["before"], Image.Image)
    assert row["before"].size != (48, 32)
    assert torch.equal(PairCollator(processor)([dataset[3]])["pixel_values"], wanted)
    levels = PairCollator(processor, normalize=False)([dataset[3]])["pixel_values"]
    assert levels.dtype == torch.uint8
    assert torch.equal(PixelNormalizer(processor.image_processor)(levels), wanted)


def test_images_that_are_cropped_are_the_processors_too(make_system, splits):
    _, processor = make_system()
    image_processor = processor.image_processor
    image_processor.size = type(image_processor.size)(shortest_edge=40)
    image_processor.do_center_crop, image_processor.crop_size = True, type(image_processor.size)(height=32, width=48)
    row = splits["train"][3]
    wanted = image_processor([row["before"], row["after"]], return_tensors="pt")["pixel_values"]
    made = PairCollator(processor)([PairDataset(splits["train"], processor)[3]])["pixel_values"]
    assert torch.equal(made[0], wanted)


def test_scores_at_the_captions_alone_give_the_same_loss_and_gradients(make_system, items):
    model, processor = make_system()
    wake(model).train()
    batch = PairCollator(processor)(items)
    labels = batch["labels"]
    first = (labels != IGNORED).any(0).nonzero()[0].item()
    assert batch["logits_to_keep"] == labels.shape[1] - first + 1
    gradients = []
    for kept in (batch["logits_to_keep"], 0):
        torch.manual_seed(0)  # warps and negatives
        model.zero_grad()
        output = model(**model_inputs(batch), logits_to_keep=kept)
        assert output.logits.shape[1] == (kept or labels.shape[1])
        output.loss.backward()
        gradients.append([output.loss.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)])
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(*gradients, strict=True))
