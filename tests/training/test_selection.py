# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The score that chooses the best checkpoint: one that the data has; ties; and a score that never moves."""

import json

import pytest

from ssgpa.data.clevr_renderer.captions.sentences import change_type_of
from ssgpa.metrics.clevr.scenes import add_scene_column
from ssgpa.metrics.trainer_metrics import OPTIONAL
from ssgpa.training.arguments import ChangeCaptioningArguments
from ssgpa.training.collator import PairCollator
from ssgpa.training.dataset import PairDataset
from ssgpa.training.selection import Selection, choose_metric, reachable_scores
from ssgpa.training.trainer import ChangeCaptioningTrainer

from .test_trainer import QUIET


SAVING = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1}
BEST = {**SAVING, "load_best_model_at_end": True, "generation_max_new_tokens": 4}


def with_types(rows, *types):
    """The first rows of a split, with other types of change."""
    rows = rows.select(range(len(types)))
    return rows.remove_columns("change_type").add_column(
        "change_type", list(types), feature=rows.features["change_type"]
    )


@pytest.fixture
def make(make_system, splits, tmp_path):
    def build(rows, captions=None, **options):
        model, processor = make_system()
        values = {"per_device_train_batch_size": 4, "max_steps": 3, **QUIET, **BEST, **options}
        trainer = ChangeCaptioningTrainer(
            model=model,
            args=ChangeCaptioningArguments(output_dir=str(tmp_path / "run"), **values),
            train_dataset=PairDataset(splits["train"], processor),
            eval_dataset=rows,
            data_collator=PairCollator(processor),
            processing_class=processor,
            train_rows=splits["train"],
            change_type_of=change_type_of,
        )
        if captions is not None:
            said = iter(captions)
            trainer._captions = lambda rows: dict.fromkeys(rows["pair_id"], next(said))
        return trainer

    return build


@pytest.fixture
def told(monkeypatch):
    """Warnings of the trainer."""
    lines = []
    monkeypatch.setattr("ssgpa.training.trainer.logger.warning", lines.append)
    return lines


@pytest.mark.parametrize(
    ("types", "metric"),
    [
        (("color", "none", "move", "none"), "eval_changed_cider"),
        ((None, None, None, None), "eval_total_cider"),
        (("none", None, "none", None), "eval_total_cider"),
        (("none", "none", "none", "none"), "eval_total_cider"),
        # One changed pair: CIDEr over it can only be 0.
        (("color", "none", "none", "none"), "eval_total_cider"),
        ((None,), "eval_total_rouge_l"),
        (("color",), "eval_total_rouge_l"),
    ],
)
def test_the_score_is_one_that_the_data_has(make, splits, types, metric):
    trainer = make(with_types(splits["validation"], *types), max_steps=1)
    trainer.train()
    assert trainer.args.metric_for_best_model == metric
    assert trainer.state.best_model_checkpoint.endswith("checkpoint-1")
    (found,) = (entry[metric] for entry in trainer.state.log_history if metric in entry)
    assert trainer.state.best_metric == found


@pytest.mark.parametrize(
    ("types", "metric", "words"),
    [
        ((None, None), "eval_changed_cider", "'eval_changed_cider' cannot be: of none of the pairs a type.*`?auto"),
        (("none", "none"), "changed_bleu_4", "'eval_changed_bleu_4' cannot be: of none"),
        (("color", "move"), "eval_unchanged_cider", "none of the pairs is known to be unchanged"),
        (("color", "none"), "eval_loss", "computes no loss"),
        (("color", "none"), "eval_total_meteor", "METEOR needs Java"),
        (("color", "none"), "eval_cider", "no such score.*eval_changed_cider, "),
        (("color", "none"), "eval_a_total_cider", "no such score"),
    ],
)
def test_a_score_that_cannot_be_is_refused_before_the_first_step(make, splits, tmp_path, types, metric, words):
    trainer = make(with_types(splits["validation"], *types), metric_for_best_model=metric)
    with pytest.raises(ValueError, match=words):
        trainer.train()
    assert trainer.state.global_step == 0
    assert not list((tmp_path / "run").glob("checkpoint-*"))


def test_what_is_listed_is_what_an_evaluation_gives(make, splits):
    for types in (("color", "none", "move", None), (None, None), ("none", "none")):
        rows = with_types(splits["validation"], *types)
        trainer = make(rows, ["the red cube is gone"] * 2)
        found = trainer.evaluate()
        names = {f"eval_{name}" for name in reachable_scores(rows, splits["train"], change_type_of)}
        assert names == set(found) - {"epoch"}


def test_a_run_without_evaluation_needs_no_score(make, splits):
    trainer = make(None, eval_strategy="no", load_best_model_at_end=False, max_steps=1)
    trainer.train()
    assert trainer.state.best_metric is None


def test_arguments_can_be_used_for_other_data(make, splits):
    trainer = make(with_types(splits["validation"], None, None), max_steps=1)
    arguments = ChangeCaptioningArguments(output_dir=trainer.args.output_dir, max_steps=1, **QUIET)
    first = ChangeCaptioningTrainer(model=trainer.model, args=arguments, eval_dataset=trainer.eval_dataset)
    assert first.args is not arguments
    assert arguments.metric_for_best_model == "auto"


def test_ties_go_to_the_later_step(make, splits, tmp_path):
    """Of these captions the second scores best, and the third as well."""
    good, bad = splits["validation"][0]["captions"][0], "nothing of the kind"
    trainer = make(splits["validation"], [bad, good, good, bad], max_steps=4, save_total_limit=1)
    trainer.train()
    scores = [entry["eval_changed_cider"] for entry in trainer.state.log_history if "eval_changed_cider" in entry]
    assert scores[1] == scores[2] > max(scores[0], scores[3])
    assert trainer.state.best_global_step == 3
    assert trainer.state.best_model_checkpoint.endswith("checkpoint-3")
    assert sorted(path.name for path in (tmp_path / "run").glob("checkpoint-*")) == ["checkpoint-3"]


def test_a_resumed_run_keeps_the_rule(make, splits, tmp_path):
    good, bad = splits["validation"][0]["captions"][0], "nothing of the kind"
    make(splits["validation"], [good, bad], max_steps=2, lr_scheduler_type="constant").train()
    later = make(splits["validation"], [bad, good], max_steps=4, lr_scheduler_type="constant")
    later.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-2"))
    assert later.state.best_global_step == 4


def test_save_strategy_best_saves_ties(make, splits, tmp_path):
    good, bad = splits["validation"][0]["captions"][0], "nothing of the kind"
    trainer = make(splits["validation"], [good, bad, good], save_strategy="best")
    trainer.train()
    assert sorted(path.name for path in (tmp_path / "run").glob("checkpoint-*")) == ["checkpoint-1", "checkpoint-3"]
    assert trainer.state.best_global_step == 3


@pytest.mark.parametrize(
    ("captions", "cause"),
    [
        (["", "", ""], "every caption was empty"),
        (["nothing of the kind"] * 3, "no caption changed from one evaluation to the next"),
        (["nothing", "of the", "kind whatsoever"], "every pair got the same caption"),
    ],
)
def test_a_score_that_never_moved_is_told_with_its_cause(make, splits, told, captions, cause):
    trainer = make(splits["validation"], captions)
    trainer.train()
    assert trainer.state.best_global_step == 3
    (line,) = told
    assert line.startswith("eval_changed_cider was 0.0000 at all 3 evaluations")
    assert cause in line


def test_a_score_that_moved_is_not_told(make, splits, told):
    good = splits["validation"][0]["captions"][0]
    make(splits["validation"], ["nothing of the kind", good, good]).train()
    assert told == []


def test_cider_of_one_pair_is_told_before_and_after(make, splits, told):
    rows = with_types(splits["validation"], "color")
    good = rows[0]["captions"][0]
    trainer = make(rows, ["", good, good], metric_for_best_model="eval_changed_cider")
    trainer.train()
    assert trainer.state.best_global_step == 3
    assert len(told) == 2
    assert "eval_changed_cider cannot choose the best checkpoint: over 1 pair" in told[0]
    assert "was 0.0000 at all 3 evaluations" in told[1]
    assert "even captions copied from the references score 0" in told[1]


def test_equal_references_have_no_cider_however_many(splits):
    rows = splits["validation"].map(lambda row: {"captions": ["there is no change"]})
    scores = reachable_scores(rows)
    assert scores["total_cider"] == 0
    assert choose_metric("auto", {"eval": (len(rows), scores)}).metric == "eval_total_rouge_l"
    # A few pairs of many are looked at first: here they are all alike, and the others are not.
    many = rows.map(lambda row, index: {"captions": [f"thing {index // 9}"], "change_type": None}, with_indices=True)
    assert reachable_scores(many)["total_cider"] == 0
    twelve = many.select([0] * 9 + [1, 2, 3])
    names = [f"pair {index}" for index in range(12)]
    twelve = twelve.map(
        lambda row, index: {"pair_id": names[index], "captions": [f"thing {index // 9}"]}, with_indices=True
    )
    assert reachable_scores(twelve)["total_cider"] > 0


def test_a_score_measured_once_has_not_stood_still():
    selection = Selection("eval", "total_cider", 1.0, 4)
    assert selection.explain_still([{"eval_total_cider": 0.0}]) is None


@pytest.fixture(scope="module")
def judged(splits, rendered):
    """The validation pairs with their scenes."""
    return add_scene_column(splits["validation"], rendered / "scenes.jsonl")


def test_correctness_chooses_where_scenes_are_known(make, judged, told):
    """The first captions have more words of the references, the second ones are right."""
    trainer = make(judged, max_steps=2)
    near = {row["pair_id"]: f"{row['captions'][0]} today" for row in judged}
    right = {row["pair_id"]: row["captions"][-1] for row in judged}
    said = iter([right, near])
    trainer._captions = lambda rows: next(said)
    trainer.train()
    assert trainer.args.metric_for_best_model == "eval_changed_correct"
    found = {
        name: [entry[name] for entry in trainer.state.log_history if name in entry]
        for name in ("eval_changed_correct", "eval_unchanged_right", "eval_total_correct", "eval_change_right")
    }
    assert list(found.values()) == [[1.0, 0.0]] * 4
    assert trainer.state.best_global_step == 1
    assert told == []


def test_what_is_listed_is_what_an_evaluation_of_scenes_gives(make, judged, splits):
    trainer = make(judged, ["the red cube is gone"])
    found = set(trainer.evaluate()) - {"epoch"}
    optional = {f"eval_{name}" for name in OPTIONAL}
    assert {f"eval_{name}" for name in reachable_scores(judged, splits["train"], change_type_of)} == found - optional
    with pytest.raises(ValueError, match=r"'eval_shape_right' cannot be: .*no caption that tells of it"):
        make(judged, metric_for_best_model="shape_right").train()


def test_no_caption_was_ever_correct(make, judged, told):
    make(judged, ["it moved", "the thing", "somebody was here"], max_steps=3).train()
    (line,) = told
    assert line.startswith("eval_changed_correct was 0.0000 at all 3 evaluations")
    other = make(judged, max_steps=2)
    said = iter([{name: f"{name} {step}" for name in judged["pair_id"]} for step in range(2)])
    other._captions = lambda rows: next(said)
    other.train()
    assert "no caption was correct" in told[1]


def test_correctness_needs_scenes(make, splits):
    with pytest.raises(ValueError, match="'eval_changed_correct' cannot be: the scenes of the pairs are not known"):
        make(splits["validation"], metric_for_best_model="changed_correct").train()


def test_the_first_of_several_sets_is_chosen_by():
    sets = {
        "eval_a": (2, {"total_cider": 1.0, "total_rouge_l": 1.0}),
        "eval_b": (2, {"total_cider": 1.0, "changed_cider": 1.0, "total_rouge_l": 1.0}),
    }
    assert choose_metric("auto", sets).metric == "eval_a_total_cider"
    assert choose_metric("b_changed_cider", sets).metric == "eval_b_changed_cider"
    assert json.dumps(choose_metric("auto", sets).pairs) == "2"
