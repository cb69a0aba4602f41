# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The tutorial does what it says: its blocks are taken from the page and run in their order on a small folder."""

import json
import re
import runpy
import shlex
import shutil
from pathlib import Path

import pytest
import yaml
from PIL import Image

from ssgpa.cli import commands as cli
from ssgpa.data.readers.clevr_change import load_clevr_change

from .scripts import load_script


ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [shlex.split(text) for language, text in BLOCKS if language == "bash"]
RUN, FROM_CHECKPOINT = (yaml.safe_load(text) for language, text in BLOCKS if language == "yaml")
ROWS = [json.loads(line) for language, text in BLOCKS if language == "json" for line in text.splitlines()]
NAMES = [row["pair_id"] for row in ROWS]
# What keeps the test short; everything else is as on the page.
SHORT = ["--num_train_epochs", "1", "--generation_max_new_tokens", "8", "--disable_tqdm", "true"]


def own_folder(rendered, target):
    """A folder as on the page: the page's three names in their splits, and its fields, filled with rendered scenes."""
    rows = [row for split in load_clevr_change(rendered).values() for row in split]
    splits = ["train"] * 8 + ["validation"] * 4 + ["test"] * 4
    assert [row["split"] for row in ROWS] == ["train", "validation", "test"]
    yards, streets = (
        [f"{place}_{number}" for number in range(count)] for place, count in (("yard", 7), ("street", 3))
    )
    names = [NAMES[0], *yards, NAMES[1], *streets, NAMES[2], *(f"quay_{number}" for number in range(3))]
    with (target / "captions.jsonl").open("w", encoding="utf-8") as table:
        for name, row, split in zip(names, rows, splits, strict=True):
            for side in ("before", "after"):
                (target / side).mkdir(exist_ok=True)
                row[side].save(target / side / f"{name}.png")
            record = {"pair_id": name, "captions": row["captions"], "split": split, "change_type": row["change_type"]}
            assert record.keys() == ROWS[0].keys()
            table.write(json.dumps(record) + "\n")


def start(words):
    """Run a command of the page in this process, and return its exit code."""
    if words[0] == "ssgpa":
        return cli.main(words[1:])
    *_, script = (index for index, word in enumerate(words) if word.endswith(".py"))
    assert words[:script] in (["python"], ["accelerate", "launch"])
    return load_script(words[script]).main(words[script + 1 :])


@pytest.fixture
def place(rendered, tmp_path, monkeypatch, own_cache):
    """A folder with what a checkout has, and `my_pairs`."""
    for name in ("checkpoints", "examples"):
        (tmp_path / name).symlink_to(ROOT / name, target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    Path("my_pairs").mkdir()
    own_folder(rendered, Path("my_pairs"))
    return tmp_path


def test_the_page_from_top_to_bottom(place, capsys):
    pytest.importorskip("tensorboard", reason="the extra `tracking` is not installed")
    install, prepare, train, evaluate, caption = COMMANDS
    assert install[:3] == ["pip", "install", "-e"]
    assert start(prepare) == 0
    assert start([*train, *SHORT]) == 0
    assert list(Path("runs/mine").rglob("events.out.tfevents.*"))
    assert start([*evaluate, "--no_meteor"]) == 0
    assert json.loads(Path("results.json").read_text(encoding="utf-8"))["scores"]["total"]["n_items"] == 4
    assert "<html" in Path("report/index.html").read_text(encoding="utf-8")
    capsys.readouterr()
    assert start(caption) == 0
    said = json.loads(capsys.readouterr().out)["caption"]
    assert Image.open("changed.png").size == Image.open("my_pairs/after/dock_1.png").size
    (snippet,) = (text for language, text in BLOCKS if language == "python")
    Path("snippet.py").write_text(snippet, encoding="utf-8")
    runpy.run_path("snippet.py", run_name="__main__")
    assert capsys.readouterr().out.strip() == said
    assert Path("overlay.png").is_file()


def test_other_words_are_learned_or_told(place, capsys):
    """Random weights get a vocabulary of the captions; a checkpoint keeps its own and says what it lacks."""
    table = Path("my_pairs/captions.jsonl")
    table.write_text(
        re.sub(r"\b(cube|sphere|cylinder)\b", "crane", table.read_text(encoding="utf-8")), encoding="utf-8"
    )
    assert start(COMMANDS[1]) == 0
    quick = [*SHORT, "--report_to", "none", "--log_samples", "0", "--max_train_pairs", "4", "--max_eval_pairs", "2"]
    assert start([*COMMANDS[2], *quick]) == 0
    assert "the tokenizer does not know" not in capsys.readouterr().out
    assert "crane" in json.loads(Path("runs/mine/best/tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    shutil.rmtree("runs")
    values = {name: value for name, value in RUN.items() if name not in list(RUN)[:2]} | FROM_CHECKPOINT
    Path("my_run.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    words = ["my_run.yaml" if word.endswith(".yaml") else word for word in COMMANDS[2]]
    assert start([*words, *quick]) == 0
    assert re.search(r"the tokenizer does not know: crane \(\d+\)", capsys.readouterr().out)


def test_the_pages_rows_and_files_are_there():
    assert {row["split"] for row in ROWS} == {"train", "validation", "test"}
    assert [row["change_type"] for row in ROWS] == ["drop", "none", "add"]
    checkpoint = ROOT / FROM_CHECKPOINT["model_name_or_path"]
    vocabulary = json.loads((checkpoint / "tokenizer.json").read_text("utf-8"))["model"]["vocab"]
    words = [word for word in vocabulary if not word.startswith("<")]
    assert f" {len(words)} words" in PAGE


def test_the_pages_run_is_the_shipped_one():
    path = next(word for word in COMMANDS[2] if word.endswith(".yaml"))
    assert yaml.safe_load((ROOT / path).read_text("utf-8")) == RUN
    assert list(RUN)[:2] == ["model_config", "image_size"]
