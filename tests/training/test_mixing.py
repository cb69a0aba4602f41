# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Real and synthetic pairs in one run: how many of which, in which order, and what is refused."""

from collections import Counter

import numpy as np
import pytest
from datasets import DatasetDict
from torch.utils.data import DataLoader

from ssgpa.data.prepared import load_prepared, write_prepared
from ssgpa.training.arguments import ChangeCaptioningArguments, DataArguments, ModelArguments
from ssgpa.training.mixing import ORDER_STREAM, MixedPairDataset, Mixture, mix_pairs
from ssgpa.training.run import check_settings


@pytest.fixture(scope="module")
def variants(splits, tmp_path_factory):
    """A prepared set as Syned's: two variants of every training pair, of its scene."""
    train = splits["train"]
    rows = [
        row | {"pair_id": f"{row['pair_id']}_v{number}", "captions": [f"variant {number}"]}
        for row in train
        for number in range(2)
    ]
    made = DatasetDict(splits | {"train": type(train).from_list(rows, features=train.features)})
    return str(write_prepared(made, tmp_path_factory.mktemp("variants") / "prepared"))


@pytest.fixture(scope="module")
def mixed(splits, variants, prepared_dir):
    """Arguments of a run, to what they mix."""

    def mix(share, folder=variants, real=None):
        arguments = DataArguments(data_dir=str(prepared_dir), synthetic_data_dir=folder, synthetic_share=share)
        return mix_pairs(arguments, splits["train"] if real is None else real, splits)

    return mix


def epoch_of(dataset, epoch):
    dataset.set_epoch(epoch)
    return [dataset.table[dataset.row_of(index)]["pair_id"] for index in range(len(dataset))]


def test_an_epoch_has_the_share_that_is_asked_for(mixed, splits, make_system):
    real = len(splits["train"])
    _, processor = make_system()
    for share, count in ((0.5, real), (0.2, round(real / 4)), (0.75, 3 * real), (None, 2 * real)):
        rows, mixture = mixed(share)
        assert (mixture.real, mixture.synthetic, mixture.available) == (real, count, 2 * real)
        dataset = MixedPairDataset(rows, processor, mixture=mixture)
        names = epoch_of(dataset, 0)
        assert len(names) == len(dataset) == real + count
        assert names[:real] == splits["train"]["pair_id"][:]
        synthetic = sum("_v" in name for name in names)
        assert synthetic / len(names) == mixture.share == mixture.to_dict()["share"]
        assert f"{100 * synthetic / len(names):.1f} %" in mixture.describe()
    assert mixture.share == pytest.approx(2 / 3)


def test_synthetic_pairs_alone(mixed, splits):
    rows, mixture = mixed(1.0)
    assert mixture == Mixture(0, 2 * len(splits["train"]), 2 * len(splits["train"]))
    assert all("_v" in name for name in rows["pair_id"][:])
    assert mixture.share == 1.0


def test_all_synthetic_pairs_are_seen_before_any_is_seen_again(mixed, make_system):
    rows, mixture = mixed(0.5)
    _, processor = make_system()
    dataset = MixedPairDataset(rows, processor, mixture=mixture, seed=3)
    epochs = [epoch_of(dataset, epoch)[mixture.real :] for epoch in range(4)]
    # Two epochs have them all, once.
    for start in (0, 2):
        assert set(Counter(epochs[start] + epochs[start + 1]).values()) == {1}
        assert len(epochs[start] + epochs[start + 1]) == mixture.available
    assert epochs[0] != epochs[2]
    again = MixedPairDataset(rows, processor, mixture=mixture, seed=3)
    assert epoch_of(again, 2)[mixture.real :] == epochs[2]
    other = MixedPairDataset(rows, processor, mixture=mixture, seed=4)
    assert epoch_of(other, 0)[mixture.real :] != epochs[0]


def test_orders_are_drawn_once_a_round_and_are_what_they_were(mixed, make_system, monkeypatch):
    rows, mixture = mixed(0.6)
    _, processor = make_system()
    dataset = MixedPairDataset(rows, processor, mixture=mixture, seed=5)
    # An epoch has places of two rounds, and a sampler goes back and forth between them.
    assert mixture.available < 2 * mixture.synthetic
    assert mixture.synthetic % mixture.available
    places = np.random.default_rng(0).permutation(len(dataset)).tolist()
    wanted, rounds = {}, set()
    for epoch in range(3):
        for index in range(mixture.real, len(dataset)):
            turn, place = divmod(epoch * mixture.synthetic + index - mixture.real, mixture.available)
            order = np.random.default_rng([5, turn, ORDER_STREAM]).permutation(mixture.available)
            wanted[epoch, index] = mixture.real + int(order[place])
            rounds.add((epoch, turn))
    assert len(rounds) > 3
    drawn, draw = [], np.random.default_rng

    def counted(seed):
        drawn.append(seed[1])
        return draw(seed)

    monkeypatch.setattr("ssgpa.training.mixing.np.random.default_rng", counted)
    for epoch in range(3):
        dataset.set_epoch(epoch)
        for index in places:
            assert dataset.row_of(index) == wanted.get((epoch, index), index)
        assert len(dataset._orders) <= 2
    assert len(drawn) == len({number for _, number in rounds})


def test_workers_draw_the_same_pairs(mixed, make_system):
    rows, mixture = mixed(0.6)
    _, processor = make_system()
    dataset = MixedPairDataset(rows, processor, mixture=mixture, seed=5)
    for epoch in range(2):
        names = epoch_of(dataset, epoch)
        loader = DataLoader(dataset, batch_size=1, num_workers=2, collate_fn=lambda items: items[0]["pair_id"])
        assert list(loader) == names


def test_items_are_those_of_their_rows(mixed, make_system, splits):
    rows, mixture = mixed(0.5)
    _, processor = make_system()
    dataset = MixedPairDataset(rows, processor, mixture=mixture)
    item = dataset[mixture.real]
    assert item["captions"][0].startswith("variant ")
    real = next(row for row in range(mixture.real) if dataset[row]["pair_id"] == item["pair_id"].rpartition("_v")[0])
    # A variant's scene is that of its original.
    assert item["scene_id"] == dataset[real]["scene_id"]


def test_without_a_synthetic_set_nothing_changes(splits):
    assert mix_pairs(DataArguments(data_dir="x"), splits["train"], splits) == (splits["train"], None)


def test_what_cannot_be_mixed_is_refused(mixed, splits, variants, tmp_path, make_system):
    for share in (0.0, -0.5, 1.5):
        with pytest.raises(ValueError, match="synthetic_share"):
            mixed(share)
    with pytest.raises(ValueError, match="needs `synthetic_data_dir`"):
        mix_pairs(DataArguments(data_dir="x", synthetic_share=0.5), splits["train"], splits)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        mixed(0.5, folder=str(tmp_path / "nowhere"))
    made = load_prepared(variants)
    leaking = splits["validation"].map(lambda row: {"pair_id": f"{row['pair_id']}_v0"})
    test = made["test"].take(0)
    write_prepared(DatasetDict({"train": leaking, "validation": test, "test": test}), tmp_path / "leaking")
    scene = splits["validation"]["scene_id"][0]
    with pytest.raises(ValueError, match=rf"pair .*_v0.*'{scene}'.*validation split"):
        mixed(0.5, folder=str(tmp_path / "leaking"))
    write_prepared(DatasetDict(splits), tmp_path / "same")
    with pytest.raises(ValueError, match="is also a real pair"):
        mixed(0.5, folder=str(tmp_path / "same"))
    rows, mixture = mixed(0.5)
    with pytest.raises(ValueError, match="changed_only"):
        MixedPairDataset(rows, make_system()[1], mixture=mixture, changed_only=True)


@pytest.mark.parametrize(
    ("data", "run", "named"),
    [
        ({"changed_only": True}, {}, "changed_only"),
        ({"synthetic_share": 1.0, "max_train_pairs": 4}, {}, "max_train_pairs"),
        ({"streaming": True}, {"max_steps": 1}, "--synthetic_data_dir"),
        ({}, {"aux_changed": 0.5}, "Auxiliary heads"),
    ],
)
def test_settings_that_exclude_mixing_are_told(data, run, named, tmp_path):
    arguments = ChangeCaptioningArguments(output_dir=str(tmp_path), use_cpu=True, **run)
    with pytest.raises(ValueError, match=named):
        check_settings(ModelArguments(), DataArguments(data_dir="x", synthetic_data_dir="y", **data), arguments)
