# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The calibration: distances against their definition, a logistic fit against the optimum, and the file."""

import json

import numpy as np
import pytest
import torch

from ssgpa.evidence_ssgpa import agreement, halves, log_probabilities, pooled
from ssgpa.trust_ssgpa import (
    Confidence,
    Familiarity,
    Trust,
    fits,
    load_trust,
    trust_of,
    weights_print,
)

from .tiny_systems import tiny_ssgpa


def correlated(pairs, seed=0):
    """Six numbers a pair, of which two carry nearly all."""
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(pairs, 2)) @ np.random.default_rng(9).normal(size=(2, 6))
    return torch.from_numpy(5 + mixed + 0.1 * rng.normal(size=(pairs, 6)))


def trust_for(model, **fields):
    statistics = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    confidence = Confidence({"log_probability": [-1.0, 0.5, 1.5]}, 0.25)
    return Trust("noise", "some", Familiarity.fit(statistics), confidence, weights=weights_print(model), **fields)


def test_the_distance_is_mahalanobis_along_the_components_and_shares_one_variance_beyond():
    known, new = correlated(400).numpy(), correlated(50, 1).numpy()
    fitted = Familiarity.fit(torch.from_numpy(known), count=2)
    # By eigenvectors of the covariance, where the code takes singular vectors.
    spread = known.std(0, ddof=1)
    scale = np.sqrt(spread**2 + (0.3 * np.sort(spread)[2]) ** 2)
    standard, strange = ((values - known.mean(0)) / scale for values in (known, new))
    variances, vectors = np.linalg.eigh(standard.T @ standard / 400)
    along = (strange @ vectors[:, -2:]) ** 2 / variances[-2:]
    beyond = ((strange @ vectors[:, :-2]) ** 2).sum(1) / variances[:-2].sum()
    expected = along.mean(1) + beyond
    np.testing.assert_allclose(fitted.distance(torch.from_numpy(new)).numpy(), expected, rtol=1e-6)


def test_pairs_across_the_small_directions_are_far():
    known = correlated(400)
    fitted = Familiarity.fit(known, count=2)
    assert fitted.distance(correlated(200, 3)).mean() == pytest.approx(2, abs=0.3)
    # As near to the mean as the others, but where none is.
    small = torch.linalg.svd(known - known.mean(0))[2][-1]
    odd = known.mean(0) + 6 * small
    assert fitted.distance(odd[None]).item() > 5 * fitted.threshold


def test_the_threshold_holds_for_new_pairs():
    fitted = Familiarity.fit(correlated(800), quantile=0.95)
    beyond = (fitted.distance(correlated(4000, 5)) > fitted.threshold).double().mean()
    assert 0.03 < beyond < 0.07
    with pytest.raises(ValueError, match="32 pairs"):
        Familiarity.fit(correlated(20))


def test_the_logistic_fit_is_at_its_optimum():
    rng = np.random.default_rng(0)
    values = torch.from_numpy(rng.normal(size=(3, 2000)) * [[1], [20], [0.1]] + [[0], [100], [3]])
    odds = 0.5 + 1.2 * values[0] - 0.04 * (values[1] - 100)
    right = (torch.from_numpy(rng.random(2000)) < odds.sigmoid()).double()
    named = dict(zip("abc", values, strict=True))
    fitted = Confidence.fit(named, right, penalty=0.0)
    chances = torch.tensor([fitted.chance(dict(zip("abc", row, strict=True))) for row in values.T.tolist()])
    # At the optimum the residuals are orthogonal to every evidence, and to one.
    residual = right - chances.double()
    assert abs(residual.mean()) < 2e-3
    for row in values:
        assert abs((residual * (row - row.mean()) / row.std()).mean()) < 2e-3
    weights = {name: fact[2] / fact[1] for name, fact in fitted.evidence.items()}
    assert weights["a"] == pytest.approx(1.2, abs=0.2)
    assert weights["b"] == pytest.approx(-0.04, abs=0.01)


def test_missing_evidence_counts_as_the_mean_and_extremes_are_held():
    fitted = Confidence({"a": [2.0, 0.5, 1.0], "b": [0.0, 1.0, 3.0]}, -0.5)
    middle = fitted.chance({"a": 2.0, "b": 0.0})
    assert fitted.chance({}) == fitted.chance({"a": float("nan")}) == middle == pytest.approx(1 / (1 + np.exp(0.5)))
    assert fitted.chance({"a": 1e9}) == fitted.chance({"a": 4.0})
    with pytest.raises(ValueError, match="All captions are right"):
        Confidence.fit({"a": torch.rand(5)}, torch.ones(5))


def test_evidence_that_is_never_there_is_left_out():
    fitted = Confidence.fit({"a": torch.randn(50), "map": torch.full((50,), float("nan"))}, torch.arange(50) % 2)
    assert list(fitted.evidence) == ["a"]


def test_the_file_comes_back_as_it_was(tmp_path):
    model, _ = tiny_ssgpa()
    trust = trust_for(model, unchanged="as before", measured={"ece": 0.0123456789})
    path = trust.save(tmp_path)
    again = Trust.load(path)
    assert (again.trained_on, again.unchanged, again.measured["ece"]) == ("noise", "as before", 0.0123457)
    pairs = torch.randn(5, 8)
    assert torch.allclose(again.familiarity.distance(pairs), trust.familiarity.distance(pairs), rtol=1e-4)
    assert fits(again, model)


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"format": 2}', '{"format": 1, "trained_on": "x"}', '{"format": 1, "odd": 3}']
)
def test_a_broken_file_is_named(tmp_path, content):
    path = tmp_path / "trust.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=r"trust\.json: is no calibration .* examples/calibrate.py"):
        Trust.load(path)


def test_a_calibration_is_not_used_for_other_weights(tmp_path, caplog):
    model, _ = tiny_ssgpa()
    model.save_pretrained(tmp_path)
    trust_for(model).save(tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    assert load_trust(loaded) is not None
    # In half precision they are the same weights.
    assert load_trust(type(model).from_pretrained(tmp_path, dtype=torch.bfloat16)) is not None
    with torch.no_grad():
        for value in loaded.parameters():
            value.add_(0.1 * torch.randn_like(value))
    assert load_trust(loaded) is None
    assert "made for other weights" in caplog.text
    loaded.trust = trust_for(model)
    assert trust_of(loaded) is None


def test_a_checkpoint_without_a_calibration_has_none(tmp_path):
    model, _ = tiny_ssgpa()
    assert trust_of(model) is None
    model.save_pretrained(tmp_path)
    assert not (tmp_path / "trust.json").exists()
    assert trust_of(type(model).from_pretrained(tmp_path)) is None


def test_pooling_does_not_depend_on_how_vectors_are_laid_out():
    states = torch.randn(3, 2, 5, 4)
    expected = torch.cat([states.flatten(1, 2).mean(1), states.flatten(1, 2).std(1, correction=0)], 1)
    for laid in (states, states.flatten(0, 1), states.flatten(0, 2), list(states.flatten(0, 1)), tuple(states)):
        torch.testing.assert_close(pooled(laid, 3), expected)


def test_halves_are_before_and_after():
    before, after = torch.zeros(2, 3, 4, 6), torch.ones(2, 3, 4, 6)
    stacked = {
        "pair": torch.stack([before, after], 1),
        "vertical": torch.cat([before, after], -2),
        "horizontal": torch.cat([before, after], -1),
    }
    for layout, pixels in stacked.items():
        first, second = halves(pixels, layout)
        assert first.eq(0).all()
        assert second.eq(1).all()


def test_beams_that_share_words_agree():
    beams = torch.tensor([[[5, 6, 7, 0], [5, 6, 8, 9]], [[5, 6, 0, 0], [7, 8, 9, 0]]])
    assert agreement(beams, beams != 0).tolist() == pytest.approx([2 * 2 / (3 + 4), 0.0])
    assert agreement(beams[:, :1], beams[:, :1] != 0).isnan().all()


def test_log_probabilities_are_those_of_the_whole_caption():
    model, processor = tiny_ssgpa()
    pixels = torch.rand(2, 2, 3, 32, 32)
    inputs = processor(images=[[image.numpy() for image in pair] for pair in pixels], return_tensors="pt")
    features = model.get_image_features(inputs["pixel_values"], return_dict=True)
    prompt = inputs["input_ids"].shape[1]
    ends, pad = model.generation_config.eos_token_id, model.generation_config.pad_token_id
    said = torch.tensor([[9, 10, ends, pad], [11, 12, 13, ends]])
    ids = torch.cat([inputs["input_ids"], said], 1)
    with torch.no_grad():
        steps, counts = log_probabilities(model, inputs, features, ids)
        mask = torch.cat([inputs["attention_mask"], (said != pad).long()], 1)
        logits = model(input_ids=ids, attention_mask=mask, pixel_values=inputs["pixel_values"]).logits
    expected = logits.log_softmax(-1)[:, prompt - 1 : -1].gather(-1, said[..., None])[..., 0]
    assert counts.tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]
    torch.testing.assert_close(steps * counts, expected * counts, atol=1e-5, rtol=1e-4)


def test_the_file_is_plain_json(tmp_path):
    model, _ = tiny_ssgpa()
    content = json.loads(trust_for(model).save(tmp_path).read_text(encoding="utf-8"))
    assert content["format"] == 1
    assert content.keys() >= {"trained_on", "right", "familiarity", "confidence", "unchanged", "weights", "measured"}
