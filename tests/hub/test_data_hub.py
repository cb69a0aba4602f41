# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Prepared folders on a Hub and back: uploaded by the program, replaced, streamed at a revision."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ssgpa.data.prepared import load_prepared

from .hub_double import HubDouble


SCRIPT = Path(__file__).parents[2] / "examples" / "prepare_data.py"
READ = """
import json, sys
import datasets
from ssgpa.data import load_prepared
from ssgpa.data.prepared import render_settings, scenes_of
first, now = sys.argv[1:]
found = {}
for name, address in {"first": f"hf://datasets/org/pairs@{first}", "now": "hf://datasets/org/pairs"}.items():
    stream = load_prepared(address, streaming=True)
    found[name] = {split: [[row["pair_id"], row["before"].size] for row in rows] for split, rows in stream.items()}
found["cached"] = [str(path) for path in datasets.config.HF_DATASETS_CACHE.rglob("*.arrow")]
whole = load_prepared("hf://datasets/org/pairs", splits=["test"])["test"]
found["whole"] = list(whole["pair_id"])
found["card"] = {split: len(list(rows)) for split, rows in datasets.load_dataset("org/pairs", streaming=True).items()}
found["seed"] = render_settings("hf://datasets/org/pairs")["seed"]
found["scenes"] = len(scenes_of("hf://datasets/org/pairs").read_text("utf-8").splitlines())
print(json.dumps(found))
"""


def run(environment, *words):
    done = subprocess.run(
        [sys.executable, *words], env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def push(hub, tmp_path, source, name):
    words = ["--dataset", "clevr_change", "--source", str(source), "--output_dir", str(tmp_path / name)]
    environment = hub.environment(tmp_path / "home")
    return run(environment, str(SCRIPT), *words, "--push_to_hub", "org/pairs", "--private")


def told(folder):
    return {split: [[row["pair_id"], list(row["before"].size)] for row in rows] for split, rows in folder.items()}


@pytest.mark.usefixtures("own_cache")
def test_prepared_folders_on_the_hub(rendered, tmp_path):
    copied = shutil.copytree(rendered, tmp_path / "copied")
    with HubDouble() as hub:
        assert push(hub, tmp_path, rendered, "first") == f"{hub.url}/datasets/org/pairs"
        repository = hub.repositories["dataset", "org/pairs"]
        assert repository.private
        first, files = repository.find("main")
        assert {name: file.content for name, file in files.items() if name != ".gitattributes"} == {
            path.relative_to(tmp_path / "first").as_posix(): path.read_bytes()
            for path in (tmp_path / "first").rglob("*.*")
        }
        # A smaller set in its place: the file of the split that is empty now goes.
        (copied / "splits.json").write_text(json.dumps({"train": [0, 1], "val": [], "test": [2]}), encoding="utf-8")
        push(hub, tmp_path, copied, "second")
        now, files = repository.find("main")
        assert sorted(name for name in files if name.startswith("data/")) == [
            f"data/{split}-00000-of-00001.parquet" for split in ("test", "train")
        ]
        found = json.loads(run(hub.environment(tmp_path / "other"), "-c", READ, first, now))
    assert found["first"] == told(load_prepared(tmp_path / "first"))
    assert found["now"] == told(load_prepared(tmp_path / "second"))
    assert found["cached"] == []
    assert found["whole"] == [name for name, _ in found["now"]["test"]]
    assert found["card"] == {"train": 4, "test": 2}
    assert found["scenes"] == 8
    assert found["seed"] == 7
