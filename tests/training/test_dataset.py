# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Images, captions, swaps and cells of the training rows."""

import json

import numpy as np
import pytest
from torch.utils.data import DataLoader

from ssgpa.data.clevr_renderer.dataset.cells import object_bits
from ssgpa.training.dataset import CHANGE_UNKNOWN, ImageCache, PairDataset


CHANGED = 1 << 15


@pytest.fixture
def processor(make_system):
    return make_system()[1]


def first(batch):
    return batch[0]


def test_cached_images_equal_those_decoded_at_access(splits, processor):
    rows = splits["train"]
    cached, lazy = (ImageCache(rows, processor, cache) for cache in (True, False))
    for index in range(len(rows)):
        for side in ("before", "after"):
            assert np.array_equal(cached(index, side), lazy(index, side))
            assert cached(index, side).dtype == np.uint8
            assert cached(index, side).shape == (3, 32, 48)


def test_equal_files_are_kept_once(splits, processor):
    store = ImageCache(splits["train"], processor, cache=True)
    # Four scenes: the image before is shared by the changed and the unchanged pair.
    assert len(store.images) == 12
    assert len(store.places) == 16


def test_draws_depend_on_seed_epoch_and_row_alone(splits, processor):
    def captions(seed, epoch, order):
        dataset = PairDataset(splits["train"], processor, 2, distractor_swap=True, seed=seed)
        dataset.set_epoch(epoch)
        drawn = {index: dataset[index] for index in order}
        return [(drawn[index]["captions"], drawn[index]["images"][0].sum()) for index in range(8)]

    there = captions(1, 2, range(8))
    assert there == captions(1, 2, reversed(range(8)))
    assert there != captions(1, 3, range(8))
    assert there != captions(2, 2, range(8))


def test_captions_do_not_repeat_while_there_are_others(splits, processor):
    dataset = PairDataset(splits["train"], processor, captions_per_pair=9)
    captions, references = dataset[0]["captions"], splits["train"][0]["captions"]
    assert sorted(captions[:7]) == sorted(references)
    assert captions[7:] == captions[:2]


def test_scenes_are_numbered_by_name_and_know_their_unchanged_pair(splits, processor):
    order = [4, 0, 3, 2, 1]
    rows = splits["train"].select(order)
    dataset = PairDataset(rows, processor, distractor_swap=True)
    names = sorted(set(rows["scene_id"]))
    assert [dataset[index]["scene_id"] for index in range(5)] == [names.index(name) for name in rows["scene_id"]]
    still = dict.fromkeys(names, -1)
    still |= {row["scene_id"]: index for index, row in enumerate(rows) if row["change_type"] == "none"}
    assert dataset.unchanged.tolist() == [still[name] for name in names]
    assert -1 in dataset.unchanged
    plain = PairDataset(rows, processor)
    for index, row in enumerate(order):
        told = splits["train"][row]
        assert plain[index]["pair_id"] == told["pair_id"]
        cells = [part.tolist() for part in plain[index]["cells"]]
        assert cells == [told["before_cells"], told["after_cells"]]


@pytest.mark.parametrize("cache", [False, True])
def test_no_python_object_is_kept_for_every_row(splits, processor, cache):
    """Each worker would soon have a copy of its own: looking at an object writes its count of references."""
    dataset = PairDataset(splits["train"], processor, cache=cache)
    kept = {**vars(dataset), **vars(dataset.store)}
    images = kept.pop("images")
    assert len(images) == (12 if cache else 0)
    objects = [name for name, value in kept.items() if isinstance(value, list | dict) and len(value) >= len(dataset)]
    assert objects == []


def test_a_split_without_pairs_is_refused(splits, processor):
    with pytest.raises(ValueError, match="nothing to train on: the split has no pairs"):
        PairDataset(splits["train"].select([]), processor)


def test_workers_that_outlive_an_epoch_draw_anew(splits, processor):
    dataset = PairDataset(splits["train"], processor)
    loader = DataLoader(dataset, batch_size=1, num_workers=1, persistent_workers=True, collate_fn=first)
    drawn = []
    for epoch in (0, 1):
        dataset.set_epoch(epoch)
        drawn.append([item["captions"] for item in loader])
        assert drawn[-1] == [dataset[index]["captions"] for index in range(len(dataset))]
    assert drawn[0] != drawn[1]


def swapped_and_straight(dataset, index):
    """The item where the distractor stands in, and where it does not."""
    found = {}
    for epoch in range(64):
        dataset.set_epoch(epoch)
        swap = np.random.default_rng([dataset.seed, epoch, index]).random() < 0.5
        found.setdefault(swap, dataset[index])
        if len(found) == 2:
            return found[True], found[False]
    raise AssertionError("64 epochs drew the same")


def test_distractor_stands_in_for_the_image_before_a_change(splits, processor):
    dataset = PairDataset(splits["train"], processor, distractor_swap=True)
    store = dataset.store
    assert splits["train"]["change_type"][:2] == ["color", "none"]
    swapped, straight = swapped_and_straight(dataset, 0)
    assert np.array_equal(straight["images"][0], store(0, "before"))
    assert np.array_equal(swapped["images"][0], store(1, "after"))
    assert not np.array_equal(store(0, "before"), store(1, "after"))
    for item in (swapped, straight):
        assert np.array_equal(item["images"][1], store(0, "after"))
        assert item["change_type"] == "color"
        assert set(item["captions"]) <= set(splits["train"][0]["captions"])


def test_unchanged_pair_swaps_its_own_images(splits, processor):
    dataset = PairDataset(splits["train"], processor, distractor_swap=True)
    swapped, straight = swapped_and_straight(dataset, 1)
    for ours, theirs in zip(swapped["images"], reversed(straight["images"]), strict=True):
        assert np.array_equal(ours, theirs)
    for ours, theirs in zip(swapped["cells"], reversed(straight["cells"]), strict=True):
        assert np.array_equal(ours, theirs)


def test_cells_travel_with_their_image(splits, processor):
    dataset = PairDataset(splits["train"], processor, distractor_swap=True)
    swapped, straight = swapped_and_straight(dataset, 0)
    rows = splits["train"]
    assert straight["cells"][0].tolist() == rows[0]["before_cells"]
    assert straight["cells"][1].tolist() == swapped["cells"][1].tolist() == rows[0]["after_cells"]
    assert (swapped["cells"][0] & ~CHANGE_UNKNOWN).tolist() == rows[1]["after_cells"]
    assert (swapped["cells"][0] & CHANGE_UNKNOWN).all()
    assert not (straight["cells"][0] & CHANGE_UNKNOWN).any()


def test_cells_show_the_objects_of_the_scene(splits, processor, prepared_dir):
    """Every object shows somewhere, nothing else does, and the changed one alone is marked."""
    lines = (prepared_dir.parent / "set" / "scenes.jsonl").read_text(encoding="utf-8").splitlines()
    scenes = {record["index"]: record for record in map(json.loads, lines)}
    dataset = PairDataset(splits["train"], processor)
    for index in (0, 4, 6):  # a changed color, a move, a changed material: the object is in both images
        item, scene = dataset[index], scenes[int(splits["train"][index]["scene_id"])]
        for cells, view in zip(item["cells"], ("default", "semantic"), strict=True):
            objects = {thing["id"]: object_bits(thing) for thing in scene[view]["objects"]}
            seen = np.bitwise_or.reduce(cells) & (CHANGED - 1)
            assert seen == np.bitwise_or.reduce(list(objects.values()))
            marked = cells[(cells & CHANGED) > 0]
            assert len(marked)
            assert all(bits & objects[scene["changed_object"]] == objects[scene["changed_object"]] for bits in marked)


def test_scenes_are_numbered_alike_for_pairs_of_one_scene(splits, processor):
    dataset = PairDataset(splits["train"], processor)
    numbers = [dataset[index]["scene_id"] for index in range(8)]
    assert numbers == [0, 0, 1, 1, 2, 2, 3, 3]


def test_bad_options_are_refused(splits, processor):
    changed = splits["train"].filter(lambda row: row["change_type"] != "none")
    with pytest.raises(ValueError, match="distractor_swap"):
        PairDataset(changed, processor, distractor_swap=True)
    with pytest.raises(ValueError, match="captions_per_pair"):
        PairDataset(changed, processor, captions_per_pair=0)
