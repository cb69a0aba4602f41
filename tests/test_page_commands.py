# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Commands of the pages are run as printed, in the pages' order, with the numbers that would take hours made small.

tests/README.md lists those that are not run, and the tests that run others.
"""

import json
from pathlib import Path

import pytest
from PIL import Image

from ssgpa.cli import commands as cli

from .documents import ROOT, commands
from .scripts import load_script


# By program: options that are replaced, or added where the page has none.
SMALLER = {
    "examples/render_clevr_change.py": {"--scenes": ["12"], "--workers": ["1"]},
    "examples/train.py": {
        "--max_steps": ["2"],
        "--per_device_train_batch_size": ["4"],
        "--eval_steps": ["2"],
        "--save_steps": ["2"],
        "--max_eval_pairs": ["4"],
        "--generation_max_new_tokens": ["4"],
    },
    "examples/evaluate.py": {"--no_meteor": []},
    "ssgpa score": {"--no-meteor": []},
    "benchmarks/measure_throughput.py": {"--steps": ["1"], "--batch_size": ["2"], "--max_new_tokens": ["2"]},
    "benchmarks/measure_localization.py": {"--output": ["localization.json"]},
}
SMALL_SPLITS = ["0.5", "0.25", "0.25"]


def smaller(name, words):
    """The words with their options replaced."""
    words = list(words)
    for option, values in SMALLER.get(name, {}).items():
        if option in words:
            place = words.index(option)
            del words[place : place + 1 + len(values)]
        words += [option, *values]
    return words


def start(words):
    """Run a command of a page in this process; returns the exit code."""
    if words[0] == "ssgpa":
        return cli.main([words[1], *smaller(f"ssgpa {words[1]}", words[2:])])
    *_, place = (index for index, word in enumerate(words) if word.endswith(".py"))
    assert words[:place] in (["python"], ["accelerate", "launch"])
    name = words[place]
    return load_script(ROOT / name).main(smaller(name, words[place + 1 :]))


def lines(page, *starts):
    """The commands of a page that begin so."""
    found = [words for words in commands(ROOT / "docs" / page) if any(begin in " ".join(words) for begin in starts)]
    assert found, f"{page} has no such command"
    return found


@pytest.fixture
def clone(tmp_path, monkeypatch, own_cache, restored_logging):
    """A folder with what the commands find in a clone."""
    for name in ("checkpoints", "examples", "benchmarks", "metrics"):
        (tmp_path / name).symlink_to(ROOT / name, target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_quickstart(clone, capsys):
    for words in lines("quickstart.md", "ssgpa caption"):
        assert start(words) == 0
    assert Image.open("removed.png").size == Image.open("added.png").size == (240, 160)
    rows = [json.loads(line) for line in Path("captions.jsonl").read_text("utf-8").splitlines()]
    assert len(rows) == 12
    assert all(row["caption"] for row in rows)
    # A file that is there stays.
    *_, overlay, _ = lines("quickstart.md", "ssgpa caption")
    assert start(overlay) == 2
    assert "pass --overwrite to replace it" in capsys.readouterr().err


@pytest.mark.slow
def test_from_rendering_to_scores(clone, monkeypatch):
    """The bundled checkpoint's data and training, the evaluation of it, and scores of captions in a file."""
    render, prepare, tower, train = lines("training.md", "scenes/clevr_small", "configs/clevr_tiny")
    # Thousands of scenes leave pairs in every split; twelve do so by larger shares.
    place = render.index("--splits") + 1
    render[place : place + 3] = SMALL_SPLITS
    # The first stage ends, and the second begins, where two steps lead.
    train += ["--model_name_or_path", "runs/clevr_tiny_tower/checkpoint-2"]
    assert [start(words) for words in (render, prepare, tower, train)] == [0, 0, 0, 0]
    assert (Path("runs/clevr_tiny/best") / "model.safetensors").is_file()
    (evaluate,) = lines("evaluation.md", "--model checkpoints/ssgpa-clevr-tiny")
    assert start(evaluate) == 0
    results = json.loads(Path("results.json").read_text("utf-8"))["scores"]["total"]
    assert "<html" in Path("report/index.html").read_text("utf-8")
    said = [json.loads(line) for line in Path("results.predictions.jsonl").read_text("utf-8").splitlines()]
    captions = [{"image_id": row["pair_id"], "caption": row["caption"]} for row in said if "pair_id" in row]
    Path("captions.json").write_text(json.dumps(captions), encoding="utf-8")
    (score,) = lines("evaluation.md", "ssgpa score captions.json")
    assert start(score) == 0
    scores = json.loads(Path("scores.json").read_text("utf-8"))["scores"]["total"]
    assert {name: scores[name] for name in ("bleu_4", "rouge_l", "cider", "n_items")} == pytest.approx(
        {name: results[name] for name in ("bleu_4", "rouge_l", "cider", "n_items")}
    )


@pytest.mark.slow
def test_the_other_scenes(clone):
    for words in lines("data.md", "scenes/full", "scenes/multi", "scenes/dc"):
        assert start(words) == 0
    assert json.loads(Path("full.json").read_text("utf-8"))["scenes"] == 12
    dc = ["python", "examples/prepare_data.py", "--dataset", "clevr_dc", "--source", "scenes/dc"]
    assert start([*dc, "--output_dir", "prepared/dc"]) == 0
    assert Path("scenes/multi/change_captions.json").is_file()


@pytest.mark.slow
def test_the_results_and_the_evidence(clone):
    pytest.importorskip("matplotlib", reason="the extra `figures` is not installed")
    for words in lines("results.md", "clevr_fresh", "throughput_fresh"):
        assert start(words) == 0
    scores = json.loads(Path("results_fresh.json").read_text("utf-8"))
    assert scores["protocol"]["name"] == "clevr_change"
    assert json.loads(Path("throughput_fresh.json").read_text("utf-8"))["training"]["ratio"] > 0
    for words in lines("evidence.md", "alignment.png", "measure_localization"):
        assert start(words) == 0
    stored = json.loads((ROOT / "benchmarks" / "results" / "localization.json").read_text("utf-8"))
    assert json.loads(Path("localization.json").read_text("utf-8")).keys() == stored.keys()
    assert Image.open("alignment.png").width > 400


@pytest.mark.slow
def test_the_counted_memory_is_the_one_that_is_told(clone):
    (words,) = lines("systems/ssgpa.md", "measure_memory.py")
    assert start(words) == 0
    rows = json.loads(Path("memory.json").read_text("utf-8"))["rows"]
    stored = json.loads((ROOT / "benchmarks" / "results" / "memory.json").read_text("utf-8"))["counted"]
    peaks = {row["batch_size"]: round(row["gib"]["total"], 2) for row in rows}
    told = {row["batch_size"]: row for row in stored if row.get("run") == "24gb" and row.get("checkpointing")}
    assert {size: round(row["gib"]["total"], 2) for size, row in told.items() if size in peaks} == peaks
    page = (ROOT / "docs" / "systems" / "ssgpa.md").read_text("utf-8")
    assert f" {peaks[16]} GiB" in page
