"""`ssgpa caption --pairs`: every good row is captioned, every bad one told, and a run that stopped goes on."""

import csv
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import pipeline

from ssgpa import batch_captioning, cli
from ssgpa.batch_captioning import read_pairs

from .tiny_systems import TINY_SYSTEMS


pytestmark = pytest.mark.usefixtures("restored_logging")
FAST = ["--num-beams", "1", "--max-new-tokens", "5", "--batch-size", "2"]
BAD = {2: "gone.png", 5: "text.png"}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    for part in TINY_SYSTEMS["ssgpa"]():
        part.save_pretrained(folder)
    return folder


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
    (folder / "text.png").write_text("not a picture", encoding="utf-8")
    write_table(folder / "pairs.csv", [(f"p{row}", BAD.get(row, f"{row}.png"), "1.png") for row in range(1, 8)])
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
    return {row: pipe((folder / f"{row}.png", folder / "1.png"), **options)[0]["generated_text"] for row in good}


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


def test_mended_pictures_are_tried_again(table, model, capsys):
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
    assert "row 1 was captioned for other pictures" in err
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
        (["--pairs", "p.csv", "--output", "o", "a.png"], "--pairs names the pictures; a.png was given too"),
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
    assert [options.output for options in tables] == [Path("captions.jsonl")]
