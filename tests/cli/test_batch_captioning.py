# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""`ssgpa caption --pairs`: every good row is captioned, every bad one told, and a run that stopped goes on."""

import base64
import csv
import hashlib
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import pipeline

from ssgpa import SSGPAForConditionalGeneration, SSGPAProcessor
from ssgpa.cli import batch as batch_captioning
from ssgpa.cli import commands as cli
from ssgpa.cli.batch import read_pairs

from ..tiny_systems import save_tiny


pytestmark = pytest.mark.usefixtures("restored_logging")
FAST = ["--num-beams", "1", "--max-new-tokens", "5", "--batch-size", "2"]
BAD = {2: "gone.png", 5: "text.png"}
# 1.png of every other row; equal images would be answered without the model.
AFTER = {1: "2.png"}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("model"))


@pytest.fixture
def table(tmp_path, monkeypatch):
    """A table of seven pairs in a folder of its own; rows 2 and 5 name broken files."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "set"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(1, 8):
        pixels = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    (folder / "text.png").write_text("not an image", encoding="utf-8")
    rows = [(f"p{row}", BAD.get(row, f"{row}.png"), AFTER.get(row, "1.png")) for row in range(1, 8)]
    write_table(folder / "pairs.csv", rows)
    return folder / "pairs.csv"


def write_table(path, rows, header=("pair_id", "before", "after")):
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def run(capsys, *arguments):
    """Exit code, stdout and stderr."""
    try:
        code = cli.main(["caption", *(str(argument) for argument in arguments)])
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def batch(capsys, table, model, *options):
    return run(capsys, "--pairs", table, "--output", "out.jsonl", "--model", model, *FAST, *options)


def read_output():
    return [json.loads(line) for line in Path("out.jsonl").read_text("utf-8").splitlines()]


def expected_captions(model, folder):
    pipe = pipeline("change-captioning", model=str(model), device="cpu")
    good = [row for row in range(1, 8) if row not in BAD]
    options = {"num_beams": 1, "max_new_tokens": 5}
    pairs = {row: (folder / f"{row}.png", folder / AFTER.get(row, "1.png")) for row in good}
    return {row: pipe(pair, **options)[0]["generated_text"] for row, pair in pairs.items()}


def test_good_rows_are_captioned_and_bad_ones_told(table, model, capsys):
    expected = expected_captions(model, table.parent)
    capsys.readouterr()
    code, out, err = batch(capsys, table, model)
    assert code == 1
    assert out == "out.jsonl: 5 pairs captioned, 2 failed.\n"
    records = read_output()
    assert [record["row"] for record in records] == list(range(1, 8))
    assert {record["row"]: record["caption"] for record in records if "caption" in record} == expected
    failed = {record["row"]: record["error"] for record in records if "error" in record}
    assert set(failed) == set(BAD)
    for row, name in BAD.items():
        assert name in failed[row]
        assert f"ssgpa: row {row}: " in err
    assert "7/7" in err  # the bar
    assert records[1] == {
        "row": 2,
        "pair_id": "p2",
        "before": "gone.png",
        "after": "1.png",
        "error": f"{table.parent / 'gone.png'}: no such file.",
    }


def test_exit_code_follows_the_policy(table, model, capsys):
    code, _, err = batch(capsys, table, model, "--on-error", "ignore", "--quiet")
    assert code == 0
    assert "pair/s" not in err
    whole = Path("out.jsonl").read_bytes()
    code, out, err = batch(capsys, table, model, "--on-error", "stop", "--overwrite", "--quiet")
    assert (code, out) == (2, "")
    assert err.startswith("ssgpa: error: row 2: ")
    assert "gone.png" in err
    good = table.parent / "good.csv"
    write_table(good, [("1.png", "2" + ".png")], header=("before", "after"))
    code, out, _ = batch(capsys, good, model, "--overwrite", "--json")
    assert (code, json.loads(out)) == (0, {"captioned": 1, "known": 0, "failed": 0, "output": "out.jsonl"})
    assert "pair_id" not in read_output()[0]
    batch(capsys, table, model, "--overwrite", "--quiet")
    assert Path("out.jsonl").read_bytes() == whole


def test_an_interrupted_run_goes_on(table, model, capsys, monkeypatch):
    batch(capsys, table, model, "--quiet")
    whole = Path("out.jsonl").read_bytes()
    seen = []

    def interrupt(row, *rest):
        seen.append(row.row)
        if len(seen) == 4:
            raise KeyboardInterrupt
        return load(row, *rest)

    load = batch_captioning.load_row
    with monkeypatch.context() as patch:
        patch.setattr(batch_captioning, "load_row", interrupt)
        code, out, err = batch(capsys, table, model, "--quiet", "--overwrite")
    assert (code, out) == (130, "")
    assert "goes on" in err
    assert [record["row"] for record in read_output()] == [1, 2]
    with Path("out.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"row": 3, "bef')  # what a process that was killed may leave
    seen.clear()
    monkeypatch.setattr(batch_captioning, "load_row", lambda row, *rest: (seen.append(row.row), load(row, *rest))[1])
    code, out, _ = batch(capsys, table, model, "--quiet")
    assert (code, out) == (1, "out.jsonl: 4 pairs captioned, 1 were there already, 2 failed.\n")
    assert seen == [2, 3, 4, 5, 6, 7]
    assert Path("out.jsonl").read_bytes() == whole


def test_mended_images_are_tried_again(table, model, capsys):
    batch(capsys, table, model, "--quiet")
    before = read_output()
    Image.open(table.parent / "3.png").save(table.parent / "gone.png")
    code, out, _ = batch(capsys, table, model, "--quiet")
    assert (code, out) == (1, "out.jsonl: 1 pairs captioned, 5 were there already, 1 failed.\n")
    after = read_output()
    assert after[1].pop("caption") == after[2]["caption"]
    assert before[1].pop("error")
    assert after == before


def test_what_was_captioned_otherwise_is_kept(table, model, capsys):
    batch(capsys, table, model, "--quiet")
    whole = Path("out.jsonl").read_bytes()
    code, _, err = batch(capsys, table, model, "--quiet", "--max-new-tokens", "4")
    assert code == 2
    assert "another run (different: decoding); pass --overwrite" in err
    write_table(table, [("p1", "4.png", "1.png")])
    code, _, err = batch(capsys, table, model, "--quiet")
    assert code == 2
    assert "row 1 was captioned for other images" in err
    assert read_output() == [record for record in map(json.loads, whole.splitlines()) if "caption" in record]
    Path("out.settings.json").unlink()
    code, _, err = batch(capsys, table, model, "--quiet")
    assert (code, err) == (2, "ssgpa: error: out.jsonl: exists; pass --overwrite to replace it.\n")


def test_rows_may_be_added(table, model, capsys):
    batch(capsys, table, model, "--quiet")
    with table.open("a", encoding="utf-8") as file:
        file.write("p8,3.png,1.png\n")
    assert "1 pairs captioned, 5 were there already" in batch(capsys, table, model, "--quiet")[1]
    records = read_output()
    assert [record["row"] for record in records] == list(range(1, 9))
    assert records[7]["caption"] == records[2]["caption"]


def test_broken_weights_end_the_run(table, model, tmp_path, capsys):
    for path in model.iterdir():
        (tmp_path / "broken").mkdir(exist_ok=True)
        (tmp_path / "broken" / path.name).write_bytes(path.read_bytes())
    weights = load_file(tmp_path / "broken" / "model.safetensors")
    weights["lm_head.weight"][0, 0] = float("nan")
    save_file(weights, tmp_path / "broken" / "model.safetensors", metadata={"format": "pt"})
    code, _, err = batch(capsys, table, tmp_path / "broken", "--quiet")
    assert code == 2
    assert err.startswith("ssgpa: error: rows 1: The model's scores are not finite")


def test_two_runs_do_not_write_to_one_output(table, model, capsys, monkeypatch):
    """The second run begins while the first is amid its rows."""
    met, load = [], batch_captioning.load_row

    def meet(row, *rest):
        if row.row == 3:
            command = ["caption", "--pairs", str(table), "--output", "out.jsonl", "--model", str(model), *FAST]
            met.extend(cli.main([*command, "--quiet", *words]) for words in ((), ("--overwrite",)))
        return load(row, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(batch_captioning, "load_row", meet)
        code, out, err = batch(capsys, table, model, "--quiet")
    assert met == [2, 2]
    assert err.count("out.jsonl: another run is writing to it; wait until it has ended, or choose another name.") == 2
    assert (code, out) == (1, "out.jsonl: 5 pairs captioned, 2 failed.\n")
    assert [record["row"] for record in read_output()] == list(range(1, 8))
    # The lock ends with its run.
    assert batch(capsys, table, model, "--quiet")[:2] == (
        1,
        "out.jsonl: 0 pairs captioned, 5 were there already, 2 failed.\n",
    )


def test_a_run_that_failed_leaves_no_lock(table, model, capsys):
    for _ in range(2):
        assert "row 2" in batch(capsys, table, model, "--on-error", "stop", "--quiet")[2]
    assert batch(capsys, table, model, "--quiet")[0] == 1


def test_rows_that_were_written_twice_are_kept_once(table, model, capsys):
    batch(capsys, table, model, "--quiet")
    lines = Path("out.jsonl").read_bytes().splitlines(keepends=True)
    Path("out.jsonl").write_bytes(b"".join([*lines, *lines]))
    batch(capsys, table, model, "--quiet")
    assert Path("out.jsonl").read_bytes().splitlines(keepends=True) == lines


def test_images_within_the_table_are_captioned_and_not_copied(table, model, capsys):
    rng = np.random.default_rng(1)
    Image.fromarray(rng.integers(0, 256, (300, 300, 3), dtype=np.uint8)).save(table.parent / "large.png")
    raw = base64.b64encode((table.parent / "large.png").read_bytes()).decode()
    assert len(raw) > 131_072
    uri = f"data:image/png;base64,{raw}"
    rows = [("p1", "large.png", "1.png"), ("p2", uri, "1.png"), ("p3", raw, "1.png"), ("p4", uri[:-40], "1.png")]
    write_table(table, [(*row[:2], row[2]) for row in rows])
    code, out, err = batch(capsys, table, model, "--quiet")
    assert (code, out) == (1, "out.jsonl: 3 pairs captioned, 1 failed.\n")
    records = read_output()
    assert len({record["caption"] for record in records[:3]}) == 1
    digests = [f"sha256:{hashlib.sha256(row[1].encode()).hexdigest()}" for row in rows[1:]]
    assert [record["before"] for record in records] == ["large.png", *digests]
    assert raw[:100] not in Path("out.jsonl").read_text("utf-8") + err
    assert "before" in records[3]["error"]
    # The digests suffice to go on, and to see that the table has changed.
    assert "3 were there already" in batch(capsys, table, model, "--quiet")[1]
    write_table(table, [rows[0], ("p2", raw, "1.png"), *rows[2:]])
    assert "row 2 was captioned for other images" in batch(capsys, table, model, "--quiet")[2]


def test_names_of_another_system_are_told(table, model, capsys):
    write_table(table, [("a", ".\\1.PNG", "2.png"), ("b", "3.png", "1.Png")])
    Image.open(table.parent / "1.png").save(table.parent / "2.png")
    code, out, err = batch(capsys, table, model, "--quiet")
    assert (code, out) == (0, "out.jsonl: 2 pairs captioned, 0 failed.\n")
    assert err == ("ssgpa: 2 files are spelled otherwise in the table, the first in row 1: .\\1.PNG is 1.png\n")
    assert read_output()[0]["before"] == ".\\1.PNG"


def test_a_json_table_costs_a_row_for_a_bad_row(table, model, capsys):
    good = {"id": 3, "image": ["1.png", "3.png"], "conversations": []}
    rows = [
        good,
        {"before": "1.png"},
        {"before": 1, "after": "1.png"},
        5,
        {"id": "x", "before": "1.png", "after": "4.png"},
    ]
    (table.parent / "t.json").write_text("\ufeff" + json.dumps(rows), encoding="utf-8")
    code, out, _ = batch(capsys, table.parent / "t.json", model, "--quiet")
    assert (code, out) == (1, "out.jsonl: 2 pairs captioned, 3 failed.\n")
    records = read_output()
    assert ["caption" in record for record in records] == [True, False, False, False, True]
    assert records[0]["pair_id"] == "3"
    assert "'after' is missing" in records[1]["error"]


def test_an_image_that_its_decoder_chokes_on_costs_one_row(table, model, capsys, monkeypatch):
    def choke(processor, source, name, **reading):
        if str(source).endswith("3.png"):
            raise NotImplementedError("an unknown pixel format")
        return decode(processor, source, name, **reading)

    decode = SSGPAProcessor.load_image
    monkeypatch.setattr(SSGPAProcessor, "load_image", choke)
    code, out, _ = batch(capsys, table, model, "--quiet")
    assert (code, out) == (1, "out.jsonl: 4 pairs captioned, 3 failed.\n")
    assert read_output()[2]["error"] == "an unknown pixel format"


class LittleMemory:
    """`generate` of a model whose memory takes so many pairs; a dark image takes all of it."""

    def __init__(self, monkeypatch, pairs):
        self.sizes, self.pairs, self.generate = [], pairs, SSGPAForConditionalGeneration.generate
        generate = self
        monkeypatch.setattr(
            SSGPAForConditionalGeneration, "generate", lambda *args, **options: generate(*args, **options)
        )

    def __call__(self, model, *args, **options):
        pixels = options["pixel_values"]
        self.sizes.append(len(pixels))
        if len(pixels) > self.pairs or (pixels.flatten(1).amax(1) < 0).any():
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return self.generate(model, *args, **options)


def test_a_batch_too_large_for_memory_is_halved(table, model, capsys, monkeypatch):
    batch(capsys, table, model, "--quiet", "--batch-size", "8")
    whole = Path("out.jsonl").read_bytes()
    memory = LittleMemory(monkeypatch, 2)
    code, out, err = batch(capsys, table, model, "--quiet", "--batch-size", "4", "--overwrite")
    assert (code, out) == (1, "out.jsonl: 5 pairs captioned, 2 failed.\n")
    assert memory.sizes == [3, 1, 1, 1, 1, 1]
    assert err.count("ssgpa: a batch was too large for the memory; going on with 1 pairs at a time.\n") == 1
    assert Path("out.jsonl").read_bytes() == whole


def test_a_pair_too_large_for_memory_costs_one_row(table, model, capsys, monkeypatch):
    for name, color in (("3", "black"), ("dark", (1, 1, 1))):
        Image.new("RGB", (60, 40), color).save(table.parent / f"{name}.png")
    write_table(table, [(f"p{row}", f"{row}.png", "dark.png" if row == 3 else "2.png") for row in (1, 3, 4)])
    LittleMemory(monkeypatch, 8)
    code, out, err = batch(capsys, table, model, "--quiet", "--batch-size", "3")
    assert (code, out) == (1, "out.jsonl: 2 pairs captioned, 1 failed.\n")
    assert read_output()[1]["error"] == "too large for the memory."
    assert "ssgpa: row 2: too large for the memory." in err


def test_tiles_of_a_table(table, model, capsys):
    code, out, _ = batch(capsys, table, model, "--quiet", "--tiles", "1x2")
    assert (code, out) == (1, "out.jsonl: 5 pairs captioned, 2 failed.\n")
    pipe = pipeline("change-captioning", model=str(model), device="cpu")
    pair = (table.parent / "3.png", table.parent / "1.png")
    expected = pipe(pair, tiles=(1, 2), num_beams=1, max_new_tokens=5)[0]
    record = read_output()[2]
    assert record["caption"] == expected["generated_text"]
    assert len(record["tiles"]) == sum(tile["changed"] for tile in expected["tiles"])
    code, _, err = batch(capsys, table, model, "--quiet")
    assert (code, "different: decoding" in err) == (2, True)


TABLES = {
    "no columns": (b"left,right\na,b\n", "line 1: the first line must name the columns before and after"),
    "nothing": (b"", "the first line must name"),
    "no rows": (b"before,after\n", "pairs.csv: holds no pairs"),
    "latin-1": (b"before,after\n\xe4.png,b.png\n", "pairs.csv: is not UTF-8 text"),
}


@pytest.mark.parametrize("kind", TABLES)
def test_broken_tables_are_named(kind, table, model, capsys):
    content, message = TABLES[kind]
    table.write_bytes(content)
    code, out, err = batch(capsys, table, model)
    assert (code, out) == (2, "")
    assert err.startswith(f"ssgpa: error: {table}: ")
    assert message in err
    assert not Path("out.jsonl").exists()


def test_tables_are_read_as_spreadsheets_write_them(tmp_path):
    (tmp_path / "t.csv").write_bytes('\ufeffafter,"before",x\r\n"a, b.png",c.png,1\r\nd.png\r\n'.encode())
    first, second = read_pairs(tmp_path / "t.csv")
    assert (first.row, first.before, first.after, first.pair_id) == (1, "c.png", "a, b.png", None)
    assert (second.row, second.before, second.after) == (2, "", "d.png")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--pairs", "p.csv"], "--pairs needs --output"),
        (["--pairs", "p.csv", "--output", "o", "a.png"], "--pairs names the images; a.png was given too"),
        (["--pairs", "p.csv", "--output", "o", "--overlay", "x.png"], "--overlay belongs to a single pair"),
        (["a.png", "b.png", "--output", "o"], "--output belongs to --pairs"),
        (["a.png", "b.png", "--on-error", "stop"], "--on-error belongs to --pairs"),
        (["--pairs", "p.csv", "--output", "o", "--on-error", "cry"], "invalid choice: 'cry'"),
        (["--pairs", "p.csv", "--output", "o"], "p.csv"),
        (["--pairs", "set/pairs.csv", "--output", "none/o"], "there is no folder none"),
        (["--pairs", "set/pairs.csv", "--output", "set"], "set: is a folder"),
        (["--pairs", "set/pairs.csv", "--output", "set/pairs.csv"], "is the table of pairs"),
    ],
)
def test_calls_that_make_no_sense_take_one_line(words, message, table, capsys):
    content = table.read_bytes()
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert table.read_bytes() == content


def test_the_documented_commands_are_read():
    text = (cli.EMBEDDED.parents[1] / "docs" / "hub.md").read_text(encoding="utf-8")
    lines = re.findall(r"ssgpa caption [^\n`]+", text)
    tables = [options for line in lines if (options := cli.parse_arguments(shlex.split(line)[1:])).pairs]
    assert len(lines) == 2
    assert [options.output for options in tables] == [Path("my_captions.jsonl")]
