# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Captions and change maps of sample pairs, read back from where the run reported them."""

import io
import json
import sys
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from ssgpa.data.clevr_renderer.captions.sentences import change_type_of
from ssgpa.pipeline_ssgpa import ChangeCaptioningPipeline
from ssgpa.training.arguments import ChangeCaptioningArguments
from ssgpa.training.collator import PairCollator
from ssgpa.training.dataset import PairDataset
from ssgpa.training.samples import COLUMNS, make_samples
from ssgpa.training.trainer import ChangeCaptioningTrainer


STEPS = [2, 4]


@pytest.fixture
def make_trainer(make_system, splits, tmp_path):
    """A run of four steps that evaluates twice and shows three pairs."""

    def make(report_to, log_samples=3):
        arguments = ChangeCaptioningArguments(
            output_dir=str(tmp_path / "run"),
            log_samples=log_samples,
            report_to=report_to,
            max_steps=4,
            eval_strategy="steps",
            eval_steps=2,
            save_strategy="no",
            generation_max_new_tokens=4,
            use_cpu=True,
            disable_tqdm=True,
        )
        model, processor = make_system()
        return ChangeCaptioningTrainer(
            model=model,
            args=arguments,
            train_dataset=PairDataset(splits["train"], processor),
            eval_dataset=splits["validation"],
            data_collator=PairCollator(processor),
            processing_class=processor,
            train_rows=splits["train"],
            change_type_of=change_type_of,
        )

    return make


def captions_at(folder, step):
    record = json.loads((folder / "evaluations" / f"eval-{step:06d}.json").read_text(encoding="utf-8"))
    return record["captions"]


def references(splits):
    return dict(zip(splits["validation"]["pair_id"][:], splits["validation"]["captions"][:], strict=True))


def overlays(trainer, row):
    """What the pipeline draws, by the model as it is at the end."""
    trainer.model.eval()
    pipe = ChangeCaptioningPipeline(trainer.model, processor=trainer.processing_class, device="cpu")
    drawn = pipe((row["before"], row["after"]), return_change_map=True)[0]
    return np.concatenate([np.asarray(drawn["overlay_before"]), np.asarray(drawn["overlay"])], axis=1)


def test_samples_reach_tensorboard(make_trainer, splits, tmp_path, monkeypatch):
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="the extra `tracking` is not installed"
    )
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "events"))
    trainer = make_trainer(["tensorboard"])
    trainer.train()
    events = accumulator.EventAccumulator(str(tmp_path / "events"), {"images": 0, "tensors": 0})
    events.Reload()
    rows = {row["pair_id"]: row for row in splits["validation"]}
    shown = [tag.removeprefix("samples/") for tag in events.Tags()["images"]]
    assert len(shown) == 3
    assert len({rows[name]["change_type"] for name in shown}) > 1
    for name in shown:
        texts = {event.step: event for event in events.Tensors(f"samples/{name}/text_summary")}
        assert list(texts) == STEPS
        for step, event in texts.items():
            text = event.tensor_proto.string_val[0].decode()
            caption = captions_at(tmp_path / "run", step)[name]
            assert text.split("\n") == [f"**{caption}**", "", *(f"- {line}" for line in rows[name]["captions"])]
        images = events.Images(f"samples/{name}")
        assert [image.step for image in images] == STEPS
        last = np.asarray(Image.open(io.BytesIO(images[-1].encoded_image_string)))
        assert np.array_equal(last, overlays(trainer, rows[name]))


def check_image(image):
    assert isinstance(image, Image.Image)
    return image


def make_rows(columns, data):
    return [dict(zip(columns, row, strict=True)) for row in data]


class Tracker(ModuleType):
    """Stands in for `trackio` or `wandb`: keeps what is logged."""

    def __init__(self, name):
        super().__init__(name)
        self.logged = []

        self.Image, self.Table = check_image, make_rows

    def log(self, values):
        self.logged.append(values)


@pytest.mark.parametrize("name", ["trackio", "wandb"])
def test_samples_reach_trackers(make_trainer, splits, tmp_path, monkeypatch, name):
    tracker = Tracker(name)
    monkeypatch.setitem(sys.modules, name, tracker)
    # Their own callbacks need the packages themselves; ours asks only where the run reports to.
    monkeypatch.setattr("transformers.trainer.get_reporting_integration_callbacks", lambda report_to: [])
    trainer = make_trainer([name])
    trainer.train()
    assert [values["train/global_step"] for values in tracker.logged] == STEPS
    for values in tracker.logged:
        said = captions_at(tmp_path / "run", values["train/global_step"])
        assert [list(row) for row in values["samples"]] == [COLUMNS] * 3
        for row in values["samples"]:
            assert row["caption"] == said[row["pair"]]
            assert row["references"].split("\n") == references(splits)[row["pair"]]
            assert row["before | after"].size == (2 * 96, 64)


def test_no_samples_unless_asked_for(make_trainer, monkeypatch):
    monkeypatch.setattr("ssgpa.training.samples.make_samples", pytest.fail)
    make_trainer("none", log_samples=0).train()


@pytest.mark.parametrize(
    ("report_to", "count", "message"),
    [("none", 2, r"`log_samples` needs one of tensorboard, trackio, wandb"), ("none", -1, "at least 0, got -1")],
)
def test_samples_that_nobody_sees_are_refused(make_trainer, report_to, count, message):
    with pytest.raises(ValueError, match=message):
        make_trainer(report_to, log_samples=count)


def test_large_images_are_made_smaller_and_systems_without_evidence_are_shown(splits, monkeypatch):
    monkeypatch.setattr("ssgpa.training.samples.change_maps", lambda *given: None)
    monkeypatch.setattr("ssgpa.training.samples.MAX_SIDE", 48)
    said = dict.fromkeys(splits["validation"]["pair_id"][:], "x")
    samples = make_samples(None, None, splits["validation"], said, 99)
    assert [sample.pair_id for sample in samples] == splits["validation"]["pair_id"][:]
    assert {sample.image.size for sample in samples} == {(96, 32)}
    plain = splits["validation"][0]["before"].convert("RGB").resize((48, 32))
    difference = np.asarray(samples[0].image, dtype=float)[:, :48] - np.asarray(plain, dtype=float)
    assert np.abs(difference).mean() < 4
