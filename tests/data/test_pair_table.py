# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""A table means the same in whatever way it is written; for captioning and for preparing."""

import csv
import json
import os
import unicodedata

import pytest

from ssgpa.cli.batch import load_row, read_pairs
from ssgpa.data.findings import Findings
from ssgpa.data.pair_table import FileFinder, is_inline, read_table, told
from ssgpa.data.readers.custom_pairs import load_custom_pairs

from .readers.reader_cases import Images


# The same two pairs, in every way in which people sent them.
ROWS = [("7", "b/one.png", "a/one.png", "it, moved"), ("8", "b/two.png", "a/two.png", "gone")]
RECORDS = [
    {"id": int(name), "before": before, "after": after, "captions": [caption]} for name, before, after, caption in ROWS
]
LLAVA = [
    {
        "id": int(name),
        "image": [before, after],
        "conversations": [{"from": "human", "value": "<image>\n<image> what?"}, {"from": "gpt", "value": caption}],
    }
    for name, before, after, caption in ROWS
]


def delimited(header, mark, end="\n", quote='"'):
    lines = [mark.join(header), *(mark.join((*row[:3], f"{quote}{row[3]}{quote}")) for row in ROWS)]
    return end.join(lines) + end


NAMES = ("pair_id", "before", "after", "caption")
CSV = {
    "comma": delimited(NAMES, ","),
    "semicolon": delimited(NAMES, ";"),
    "tab": delimited(NAMES, "\t"),
    "bar": delimited(NAMES, "|"),
    "caret": delimited(NAMES, "^"),
    "blank": delimited(NAMES, " "),
    "blanks behind commas": delimited(NAMES, ", "),
    "file names": delimited(("id", "before_file_name", "after_file_name", "sentences"), ","),
    "case and blanks": delimited((" Pair ID ", "Before", "AFTER_FILE_NAME", "Caption"), ";"),
    "CRLF": delimited(NAMES, ",", "\r\n"),
    "CR": delimited(NAMES, ",", "\r"),
    "byte order mark": "\ufeff" + delimited(NAMES, ","),
    "sep": "sep=;\n" + delimited(NAMES, ";"),
    "blank lines": "\n\n" + delimited(NAMES, ",", "\n\n"),
    "no end": delimited(NAMES, ",").rstrip(),
}
JSON = {
    "lines": "".join(json.dumps(record) + "\n" for record in RECORDS),
    "lines, byte order mark, CRLF": "\ufeff" + "".join(json.dumps(record) + "\r\n" for record in RECORDS),
    "list": json.dumps(RECORDS),
    "list, indented, byte order mark": "\ufeff\n" + json.dumps(RECORDS, indent=4),
    "LLaVA": json.dumps(LLAVA, indent=2),
    "LLaVA's lines": "".join(json.dumps(record) + "\n" for record in LLAVA),
    "sentences": json.dumps([{**record, "captions": None, "sentences": record["captions"]} for record in RECORDS]),
    "raw sentences": json.dumps(
        [{**record, "captions": None, "sentences": [{"raw": record["captions"][0]}]} for record in RECORDS]
    ),
    "case": json.dumps([{name.upper(): value for name, value in record.items()} for record in RECORDS]),
}
WAYS = [(f"{kind}.csv", text) for kind, text in CSV.items()] + [(f"{kind}.json", text) for kind, text in JSON.items()]


@pytest.fixture
def folder(tmp_path):
    image = Images(tmp_path)
    for _, before, after, _ in ROWS:
        image(before), image(after)
    return tmp_path


def expect_the_pairs(folder, name):
    rows = list(read_pairs(folder / name))
    assert [(row.row, row.pair_id, row.before, row.after, row.problem) for row in rows] == [
        (number, *row[:3], None) for number, row in enumerate(ROWS, start=1)
    ]
    dataset = load_custom_pairs(folder)["train"]
    assert [(row["pair_id"], row["captions"]) for row in dataset] == [(row[0], [row[3]]) for row in ROWS]
    for pair, row in zip(dataset, rows, strict=True):
        for side, loaded in zip(("before", "after"), load_row(row, FileFinder(folder)), strict=True):
            assert loaded.getpixel((0, 0)) == pair[side].convert("RGB").getpixel((0, 0))


@pytest.mark.parametrize(("name", "text"), WAYS, ids=[name for name, _ in WAYS])
def test_every_way_of_writing_gives_the_same_pairs(name, text, folder):
    (folder / f"captions.{name.rpartition('.')[2]}").write_bytes(text.encode())
    expect_the_pairs(folder, f"captions.{name.rpartition('.')[2]}")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_the_byte_order_mark_tells_the_encoding(encoding, folder):
    (folder / "captions.tsv").write_bytes(CSV["tab"].encode(encoding))
    expect_the_pairs(folder, "captions.tsv")


def test_paths_of_another_system_are_found_and_told(folder):
    text = delimited(NAMES, ",").replace("b/one.png", "B\\ONE.PNG").replace("a/two.png", ".\\a\\two.png")
    (folder / "captions.csv").write_text(text, encoding="utf-8")
    findings = Findings()
    assert len(load_custom_pairs(folder, findings)["train"]) == 2
    (note,) = findings.notes
    assert note.startswith("files found by another spelling than the table's: 'B\\\\ONE.PNG' is b/one.png")
    find = FileFinder(folder)
    for row in read_pairs(folder / "captions.csv"):
        load_row(row, find)
    assert find.otherwise == {"B\\ONE.PNG": "b/one.png", ".\\a\\two.png": "a/two.png"}


def test_accents_are_found_in_either_form(tmp_path):
    name = unicodedata.normalize("NFD", "café.png")
    (tmp_path / name).touch()
    assert FileFinder(tmp_path)(unicodedata.normalize("NFC", name)) == tmp_path / name


@pytest.mark.skipif(os.name != "posix", reason="the file system does not tell case apart")
def test_two_files_that_fit_are_no_guess(folder):
    for name in ("x.png", "X.png"):
        (folder / name).touch()
    find = FileFinder(folder)
    assert find("x.png") == folder / "x.png"
    with pytest.raises(ValueError, match=r"x\.PNG: X\.png and x\.png in .* fit; write the name as it is"):
        find("x.PNG")
    assert find("y.png") == folder / "y.png"
    for name in ("n\0n", "n" * 300, "", "/gone/away.png", "../.."):
        assert find(name) == folder / name


BAD_TABLES = {
    "two names for one": ("before,before_file_name,after\na,b,c\n", "the columns before and before_file_name say the"),
    "no header": ("1.png,2.png\n3.png,4.png\n", "line 1: the first line must name the columns before and after"),
    "open quote": ('before,after\n"a.png,b.png\nc.png,d.png\n', "line 3 is not valid CSV: unexpected end of data"),
    "swallowed": (f'before,after,x\na,b,"{"y" * 200_000}\n"\n', "line 3 is not valid CSV: the field 'x' is larger"),
    "parquet": ("PAR1\0\0", r"is a parquet file; examples/caption_with_ray\.py"),
    "xlsx": ("PK\x03\x04\0\0", "is a spreadsheet or an archive; save it as CSV"),
}


@pytest.mark.parametrize("kind", BAD_TABLES)
def test_what_is_no_table_is_told_by_file_and_line(kind, tmp_path):
    text, message = BAD_TABLES[kind]
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode())
    with pytest.raises(ValueError, match=message) as error:
        list(read_pairs(path))
    assert str(error.value).startswith(str(path))


BAD_LISTS = ["[", "[{}", "[{},]", '[{"before": "a"} {"before": "b"}]', "[{}] x", '[{"a": 1, "a": 2}]', "[" * 100_000]


@pytest.mark.parametrize("text", BAD_LISTS, ids=range(len(BAD_LISTS)))
def test_a_broken_list_is_told_by_its_line(text, tmp_path):
    (tmp_path / "t.json").write_text("\n\n" + text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"t\.json, line 3 is not valid JSON"):
        list(read_table(tmp_path / "t.json"))


BAD_ROWS = {
    "no object": ("7", "line 2: expected an object, found 7"),
    "no JSON": ("{", "line 2 is not valid JSON"),
    "a column is missing": ('{"before": "a"}', "line 2: the field 'after' is missing, found 'before'"),
    "null": ('{"before": "a", "after": null}', "the field 'after' is missing"),
    "a number": ('{"before": 1.5, "after": "b"}', "the field 'before' is of the wrong type: 1.5"),
    "half a character": ('{"before": "\\ud800", "after": "b"}', "'before' holds half of a surrogate pair"),
    "three images": ('{"image": ["a", "b", "c"]}', "`image` must be a list of two"),
    "said twice": ('{"image": ["a", "b"], "before": "a"}', "before and image say the same"),
    "key twice": ('{"before": "a", "Before": "b", "after": "c"}', "the key 'before' occurs twice"),
}


@pytest.mark.parametrize("kind", BAD_ROWS)
def test_a_bad_row_costs_one_row(kind, tmp_path):
    text, message = BAD_ROWS[kind]
    good = '{"before": "x", "after": "y"}'
    (tmp_path / "t.jsonl").write_text(f"{good}\n{text}\n{good}\n", encoding="utf-8")
    first, bad, last = read_pairs(tmp_path / "t.jsonl")
    assert (first.problem, last.problem, last.row, last.before) == (None, None, 3, "x")
    assert message in bad.problem
    assert f"{tmp_path / 't.jsonl'}, line 2" in bad.problem
    with pytest.raises(ValueError, match="line 2"):
        load_row(bad, FileFinder(tmp_path))
    json.dumps(bad.record(), ensure_ascii=False).encode()


def test_a_row_with_too_many_cells_costs_one_row(tmp_path):
    (tmp_path / "t.csv").write_text("before,after\na, b.png,c.png\nx,y\nz,w,,\n", encoding="utf-8")
    bad, good, trailing = read_pairs(tmp_path / "t.csv")
    assert "line 2: another number of fields than in the first line (3, not 2)" in bad.problem
    assert good.problem is trailing.problem is None


def test_an_image_within_the_table_has_any_length(tmp_path):
    payload = "data:image/png;base64," + "A" * 1_000_000
    limit = csv.field_size_limit()
    (tmp_path / "t.csv").write_text(f'before,after\n"{payload}",{"B" * 400}\n', encoding="utf-8")
    (row,) = read_pairs(tmp_path / "t.csv")
    assert row.before == payload
    assert csv.field_size_limit() == limit
    assert is_inline(row.before)
    assert is_inline(row.after)
    assert not is_inline("a/" * 200 + "b.png")
    assert told("a.png") == "a.png"
    assert len(told(payload)) == len("sha256:") + 64


def test_several_answers_are_no_caption(folder):
    record = {**LLAVA[0], "conversations": LLAVA[0]["conversations"] * 2}
    (folder / "captions.json").write_text(json.dumps([record]), encoding="utf-8")
    with pytest.raises(ValueError, match=r"captions\.json, line 1: `conversations` must hold one answer, found 2"):
        load_custom_pairs(folder)


@pytest.mark.parametrize("source", ["data:image/png;base64,AAAA", "https://a.example/b.png"])
def test_preparing_takes_files_only(source, folder):
    (folder / "captions.json").write_text(json.dumps([{**RECORDS[0], "before": source}]), encoding="utf-8")
    with pytest.raises(ValueError, match="is no file of the folder; write the image to one"):
        load_custom_pairs(folder)
