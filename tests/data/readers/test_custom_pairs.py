# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Users' own pairs: tables, fields, and errors that name the line."""

import shutil

import pytest

from ssgpa.data.findings import Findings
from ssgpa.data.readers.custom_pairs import load_custom_pairs

from .reader_cases import Images, dump, edit, make_own, png


def test_custom_pairs_fields(tmp_path):
    make_own(tmp_path)
    dataset = load_custom_pairs(tmp_path)
    assert dataset["train"][0]["captions"] == ["the one moved", "a move"]
    row = dataset["validation"][0]
    assert (row["pair_id"], row["scene_id"], row["change_type"]) == ("two", "hall", "move")


def test_custom_pairs_from_csv(tmp_path):
    make_own(tmp_path)
    (tmp_path / "captions.jsonl").unlink()
    text = '\ufeffpair_id,caption,split\none,"a cup, moved",\none,it moved,\ntwo,gone,val\n'
    (tmp_path / "captions.csv").write_text(text, encoding="utf-8")
    dataset = load_custom_pairs(tmp_path)
    assert dataset["train"]["captions"] == [["a cup, moved", "it moved"]]
    assert dataset["validation"]["captions"] == [["gone"]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pair_id,captions\none,[1\n", "line 2 is not valid JSON"),
        ('pair_id,caption\none,"two\nlines"\ntwo\n', "line 4: another number of fields"),
        ("pair_id,caption\none,\n", "line 2: 1 of 1 captions empty"),
        (f"pair_id,caption\none,{'x' * 200_000}\n", "line 2 is not valid CSV: the field .caption. is larger"),
    ],
)
def test_errors_in_csv_name_the_line(tmp_path, text, message):
    make_own(tmp_path)
    (tmp_path / "captions.jsonl").unlink()
    (tmp_path / "captions.csv").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=rf"captions\.csv, {message}"):
        load_custom_pairs(tmp_path)


def test_custom_pairs_as_imagefolder(tmp_path):
    for split in ("train", "test"):
        image = Images(tmp_path / split)
        rows = [{"before_file_name": image("a.png"), "after_file_name": image("b.png"), "captions": ["moved"]}]
        rows[0]["pair_id"] = split
        dump(tmp_path / split, "metadata.jsonl", rows)
    # Equal images of different scenes in two splits are told.
    findings = Findings()
    dataset = load_custom_pairs(tmp_path, findings)
    assert [len(split) for split in dataset.values()] == [1, 0, 1]
    assert findings.leaks == findings.equal == [["test/a.png", "train/a.png"], ["test/b.png", "train/b.png"]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"split": "trial"}, "the split must be one of"),
        ({"caption": "x"}, "give `captions`, a list, or `caption`"),
        ({"pair_id": "two", "split": "val"}, "the pair 'two' occurs twice"),
        ({"captions": [1]}, "expected a list of captions"),
        ({"label": 1}, "unknown \\['label'\\]"),
        ({"change_type": ["move"]}, "the field 'change_type' is of the wrong type"),
        ({"pair_id": True}, "the field 'pair_id' is of the wrong type"),
        ({"before_file_name": "/etc/hostname"}, "pair 'one'.*/etc/hostname leads out of"),
        ({"pair_id": "../../outside"}, "outside leads out of"),
        ({"scene_id": "hall"}, "scene 'hall' occurs in train and validation"),
    ],
)
def test_custom_pairs_errors_name_the_line(tmp_path, change, message):
    make_own(tmp_path)
    edit("captions.jsonl", lambda rows: rows[0].update(change))(tmp_path)
    with pytest.raises(ValueError, match=message):
        load_custom_pairs(tmp_path)


def test_null_fields_are_left_out(tmp_path):
    make_own(tmp_path)
    edit("captions.jsonl", lambda rows: rows[0].update(split=None, scene_id=None, change_type=None))(tmp_path)
    assert load_custom_pairs(tmp_path)["train"][0]["scene_id"] == "one"


def test_two_images_of_one_name_are_refused(tmp_path):
    make_own(tmp_path)
    (tmp_path / "before" / "one.jpg").write_bytes(png(9))
    with pytest.raises(ValueError, match=r"line 1: one\.jpg and one\.png in before/ fit; name one"):
        load_custom_pairs(tmp_path)
    edit("captions.jsonl", lambda rows: rows[0].update(before_file_name="before/one.jpg"))(tmp_path)
    assert load_custom_pairs(tmp_path)["train"][0]["before"].getpixel((0, 0))[0] == pytest.approx(9, abs=6)


def test_custom_pairs_need_one_table(tmp_path):
    make_own(tmp_path)
    shutil.copy(tmp_path / "captions.jsonl", tmp_path / "metadata.jsonl")
    with pytest.raises(ValueError, match=r"captions\.jsonl and metadata\.jsonl; keep one"):
        load_custom_pairs(tmp_path)
    (tmp_path / "metadata.jsonl").unlink()
    (tmp_path / "train").mkdir()
    shutil.copy(tmp_path / "captions.jsonl", tmp_path / "train" / "metadata.jsonl")
    with pytest.raises(ValueError, match=r"captions\.jsonl and train/metadata\.jsonl; keep one"):
        load_custom_pairs(tmp_path)
