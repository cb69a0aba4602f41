# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Draws of keyframes: their weights, their frequencies, and that seed, epoch and pair alone decide."""

from itertools import permutations

import numpy as np
import pytest
import torch

from ssgpa.baselines.procap.frame_store import SCORES, FrameFolder, ScoreLog, digest_of_pair
from ssgpa.baselines.procap.interpolation import CROSS_FADE, cross_fade, inner_frames
from ssgpa.baselines.procap.keyframes import (
    AnyFrames,
    ProcedureFrames,
    draw_keyframes,
    keyframe_scores,
    keyframe_weights,
)


SETTINGS = {"count": 7, "stored": False, "interpolator": CROSS_FADE}


def pair(seed=0):
    rng = np.random.default_rng(seed)
    return tuple(rng.integers(0, 256, (3, 8, 8), dtype=np.uint8) for _ in range(2))


def write_scores(folder, sides, images, count=7, name="a"):
    made = FrameFolder.create(folder, SETTINGS | {"count": count})
    ScoreLog(made.folder / SCORES, SETTINGS).add(name, digest_of_pair(*images), sides)
    return str(folder)


def places(row, images, count=7):
    """Numbers of a row's frames among all frames of its pair, from 0 to count + 1."""
    every = [images[0], *inner_frames(cross_fade, *images, count), images[1]]
    return [next(number for number, frame in enumerate(every) if np.array_equal(frame, one)) for one in row]


def test_weights_are_those_of_both_formulas():
    before, after = np.array([0.3, 0.2, 0.1]), np.array([0.1, 0.2, 0.3])
    scores = keyframe_scores(before, after)
    np.testing.assert_allclose(scores, [0.04, 0, 0.04])
    np.testing.assert_allclose(keyframe_scores(before, after, 100.0), [400, 0, 400])
    exact = torch.softmax(torch.tensor(-scores / 0.02), 0)
    np.testing.assert_allclose(keyframe_weights(scores, 0.02), exact)
    np.testing.assert_allclose(keyframe_weights(scores, released=True), 1 - torch.softmax(torch.tensor(scores), 0))


def test_the_released_weights_hardly_tell_frames_apart():
    """As the specification computed them: flat over cosines, and the worst one alone excluded over 100 times those."""
    spread = np.array([0.0, 0.002, 0.004, 0.006, 0.008, 0.009, 0.01])
    shares = keyframe_weights(spread, released=True) / 6
    assert 0.1423 < shares.min() < shares.max() < 0.1434
    sharp = keyframe_weights(1e4 * spread, released=True)
    np.testing.assert_allclose(sharp, [1, 1, 1, 1, 1, 1, 0], atol=1e-3)
    assert keyframe_weights(spread, 0.001).argmax() == 0
    assert keyframe_weights(spread, 0.001)[0] > 0.8


def test_scores_of_any_size_stay_finite():
    scores = np.array([0.0, 1e6, 2e6])
    np.testing.assert_array_equal(keyframe_weights(scores, 1e-3), [1, 0, 0])
    assert np.isfinite(keyframe_weights(scores, released=True)).all()
    # Weights that round to 0 are drawn in their order all the same.
    logits = -scores / 1e-3
    assert draw_keyframes(logits, 2, np.random.default_rng(0)).tolist() == [0, 1]


def test_draws_without_replacement_have_their_probabilities():
    weights = np.array([0.5, 0.3, 0.15, 0.05])
    wanted = {}
    for first, second in permutations(range(4), 2):
        chance = weights[first] * weights[second] / (1 - weights[first])
        wanted[frozenset((first, second))] = wanted.get(frozenset((first, second)), 0) + chance
    rng, number = np.random.default_rng(0), 20_000
    found = dict.fromkeys(wanted, 0)
    for _ in range(number):
        drawn = draw_keyframes(np.log(weights), 2, rng)
        assert drawn[0] < drawn[1]
        found[frozenset(drawn.tolist())] += 1
    chi_square = sum((found[key] - number * chance) ** 2 / (number * chance) for key, chance in wanted.items())
    # 99.9 % of five degrees of freedom.
    assert chi_square < 20.5


def test_frames_that_cannot_be_drawn_are_refused():
    with pytest.raises(ValueError, match="2 frames cannot be drawn among 1"):
        draw_keyframes(np.array([0.0, -np.inf]), 2, np.random.default_rng(0))
    assert draw_keyframes(np.zeros(3), 0, np.random.default_rng(0)).tolist() == []
    with pytest.raises(ValueError, match="temperature"):
        keyframe_weights(np.zeros(2), 0.0)


def test_a_row_is_both_images_and_keyframes_in_order():
    images = pair()
    frames = ProcedureFrames(count=4)
    counts = np.zeros(9, dtype=int)
    for seed in range(600):
        row = frames(images, "a", np.random.default_rng(seed))
        assert row.shape == (4, 3, 8, 8)
        assert row.dtype == np.uint8
        numbers = places(row, images)
        assert numbers[0] == 0
        assert numbers[-1] == 8
        assert numbers == sorted(set(numbers))
        counts[numbers] += 1
    # All alike: 600 rows draw each of seven 171 times on average, with a deviation of 11.
    assert counts[1:8].min() > 130
    assert counts[1:8].max() < 215


def test_the_lowest_scores_are_drawn_most(tmp_path):
    images = pair()
    before = np.linspace(0.6, 0.0, 7)
    folder = write_scores(tmp_path / "frames", np.stack([before, before[::-1]]), images)
    frames = ProcedureFrames(count=4, folder=folder)
    drawn = np.concatenate([places(frames(images, "a", np.random.default_rng(n)), images)[1:-1] for n in range(200)])
    shares = np.bincount(drawn, minlength=9)[1:8] / 200
    # The middle frame's score is 0, its neighbors' 0.04: always the middle, and one of both.
    assert shares[3] > 0.99
    assert shares[2] + shares[4] > 0.95
    alike = ProcedureFrames(count=4, folder=folder, sampling="uniform")
    other = np.concatenate([places(alike(images, "a", np.random.default_rng(n)), images)[1:-1] for n in range(200)])
    assert np.bincount(other, minlength=9)[1:8].min() > 20
    flat = ProcedureFrames(count=4, folder=folder, released_weights=True)
    flats = np.concatenate([places(flat(images, "a", np.random.default_rng(n)), images)[1:-1] for n in range(200)])
    assert np.bincount(flats, minlength=9)[1:8].min() > 20


def test_scores_of_other_images_are_refused(tmp_path):
    images = pair()
    folder = write_scores(tmp_path / "frames", np.zeros((2, 7)), images)
    frames = ProcedureFrames(count=4, folder=folder)
    with pytest.raises(ValueError, match=r"scores.jsonl: made of other images of pair 'a'"):
        frames(pair(1), "a", np.random.default_rng(0))
    # A size is enough.
    with pytest.raises(ValueError, match="other images"):
        frames(tuple(image[:, :4] for image in images), "a", np.random.default_rng(0))
    with pytest.raises(ValueError, match="no scores of pair 'b'"):
        frames(images, "b", np.random.default_rng(0))
    with pytest.raises(ValueError, match="lacks the scores of 1 pairs, the first 'b'"):
        frames.check(["a", "b"])
    frames.check(["a"])


@pytest.mark.parametrize(
    ("options", "error", "named"),
    [
        ({"count": 1}, ValueError, "0 to 7"),
        ({"count": 10}, ValueError, "0 to 7"),
        ({"count": 4, "inner_frames": 0}, ValueError, "inner_frames"),
        ({"count": 4, "inner_frames": "7"}, ValueError, "inner_frames"),
        ({"count": 4, "sampling": "best"}, ValueError, "sampling"),
        ({"count": 4, "sampling": "confidence"}, ValueError, "needs `folder`"),
        ({"count": 4, "temperature": -1.0}, ValueError, "temperature"),
        ({"count": 4, "folder": "no/such"}, FileNotFoundError, "no/such"),
    ],
)
def test_wrong_options_are_refused(options, error, named):
    with pytest.raises(error, match=named):
        ProcedureFrames(**options)


def test_scores_and_frames_must_be_there(tmp_path):
    FrameFolder.create(tmp_path / "one", SETTINGS)
    with pytest.raises(FileNotFoundError, match="no scores"):
        ProcedureFrames(count=4, folder=str(tmp_path / "one"), sampling="confidence")
    assert ProcedureFrames(count=4, folder=str(tmp_path / "one")).scores is None
    FrameFolder.create(tmp_path / "two", SETTINGS | {"interpolator": "theirs.Interpolator"})
    with pytest.raises(ValueError, match="no cross-fade"):
        ProcedureFrames(count=4, folder=str(tmp_path / "two"))
    folder = write_scores(tmp_path / "three", np.zeros((2, 3)), pair())
    with pytest.raises(ValueError, match="scores 3 frames a pair, and there are 7"):
        ProcedureFrames(count=4, folder=folder)


def test_stored_frames_are_those_that_rows_get(tmp_path):
    images, other = pair(), pair(1)
    folder = FrameFolder.create(tmp_path / "frames", SETTINGS | {"stored": True, "interpolator": "theirs", "count": 3})
    folder.write("a", digest_of_pair(*images), np.stack([np.full((3, 8, 8), 10 * n, np.uint8) for n in (1, 2, 3)]))
    frames = ProcedureFrames(count=4, folder=str(tmp_path / "frames"))
    row = frames(images, "a", np.random.default_rng(0))
    assert np.array_equal(row[0], images[0])
    assert np.array_equal(row[3], images[1])
    inner = [frame.flat[0] for frame in row[1:3]]
    assert set(inner) < {10, 20, 30}
    assert inner == sorted(inner)
    frames.check(["a"])
    with pytest.raises(ValueError, match="lacks the frames of 1 pairs, the first 'b'"):
        frames.check(["a", "b"])
    with pytest.raises(ValueError, match="other images of pair 'a'"):
        frames(other, "a", np.random.default_rng(0))


def test_a_tokenizer_reads_any_of_all_frames():
    images = pair()
    frames = AnyFrames(count=1)
    found = [places(frames(images, "a", np.random.default_rng(n)), images)[0] for n in range(400)]
    counts = np.bincount(found, minlength=9)
    # 44 on average, with a deviation of 6.3.
    assert counts.min() > 22
    assert counts.max() < 70
    every = AnyFrames(count=9)(images, "a", np.random.default_rng(0))
    assert places(every, images) == list(range(9))
    with pytest.raises(ValueError, match="1 to 9"):
        AnyFrames(count=10)
