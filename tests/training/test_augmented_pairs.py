# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Augmentation in training: by seed, epoch and pair, beside the other draws, and never in evaluation."""

import numpy as np
import pytest

from ssgpa.data.augment import PairAugmentation
from ssgpa.training.dataset import PairDataset
from ssgpa.training.generation import caption_rows


MILD = PairAugmentation(blur=0.5, jpeg=0.5)


@pytest.fixture
def system(make_system):
    return make_system()


@pytest.fixture
def make_dataset(splits, system):
    def make(augmentation=None, seed=1, cache=True, rows=None):
        rows = splits["train"] if rows is None else rows
        return PairDataset(rows, system[1], 2, True, cache, seed, augmentation)

    return make


def images(dataset, epoch, order=range(8)):
    dataset.set_epoch(epoch)
    found = {index: np.stack(dataset[index]["images"]) for index in order}
    return np.stack([found[index] for index in range(8)])


def test_alterations_depend_on_seed_epoch_and_pair_alone(make_dataset):
    there = images(make_dataset(MILD), 3)
    went_through = make_dataset(MILD, cache=False)
    for epoch in range(3):
        images(went_through, epoch)
    assert np.array_equal(images(went_through, 3, range(7, -1, -1)), there)
    assert not np.array_equal(images(make_dataset(MILD), 4), there)
    assert not np.array_equal(images(make_dataset(MILD, seed=2), 3), there)


def test_other_draws_stay_what_they_were(make_dataset):
    plain, augmented = make_dataset(), make_dataset(MILD)
    for epoch in range(3):
        one, other = images(plain, epoch), images(augmented, epoch)
        assert [plain[i]["captions"] for i in range(8)] == [augmented[i]["captions"] for i in range(8)]
        same = [np.array_equal(a, b) for pair in zip(one, other, strict=True) for a, b in zip(*pair, strict=True)]
        assert any(same)
        assert not all(same)
        # The same image, a little worse: another one would be farther off.
        assert np.abs(one.astype(int) - other).mean() < 6
    assert np.array_equal(images(make_dataset(PairAugmentation()), 1), images(plain, 1))


def test_what_moves_places_is_refused_beside_aux_heads_about_places(make_dataset, splits):
    with pytest.raises(ValueError, match="--aux_grid"):
        make_dataset(PairAugmentation(warp=0.5))
    bare = splits["train"].remove_columns(["before_cells", "after_cells"])
    warped = images(make_dataset(PairAugmentation(warp=1.0), rows=bare), 0)
    assert not np.array_equal(warped, images(make_dataset(rows=bare), 0))
    with pytest.raises(ValueError, match=r"flip would make captions wrong.*(left|right)"):
        make_dataset(PairAugmentation(flip=0.5), rows=bare)
    sideless = bare.map(lambda row: {"captions": ["the small ball is gone"]})
    make_dataset(PairAugmentation(flip=0.5), rows=sideless)


def test_evaluation_alters_nothing(make_dataset, system, splits, monkeypatch):
    def refuse(*_):
        raise AssertionError("images were altered")

    dataset = make_dataset(PairAugmentation(blur=1.0, jpeg=1.0))
    monkeypatch.setattr(PairAugmentation, "__call__", refuse)
    with pytest.raises(AssertionError, match="altered"):
        dataset[0]
    captions = caption_rows(*system, splits["validation"], batch_size=4, num_beams=1, max_new_tokens=4)
    assert set(captions) == set(splits["validation"]["pair_id"])
