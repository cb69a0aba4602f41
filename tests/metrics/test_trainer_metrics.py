# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Scores in Transformers' own trainers: of the whole set, whatever the batches are."""

import numpy as np
import pytest
import torch
from transformers import EvalPrediction, Seq2SeqTrainer, Seq2SeqTrainingArguments, Trainer, TrainingArguments

from ssgpa.metrics.report.build import build_report
from ssgpa.metrics.trainer_metrics import build_compute_metrics, keep_argmax, report_metrics
from ssgpa.training.generation import caption_pairs

from ..ssgpa_cases import wake
from ..tiny_systems import WORDS, tiny_ssgpa


CAPTIONS = {
    "none": ["the scene remains the same", "there is no change"],
    "move": ["the red cube moved to the left", "the small cube changed"],
    "drop": ["the blue sphere has disappeared", "the large metal sphere behind the cube is gone"],
}
PAIRS = 7
QUIET = {"report_to": "none", "disable_tqdm": True, "use_cpu": True, "remove_unused_columns": False}


@pytest.fixture(scope="module")
def system():
    torch.manual_seed(0)
    model, processor = tiny_ssgpa()
    wake(model)
    # Other words for other images, and an end now and then.
    torch.nn.init.normal_(model.lm_head.weight, std=1.0)
    return model.eval(), processor


@pytest.fixture(scope="module")
def images():
    generator = np.random.default_rng(1)
    return [list(generator.integers(0, 255, (2, 32, 32, 3), dtype=np.uint8)) for _ in range(PAIRS)]


@pytest.fixture(scope="module")
def rows():
    kinds = list(CAPTIONS)
    return [
        {"pair_id": f"p{index}", "change_type": kinds[index % 3], "captions": CAPTIONS[kinds[index % 3]]}
        for index in range(PAIRS)
    ]


def arguments(kind, folder, size, **options):
    return kind(str(folder), per_device_eval_batch_size=size, **QUIET, **options)


def scores_of(metrics):
    return {
        name: value for name, value in metrics.items() if name.startswith(("eval_total", "eval_changed", "eval_un"))
    }


def generated_scores(system, images, rows, folder, size, **options):
    """What `Seq2SeqTrainer` gives; its loss of prompts without a caption is of no use here."""
    model, processor = system

    def collate(items):
        inputs = processor(images=items, return_tensors="pt")
        labels = torch.full_like(inputs["input_ids"], -100)
        labels[:, -1] = inputs["input_ids"][:, -1]
        return {**inputs, "labels": labels}

    options = {"predict_with_generate": True, "generation_max_length": 60, "generation_num_beams": 1, **options}
    trainer = Seq2SeqTrainer(
        model,
        arguments(Seq2SeqTrainingArguments, folder, size, **options),
        data_collator=collate,
        eval_dataset=images,
        compute_metrics=build_compute_metrics(processor, rows),
    )
    return trainer.evaluate()


@pytest.mark.parametrize("size", [1, 3, 7])
def test_generated_captions_score_alike_for_any_batch_size(system, images, rows, tmp_path, size):
    found = generated_scores(system, images, rows, tmp_path, size)
    model, processor = system
    captions = caption_pairs(model, processor, images, num_beams=1, max_length=60)
    assert len(set(captions)) > 1
    report = build_report(rows, {row["pair_id"]: text for row, text in zip(rows, captions, strict=True)})
    for name, value in report_metrics(report).items():
        assert found[f"eval_{name}"] == pytest.approx(value, abs=1e-12), name
    assert "eval_teacher_forced" not in found


def test_batch_metrics_are_refused(system, images, rows, tmp_path):
    with pytest.raises(ValueError, match="batch_eval_metrics would score batch by batch"):
        generated_scores(system, images, rows, tmp_path, 3, batch_eval_metrics=True)


@pytest.mark.parametrize("preprocess", [keep_argmax, None])
@pytest.mark.parametrize("size", [1, 4])
def test_teacher_forced_words_are_those_after_the_true_ones(system, images, rows, tmp_path, size, preprocess):
    model, processor = system
    items = [(pair, row["captions"][-1]) for pair, row in zip(images, rows, strict=True)]

    def collate(batch):
        return processor(images=[pair for pair, _ in batch], suffix=[text for _, text in batch], return_tensors="pt")

    trainer = Trainer(
        model,
        arguments(TrainingArguments, tmp_path, size),
        data_collator=lambda batch: dict(collate(batch)),
        eval_dataset=items,
        compute_metrics=build_compute_metrics(processor, rows, shifted=True),
        preprocess_logits_for_metrics=preprocess,
    )
    found = trainer.evaluate()
    said = {}
    for row, item in zip(rows, items, strict=True):
        inputs = collate([item])
        with torch.inference_mode():
            logits = model(**inputs).logits[0, :-1]
        ids = logits.argmax(-1)[inputs["labels"][0, 1:] != -100]
        said[row["pair_id"]] = processor.tokenizer.decode(ids, skip_special_tokens=True)
    expected = report_metrics(build_report(rows, said))
    assert scores_of(found) == pytest.approx(
        {f"eval_{name}": value for name, value in expected.items() if name.startswith(("total", "changed", "un"))},
        abs=1e-12,
    )
    assert found["eval_teacher_forced"] == 1.0


def ids_of(processor, texts):
    table = processor.tokenizer(texts, add_special_tokens=False)["input_ids"]
    width = max(map(len, table))
    return np.array([[*ids, *[-100] * (width - len(ids))] for ids in table])


def test_perfect_ids_score_as_references(system, rows):
    processor = system[1]
    said = [row["captions"][0] for row in rows]
    assert set(" ".join(said).split()) <= set(WORDS)
    compute = build_compute_metrics(processor, rows)
    found = compute(EvalPrediction(predictions=(ids_of(processor, said), None), label_ids=None))
    assert found["total_rouge_l"] == pytest.approx(1)
    assert (found["no_change_on_changed"], found["no_change_on_unchanged"]) == (0, 1)
    assert found["empty_predictions"] == 0
    assert "total_meteor" not in found
    assert "change_type_accuracy" not in found
    # A tokenizer alone will do.
    assert build_compute_metrics(processor.tokenizer, rows)(EvalPrediction(ids_of(processor, said), None)) == found
    nothing = compute(EvalPrediction(predictions=np.full((PAIRS, 4), -100), label_ids=None))
    assert (nothing["total_cider"], nothing["empty_predictions"]) == (0, PAIRS)


def test_what_does_not_fit_is_refused(system, rows):
    processor = system[1]
    logits, labels = np.zeros((PAIRS, 4, 50)), np.zeros((PAIRS, 4), dtype=int)
    with pytest.raises(ValueError, match="6 predictions came for 7 rows"):
        build_compute_metrics(processor, rows)(EvalPrediction(labels[1:], labels[1:]))
    with pytest.raises(ValueError, match="predictions are logits"):
        build_compute_metrics(processor, rows)(EvalPrediction(logits, labels))
    with pytest.raises(ValueError, match=r"shape \(7, 4\) do not fit labels of shape \(7, 3\)"):
        build_compute_metrics(processor, rows, shifted=False)(EvalPrediction(logits, labels[:, 1:]))
