# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Captions that reach beyond the language model's positions are refused by their pair's name."""

import pytest
import torch

from ssgpa.training.arguments import ChangeCaptioningArguments
from ssgpa.training.collator import PairCollator
from ssgpa.training.dataset import PairDataset
from ssgpa.training.positions import check_batch_fits, check_captions_fit, check_generation_fits, positions_of
from ssgpa.training.trainer import ChangeCaptioningTrainer

from ..tiny_systems import tiny_ssgpa
from .test_trainer import QUIET


@pytest.fixture(scope="module")
def system():
    return tiny_ssgpa()


def row(name, *lengths):
    return {"pair_id": name, "captions": [" ".join(["cube"] * length) for length in lengths]}


def test_positions_are_the_language_models(system):
    assert positions_of(system[0].config) == 256


def test_the_longest_caption_that_fits_passes(system):
    """As the model itself counts: a prompt, the caption and the end token on 256 positions."""
    _, processor = system
    room = 256 - len(processor.prompt_ids()) - 1
    check_captions_fit(processor, [row("fits", 1, room)], 256)
    inputs = processor(images=[[torch.rand(3, 32, 32)] * 2], suffix=row("fits", room)["captions"], return_tensors="pt")
    assert inputs["input_ids"].shape[1] == 256
    words = r"pair 'long': a caption of 216 tokens.*256 positions.*take 41; 1 other pairs have such captions too"
    assert room == 215
    with pytest.raises(ValueError, match=words):
        check_captions_fit(processor, [row("short", 3), row("long", 2, room + 1), row("other", room + 1)], 256)


def test_models_without_a_limit_are_left_alone(system):
    check_captions_fit(system[1], [row("long", 5000)], None)


@pytest.mark.parametrize("positions", [256, None])
@pytest.mark.parametrize(("caption", "named"), [("a </s> b", r"holds </s>"), ("a <image>", "placeholder"), (3, "no")])
def test_what_the_collator_would_refuse_is_told_before_the_first_step(system, caption, named, positions):
    rows = [*({"pair_id": f"good {number}", "captions": ["a cube"] * 3} for number in range(400)), row("fits", 2)]
    check_captions_fit(system[1], rows, positions)
    with pytest.raises(ValueError, match=rf"^pair 'bad': the caption .*{named}"):
        check_captions_fit(system[1], [*rows, {"pair_id": "bad", "captions": ["a cube", caption]}], positions)


def test_the_unknown_token_counts_as_the_letters_that_training_sees(system):
    """It is text to training: four tokens here, and one to a tokenizer that nobody told."""
    processor = system[1]
    text = "<unk> cube"
    tokens = len(processor.caption_ids([text])[0])
    positions = len(processor.prompt_ids()) + tokens
    assert tokens > len(processor.tokenizer(text, add_special_tokens=False)["input_ids"]) + 1
    check_captions_fit(processor, [{"pair_id": "x", "captions": [text]}], positions)
    with pytest.raises(ValueError, match=rf"pair 'x': a caption of {tokens - 1} tokens does not fit"):
        check_captions_fit(processor, [{"pair_id": "x", "captions": [text]}], positions - 1)


def test_generation_stays_within_the_positions(system):
    check_generation_fits(system[1], 216, 256)
    with pytest.raises(ValueError, match=r"`generation_max_new_tokens` 217 does not fit.*prompt takes 40"):
        check_generation_fits(system[1], 217, 256)


def test_a_packed_batch_may_be_wider_than_the_positions():
    ids = torch.arange(6).repeat(2, 3)
    check_batch_fits({"position_ids": ids, "pair_ids": ["a", "b"]}, 6)
    ids[1, 0] = 6
    with pytest.raises(ValueError, match=r"pairs \['b'\]: prompt and caption take up to 7 tokens.*6 positions"):
        check_batch_fits({"position_ids": ids, "pair_ids": ["a", "b"]}, 6)


def test_a_long_caption_stops_the_trainer_by_its_pairs_name(splits, make_system, tmp_path):
    def lengthen(row):
        return {"captions": ["cube " * 300] if row["pair_id"] == "000002.png" else row["captions"]}

    model, processor = make_system()
    rows = splits["train"].map(lengthen)
    trainer = ChangeCaptioningTrainer(
        model=model,
        args=ChangeCaptioningArguments(output_dir=str(tmp_path), max_steps=4, per_device_train_batch_size=2, **QUIET),
        train_dataset=PairDataset(rows, processor),
        data_collator=PairCollator(processor),
        processing_class=processor,
    )
    with pytest.raises(ValueError, match=r"pairs \['000002\.png'\]: prompt and caption take up to"):
        trainer.train()
