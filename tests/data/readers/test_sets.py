# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""What is particular to one set: splits, types, references and known faults; and what findings tell."""

import json
import shutil

import pytest
from reader_cases import CASES, Pictures, dump, edit, make_own, png

from ssgpa.data.findings import Findings, count_table
from ssgpa.data.readers.own_pairs import load_own_pairs
from ssgpa.data.readers.syned_files import read_instructions, read_split_numbers, read_variations


def load(name, folder, findings=None):
    CASES[name].make(folder)
    return CASES[name].source.load(folder, findings)


def test_clevr_dc_takes_numbers_as_ids_and_types_from_blocks(tmp_path):
    dataset = load("clevr_dc", tmp_path)
    assert dataset["train"]["change_type"] == ["color", "material", "add", "drop"]
    assert dataset["test"][0]["change_type"] == "none"
    assert dataset["validation"]["captions"] == [["what happened in 32000"]]


def test_clevr_dc_notes_captions_of_another_type(tmp_path):
    CASES["clevr_dc"].make(tmp_path)
    edit("captions.json", lambda table: table.update({"16000": ["the red cube has disappeared"]}))(tmp_path)
    findings = Findings()
    CASES["clevr_dc"].source.load(tmp_path, findings)
    assert findings.notes == ["1 captions of the block 'add' read as 'drop'"]


def test_spot_the_diff_groups_rows_and_drops_empty_sentences(tmp_path):
    findings = Findings()
    single = load("spot_the_diff_single", tmp_path, findings)
    assert single["train"]["captions"] == [["a van left", "a man came", "the van is gone"], ["more people"]]
    assert single["validation"]["captions"] == [["a car moved"]]
    assert single["train"]["change_type"] == [None, None]
    assert findings.read == {"train": 2, "validation": 2, "test": 1}
    assert findings.notes == [
        "validation: 2 empty sentences left out",
        "validation: 1 pairs left out, which have no other sentence: 4",
    ]
    multi = CASES["spot_the_diff_multi"].source.load(tmp_path)
    assert multi["train"]["captions"] == [["a van left. a man came. the van is gone"], ["more people"]]


def test_requests_may_share_photographs_across_splits(tmp_path):
    CASES["image_editing_request"].make(tmp_path)
    edit("test.json", lambda rows: rows[0].update(img0="a_0.jpg"))(tmp_path)
    findings = Findings()
    CASES["image_editing_request"].source.load(tmp_path, findings)
    assert ["images/a_0.jpg"] in findings.leaks


def test_picture_in_two_splits_is_refused(tmp_path):
    CASES["syned"].make(tmp_path)
    edit("augmented_dataset.json", lambda rows: rows[-1].update(image="originals/0_0.png"))(tmp_path)
    with pytest.raises(ValueError, match=r"originals/0_0\.png is used in train and in validation, pair '1-7'"):
        CASES["syned"].source.load(tmp_path)


def test_levir_knows_unchanged_pairs_only(tmp_path):
    train = load("levir_cc", tmp_path)["train"]
    assert train["change_type"] == ["none", None]
    assert train["captions"][0] == ["houses were built in train_000000.png ."]


def test_magicbrush_turns_share_a_scene(tmp_path):
    dataset = load("magicbrush", tmp_path)
    assert dataset["train"]["pair_id"] == ["7-1", "7-2"]
    assert dataset["train"]["scene_id"] == ["7", "7"]
    assert dataset["validation"]["pair_id"] == ["8-1"]


def test_emu_edit_with_syned_files_and_without(tmp_path):
    findings = Findings()
    dataset = load("emu_edit", tmp_path, findings)
    assert dataset["train"]["pair_id"] == ["validation-0", "validation-2"]
    assert dataset["train"]["change_type"] == ["color", "color"]
    assert dataset["test"]["captions"][0] == ["Make dog 0 blue", "Paint it blue", '"Blue the dog']
    assert "validation: 2 rows with equal input and output captions: 1, 2" in findings.notes
    for name in ("splits.json", "gt_augmented_test_clean.json"):
        (tmp_path / name).unlink()
    bare = CASES["emu_edit"].source.load(tmp_path)
    assert [len(split) for split in bare.values()] == [0, 3, 2]
    assert bare["test"]["captions"][0] == ["Make dog 0 blue"]


def test_syned_numbers_variants(tmp_path):
    findings = Findings()
    dataset = load("syned", tmp_path, findings)
    assert dataset["train"]["pair_id"] == [f"0-{number}" for number in range(1, 9)]
    assert set(dataset["train"]["scene_id"]) == {"0"}
    assert findings.notes == ["1 rows with other than 8 variants: 1"]


def test_syned_references_report_their_faults(tmp_path):
    texts = {
        "0 ": ["one", "two", "three", "four"],
        "3 ": ["one", "one", '"open', "Sure! Here you go"],
        "4 ": ["", "two", '"closed"'],
    }
    dump(tmp_path, "references.json", texts)
    findings = Findings()
    assert read_variations(tmp_path / "references.json", findings)[4] == ["two", '"closed"']
    assert findings.notes == [
        "references.json: 1 rows with a quote that is not closed: 3",
        "references.json: 1 rows with a variation twice: 3",
        "references.json: 1 rows with an answer to the user in place of a variation: 3",
        "references.json: 1 rows with an empty variation: 4",
        "references.json: 1 rows with other than 4 variations: 4",
    ]
    dump(tmp_path, "references.json", {"zero": []})
    with pytest.raises(ValueError, match="'zero' is not the number of a row"):
        read_variations(tmp_path / "references.json", findings)


def test_syned_instructions_and_splits(tmp_path):
    path = tmp_path / "instructions.txt"
    path.write_text("2 <INSTRUCT>  Make it night\n0 <INSTRUCT> Add a cat\n", encoding="utf-8")
    assert read_instructions(path) == {2: "Make it night", 0: "Add a cat"}
    path.write_text("Add a cat\n", encoding="utf-8")
    with pytest.raises(ValueError, match="line 1: expected"):
        read_instructions(path)
    dump(tmp_path, "splits.json", {"train": [1, 2], "validation": [2]})
    with pytest.raises(ValueError, match="row 2 occurs in train and validation"):
        read_split_numbers(tmp_path / "splits.json")


def test_own_pairs_fields(tmp_path):
    make_own(tmp_path)
    dataset = load_own_pairs(tmp_path)
    assert dataset["train"][0]["captions"] == ["the one moved", "a move"]
    row = dataset["validation"][0]
    assert (row["pair_id"], row["scene_id"], row["change_type"]) == ("two", "hall", "move")


def test_own_pairs_from_csv(tmp_path):
    make_own(tmp_path)
    (tmp_path / "captions.jsonl").unlink()
    text = '\ufeffpair_id,caption,split\none,"a cup, moved",\none,it moved,\ntwo,gone,val\n'
    (tmp_path / "captions.csv").write_text(text, encoding="utf-8")
    dataset = load_own_pairs(tmp_path)
    assert dataset["train"]["captions"] == [["a cup, moved", "it moved"]]
    assert dataset["validation"]["captions"] == [["gone"]]
    (tmp_path / "captions.csv").write_text("pair_id,captions\none,[1\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"captions\.csv, line 2 is not valid JSON"):
        load_own_pairs(tmp_path)


def test_own_pairs_as_imagefolder(tmp_path):
    for split in ("train", "test"):
        picture = Pictures(tmp_path / split)
        rows = [{"before_file_name": picture("a.png"), "after_file_name": picture("b.png"), "captions": ["moved"]}]
        rows[0]["pair_id"] = split
        dump(tmp_path / split, "metadata.jsonl", rows)
    # Equal pictures of different scenes in two splits are told.
    findings = Findings()
    dataset = load_own_pairs(tmp_path, findings)
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
        ({"scene_id": "hall"}, "scene 'hall' occurs in train and validation"),
    ],
)
def test_own_pairs_errors_name_the_line(tmp_path, change, message):
    make_own(tmp_path)
    edit("captions.jsonl", lambda rows: rows[0].update(change))(tmp_path)
    with pytest.raises(ValueError, match=message):
        load_own_pairs(tmp_path)


def test_own_pairs_need_one_table(tmp_path):
    make_own(tmp_path)
    shutil.copy(tmp_path / "captions.jsonl", tmp_path / "metadata.jsonl")
    with pytest.raises(ValueError, match=r"captions\.jsonl and metadata\.jsonl; keep one"):
        load_own_pairs(tmp_path)


def test_equal_pictures_are_told_by_name(tmp_path):
    make_own(tmp_path)
    (tmp_path / "after" / "one.jpg").write_bytes(png(77))
    (tmp_path / "after" / "two.jpg").write_bytes(png(77))
    findings = Findings()
    load_own_pairs(tmp_path, findings)
    assert findings.equal == findings.leaks == [["after/one.jpg", "after/two.jpg"]]
    assert "after/one.jpg = after/two.jpg" in findings.lines()[0]


def test_count_table_tells_what_differs():
    findings = Findings(read={"train": 8, "test": 5})
    table = count_table({"train": 7, "test": 5}, findings, {"train": 1_010, "test": 5})
    assert table[2:] == ["| train | 1,010 | 8 | 7 | differs by -1,002 |", "| test | 5 | 5 | 5 |  |"]
    assert json.loads(json.dumps(findings.as_dict()))["read"] == {"train": 8, "test": 5}
