# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Streamed training pairs: the rows of the split in every pass, in workers, altered."""

from itertools import islice

import numpy as np
import pytest
from torch.utils.data import DataLoader

from ssgpa.data.augment import PairAugmentation
from ssgpa.data.prepared import load_prepared
from ssgpa.training.dataset import PairDataset
from ssgpa.training.streams import PairIterableDataset


@pytest.fixture
def processor(make_system):
    return make_system()[1]


def first(batch):
    return batch[0]


@pytest.fixture
def streamed(prepared_dir):
    return load_prepared(prepared_dir, streaming=True)["train"]


def test_stream_gives_the_rows_of_the_split_in_every_pass(splits, streamed, processor):
    dataset = PairDataset(splits["train"], processor)
    expected = {dataset[index]["pair_id"]: dataset[index] for index in range(8)}
    items = list(islice(PairIterableDataset(streamed, processor, 2, shuffle_buffer=4, seed=3), 16))
    passes = [items[:8], items[8:]]
    orders = [[item["pair_id"] for item in part] for part in passes]
    assert sorted(orders[0]) == sorted(orders[1]) == sorted(expected)
    assert orders[0] != orders[1]
    references = dict(zip(splits["train"]["pair_id"], splits["train"]["captions"], strict=True))
    for item in items:
        same = expected[item["pair_id"]]
        for one, other in zip(item["images"] + item["cells"], same["images"] + same["cells"], strict=True):
            np.testing.assert_array_equal(one, other)
        assert len(set(item["captions"])) == 2
        assert set(item["captions"]) <= set(references[item["pair_id"]])
    first, second = ({item["pair_id"]: item["captions"] for item in part} for part in passes)
    assert first != second
    scenes = [{item["scene_id"] for item in items if item["pair_id"].startswith(f"{i:06d}")} for i in range(8)]
    assert all(len(numbers) <= 1 for numbers in scenes)
    again = list(islice(PairIterableDataset(streamed, processor, 2, shuffle_buffer=4, seed=3), 16))
    assert [item["captions"] for item in again] == [item["captions"] for item in items]


def test_a_stream_without_pairs_is_refused(splits, processor):
    stream = PairIterableDataset(splits["train"].to_iterable_dataset().take(0), processor)
    with pytest.raises(ValueError, match="nothing to train on: the stream has no pairs"):
        next(iter(stream))


def test_stream_ends_in_workers_that_got_no_file(streamed, processor):
    loader = DataLoader(
        PairIterableDataset(streamed, processor), batch_size=1, num_workers=2, collate_fn=lambda batch: batch[0]
    )
    assert len({item["pair_id"] for item in islice(loader, 8)}) == 8


def test_stream_alters_images_alone_and_anew_at_every_pass(splits, streamed, processor):
    plain = list(islice(PairIterableDataset(streamed, processor, shuffle_buffer=0), 16))
    stream = PairIterableDataset(streamed, processor, shuffle_buffer=0, augmentation=PairAugmentation(jpeg=1.0))
    altered, again = (list(islice(stream, 16)) for _ in range(2))
    for one, other, repeated in zip(plain, altered, again, strict=True):
        assert (one["pair_id"], one["captions"]) == (other["pair_id"], other["captions"])
        assert not np.array_equal(one["images"][0], other["images"][0])
        np.testing.assert_array_equal(other["images"], repeated["images"])
    assert not np.array_equal(altered[0]["images"], altered[8]["images"])


def test_stream_refuses_what_would_change_an_answer(splits, streamed, processor):
    with pytest.raises(ValueError, match="aux_grid"):
        PairIterableDataset(streamed, processor, augmentation=PairAugmentation(warp=1.0))
    rows = splits["train"].remove_columns(["before_cells", "after_cells"])
    rows = rows.map(lambda row: {"captions": [*row["captions"], "the left cube moved"]}).to_iterable_dataset()
    with pytest.raises(ValueError, match="flip would make captions wrong"):
        next(iter(PairIterableDataset(rows, processor, augmentation=PairAugmentation(flip=1.0))))
