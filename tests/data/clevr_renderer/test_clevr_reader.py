# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The reader of the released layout: what it gives, and one clear error for each way a copy can be broken."""

import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from ssgpa.data.readers.clevr_change import load_clevr_change
from ssgpa.data.schema import check_pairs, pair_features


def edit(folder, name, change):
    path = folder / name
    value = json.loads(path.read_text(encoding="utf-8"))
    change(value)
    path.write_text(json.dumps(value), encoding="utf-8")


def test_rows(rendered):
    dataset = load_clevr_change(rendered)
    assert list(dataset) == ["train", "validation", "test"]
    assert dataset["train"].features == pair_features()
    check_pairs(dataset, "the set")
    splits = json.loads((rendered / "splits.json").read_text(encoding="utf-8"))
    captions = json.loads((rendered / "change_captions.json").read_text(encoding="utf-8"))
    sames = json.loads((rendered / "no_change_captions.json").read_text(encoding="utf-8"))
    kinds = ("color", "material", "add", "drop", "move")
    for split, key in (("train", "train"), ("validation", "val"), ("test", "test")):
        rows = list(dataset[split])
        expected = [f"{i:06d}.png{tail}" for i in splits[key] for tail in ("", "_n")]
        assert [row["pair_id"] for row in rows] == expected
        for row in rows:
            index = int(row["scene_id"])
            same = row["pair_id"].endswith("_n")
            name = f"CLEVR_default_{index:06d}.png"
            assert row["captions"] == (sames if same else captions)[name]
            assert row["change_type"] == ("none" if same else kinds[index % 5])
            after = (
                f"nsc_images/CLEVR_nonsemantic_{index:06d}.png"
                if same
                else f"sc_images/CLEVR_semantic_{index:06d}.png"
            )
            for column, path in (("before", f"images/{name}"), ("after", after)):
                np.testing.assert_array_equal(np.asarray(row[column]), np.asarray(Image.open(rendered / path)))


def test_release_with_gaps_and_spare_images(copied):
    """As released: ids with gaps, files of ids that no split lists, no files of ours, scenes without a type."""
    for name in ("scenes.jsonl", "render_settings.json", "change_captions_with_bbox.json"):
        (copied / name).unlink()
    shutil.rmtree(copied / "object_masks")
    for folder, view in (("images", "default"), ("sc_images", "semantic"), ("nsc_images", "nonsemantic")):
        shutil.copy(copied / folder / f"CLEVR_{view}_000006.png", copied / folder / f"CLEVR_{view}_039999.png")
    for name in ("change_captions.json", "no_change_captions.json"):
        edit(copied, name, lambda table: table.update({"CLEVR_default_039999.png": ["nothing has changed"]}))
    splits = {"train": [0, 2, 39999], "val": [5], "test": [7]}
    (copied / "splits.json").write_text(json.dumps(splits), encoding="utf-8")
    edit(copied, "type_mapping.json", lambda table: table["color"].remove("000005.png"))
    dataset = load_clevr_change(copied)
    assert [row["pair_id"] for row in dataset["train"]][-2:] == ["039999.png", "039999.png_n"]
    assert dataset["validation"]["change_type"] == [None, "none"]
    assert dataset["test"]["change_type"] == ["add", "none"]
    (copied / "type_mapping.json").unlink()
    assert set(load_clevr_change(copied)["train"]["change_type"]) == {None, "none"}


def test_empty_split(copied):
    (copied / "splits.json").write_text('{"train": [0, 1], "val": [], "test": [2]}', encoding="utf-8")
    dataset = load_clevr_change(copied)
    assert {name: len(split) for name, split in dataset.items()} == {"train": 4, "validation": 0, "test": 2}
    assert dataset["validation"].features == pair_features()


def _truncate(folder):
    path = folder / "nsc_images" / "CLEVR_nonsemantic_000004.png"
    path.write_bytes(path.read_bytes()[:-200])


def _flip(folder):
    path = folder / "images" / "CLEVR_default_000001.png"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(data))


def _link_out(folder):
    outside = folder.parent / "outside.png"
    path = folder / "images" / "CLEVR_default_000002.png"
    path.rename(outside)
    path.symlink_to(outside)


def _set(name, key, value):
    return lambda folder: edit(folder, name, lambda table: table.update({key: value}))


BROKEN = {
    "malformed": (
        lambda folder: (folder / "change_captions.json").write_text('{"a": [', encoding="utf-8"),
        r"change_captions\.json is not valid JSON",
    ),
    "not utf-8": (
        lambda folder: (folder / "splits.json").write_bytes(b'{"train": "\xff"}'),
        r"splits\.json is not valid JSON",
    ),
    "not an object": (
        lambda folder: (folder / "splits.json").write_text("[]", encoding="utf-8"),
        r"splits\.json must hold a JSON object, not a list",
    ),
    "key twice": (
        lambda folder: (folder / "splits.json").write_text('{"train": [0], "train": [1]}', encoding="utf-8"),
        r"splits\.json is not valid JSON: the key 'train' occurs twice",
    ),
    "unknown key": (_set("change_captions.json", "cc", ["x"]), r"change_captions\.json: 'cc' is not the name"),
    "path in a key": (
        _set("no_change_captions.json", "../CLEVR_default_000000.png", ["x"]),
        r"no_change_captions\.json: '\.\./CLEVR_default_000000\.png' is not the name",
    ),
    "change of no scene": (
        _set("change_captions.json", "CLEVR_default_999999.png", ["the cube moved"]),
        r"change_captions\.json has captions for 999999, which splits\.json does not list and no image shows",
    ),
    "sameness of no scene": (
        _set("no_change_captions.json", "CLEVR_default_000123.png", ["no change was made"]),
        r"no_change_captions\.json has captions for 000123, which splits\.json does not list and no image shows",
    ),
    "no captions": (
        _set("change_captions.json", "CLEVR_default_000003.png", []),
        r"pair '000003\.png': change_captions\.json, scene 000003: there is no caption",
    ),
    "captions as text": (
        _set("change_captions.json", "CLEVR_default_000003.png", "a red cube"),
        r"change_captions\.json, scene 000003: expected a list of captions, found 'a red cube'",
    ),
    "blank caption": (
        _set("no_change_captions.json", "CLEVR_default_000003.png", ["no change was made", " "]),
        r"pair '000003\.png_n': no_change_captions\.json, scene 000003: 1 of 2 captions empty",
    ),
    "number for a caption": (
        _set("change_captions.json", "CLEVR_default_000003.png", [7]),
        r"scene 000003: expected a list of captions, found \[7\]",
    ),
    "captions missing": (
        lambda folder: edit(folder, "change_captions.json", lambda table: table.pop("CLEVR_default_000005.png")),
        r"change_captions\.json has no captions for 000005, which splits\.json lists",
    ),
    "id without anything": (
        _set("splits.json", "val", [123456]),
        r"no captions for 123456",
    ),
    "image missing": (
        lambda folder: (folder / "sc_images" / "CLEVR_semantic_000006.png").unlink(),
        r"pair '000006\.png': sc_images/CLEVR_semantic_000006\.png is missing",
    ),
    "image truncated": (_truncate, r"CLEVR_nonsemantic_000004\.png is not a readable image"),
    "image damaged": (_flip, r"CLEVR_default_000001\.png is not a readable image"),
    "image is text": (
        lambda folder: (folder / "images" / "CLEVR_default_000001.png").write_text("hello", encoding="utf-8"),
        r"CLEVR_default_000001\.png is not a readable image",
    ),
    "link out": (_link_out, r"CLEVR_default_000002\.png leads out of"),
    "scene in two splits": (_set("splits.json", "val", [0, 1, 2, 3, 4, 5, 6, 7]), r"scene \d occurs in \w+ and \w+"),
    "scene twice": (_set("splits.json", "train", [0, 0]), r"scene 0 occurs in train and train"),
    "split missing": (
        lambda folder: edit(folder, "splits.json", lambda t: t.pop("val")),
        r"expected the splits train, val",
    ),
    "ids as text": (
        _set("splits.json", "val", ["000000.png"]),
        r"splits\.json, val: expected a list of scene numbers",
    ),
    "ids as booleans": (_set("splits.json", "val", [True]), r"expected a list of scene numbers"),
    "unknown type": (_set("type_mapping.json", "texture", []), r"type_mapping\.json: expected .* found 'texture'"),
    "path in a type": (_set("type_mapping.json", "add", ["../0.png"]), r"type_mapping\.json: '\.\./0\.png' is not"),
    "two types": (
        lambda folder: edit(folder, "type_mapping.json", lambda t: t["add"].append("000000.png")),
        r"000000\.png is listed under color and add",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_copies(copied, case):
    break_it, message = BROKEN[case]
    break_it(copied)
    with pytest.raises(ValueError, match=message) as error:
        load_clevr_change(copied)
    assert "\n" not in str(error.value)


def test_missing_files(copied, tmp_path):
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path / "none" / "splits.json"))):
        load_clevr_change(tmp_path / "none")
    (copied / "no_change_captions.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"no_change_captions\.json is missing"):
        load_clevr_change(copied)
