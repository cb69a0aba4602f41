# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""What Trainer's documentation promises: sets by name, predictions, stock arguments; and a stock Trainer."""

import json

import numpy as np
import pytest
import torch
from transformers import Trainer, TrainerCallback, TrainingArguments

from ssgpa.data.clevr_renderer.captions.sentences import change_type_of
from ssgpa.training.collator import PairCollator
from ssgpa.training.dataset import PairDataset
from ssgpa.training.generation import caption_rows
from ssgpa.training.trainer import ChangeCaptioningTrainer

from .test_trainer import QUIET


@pytest.fixture
def stock_arguments(tmp_path):
    def make(**options):
        values = {"per_device_train_batch_size": 4, "max_steps": 2, **QUIET, **options}
        return TrainingArguments(output_dir=str(tmp_path / "run"), **values)

    return make


@pytest.fixture
def make(make_system, splits, stock_arguments):
    """A trainer under stock arguments, which take columns out by default."""

    def build(cls=ChangeCaptioningTrainer, collator=None, **changes):
        model, processor = make_system()
        options = {
            "args": stock_arguments(),
            "train_dataset": PairDataset(splits["train"], processor, 2),
            "eval_dataset": splits["validation"],
            "data_collator": PairCollator(processor, **(collator or {})),
            "processing_class": processor,
        }
        return cls(model=model, **{**options, **changes})

    return build


def scores_of(metrics, prefix):
    return {name.removeprefix(f"{prefix}_") for name in metrics if name.startswith(f"{prefix}_")}


@pytest.mark.parametrize("normalize", [True, False])
def test_stock_arguments_train_and_evaluate(make, stock_arguments, normalize):
    arguments = stock_arguments(eval_strategy="steps", eval_steps=1)
    assert arguments.remove_unused_columns
    trainer = make(args=arguments, collator={"normalize": normalize})
    trainer.train()
    found = [entry for entry in trainer.state.log_history if "eval_changed_cider" in entry]
    assert [entry["step"] for entry in found] == [1, 2]
    assert any("loss_parts/caption" in entry for entry in trainer.state.log_history)


def test_arguments_may_be_left_out(make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "eval_total_cider" in make(args=None).evaluate()


def test_a_dict_of_sets_is_evaluated_set_by_set(make, splits, tmp_path):
    halves = {"one": splits["validation"].select([0, 1]), "two/b": splits["validation"].select([2, 3])}
    trainer = make(eval_dataset=halves)
    both = trainer.evaluate()
    assert scores_of(both, "eval_one") == scores_of(both, "eval_two/b")
    assert {"total_cider", "changed_rouge_l", "runtime"} <= scores_of(both, "eval_one")
    for name, file in (("one", "eval_one"), ("two/b", "eval_two_b")):
        record = json.loads((tmp_path / "run" / "evaluations" / f"{file}-000000.json").read_text("utf-8"))
        assert list(record["captions"]) == halves[name]["pair_id"][:]
        assert both[f"eval_{name}_total_rouge_l"] == record["scores"]["total"]["rouge_l"]
    # One by its name, and another dict in place of the trainer's own.
    alone = trainer.evaluate("one")
    assert alone["eval_total_rouge_l"] == both["eval_one_total_rouge_l"]
    given = trainer.evaluate({"x": halves["one"]}, metric_key_prefix="test")
    assert given["test_x_total_rouge_l"] == both["eval_one_total_rouge_l"]


def test_sets_in_a_dict_choose_the_best_checkpoint(make, stock_arguments, splits):
    halves = {"one": splits["validation"].select([0, 1]), "two": splits["validation"].select([2, 3])}
    best = {"load_best_model_at_end": True, "save_strategy": "steps", "save_steps": 1}
    arguments = stock_arguments(
        eval_strategy="steps", eval_steps=1, metric_for_best_model="eval_two_total_rouge_l", **best
    )
    trainer = make(eval_dataset=halves, args=arguments)
    trainer.train()
    logged = [entry["eval_two_total_rouge_l"] for entry in trainer.state.log_history if "eval_two_runtime" in entry]
    assert len(logged) == 2
    assert trainer.state.best_metric == max(logged)


class Heard(TrainerCallback):
    def __init__(self):
        self.metrics = []

    def on_predict(self, args, state, control, metrics, **kwargs):
        self.metrics.append(metrics)


def test_predict_gives_captions_references_and_scores(make, splits, tmp_path):
    rows, heard = splits["test"], Heard()
    trainer = make(change_type_of=change_type_of, callbacks=[heard])
    output = trainer.predict(rows)
    wanted = caption_rows(trainer.model, trainer.processing_class, rows, num_beams=1, max_new_tokens=40)
    assert isinstance(output.predictions, np.ndarray)
    assert dict(zip(rows["pair_id"], output.predictions.tolist(), strict=True)) == wanted
    assert output.label_ids.tolist() == rows["captions"][:]
    scores = trainer.evaluate(rows, metric_key_prefix="test")
    times = {"test_runtime", "test_samples_per_second", "epoch"}
    assert {name: value for name, value in output.metrics.items() if name not in times} == {
        name: value for name, value in scores.items() if name not in times
    }
    assert heard.metrics == [output.metrics]
    assert [path.name for path in (tmp_path / "run" / "evaluations").iterdir()] == ["test-000000.json"]


def test_predict_needs_no_references(make, splits):
    rows = splits["test"].remove_columns(["captions", "change_type"])
    output = make().predict(rows, metric_key_prefix="new")
    assert len(output.predictions) == len(rows)
    assert output.label_ids is None
    assert set(output.metrics) == {"new_runtime", "new_samples_per_second"}


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda trainer, rows: trainer.evaluate(), "nothing to evaluate: give `eval_dataset`"),
        (lambda trainer, rows: trainer.evaluate("one"), "no evaluation set 'one'"),
        (lambda trainer, rows: trainer.evaluate(trainer.train_dataset), "'eval' is a PairDataset.*prepared split"),
        (lambda trainer, rows: trainer.evaluate(rows.select([])), "'eval' has no pairs"),
        (lambda trainer, rows: trainer.evaluate({"a": rows, "b": rows.select([])}), "'eval_b' has no pairs"),
        (lambda trainer, rows: trainer.evaluate(rows.remove_columns("captions")), "'eval' has no captions"),
        (lambda trainer, rows: trainer.predict(rows.remove_columns("after")), "'test' has no after"),
        (lambda trainer, rows: trainer.predict(rows.select([])), "'test' has no pairs"),
        (lambda trainer, rows: trainer.predict(None), "'test' is a NoneType"),
    ],
)
def test_sets_that_cannot_be_captioned_are_named(make, splits, call, words):
    with pytest.raises(ValueError, match=words):
        call(make(eval_dataset=None), splits["validation"])


@pytest.mark.parametrize(
    ("options", "arguments", "words"),
    [
        ({"compute_metrics": len}, {}, "does not read `compute_metrics`"),
        ({"preprocess_logits_for_metrics": len}, {}, "does not read `preprocess_logits_for_metrics`"),
        ({"compute_loss_func": len}, {}, "`compute_loss_func` would replace the model's own losses"),
        ({}, {"prediction_loss_only": True}, "does not read `prediction_loss_only`"),
        ({}, {"bf16_full_eval": True}, "does not read `bf16_full_eval`"),
    ],
)
def test_what_evaluation_would_ignore_is_refused(make, stock_arguments, options, arguments, words):
    with pytest.raises(ValueError, match=words):
        make(args=stock_arguments(**arguments), **options)


def test_a_processor_is_asked_for(make):
    with pytest.raises(ValueError, match="`processing_class` is missing"):
        make(processing_class=None).evaluate()


def test_a_prepared_split_is_no_training_data(make, splits):
    with pytest.raises(ValueError, match=r"Rows of PairDataset are needed.*ssgpa\.training\.dataset\.PairDataset"):
        make(train_dataset=splits["train"]).train()


def test_a_stock_trainer_trains_and_evaluates(make, stock_arguments, splits):
    arguments = stock_arguments(remove_unused_columns=False)
    trainer = make(Trainer, args=arguments, eval_dataset=None)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.train()
    assert any(not torch.equal(value, before[name]) for name, value in trainer.model.state_dict().items())
    rows = PairDataset(splits["validation"], trainer.processing_class)
    found = trainer.evaluate(rows)
    with torch.no_grad():
        batch = trainer.data_collator([rows[index] for index in range(len(rows))])
        assert found["eval_loss"] == pytest.approx(trainer.model.eval()(**batch).loss.item(), rel=1e-4)


def test_a_stock_trainer_that_takes_columns_out_is_told(make, stock_arguments):
    with pytest.raises(ValueError, match="set `remove_unused_columns=False`"):
        make(Trainer, args=stock_arguments(), eval_dataset=None).train()
