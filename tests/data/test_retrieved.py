# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Captions that were retrieved for pairs: where they come from, whose they are, and that stale ones are refused."""

import json

import numpy as np
import pytest
import torch
from datasets import Dataset, DatasetDict
from PIL import Image

from ssgpa.baselines.clip4idc.retrieval import retrieve_captions
from ssgpa.data.retrieved import add_retrieved, fingerprint, scenes_of_texts, write_store
from ssgpa.data.schema import SPLITS, pair_features


CAPTIONS = {
    "a": ["the red cube has moved", "the scene remains the same"],
    "b": ["the blue sphere is gone", "the scene remains the same"],
    "c": ["a green cylinder was added"],
}


def splits_of(captions=CAPTIONS, images=0):
    """A prepared set with two pairs of each training scene, and a pair to validate and to test."""
    image = Image.fromarray(np.full((8, 8, 3), images, dtype=np.uint8))
    rows = {split: [] for split in SPLITS}
    for scene, texts in captions.items():
        for number in (1, 2):
            rows["train"].append([f"{scene}{number}", scene, texts[number - 1 :] or texts])
    rows["validation"].append(["v1", "v", ["the red cube has moved"]])
    rows["test"].append(["t1", "t", ["nothing"]])
    names = ("pair_id", "scene_id", "captions")
    sets = {}
    for split, found in rows.items():
        table = [dict(zip(names, row, strict=True)) for row in found]
        table = [row | {"before": image, "after": image, "change_type": None} for row in table]
        sets[split] = Dataset.from_list(table, features=pair_features())
    return DatasetDict(sets)


def store_of(splits, path, **changes):
    """A store whose pairs have a caption of scene c, and those of scene c one of scene b."""
    own = {}
    for split in SPLITS:
        for row in splits[split].select_columns(["pair_id", "scene_id"]):
            own[row["pair_id"]] = CAPTIONS["b" if row["scene_id"] == "c" else "c"][:1]
    write_store(path, splits, own | changes, model="some model")
    return path


def test_every_split_gets_its_captions(tmp_path):
    splits = splits_of()
    found = add_retrieved(splits, store_of(splits, tmp_path / "store.json", v1=["one", "two"]))
    assert found["train"]["retrieved"][:] == [["a green cylinder was added"]] * 4 + [["the blue sphere is gone"]] * 2
    assert found["validation"]["retrieved"][0] == ["one", "two"]
    assert "retrieved" not in splits["train"].column_names


def test_a_store_goes_with_one_set(tmp_path):
    splits = splits_of()
    path = store_of(splits, tmp_path / "store.json")
    # Images may be resized or recompressed; texts and names may not change.
    add_retrieved(splits_of(images=9), path)
    other = splits_of(CAPTIONS | {"c": ["a green cylinder has been added"]})
    assert fingerprint(other) != fingerprint(splits)
    with pytest.raises(ValueError, match=r"store\.json is stale"):
        add_retrieved(other, path)
    fewer = DatasetDict({**splits, "train": splits["train"].select(range(5))})
    with pytest.raises(ValueError, match="is stale"):
        add_retrieved(fewer, path)


def test_a_training_pair_must_not_get_what_its_own_scene_alone_tells(tmp_path):
    splits = splits_of()
    path = store_of(splits, tmp_path / "store.json", a2=["the red cube has moved"])
    with pytest.raises(ValueError, match=r"pair 'a2' has got its own scene's 'the red cube has moved'"):
        add_retrieved(splits, path)
    # What another scene tells as well could be retrieved for a new pair too.
    shared = store_of(splits, tmp_path / "shared.json", a1=["the scene remains the same"])
    assert add_retrieved(splits, shared)["train"]["retrieved"][0] == ["the scene remains the same"]
    # A pair to validate may get anything of the training split.
    add_retrieved(splits, store_of(splits, tmp_path / "valid.json", v1=["the red cube has moved"]))


def test_files_that_are_no_store_are_refused(tmp_path):
    splits = splits_of()
    with pytest.raises(FileNotFoundError, match="no such file of retrieved captions"):
        add_retrieved(splits, tmp_path / "none.json")
    (tmp_path / "other.json").write_text('{"sc_CLEVR_default_000000.png": ["a caption"]}', encoding="utf-8")
    with pytest.raises(ValueError, match="holds no retrieved captions"):
        add_retrieved(splits, tmp_path / "other.json")
    path = store_of(splits, tmp_path / "store.json")
    told = json.loads(path.read_text("utf-8"))
    del told["captions"]["t1"]
    path.write_text(json.dumps(told), encoding="utf-8")
    with pytest.raises(ValueError, match="no captions of pair 't1'"):
        add_retrieved(splits, path)


def test_the_nearest_texts_of_other_scenes_are_retrieved():
    generator = torch.Generator().manual_seed(0)
    splits = splits_of()
    owners = scenes_of_texts(splits)
    assert list(owners.values()) == [{"a"}, {"a", "b"}, {"b"}, {"c"}]
    texts = torch.nn.functional.normalize(torch.randn(4, 8, generator=generator), dim=-1)
    pairs = torch.nn.functional.normalize(torch.randn(7, 8, generator=generator), dim=-1)
    scenes = ["a", "a", "b", "b", "c", "c", "v"]
    # In batches that do not come out even.
    found = retrieve_captions(pairs, texts, scenes, list(owners.values()), 2, batch_size=3)
    for pair, scene, numbers in zip(pairs.tolist(), scenes, found, strict=True):
        scores = {n: sum(x * y for x, y in zip(pair, text, strict=True)) for n, text in enumerate(texts.tolist())}
        allowed = [n for n, told in enumerate(owners.values()) if told != {scene}]
        assert numbers == sorted(allowed, key=lambda n: -scores[n])[:2]
    assert [len(numbers) for numbers in retrieve_captions(pairs, texts, scenes, list(owners.values()), 9)] == [
        3
    ] * 6 + [4]
