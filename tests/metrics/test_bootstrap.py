# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
import time

import numpy as np
import pytest
from pycocoevalcap.bleu.bleu import Bleu

from ssgpa.metrics.bootstrap import (
    compare_statistics,
    compare_systems,
    draw_weights,
    intervals,
    resample,
)
from ssgpa.metrics.corpus import ReferenceCorpus, meteor_from_sums, meteor_statistics
from ssgpa.metrics.report.build import build_report

from .change_captioning.test_scores import random_captions
from .hard_captions import GOLDEN


@pytest.fixture(scope="module")
def captions():
    references, predictions = random_captions(120, seed=4)
    return list(references.values()), list(predictions.values())


@pytest.fixture(scope="module")
def statistics(captions):
    return ReferenceCorpus(captions[0]).statistics(captions[1])


def test_weights_are_drawn_sets():
    drawn = np.concatenate(list(draw_weights(40, 250, seed=1)))
    assert drawn.shape == (250, 40)
    assert (drawn.sum(axis=1) == 40).all()
    # With replacement, about 1 / e of the items is left out of a set.
    assert np.mean(drawn == 0) == pytest.approx((1 - 1 / 40) ** 40, abs=0.02)
    again = np.concatenate(list(draw_weights(40, 250, seed=1)))
    assert (drawn == again).all()
    assert (drawn != np.concatenate(list(draw_weights(40, 250, seed=2)))).any()


def test_a_drawn_set_scores_as_the_set_itself(captions, statistics):
    references, predictions = captions
    weights = next(draw_weights(len(predictions), 3, seed=0))
    scores = statistics.scores(weights)
    for number, row in enumerate(weights):
        picks = [index for index, count in enumerate(row) for _ in range(int(count))]
        truths = {place: references[index] for place, index in enumerate(picks)}
        results = {place: [predictions[index]] for place, index in enumerate(picks)}
        bleu = Bleu(4).compute_score(truths, results, verbose=0)[0]
        assert [scores[f"bleu_{order}"][number] for order in range(1, 5)] == pytest.approx(bleu, abs=1e-9)
        assert scores["rouge_l"][number] == pytest.approx(np.mean(statistics.rouge_l[picks]))
        assert scores["cider"][number] == pytest.approx(np.mean(statistics.cider[picks]))


def test_meteor_from_sums_is_the_jars(captions, meteor):
    references, predictions = captions
    items = meteor_statistics(meteor.statistics_of(predictions, references))
    total, segments = meteor.score(predictions, references)
    part = meteor.score(predictions[:30] * 2, references[:30] * 2)[0]
    hard = meteor.statistics_of([item[0] for item in GOLDEN["tokens"]], [item[1:] for item in GOLDEN["tokens"]])
    corpus = ReferenceCorpus(references).statistics(predictions, meteor)
    assert meteor_from_sums(items) == pytest.approx(segments, abs=1e-9)
    assert meteor_from_sums(items.sum(axis=0, keepdims=True))[0] == pytest.approx(total, abs=1e-9)
    assert meteor_from_sums(2 * items[:30].sum(axis=0, keepdims=True))[0] == pytest.approx(part, abs=1e-9)
    assert meteor_from_sums(meteor_statistics(hard)) == pytest.approx(GOLDEN["meteor_items"], abs=1e-9)
    low, high = intervals(corpus, draws=200)["meteor"]
    assert low < total < high


def test_interval_of_a_mean_is_that_of_the_normal_law(statistics):
    low, high = intervals(statistics, draws=4000)["rouge_l"]
    half = 1.96 * statistics.rouge_l.std() / np.sqrt(len(statistics.rouge_l))
    assert (low + high) / 2 == pytest.approx(statistics.rouge_l.mean(), abs=0.1 * half)
    assert (high - low) / 2 == pytest.approx(half, rel=0.08)


def test_paired_comparison(captions):
    references, predictions = captions
    corpus = ReferenceCorpus(references)
    generator = np.random.default_rng(0)
    better = [
        item[0] if generator.random() < 0.3 else text for item, text in zip(references, predictions, strict=True)
    ]
    ours, theirs = corpus.statistics(better), corpus.statistics(predictions)
    found = compare_statistics(ours, theirs)
    assert found.keys() == {"bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider"}
    cider = found["cider"]
    assert cider["difference"] == pytest.approx(np.mean(ours.cider - theirs.cider))
    assert cider["p"] < 0.01
    assert cider["interval"][0] > 0
    mirrored = compare_statistics(theirs, ours)["cider"]
    assert mirrored["interval"] == pytest.approx([-value for value in reversed(cider["interval"])])
    assert mirrored["p"] == cider["p"]
    # Drawn apart, the same systems would look less different than drawn as pairs.
    apart = resample(ours, seed=0)["cider"] - resample(theirs, seed=1)["cider"]
    assert np.ptp(np.quantile(apart, [0.025, 0.975])) > 1.2 * np.ptp(cider["interval"])


def test_a_system_does_not_differ_from_itself(statistics):
    for values in compare_statistics(statistics, statistics).values():
        assert values["difference"] == 0
        assert values["interval"] == [0, 0]
        assert values["p"] == 1


ROWS = [
    {
        "pair_id": str(index),
        "change_type": "move" if index % 2 else "none",
        "captions": [f"cube {index} moved", "it moved"],
    }
    for index in range(20)
]


def test_systems_by_pair_id():
    ours = {row["pair_id"]: row["captions"][0].upper() for row in ROWS}
    theirs = dict.fromkeys(reversed(ours), "it stays")
    found = compare_systems(ROWS, ours, theirs, draws=50)
    assert found["bootstrap"]["draws"] == 50
    assert found["total"]["rouge_l"]["ours"] == pytest.approx(1)
    assert found["changed"]["bleu_1"]["difference"] > 0
    assert compare_systems(ROWS[:1], {"0": "x"}, {"0": "y"}, draws=5)["changed"] is None
    with pytest.raises(ValueError, match="missing for 1 of 20 pairs: '7'"):
        compare_systems(ROWS, ours, {name: text for name, text in theirs.items() if name != "7"})


def test_the_report_has_intervals_around_its_scores():
    said = {row["pair_id"]: row["captions"][0] if int(row["pair_id"]) % 3 else "it" for row in ROWS}
    report = build_report(ROWS, said)
    assert "pairs, with replacement" in report["bootstrap"]["resampled"]
    for block in ("total", "changed", "unchanged"):
        for name, (low, high) in report["scores"][block]["intervals"].items():
            assert low <= report["scores"][block][name] <= high, name
    assert report["scores"]["by_type"]["move"]["intervals"] == report["scores"]["changed"]["intervals"]
    assert report == build_report(ROWS, said)
    assert report["scores"]["total"]["intervals"] != build_report(ROWS, said, seed=1)["scores"]["total"]["intervals"]


def test_many_pairs_take_seconds():
    references, predictions = random_captions(2000, references=5)
    statistics = ReferenceCorpus(list(references.values())).statistics(list(predictions.values()))
    start = time.process_time()
    intervals(statistics)
    assert time.process_time() - start < 5
