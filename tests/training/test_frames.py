# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Rows of other frames than before and after, from a run's YAML to the model."""

import json
from itertools import islice
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
import yaml

from ssgpa.data.frames import PairFrames, frames_of_row
from ssgpa.training.arguments import DataArguments, parse_arguments
from ssgpa.training.collator import PairCollator
from ssgpa.training.dataset import PairDataset
from ssgpa.training.frames import make_frames
from ssgpa.training.memory.inputs import TextSizes, example_batch
from ssgpa.training.memory.measure import Timing
from ssgpa.training.memory.report import MemoryOptions, count_run
from ssgpa.training.run import pair_frames, training_pairs
from ssgpa.training.streams import PairIterableDataset
from ssgpa.training.systems import build_model, read_config

from ..scripts import load_script
from ..toy_cross_attending.modeling_toy_cross_attending import ToyCrossAttendingForConditionalGeneration


HERE = __name__
ROOT = Path(__file__).parents[2]
TOY = Path(__file__).parents[1] / "toy_cross_attending" / "tiny.json"


class Between(PairFrames):
    """Both images, and between them their mean, shifted by what is drawn."""

    def __init__(self, count, shift=0, wanted=()):
        super().__init__(count)
        self.shift, self.wanted = shift, set(wanted)

    def check(self, pair_ids):
        lost = sorted(self.wanted - set(pair_ids))
        if lost:
            raise ValueError(f"no frames of {lost[0]}")

    def __call__(self, images, pair_id, rng):
        mean = np.mean(np.stack(images), 0) / 2 + rng.integers(self.shift + 1)
        return np.stack([images[0], *[mean.astype(np.uint8)] * (self.count - 2), images[1]])


class NoFrames:
    """Makes none."""


class ToyOfThree(ToyCrossAttendingForConditionalGeneration):
    """Trains on three frames, of which it reads the ends, and captions pairs."""

    seen: ClassVar[list] = []

    @property
    def frames_per_pair(self):
        return 3

    def forward(self, input_ids=None, pixel_values=None, **kwargs):
        if self.training:
            self.seen.append(pixel_values)
            pixel_values = pixel_values[:, ::2]
        return super().forward(input_ids, pixel_values, **kwargs)


@pytest.fixture
def processor(make_system):
    return make_system()[1]


def frames_option(**options):
    return json.dumps({"class": f"{HERE}.Between", **options})


def test_rows_have_frames_in_place_of_the_two_images(splits, processor):
    plain = PairDataset(splits["train"], processor, seed=3)
    rows = PairDataset(splits["train"], processor, seed=3, frames=Between(4, shift=100))
    for index in range(len(plain)):
        frames, pair = rows[index]["images"], plain[index]["images"]
        assert frames.shape == (4, 3, 32, 48)
        assert np.array_equal(frames[0], pair[0])
        assert np.array_equal(frames[3], pair[1])
        # Frames draw from a generator of their own.
        assert rows[index]["captions"] == plain[index]["captions"]
    batch = PairCollator(processor)([rows[0], rows[1]])
    assert batch["pixel_values"].shape == (2, 4, 3, 32, 48)
    two = PairCollator(processor)([plain[0], plain[1]])
    assert torch.equal(batch["pixel_values"][:, [0, 3]], two["pixel_values"])


def test_frames_are_drawn_by_seed_epoch_and_row_alone(splits, processor):
    def drawn(seed, epoch, order):
        rows = PairDataset(splits["train"], processor, seed=seed, frames=Between(3, shift=100))
        rows.set_epoch(epoch)
        found = {index: rows[index]["images"][1] for index in order}
        return np.stack([found[index] for index in range(8)])

    there = drawn(1, 2, range(8))
    assert np.array_equal(there, drawn(1, 2, reversed(range(8))))
    assert (there != drawn(1, 3, range(8))).any()
    assert (there != drawn(2, 2, range(8))).any()


def test_a_stream_has_frames_too(splits, processor):
    stream = splits["train"].to_iterable_dataset()
    plain = PairIterableDataset(stream, processor, shuffle_buffer=0)
    made = PairIterableDataset(stream, processor, shuffle_buffer=0, frames=Between(3, shift=100))
    one, two = list(islice(plain, 16)), list(islice(made, 16))
    for pair, frames in zip(one, two, strict=True):
        assert np.array_equal(frames["images"][::2], np.stack(pair["images"]))
        assert frames["captions"] == pair["captions"]
    # The second pass draws anew.
    assert any((two[n]["images"][1] != two[n + 8]["images"][1]).any() for n in range(8))


def test_first_captions_are_the_same_in_every_epoch(splits, processor):
    arguments = DataArguments(captions_per_pair=2, first_captions=True)
    rows = training_pairs(arguments, splits["train"], processor, seed=0)
    for epoch in (0, 1):
        rows.set_epoch(epoch)
        for index, captions in enumerate(splits["train"]["captions"]):
            assert rows[index]["captions"] == captions[:2]
    stream = PairIterableDataset(
        splits["train"].to_iterable_dataset(), processor, shuffle_buffer=0, first_captions=True
    )
    assert [item["captions"] for item in islice(stream, 8)] == [texts[:1] for texts in splits["train"]["captions"]]


@pytest.mark.parametrize(
    ("text", "count", "named"),
    [
        (frames_option(), None, "takes the two images"),
        (None, 3, "takes 3 frames of a pair"),
        ("{", 3, "no JSON"),
        ("[]", 3, "`class`"),
        ("{}", 3, "`class`"),
        ('{"class": "no_such.Name"}', 3, "no_such"),
        (json.dumps({"class": f"{HERE}.NoFrames"}), 3, "no subclass"),
        (frames_option(turn=1), 3, "turn"),
    ],
)
def test_what_makes_no_frames_is_refused(text, count, named):
    with pytest.raises(ValueError, match=named):
        make_frames(text, count, "Toy")


def test_a_model_of_two_images_needs_no_frames():
    assert make_frames(None, None, "Toy") is None
    made = make_frames(frames_option(shift=2), 3, "Toy")
    assert (made.count, made.shift) == (3, 2)


def test_other_frames_than_the_model_takes_are_refused(splits, processor):
    images = tuple(np.zeros((3, 4, 4), np.uint8) for _ in range(2))

    class Short(Between):
        def __call__(self, images, pair_id, rng):
            return np.stack(images)

    with pytest.raises(ValueError, match=r"pair 'a': Short gave uint8 of shape \(2, 3, 4, 4\)"):
        frames_of_row(Short(3), images, "a", (0, 0, 0))

    class Floats(Between):
        def __call__(self, images, pair_id, rng):
            return np.zeros((3, 3, 4, 4))

    with pytest.raises(ValueError, match="gave float64"):
        frames_of_row(Floats(3), images, "a", (0, 0, 0))


def test_pairs_are_checked_before_the_first_step(splits, make_system):
    model, processor = ToyStub(), make_system()[1]
    with pytest.raises(ValueError, match="no frames of there"):
        pair_frames(DataArguments(frames=frames_option(wanted=["there"])), splits["train"], model, processor)
    processor.pair_layout = "vertical"
    with pytest.raises(ValueError, match="vertical"):
        pair_frames(DataArguments(frames=frames_option()), splits["train"], model, processor)


class ToyStub:
    """A model as far as frames go."""

    frames_per_pair = 3


def run_values(prepared_dir, folder, **changes):
    values = {
        "data_dir": str(prepared_dir),
        "model_config": str(TOY),
        "model_class": f"{HERE}.ToyOfThree",
        "image_size": [32, 48],
        "frames": {"class": f"{HERE}.Between", "shift": 9},
        "output_dir": str(folder / "run"),
        "per_device_train_batch_size": 2,
        "max_steps": 2,
        "eval_strategy": "no",
        "save_strategy": "no",
        "use_cpu": True,
        "disable_tqdm": True,
        "report_to": "none",
        **changes,
    }
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump({name: value for name, value in values.items() if value is not None}))
    return str(path)


def test_memory_is_counted_with_the_frames_of_a_model():
    model = build_model(read_config(str(TOY)), f"{HERE}.ToyOfThree").train()
    text = TextSizes(prompt=1, caption=4)
    batch = example_batch(model.config, [32, 48], 2, text, "cpu", frames=model.frames_per_pair)
    assert batch["pixel_values"].shape == (2, 3, 3, 32, 48)
    assert model(**batch).loss.isfinite()
    assert example_batch(model.config, [32, 48], 2, text, "cpu")["pixel_values"].shape == (2, 2, 3, 32, 48)
    run = parse_arguments([str(ROOT / "examples" / "configs" / "clevr_tiny.yaml"), "--use_cpu", "true"])
    run.model.model_config, run.model.model_class = str(TOY), f"{HERE}.ToyOfThree"
    run.model.model_name_or_path = run.model.config_overrides = None
    (row,) = count_run("toy", run, [2], MemoryOptions(text, Timing()))
    assert row["batch_size"] == 2


@pytest.mark.parametrize("streaming", [False, True])
def test_a_yaml_trains_a_model_of_frames(streaming, prepared_dir, tmp_path, own_cache):
    ToyOfThree.seen.clear()
    path = run_values(prepared_dir, tmp_path, streaming=streaming)
    assert load_script("train").main([path]) == 0
    assert [tuple(pixels.shape) for pixels in ToyOfThree.seen] == [(2, 3, 3, 32, 48)] * 2
    assert all(pixels.dtype == torch.float32 for pixels in ToyOfThree.seen)
    assert (tmp_path / "run" / "best" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"frames": None}, "ToyOfThree takes 3 frames"),
        ({"model_class": None}, "takes the two images"),
        ({"distractor_swap": True}, "leave out `distractor_swap`"),
        ({"augment": ["blur=0.5"]}, "leave out `augment`"),
        ({"feature_cache": "features"}, "leave out `feature_cache`"),
        ({"frames": {"class": f"{HERE}.Between", "turn": 1}}, "turn"),
    ],
)
def test_a_run_whose_parts_do_not_agree_is_refused(changes, named, prepared_dir, tmp_path, own_cache, capsys):
    assert load_script("train").main([run_values(prepared_dir, tmp_path, **changes)]) == 2
    assert named in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
