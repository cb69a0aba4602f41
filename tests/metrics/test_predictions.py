# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Captions and references from the files that other systems write."""

import json
import re

import pytest

from ssgpa.cli.log import CaptionLog
from ssgpa.metrics.predictions import match_ids, read_captions, read_references
from ssgpa.utils.results import PredictionLog


SAID = {"1": "the red cube, moved", "02": "caf\u00e9 \u2028 \u7ea2", "x": ""}
COCO = [{"image_id": name, "caption": text} for name, text in SAID.items()]


def lines(records):
    return "".join(json.dumps(record) + "\n" for record in records)


def table(rows, delimiter=",", end="\n"):
    return "".join(delimiter.join(f'"{cell}"' for cell in row) + end for row in rows)


FILES = {
    "coco.json": json.dumps(COCO),
    "bom.json": "\ufeff" + json.dumps(COCO, indent=2),
    "mapping.json": json.dumps(SAID),
    "lists.json": json.dumps({name: [text] for name, text in SAID.items()}),
    "annotations.json": json.dumps({"images": [], "annotations": [{"id": 9, **record} for record in COCO]}),
    "lines.jsonl": lines(COCO),
    "lines.json": lines({"pair_id": name, "prediction": text} for name, text in SAID.items()),
    "lines_crlf.jsonl": "\ufeff" + lines(COCO).replace("\n", "\r\n"),
    "table.csv": table([("pair_id", "caption"), *SAID.items()]),
    "table.tsv": table([("Image_ID ", " Prediction"), *SAID.items()], "\t", "\r\n"),
    "table.txt": table([("id", "score", "text"), *((name, 3, text) for name, text in SAID.items())], ";"),
}


@pytest.mark.parametrize("name", FILES)
def test_one_caption_a_pair_from_any_file(tmp_path, name):
    path = tmp_path / name
    path.write_text(FILES[name], "utf-8", newline="")
    assert read_captions(path) == SAID


NAMES = ("pair_id", "caption")
BARE = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in COCO)
# As tables of pairs may be written, too.
OTHERWISE = {
    "bar.csv": table([NAMES, *SAID.items()], "|"),
    "caret.txt": table([("image_id", "prediction"), *SAID.items()], "^"),
    "sep.csv": "sep=;\n" + table([NAMES, *SAID.items()], ";"),
    "marks.csv": "\ufeffsep=|\r\n" + table([NAMES, *SAID.items()], "|", "\r\n"),
    "semicolon.csv": table([("Image-ID", "Generated Text"), *SAID.items()], ";"),
    "header.csv": table([(" Pair ID ", "CAPTION"), *SAID.items()]),
    "two ids.csv": table([("id", "pair_id", "caption"), *((9, *row) for row in SAID.items())]),
    "blank lines.csv": "\n\n" + table([NAMES, *SAID.items()], end="\n\n"),
    "blanks.csv": "pair_id, caption\n" + "".join(f'{name}, "{text}"\n' for name, text in SAID.items()),
    "trailing.csv": table([NAMES, *((*row, "") for row in SAID.items())]),
    "old line ends.csv": table([NAMES, *SAID.items()], end="\r"),
    "with images.csv": table(
        [
            ("pair_id", "before", "caption"),
            *((name, f"data:;base64,{'A' * 200_000}", text) for name, text in SAID.items()),
        ]
    ),
    "list.jsonl": json.dumps(COCO),
    "list.ndjson": "\ufeff\n" + json.dumps(COCO, indent=2),
    "keys.jsonl": lines({"Pair ID": name, "Prediction": text} for name, text in SAID.items()),
    "keys.json": json.dumps([{"IMAGE_ID": name, "Caption": text} for name, text in SAID.items()]),
    "bare lines.json": BARE,
    "old line ends.json": BARE.replace("\n", "\r"),
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
@pytest.mark.parametrize("name", [*OTHERWISE, *FILES])
def test_captions_however_they_are_written(tmp_path, name, encoding):
    text = {**OTHERWISE, **FILES}[name]
    (tmp_path / name).write_bytes((text if encoding == "utf-8" else text.removeprefix("\ufeff")).encode(encoding))
    assert read_captions(tmp_path / name) == SAID


def test_no_caption_is_not_an_empty_one(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"id": 1, "caption": null}\n{"id": 2, "caption": ""}\n{"id": 3, "error": "x"}\n', "utf-8")
    assert read_captions(path) == {"1": None, "2": "", "3": None}
    path = tmp_path / "x.csv"
    path.write_text("id,prediction\n1,\n2,a\n", "utf-8")
    assert read_captions(path) == {"1": "", "2": "a"}


def test_ids_may_be_numbers(tmp_path):
    path = tmp_path / "x.json"
    path.write_text('[{"image_id": 7, "caption": "a"}, {"image_id": "08", "caption": "b"}]', "utf-8")
    assert read_captions(path) == {"7": "a", "08": "b"}


def test_the_files_of_this_package(tmp_path):
    PredictionLog(tmp_path / "x.predictions.jsonl", {"model": "m"}).add(SAID)
    assert read_captions(tmp_path / "x.predictions.jsonl") == SAID
    log = CaptionLog(tmp_path / "y.jsonl", {}, rows=2)
    row = {"row": 1, "before": "a.png", "after": "b.png"}
    log.add([{**row, "pair_id": "1", "caption": "it moved"}, {**row, "row": 2, "pair_id": "2", "error": "broken"}])
    assert read_captions(tmp_path / "y.jsonl") == {"1": "it moved", "2": None}


@pytest.mark.parametrize(
    ("name", "text", "named"),
    [
        ("x.json", "[]", "holds no captions. It should hold COCO results"),
        ("x.json", "", "first line must name the columns|holds no captions"),
        ("x.json", "[{", "x.json is not valid JSON"),
        ("x.json", '[{"image_id": 1, "caption": "a"}, 3]', "record 2: expected an object"),
        ("x.json", '[{"caption": "a"}]', r"record 1: an id is missing .*found 'caption'"),
        ("x.json", '[{"image_id": 1}]', r"record 1: a caption is missing .*found 'image_id'"),
        ("x.json", '[{"image_id": 1.5, "caption": "a"}]', "record 1: the id 1.5 is neither"),
        ("x.json", '[{"image_id": true, "caption": "a"}]', "record 1: the id True is neither"),
        ("x.json", '[{"image_id": 1, "caption": 5}]', "record 1: the caption 5 is not one string"),
        (
            "x.json",
            '[{"image_id": 1, "caption": ["a", "b"]}]',
            r"record 1: the caption \['a', 'b'\] is not one string",
        ),
        ("x.json", '[{"image_id": 1, "caption": "a\\ud800"}]', "record 1: .*half a character"),
        ("x.json", '{"a": "b", "a": "c"}', "the key 'a' occurs twice"),
        (
            "x.jsonl",
            lines([{"id": 1, "caption": "a"}, {"id": "1", "caption": "b"}]),
            "line 2: the pair '1' has .*line 1",
        ),
        ("x.jsonl", '{"id": 1, "caption": "a"}\n{"id": 2, "cap', "line 2 is not valid JSON"),
        ("x.csv", "a,b\n1,2\n", "first line must name the columns, each once; found 'a', 'b'"),
        ("x.csv", "id,caption,Caption\n1,2,3\n", "each once"),
        ("x.csv", "id,caption\n1,a\n2,b,c\n", "line 3: 3 fields, but the first line names 2"),
        ("x.csv", f'id,caption\n1,"{"a" * 140_000}"\n', "line 2 is not valid CSV: the field 'caption' is larger"),
        ("x.csv", "id,score,caption\n1,3,a\n2,b\n", "line 3: 2 fields, but the first line names 3"),
        ("x.csv", 'id,caption\n1,"a" b\n', "line 2 is not valid CSV"),
        ("x.csv", "PK\x03\x04", "is a spreadsheet or an archive; save it as CSV"),
        ("x.jsonl", "PAR1", "is a parquet file; .* all else needs CSV or JSON Lines"),
        ("x.jsonl", '{"id": 1, "caption": "a"}\n3\n', "line 2: expected an object, found 3"),
        ("x.jsonl", '{"id": 1, "ID": 2, "caption": "a"}', "line 1: the key 'id' occurs twice"),
        ("x.jsonl", '[{"id": 1, "caption": "a"},\n{"id": 1, "caption": "b"}]', "line 2: the pair '1' has .*line 1"),
        ("x.json", '[{"id": 1, "ID": 2, "caption": "a"}]', "record 1: a field occurs twice, among 'id', 'ID'"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(tmp_path, name, text, named):
    path = tmp_path / name
    path.write_text(text, "utf-8")
    with pytest.raises(ValueError, match=named) as caught:
        read_captions(path)
    assert str(path) in str(caught.value)


def test_text_in_another_encoding_is_named(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes("id,caption\n1,caf\u00e9\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"x\.csv is not UTF-8 text .*at byte 16"):
        read_captions(path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_captions(tmp_path / "nowhere.json")


ROWS = [
    {"pair_id": "1", "captions": ["it moved", "the cube, moved"], "change_type": "move"},
    {"pair_id": "2", "captions": ["no change"], "change_type": None},
]
FLAT = [
    {"pair_id": row["pair_id"], "caption": text, "change_type": row["change_type"]}
    for row in ROWS
    for text in row["captions"]
]
REFERENCES = {
    "rows.jsonl": lines(ROWS),
    "flat.jsonl": lines(FLAT),
    "rows.json": json.dumps(
        [{"id": row["pair_id"], "references": row["captions"], "change_type": row["change_type"]} for row in ROWS]
    ),
    "flat.csv": table(
        [("pair_id", "caption", "change_type"), *((r["pair_id"], r["caption"], r["change_type"] or "") for r in FLAT)]
    ),
    "lists.csv": 'pair_id,captions,change_type\n1,"[""it moved"", ""the cube, moved""]",move\n2,no change,\n',
}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
@pytest.mark.parametrize("name", REFERENCES)
def test_references_in_other_encodings(tmp_path, name, encoding):
    (tmp_path / name).write_bytes(REFERENCES[name].encode(encoding))
    assert read_references(tmp_path / name) == ROWS


def test_references_of_a_spreadsheet(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(
        "sep=;\r\nPair ID;Change-Type;Caption\r\n1;move;it moved\r\n1;move;the cube, moved\r\n2;;no change\r\n".encode(
            "utf-16"
        )
    )
    assert read_references(path) == ROWS


@pytest.mark.parametrize("name", REFERENCES)
def test_references_from_any_file(tmp_path, name):
    path = tmp_path / name
    path.write_text(REFERENCES[name], "utf-8")
    assert read_references(path) == ROWS


def test_references_as_coco_annotations(tmp_path):
    path = tmp_path / "x.json"
    annotations = [
        {"id": index, "image_id": int(record["pair_id"]), "caption": record["caption"]}
        for index, record in enumerate(FLAT)
    ]
    path.write_text(json.dumps({"images": [{"id": 1}], "annotations": annotations}), "utf-8")
    assert read_references(path) == [{**row, "change_type": None} for row in ROWS]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('{"id": 1, "captions": []}', "the pair '1' has no reference"),
        ('{"id": 1, "captions": [3]}', r"line 1: the references \[3\] are not a list of strings"),
        ('{"id": 1, "captions": ["a"], "change_type": 3}', "line 1: change_type 3 is not a string"),
        ('{"id": 1, "prediction": "a"}', "line 1: references are missing"),
        (
            '{"id": 1, "caption": "a", "change_type": "x"}\n{"id": 1, "caption": "b"}',
            "line 2: the pair '1' is of change_type 'x' above",
        ),
        ("[]", "holds no references|expected an object"),
    ],
)
def test_what_is_wrong_with_references_is_named(tmp_path, text, named):
    path = tmp_path / "x.jsonl"
    path.write_text(text, "utf-8")
    with pytest.raises(ValueError, match=named):
        read_references(path)


@pytest.mark.parametrize(
    ("found", "names", "matched"),
    [
        (["1.png", "2.png"], ["1", "2"], ["1", "2"]),
        (["7", "8"], ["000007", "000008"], ["000007", "000008"]),
        (["7"], ["000007.png", "000008.png"], ["000007.png"]),
        (["1", "3"], ["1", "2"], ["1", "3"]),
        (["7", "07"], ["007"], ["7", "07"]),
        (["7"], ["07", "007"], ["7"]),
        (["a"], ["b"], ["a"]),
    ],
)
def test_ids_that_differ_by_endings_or_zeros(found, names, matched):
    captions, note = match_ids(dict.fromkeys(found, "x"), names)
    assert list(captions) == matched
    assert bool(note) == (matched != found)
    assert note is None or re.search("file endings|numbers", note)
