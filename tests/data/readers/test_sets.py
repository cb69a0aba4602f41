# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""What is particular to one set: splits, types, references and known faults; and what findings tell."""

import json

import numpy as np
import pytest
from PIL import Image

from ssgpa.data.findings import Findings, count_table
from ssgpa.data.readers import SECOND_CC
from ssgpa.data.readers.custom_pairs import load_custom_pairs
from ssgpa.data.readers.syned_files import read_instructions, read_split_numbers, read_variations

from .reader_cases import CASES, CHAT, EMU, dump, edit, edit_rows, make_own, png


def load(name, folder, findings=None):
    CASES[name].make(folder)
    return CASES[name].source.load(folder, findings)


def pixels(path):
    return np.asarray(Image.open(path)).tolist()


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


def test_image_in_two_splits_is_refused(tmp_path):
    CASES["syned"].make(tmp_path)
    edit("augmented_dataset.json", lambda rows: rows[-1].update(image="originals/0_0.png"))(tmp_path)
    with pytest.raises(ValueError, match=r"originals/0_0\.png is used in train and in validation, pair '1-7'"):
        CASES["syned"].source.load(tmp_path)


def test_levir_knows_unchanged_pairs_only(tmp_path):
    train = load("levir_cc", tmp_path)["train"]
    assert train["change_type"] == ["none", None]
    assert train["captions"] == [["The scene is the same as before ."], ["houses were built in train_000001.png ."]]


def levir(folder, rows):
    """A folder of LEVIR-CC whose training pairs have these flags and captions."""
    CASES["levir_cc"].make(folder)
    path = folder / "LevirCCcaptions.json"
    table = json.loads(path.read_text("utf-8"))
    names = {}
    for number, (flag, captions) in enumerate(rows):
        name = names[number] = f"train_9{number:05d}.png"
        for side in "AB":
            (folder / f"images/train/{side}/{name}").write_bytes(png(100 + 2 * number + (side == "B")))
        sentences = [{"raw": caption} for caption in captions]
        table["images"].append({"filename": name, "split": "train", "changeflag": flag, "sentences": sentences})
    path.write_text(json.dumps(table), "utf-8")


def test_levir_flags_that_contradict_the_captions_are_told_and_the_captions_decide(tmp_path, capsys):
    same = ["there is no difference .", "No change has occurred."]
    levir(
        tmp_path,
        [
            (0, same),
            (1, same),
            (0, ["a road appears .", "some trees disappear ."]),
            (0, [*same, "a road was built ."]),
            (1, ["a house appears .", *same]),
            (0, ["all is as it was ."]),
            (0, ["All is as it was"]),
        ],
    )
    findings = Findings()
    train = CASES["levir_cc"].source.load(tmp_path, findings)["train"]
    assert train["change_type"][2:] == ["none", "none", None, None, None, "none", "none"]
    assert findings.notes == [
        "2 pairs have changeflag 0, but captions that describe a change; type unknown: train, pair 'train_900002', "
        "train, pair 'train_900003'",
        '1 pairs have changeflag 1, but every caption says "no change"; type "none": train, pair \'train_900001\'',
    ]


def test_levir_flags_are_zero_or_one(tmp_path):
    levir(tmp_path, [(2, ["a road appears ."])])
    with pytest.raises(ValueError, match=r"LevirCCcaptions\.json, image 4: changeflag must be 0 or 1, not 2"):
        CASES["levir_cc"].source.load(tmp_path)


@pytest.mark.parametrize("name", ["second_cc", "changechat"])
def test_the_flag_does_not_win_over_the_captions_in_other_sets(name, tmp_path):
    CASES[name].make(tmp_path)
    path = next(path for path in tmp_path.rglob("*.json") if '"changeflag": 0' in path.read_text("utf-8"))
    path.write_text(path.read_text("utf-8").replace('"changeflag": 1', '"changeflag": 0'), encoding="utf-8")
    findings = Findings()
    train = CASES[name].source.load(tmp_path, findings)["train"]
    assert train["change_type"][:2] == ["none", None]
    assert "captions that describe a change; type unknown" in " ".join(findings.notes)
    path.write_text(path.read_text("utf-8").replace('"changeflag": 0', '"changeflag": 3'), encoding="utf-8")
    with pytest.raises(ValueError, match="changeflag must be 0 or 1, not 3"):
        CASES[name].source.load(tmp_path)


def test_second_cc_reads_tokens_where_a_sentence_has_no_text(tmp_path):
    findings = Findings()
    dataset = load("second_cc", tmp_path, findings)
    assert dataset["train"]["pair_id"] == ["train/1", "train/2", "restval/3"]
    assert dataset["train"]["change_type"] == ["none", None, None]
    assert dataset["validation"]["change_type"] == [None]
    assert dataset["test"]["captions"] == [["trees gave way to the road of test 1 .", "a road appeared ."]]
    assert np.asarray(dataset["test"][0]["before"]).tolist() == pixels(tmp_path / "test/rgb/A/1.png")
    table = count_table({name: len(split) for name, split in dataset.items()}, findings, None, SECOND_CC.total)
    assert table[-1] == "| together | 6,041 | 5 | 5 | differs by -6,036 |"


def test_changechat_takes_requests_for_a_caption_only(tmp_path):
    findings = Findings()
    dataset = load("changechat", tmp_path, findings)
    assert dataset["train"]["captions"] == [["There is no difference."], ["Houses were built.", "Some villas appear."]]
    assert dataset["train"]["change_type"] == ["none", None]
    assert dataset["test"]["captions"] == [["a road appears .", "a new road is there ."]]
    assert findings.notes == [
        "train: 3 records left out, which ask for no caption; most often (2): Please judge whether these two images "
        "have changed. Please answer yes or no."
    ]


@pytest.mark.parametrize(
    ("question", "taken"),
    [
        ("<image>\n<image>\nDescribe the change between these two scenes.", True),
        ("Please briefly describe the changes in these two images", True),
        ("Please describe the changes of the roads in these two images.", False),
        ("Please briefly describe the changes in these two images. Answer in one word.", False),
    ],
)
def test_what_asks_for_a_caption(tmp_path, question, taken):
    CASES["changechat"].make(tmp_path)
    edit(CHAT, lambda rows: rows[0]["conversations"][0].update(value=question))(tmp_path)
    dataset = CASES["changechat"].source.load(tmp_path)
    assert ("train_000001" in dataset["train"]["pair_id"]) == taken


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: row["conversations"].pop(), r"train\.json, record 0: the messages must be from human and gpt"),
        (lambda row: row.update(image=["a.png"]), r"record 0: expected the names of two images"),
        (lambda row: row.pop("changeflag"), r"record 0: the field 'changeflag' is missing"),
        (lambda row: row["image"].__setitem__(0, "val/A/train_000002.png"), "occurs with other images too"),
    ],
)
def test_malformed_instructions_are_told(tmp_path, change, message):
    CASES["changechat"].make(tmp_path)
    edit(CHAT, lambda rows: change(rows[0]))(tmp_path)
    with pytest.raises(ValueError, match=message):
        CASES["changechat"].source.load(tmp_path)


def test_changechat_flags_that_disagree_are_a_fault(tmp_path):
    CASES["changechat"].make(tmp_path)
    edit(CHAT, lambda rows: rows[4].update(changeflag=0))(tmp_path)
    with pytest.raises(
        ValueError, match=r"train, pair 'train_000002': changechat_105k_train\.json: changeflag is both"
    ):
        CASES["changechat"].source.load(tmp_path)


def test_changechat_without_a_file_of_validation(tmp_path):
    CASES["changechat"].make(tmp_path)
    (tmp_path / "annotations/changechat_105k_val.json").unlink()
    findings = Findings()
    assert len(CASES["changechat"].source.load(tmp_path, findings)["validation"]) == 0
    assert "no annotations/changechat_105k_val.json in the folder, so that validation is empty" in findings.notes


def test_rscc_takes_paths_from_the_folder_of_a_part_on_and_merges_captions(tmp_path):
    dataset = load("rscc", tmp_path)
    flood = "xbd/images-w512-h512/flood/images/flood_00000001_pre_disaster_part2"
    assert dataset["train"]["pair_id"] == ["EBD/quake/images/quake_1_pre_disaster", flood]
    assert [len(captions) for captions in dataset["train"]["captions"]] == [1, 2]
    assert dataset["test"]["pair_id"] == ["xbd_subset/fire/images/fire_00000003_pre_disaster_part4"]
    assert np.asarray(dataset["train"][1]["after"]).tolist() == pixels(
        tmp_path / f"{flood.replace('_pre_', '_post_')}.png"
    )


def test_rscc_without_lists_is_for_training(tmp_path):
    CASES["rscc"].make(tmp_path)
    for name in ("val_set.txt", "test_set.txt"):
        (tmp_path / name).unlink()
    findings = Findings()
    dataset = CASES["rscc"].source.load(tmp_path, findings)
    assert [len(split) for split in dataset.values()] == [4, 0, 0]
    assert findings.notes == ["no val_set.txt or test_set.txt in the folder, so that all pairs are for training"]


@pytest.mark.parametrize("line", ["EBD/quake/images/quake_2_pre_disaster.png", "\xff"])
def test_rscc_lists_name_pairs_of_the_set(tmp_path, line):
    CASES["rscc"].make(tmp_path)
    (tmp_path / "test_set.txt").write_bytes(line.encode("latin-1"))
    with pytest.raises(ValueError, match=r"test_set\.txt, line 1: .* is no pre_image of RSCC_qvq\.jsonl"):
        CASES["rscc"].source.load(tmp_path)


def test_rscc_pairs_have_one_second_image(tmp_path):
    CASES["rscc"].make(tmp_path)
    edit("RSCC_qvq.jsonl", lambda rows: rows[4].update(post_image=rows[0]["post_image"]))(tmp_path)
    with pytest.raises(ValueError, match=r"line 5: .*flood_00000001.* occurs with another post_image too"):
        CASES["rscc"].source.load(tmp_path)


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


def test_equal_images_are_told_by_name(tmp_path):
    make_own(tmp_path)
    (tmp_path / "after" / "one.jpg").write_bytes(png(77))
    (tmp_path / "after" / "two.jpg").write_bytes(png(77))
    findings = Findings()
    load_custom_pairs(tmp_path, findings)
    assert findings.equal == findings.leaks == [["after/one.jpg", "after/two.jpg"]]
    assert "after/one.jpg = after/two.jpg" in findings.lines()[0]


def test_count_table_tells_what_differs():
    findings = Findings(read={"train": 8, "test": 5})
    table = count_table({"train": 7, "test": 5}, findings, {"train": 1_010, "test": 5})
    assert table[2:] == ["| train | 1,010 | 8 | 7 | differs by -1,002 |", "| test | 5 | 5 | 5 |  |"]
    assert json.loads(json.dumps(findings.as_dict()))["read"] == {"train": 8, "test": 5}


CROSSING = {
    "clevr_change": edit("splits.json", lambda table: table.update(val=[0])),
    "clevr_dc": edit("split.json", lambda table: table.update(val=[0])),
    "spot_the_diff_single": edit("annotations/val.json", lambda rows: rows[0].update(img_id="1")),
    "spot_the_diff_multi": edit("annotations/val.json", lambda rows: rows[0].update(img_id="1")),
    "image_editing_request": edit("valid.json", lambda rows: rows[0].update(uid="a")),
    "levir_cc": edit("LevirCCcaptions.json", lambda table: table["images"][2].update(filename="train_000000.png")),
    "second_cc": edit("SECOND-CC-AUG.json", lambda table: table["images"][3].update(split="train")),
    "changechat": edit(
        "annotations/changechat_105k_val.json", lambda rows: rows[0].update(image_A="train/A/train_000001.png")
    ),
    "rscc": lambda folder: (folder / "val_set.txt").write_bytes((folder / "test_set.txt").read_bytes()),
    "magicbrush": edit_rows("data/dev-00000-of-00001-ab.parquet", lambda rows: rows[0].update(img_id="7")),
    "emu_edit": edit("splits.json", lambda table: table.update(validation=[0])),
    "syned": edit("splits.json", lambda table: table.update(validation=[0, 1])),
    "custom": edit("captions.jsonl", lambda rows: rows[1].update(scene_id="one")),
}


@pytest.mark.parametrize("name", CASES)
def test_nothing_crosses_splits(name, tmp_path):
    CASES[name].make(tmp_path)
    if name == "levir_cc":
        for side in "AB":
            (tmp_path / f"images/val/{side}/train_000000.png").write_bytes(png(ord(side)))
    CROSSING[name](tmp_path)
    with pytest.raises(ValueError, match=r"occurs (in \w+ and \w+|twice)|is used in train and in validation"):
        CASES[name].source.load(tmp_path)


def test_every_fault_of_a_pair_is_told(tmp_path):
    make_own(tmp_path)
    for name in ("before/one.png", "after/one.jpg"):
        (tmp_path / name).unlink()
    edit("captions.jsonl", lambda rows: rows[0].update(captions=[]))(tmp_path)
    findings = Findings(skip_faulty=True)
    load_custom_pairs(tmp_path, findings)
    assert findings.faulty == {
        "train, pair 'one'": "captions.jsonl, line 1: there is no caption; before/one is missing; after/one is missing"
    }


def test_nothing_left_is_an_error(tmp_path):
    dump(tmp_path, "LevirCCcaptions.json", {"images": []})
    with pytest.raises(ValueError, match="there are no pairs"):
        CASES["levir_cc"].source.load(tmp_path)


@pytest.mark.parametrize(("change_type", "told"), [(None, ["train, pair 'one'"]), ("none", [])])
def test_pair_of_equal_images_is_told(tmp_path, change_type, told):
    make_own(tmp_path)
    (tmp_path / "after" / "one.jpg").write_bytes((tmp_path / "before" / "one.png").read_bytes())
    edit("captions.jsonl", lambda rows: rows[0].update(change_type=change_type))(tmp_path)
    findings = Findings()
    load_custom_pairs(tmp_path, findings)
    assert findings.still == told
    assert findings.lines() == [f"1 pairs show the same image twice: {place}" for place in told]
    assert findings.equal == []


def test_row_of_equal_images_is_told(tmp_path):
    CASES["emu_edit"].make(tmp_path)
    edit_rows(EMU, lambda rows: rows[1].update(edited_image=rows[1]["image"]))(tmp_path)
    findings = Findings()
    CASES["emu_edit"].source.load(tmp_path, findings)
    assert findings.still == ["validation, pair 'validation-1'"]


def test_damaged_rows_of_a_table(tmp_path):
    """The table's end is whole, so that only reading the rows shows the damage."""
    CASES["emu_edit"].make(tmp_path)
    content = bytearray((tmp_path / EMU).read_bytes())
    content[4:400] = bytes(396)
    (tmp_path / EMU).write_bytes(content)
    with pytest.raises(ValueError, match=r"validation-\*\.parquet cannot be read"):
        CASES["emu_edit"].source.load(tmp_path)


def test_clevr_dc_splits_are_lists(tmp_path):
    CASES["clevr_dc"].make(tmp_path)
    edit("split.json", lambda table: table.update(val=5))(tmp_path)
    with pytest.raises(ValueError, match=r"split\.json, val: expected a list of numbers of pairs, found 5"):
        CASES["clevr_dc"].source.load(tmp_path)
