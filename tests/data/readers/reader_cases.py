# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""A small folder in the layout of each set, made here, and the ways to break a copy of it."""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from ssgpa.data.readers import (
    CHANGECHAT,
    CLEVR_DC,
    CUSTOM_PAIRS,
    EMU_EDIT,
    IMAGE_EDITING_REQUEST,
    LEVIR_CC,
    MAGICBRUSH,
    RSCC,
    SECOND_CC,
    SPOT_THE_DIFF_MULTI,
    SPOT_THE_DIFF_SINGLE,
    SYNED,
)
from ssgpa.data.readers.clevr_change import CLEVR_CHANGE
from ssgpa.data.reading import Source


@dataclass(frozen=True)
class Case:
    """A set's fixture.

    Args:
        source: What is tested.
        make: Writes the folder.
        rows: Pairs of train, validation and test that must come out.
        table: File with captions.
        image: File of an image of the first training pair; None where images lie in the table.
        rename: Puts a caption under the key `cc` in the table.
        empty: Makes the captions of the first training pair blank.
        escape: Lets an entry lead out of the folder.
        pair: Place of the first training pair.
    """

    source: Source
    make: Callable[[Path], None]
    rows: tuple[int, int, int]
    table: str
    image: str | None
    rename: Callable[[Path], None]
    empty: Callable[[Path], None]
    escape: Callable[[Path], None]
    pair: str


def png(shade, kind="PNG"):
    data = io.BytesIO()
    Image.new("RGB", (24, 16), (shade % 256, shade * 7 % 256, 90 + shade // 256)).save(data, kind)
    return data.getvalue()


class Images:
    """Writes images of a folder, no two alike."""

    def __init__(self, folder):
        self.folder, self.shade = folder, 0

    def __call__(self, name):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        self.shade += 1
        path.write_bytes(png(self.shade, "JPEG" if path.suffix == ".jpg" else "PNG"))
        return name


def dump(folder, name, value):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(row) for row in value] if path.suffix == ".jsonl" else [json.dumps(value)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def edit(name, change):
    """A step that changes a JSON or JSON Lines file."""

    def step(folder):
        text = (folder / name).read_text(encoding="utf-8")
        value = [json.loads(line) for line in text.splitlines()] if name.endswith(".jsonl") else json.loads(text)
        change(value)
        dump(folder, name, value)

    return step


def to_cc(record, key):
    record["cc"] = record.pop(key)


def edit_rows(name, change):
    """A step that changes the rows of a parquet file."""

    def step(folder):
        rows = pq.read_table(folder / name).to_pylist()
        change(rows)
        pq.write_table(pa.Table.from_pylist(rows), folder / name)

    return step


def make_clevr_change(folder):
    image = Images(folder)
    for index in range(4):
        for part, view in (("images", "default"), ("sc_images", "semantic"), ("nsc_images", "nonsemantic")):
            image(f"{part}/CLEVR_{view}_{index:06d}.png")
    names = [f"CLEVR_default_{index:06d}.png" for index in range(4)]
    dump(folder, "change_captions.json", {name: ["the cube went away", "a cube has gone"] for name in names})
    dump(folder, "no_change_captions.json", {name: ["nothing is different"] for name in names})
    dump(folder, "splits.json", {"train": [0, 1], "val": [2], "test": [3]})


def make_clevr_dc(folder):
    image = Images(folder)
    numbers = [0, 8_000, 16_000, 24_000, 32_000, 40_000]
    for number in numbers:
        image(f"bef/{number}.png"), image(f"aft/{number}.png")
    dump(folder, "captions.json", {str(number): [f"what happened in {number}"] for number in numbers})
    dump(folder, "split.json", {"train": numbers[:4], "val": [32_000], "test": [40_000]})


def make_spot(folder):
    image = Images(folder)
    for number in range(1, 6):
        image(f"resized_images/{number}.png"), image(f"resized_images/{number}_2.png")
    train = [("1", ["a van left", "a man came"]), ("2", ["more people"]), ("1", ["the van is gone"])]
    for name, rows in (
        ("train", train),
        ("val", [("3", ["", "a car moved"]), ("4", [""])]),
        ("test", [("5", ["x y"])]),
    ):
        dump(folder, f"annotations/{name}.json", [{"img_id": key, "sentences": texts} for key, texts in rows])


def make_requests(folder):
    image = Images(folder)
    for split, uids in (("train", "ab"), ("valid", "c"), ("test", "d")):
        rows = [
            {"uid": uid, "img0": f"{uid}_0.jpg", "img1": f"{uid}_1.jpg", "sents": [f"Please brighten {uid}"]}
            for uid in uids
        ]
        for row in rows:
            image(f"images/{row['img0']}"), image(f"images/{row['img1']}")
        dump(folder, f"{split}.json", rows)


def make_levir(folder):
    image, images = Images(folder), []
    for split, count in (("train", 2), ("val", 1), ("test", 1)):
        for number in range(count):
            name = f"{split}_{number:06d}.png"
            image(f"images/{split}/A/{name}"), image(f"images/{split}/B/{name}")
            text = f" houses were built in {name} ." if number else " The scene is the same as before ."
            sentences = [{"raw": text, "tokens": ["houses"]}]
            images.append({"filename": name, "split": split, "changeflag": number, "sentences": sentences})
    dump(folder, "LevirCCcaptions.json", {"images": images, "dataset": "made here"})


def make_magicbrush(folder):
    (folder / "data").mkdir(parents=True)
    shade = iter(range(100))
    for prefix, turns in (("train", [(7, 1), (7, 2)]), ("dev", [(8, 1)])):
        rows = [
            {
                "img_id": str(scene),
                "turn_index": turn,
                "source_img": {"bytes": png(next(shade)), "path": None},
                "mask_img": {"bytes": png(next(shade)), "path": None},
                "instruction": f"put a hat on dog {turn}",
                "target_img": {"bytes": png(next(shade)), "path": "x.png"},
            }
            for scene, turn in turns
        ]
        pq.write_table(pa.Table.from_pylist(rows), folder / "data" / f"{prefix}-00000-of-00001-ab.parquet")


def make_emu(folder):
    (folder / "data").mkdir(parents=True)
    shade = iter(range(100))
    for prefix, count in (("validation", 3), ("test", 2)):
        rows = [
            {
                "idx": number,
                "instruction": f" Make dog {number} blue",
                "task": "Color",
                "input_caption": "a dog",
                "output_caption": "a dog" if number else "a blue dog",
                "image": {"bytes": png(next(shade)), "path": None},
                "edited_image": {"bytes": png(next(shade)), "path": None},
            }
            for number in range(count)
        ]
        pq.write_table(pa.Table.from_pylist(rows), folder / "data" / f"{prefix}-00000-of-00001.parquet")
    dump(folder, "splits.json", {"train": [0, 2], "validation": [1]})
    dump(folder, "gt_augmented_test_clean.json", {"0 ": ["Paint it blue", '"Blue the dog', ""], "1 ": list("abcd")})


def make_syned(folder):
    image = Images(folder)
    records = [
        {
            "idx": number,
            "image": image(f"originals/{number}_{variant}.png"),
            "edited_image": image(f"edited/{number}_{variant}.png"),
            "instruction": f"Remove the boat of {number}",
            "task": "remove",
        }
        for number in range(2)
        for variant in range(8 - number)
    ]
    dump(folder, "augmented_dataset.json", records)
    dump(folder, "splits.json", {"train": [0], "validation": [1]})


def make_own(folder):
    image = Images(folder)
    rows = []
    for name, split in (("one", None), ("two", "val"), ("three", "test")):
        image(f"before/{name}.png"), image(f"after/{name}.jpg")
        rows.append(
            {"pair_id": name, "captions": [f"the {name} moved", "a move"]} | ({"split": split} if split else {})
        )
    rows[1] |= {"change_type": "move", "scene_id": "hall"}
    dump(folder, "captions.jsonl", rows)


def make_second_cc(folder):
    image, images = Images(folder), []
    for name, split, flag in (
        ("1", "train", 0),
        ("2", "train", 1),
        ("3", "restval", 1),
        ("1", "val", 1),
        ("1", "test", 1),
    ):
        for part in ("rgb", "sem"):
            image(f"{split}/{part}/A/{name}.png"), image(f"{split}/{part}/B/{name}.png")
        told = f"trees gave way to the road of {split} {name} ." if flag else "there is no difference ."
        sentences = [{"raw": told, "tokens": ["unread"], "sentid": 0}]
        record = {"filename": f"{name}.png", "split": split, "imgid": 0, "sentences": sentences}
        images.append(record if split == "val" else record | {"changeflag": flag})
    images[4]["sentences"].append({"tokens": ["a", "road", "appeared", "."]})
    dump(folder, "SECOND-CC-AUG.json", {"images": images, "dataset": "SECOND-CC"})


def chat(number, name, flag, *turns):
    """A record of instructions, in the form of the release."""
    messages = [{"from": ("human", "gpt")[place % 2], "value": text} for place, text in enumerate(turns)]
    split = name.partition("_")[0]
    return {
        "id": number,
        "image": [f"{split}/A/{name}.png", f"{split}/B/{name}.png"],
        "changeflag": flag,
        "conversations": messages,
    }


CAPTION = "<image> <image> Please briefly describe the changes in these two images."
JUDGE = "<image> <image> Please judge whether these two images have changed. Please answer yes or no."


def make_changechat(folder):
    image = Images(folder)
    for name in ("train_000001", "train_000002", "val_000001", "test_000001"):
        for side in "AB":
            image(f"images/{name.partition('_')[0]}/{side}/{name}.png")
    dialog = (JUDGE, "Yes", "Based on the above analysis, please describe the changes in detail.", "A house appears.")
    records = [
        chat(0, "train_000001", 0, CAPTION, "There is no difference."),
        chat(1, "train_000002", 1, JUDGE, "Yes"),
        chat(2, "train_000002", 1, CAPTION, "Houses were built."),
        chat(3, "train_000002", 1, *dialog),
        chat(4, "train_000002", 1, CAPTION, "Some villas appear."),
        chat(5, "train_000001", 0, JUDGE, "No"),
    ]
    dump(folder, "annotations/changechat_105k_train.json", records)
    for split in ("val", "test"):
        names = {f"image_{side}": f"{split}/{side}/{split}_000001.png" for side in "AB"}
        record = names | {"captions": ["a road appears .", "a new road is there ."], "changeflag": 1}
        dump(folder, f"annotations/changechat_105k_{split}.json", [record])


def make_rscc(folder):
    image, rows = Images(folder), []
    places = {
        "EBD/quake/images/quake_1": "",
        "xbd/images-w512-h512/flood/images/flood_00000001": "_part2",
        "xbd/images-w512-h512/flood/images/flood_00000002": "_part1",
        "xbd_subset/fire/images/fire_00000003": "_part4",
    }
    for place, part in places.items():
        names = [image(f"{place}_{side}_disaster{part}.png") for side in ("pre", "post")]
        start = "" if place.startswith("EBD") else "/home/datasets/"
        told = {"pre_image": start + names[0], "post_image": start + names[1]}
        rows.append(told | {"change_caption": f"The {place} stands under water, several roofs are gone."})
    rows.append({**rows[1], "change_caption": "Two houses are flooded.", "model_id": "another"})
    dump(folder, "RSCC_qvq.jsonl", rows)
    (folder / "val_set.txt").write_text(rows[2]["pre_image"] + "\n", encoding="utf-8")
    (folder / "test_set.txt").write_text(rows[3]["pre_image"] + "\n\n", encoding="utf-8")


def _blank(key):
    return lambda rows: rows[0].update({key: [" "]})


TRAIN = "data/train-00000-of-00001-ab.parquet"
EMU = "data/validation-00000-of-00001.parquet"
LEVIR = "LevirCCcaptions.json"
SPOT = "annotations/train.json"
SECOND = "SECOND-CC-AUG.json"
CHAT = "annotations/changechat_105k_train.json"
CASES = {
    "clevr_change": Case(
        CLEVR_CHANGE,
        make_clevr_change,
        (4, 2, 2),
        "change_captions.json",
        "images/CLEVR_default_000000.png",
        edit("change_captions.json", lambda table: table.update({"CLEVR_default_000000.png": {"cc": ["a"]}})),
        edit("change_captions.json", lambda table: table.update({"CLEVR_default_000000.png": [" "]})),
        edit("splits.json", lambda table: table.update(train=["../../outside"])),
        "train, pair '000000.png'",
    ),
    "clevr_dc": Case(
        CLEVR_DC,
        make_clevr_dc,
        (4, 1, 1),
        "captions.json",
        "bef/0.png",
        edit("captions.json", lambda table: table.update({"0": {"cc": ["a"]}})),
        edit("captions.json", lambda table: table.update({"0": [" "]})),
        edit("split.json", lambda table: table.update(train=["../outside"])),
        "train, pair '0'",
    ),
    "spot_the_diff_single": Case(
        SPOT_THE_DIFF_SINGLE,
        make_spot,
        (2, 1, 1),
        SPOT,
        "resized_images/1.png",
        edit(SPOT, lambda rows: to_cc(rows[0], "sentences")),
        edit(SPOT, lambda rows: [row.update(sentences=[" "]) for row in rows if row["img_id"] == "1"]),
        edit(SPOT, lambda rows: rows[0].update(img_id="../../outside")),
        "train, pair '1'",
    ),
    "image_editing_request": Case(
        IMAGE_EDITING_REQUEST,
        make_requests,
        (2, 1, 1),
        "train.json",
        "images/a_0.jpg",
        edit("train.json", lambda rows: to_cc(rows[0], "sents")),
        edit("train.json", _blank("sents")),
        edit("train.json", lambda rows: rows[0].update(img0="../../outside.png")),
        "train, pair 'a'",
    ),
    "levir_cc": Case(
        LEVIR_CC,
        make_levir,
        (2, 1, 1),
        LEVIR,
        "images/train/A/train_000000.png",
        edit(LEVIR, lambda table: to_cc(table["images"][0]["sentences"][0], "raw")),
        edit(LEVIR, lambda table: table["images"][0]["sentences"][0].update(raw=" .")),
        edit(LEVIR, lambda table: table["images"][0].update(filename="../../../../outside.png")),
        "train, pair 'train_000000'",
    ),
    "magicbrush": Case(
        MAGICBRUSH,
        make_magicbrush,
        (2, 1, 0),
        TRAIN,
        None,
        edit_rows(TRAIN, lambda rows: [to_cc(row, "instruction") for row in rows]),
        edit_rows(TRAIN, lambda rows: rows[0].update(instruction=" ")),
        edit_rows(TRAIN, lambda rows: rows[0].update(source_img={"bytes": None, "path": "../outside.png"})),
        "train, pair '7-1'",
    ),
    "emu_edit": Case(
        EMU_EDIT,
        make_emu,
        (2, 1, 2),
        EMU,
        None,
        edit_rows(EMU, lambda rows: [to_cc(row, "instruction") for row in rows]),
        edit_rows(EMU, lambda rows: rows[0].update(instruction=" ")),
        edit_rows(EMU, lambda rows: rows[0].update(image={"bytes": None, "path": "../outside.png"})),
        "train, pair 'validation-0'",
    ),
    "syned": Case(
        SYNED,
        make_syned,
        (8, 7, 0),
        "augmented_dataset.json",
        "originals/0_0.png",
        edit("augmented_dataset.json", lambda rows: to_cc(rows[0], "instruction")),
        edit("augmented_dataset.json", lambda rows: rows[0].update(instruction="")),
        edit("augmented_dataset.json", lambda rows: rows[0].update(image="/etc/hostname")),
        "train, pair '0-1'",
    ),
    "second_cc": Case(
        SECOND_CC,
        make_second_cc,
        (3, 1, 1),
        SECOND,
        "train/rgb/A/1.png",
        edit(SECOND, lambda table: [to_cc(table["images"][0]["sentences"][0], key) for key in ("raw", "tokens")]),
        edit(SECOND, lambda table: table["images"][0]["sentences"][0].update(raw=" .")),
        edit(SECOND, lambda table: table["images"][0].update(filename="../../../../outside.png")),
        "train, pair 'train/1'",
    ),
    "changechat": Case(
        CHANGECHAT,
        make_changechat,
        (2, 1, 1),
        CHAT,
        "images/train/A/train_000001.png",
        edit(CHAT, lambda rows: to_cc(rows[0]["conversations"][1], "value")),
        edit(CHAT, lambda rows: rows[0]["conversations"][1].update(value=" .")),
        edit(CHAT, lambda rows: rows[0]["image"].__setitem__(0, "../../outside.png")),
        "train, pair 'train_000001'",
    ),
    "rscc": Case(
        RSCC,
        make_rscc,
        (2, 1, 1),
        "RSCC_qvq.jsonl",
        "EBD/quake/images/quake_1_pre_disaster.png",
        edit("RSCC_qvq.jsonl", lambda rows: to_cc(rows[0], "change_caption")),
        edit("RSCC_qvq.jsonl", lambda rows: rows[0].update(change_caption="...")),
        edit("RSCC_qvq.jsonl", lambda rows: rows[0].update(pre_image="../outside.png")),
        "train, pair 'EBD/quake/images/quake_1_pre_disaster'",
    ),
    "custom": Case(
        CUSTOM_PAIRS,
        make_own,
        (1, 1, 1),
        "captions.jsonl",
        "before/one.png",
        edit("captions.jsonl", lambda rows: to_cc(rows[0], "captions")),
        edit("captions.jsonl", _blank("captions")),
        edit("captions.jsonl", lambda rows: rows[0].update(before_file_name="../outside.png")),
        "train, pair 'one'",
    ),
}
CASES["spot_the_diff_multi"] = Case(**{**vars(CASES["spot_the_diff_single"]), "source": SPOT_THE_DIFF_MULTI})
