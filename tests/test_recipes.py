# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The commands of YAML files and pages fit together: one folder is one set, and runs read what a command has made."""

import re
import shlex
from pathlib import Path

import pytest

from ssgpa.training.arguments import read_yaml

from .examples.runs import DATA_SETS


ROOT = Path(__file__).parent.parent
RUNS = sorted((ROOT / "examples" / "configs").rglob("*.yaml"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "baselines").rglob("README.md"))]
MAKERS = ("render_clevr_change.py", "prepare_data.py")


def commands(text):
    """Every line that calls a program of `examples/`, as words."""
    lines = re.findall(r"^(?:# +)?((?:python|accelerate launch) examples/\S+.*)$", text, re.MULTILINE)
    return [shlex.split(line, comments=True) for line in lines]


def option(words, name):
    return words[words.index(name) + 1] if name in words else None


VALUES = {path: read_yaml(path) for path in RUNS}
FOUND = [(path, words) for path in (*RUNS, *PAGES) for words in commands(path.read_text("utf-8"))]
MADE = {option(words, "--output_dir") for _, words in FOUND}
TRAINED = {values["output_dir"]: values for values in VALUES.values() if "output_dir" in values}


def test_a_folder_is_one_set():
    made = {}
    for path, words in FOUND:
        if words[1].endswith(MAKERS) and option(words, "--output_dir").startswith("scenes/"):
            where, first = made.setdefault(option(words, "--output_dir"), (path, words))
            assert words == first, f"{path} and {where} make {option(words, '--output_dir')} in two ways"
    assert len(made) > 6


@pytest.mark.parametrize("path", [path for path in RUNS if str(VALUES[path].get("data_dir")).startswith("scenes/")])
def test_the_scenes_of_a_run_are_made_by_some_command(path):
    assert VALUES[path]["data_dir"] in MADE
    own = [option(words, "--output_dir") for words in commands(path.read_text("utf-8")) if "prepare_data" in words[1]]
    assert not own or VALUES[path]["data_dir"] in own


def test_a_run_is_evaluated_on_its_own_data():
    checked = 0
    for path, words in FOUND:
        run = str(option(words, "--model")).removesuffix("/best")
        if "/evaluate" in words[1] and run in TRAINED and option(words, "--data"):
            assert option(words, "--data") == TRAINED[run]["data_dir"], (path, words)
            checked += 1
    assert checked > 4


def test_a_run_of_several_stages_names_what_the_stage_before_has_written():
    stages = [
        values["model_name_or_path"] for values in VALUES.values() if "runs/" in str(values.get("model_name_or_path"))
    ]
    assert len(stages) > 8
    for stage in stages:
        run, _, steps = re.fullmatch(r"(.*?)(/best|/checkpoint-(\d+))?", stage).groups()
        assert run in TRAINED
        assert steps is None or int(steps) == TRAINED[run]["max_steps"], stage


def test_every_data_set_of_the_tests_is_read_by_some_run():
    assert set(DATA_SETS) <= {Path(values["data_dir"]).name for values in VALUES.values() if values.get("data_dir")}
