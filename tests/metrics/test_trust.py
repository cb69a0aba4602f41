# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Reliability, AUROC and what counts as right."""

import numpy as np
import pytest
import torch

from ssgpa.metrics.change_captioning.scorer import CaptionScorer
from ssgpa.metrics.report.page import _trust_plot
from ssgpa.metrics.trust import auroc, cross_validated, describe_trust, reliability, right_captions
from ssgpa.trust_ssgpa import Confidence, Familiarity, Trust


def test_auroc_counts_couples():
    rng = np.random.default_rng(0)
    scores, positive = rng.integers(0, 20, 200), rng.integers(0, 2, 200)
    high, low = scores[positive == 1], scores[positive == 0]
    couples = [1.0 if a > b else 0.5 if a == b else 0.0 for a in high for b in low]
    assert auroc(scores, positive) == pytest.approx(np.mean(couples))
    assert auroc([1, 2], [1, 1]) is None


def test_a_true_confidence_is_calibrated_and_a_boastful_one_is_not():
    rng = np.random.default_rng(0)
    chances = rng.random(20000)
    right = rng.random(20000) < chances
    found = reliability(chances, right)
    assert found["ece"] < 0.01
    assert found["auroc"] == pytest.approx(5 / 6, abs=0.01)
    assert sum(group["captions"] for group in found["curve"]) == 20000
    boastful = reliability(chances**0.25, right)
    # The mean of x^(1/4) is 4/5, of x 1/2.
    assert boastful["ece"] == pytest.approx(0.3, abs=0.01)
    assert boastful["auroc"] == found["auroc"]


def test_no_caption_is_judged_by_a_fit_that_saw_it():
    seen = []

    def fit(kept):
        seen.append(set(kept.tolist()))
        return lambda number: float(number in seen[-1])

    assert cross_validated(fit, 23).sum() == 0
    assert len(seen) == 5


def row(name, kind, *captions):
    return {"pair_id": name, "change_type": kind, "captions": list(captions)}


def test_without_scenes_likeness_counts_and_unchanged_pairs_by_their_sentences():
    rows = [
        row("a", "add", "a red ball has been added", "a red ball is new"),
        row("b", "drop", "the blue box is gone", "someone took the blue box"),
        row("c", "none", "nothing has changed", "all is the same"),
        row("d", "none", "nothing was modified"),
    ]
    said = {"a": "a red ball has been added", "b": "a red ball is new", "c": "nothing was modified", "d": "it is gone"}
    right, words = right_captions(rows, said, CaptionScorer("nltk", meteor=False))
    assert right.tolist() == [1, 0, 1, 0]
    assert "CIDEr-D of 1 or more" in words


def test_the_report_tells_what_came_true():
    familiarity = Familiarity.fit(torch.randn(64, 4, generator=torch.Generator().manual_seed(0)))
    trust = Trust("noise", "some", familiarity, Confidence({"log_probability": [0.0, 1.0, 2.0]}, 0.0))
    evidence = torch.full((40, 7), float("nan"))
    evidence[:, 0] = torch.linspace(-2, 2, 40)
    right = (evidence[:, 0] > 0).double().numpy()
    statistics = torch.cat([torch.zeros(30, 4), torch.full((10, 4), 50.0)])
    found = describe_trust(trust, evidence, statistics, right, "some")
    assert (found["auroc"], found["familiar"], found["right_means"]) == (1.0, 0.75, "some")
    assert evidence[:, 3].isnan().all()
    figure = _trust_plot({"trust": found})
    assert "Confidence and what came true" in figure
    assert "AUROC 1.000; right: some" in figure
    assert figure.count("of these, right") >= 10
    assert _trust_plot({}) == ""
