# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""What the command says of captions that are not to be trusted: one pair, and a table."""

import json

import pytest
from PIL import Image

from ssgpa.cli import commands as cli

from ..tiny_systems import tiny_ssgpa
from ..trust_cases import SAID, calibrated, noise_pairs, pipeline_of


pytestmark = pytest.mark.usefixtures("restored_logging")
FAST = ["--num-beams", "3", "--max-new-tokens", "6"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calibrated")
    calibrated(pipeline_of(tiny_ssgpa())).save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def images(tmp_path, monkeypatch):
    """A familiar pair and a strange one, in the working directory."""
    monkeypatch.chdir(tmp_path)
    for name, image in zip(("before.png", "after.png"), noise_pairs(1)[0], strict=True):
        image.save(name)
    for name, value in (("dark.png", 20), ("darker.png", 21)):
        Image.new("RGB", (60, 40), (value,) * 3).save(name)


def run(capsys, *arguments):
    code = cli.main(["caption", *map(str, arguments), *FAST])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_strange_pair_gets_the_difference_and_a_note(model, capsys):
    code, out, err = run(capsys, "dark.png", "darker.png", "--model", model)
    assert (code, out) == (0, "Nothing differs visibly.\n")
    assert "ssgpa: unlike what this checkpoint was trained on: noise. For photographs, pass a" in err
    code, out, _ = run(capsys, "dark.png", "darker.png", "--model", model, "--json")
    told = json.loads(out)
    assert (code, told["familiar"], told["difference"]["kind"]) == (0, False, "nothing")
    assert told["caption"] == told["difference"]["sentence"] != told["model_caption"]
    _, out, err = run(capsys, "dark.png", "darker.png", "--model", model, "--always-ask")
    assert out == told["model_caption"] + "\n"
    assert "unlike what this checkpoint was trained on" in err


def test_a_familiar_pair_has_a_confidence(model, capsys):
    code, out, err = run(capsys, "before.png", "after.png", "--model", model, "--json")
    told = json.loads(out)
    assert (code, told["familiar"]) == (0, True)
    assert 0 < told["confidence"] < 1
    assert "unlike" not in err
    assert "difference" not in told


def test_it_can_be_left_out(model, capsys):
    told = json.loads(run(capsys, "dark.png", "darker.png", "--model", model, "--json", "--no-confidence")[1])
    assert not told.keys() & {"confidence", "familiar", "difference", "note"}


def test_equal_files_need_no_model(model, capsys):
    code, out, _ = run(capsys, "before.png", "before.png", "--model", model)
    assert (code, out) == (0, SAID + "\n")
    told = json.loads(run(capsys, "before.png", "before.png", "--model", model, "--json")[1])
    assert (told["identical"], told["confidence"]) == (True, 1.0)
    assert told["scores"] == {"change_before": 0.0, "change_after": 0.0}


def test_the_lines_of_a_table_tell_too(model, tmp_path, capsys):
    rows = ["before,after", "before.png,after.png", "dark.png,darker.png", "dark.png,dark.png", "gone.png,dark.png"]
    (tmp_path / "pairs.csv").write_text("\n".join(rows), encoding="utf-8")
    table = ["--pairs", "pairs.csv", "--output", "out.jsonl", "--model", model, "--batch-size", 3, "--quiet"]
    assert run(capsys, *table)[0] == 1
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line.get("familiar") for line in lines] == [True, False, None, None]
    assert [line.get("identical") for line in lines] == [None, None, True, None]
    assert lines[1]["caption"] == lines[1]["difference"]["sentence"]
    assert lines[1]["note"].startswith("unlike what this checkpoint was trained on")
    assert lines[2]["caption"] == SAID
    assert lines[3]["error"].startswith("gone.png")
