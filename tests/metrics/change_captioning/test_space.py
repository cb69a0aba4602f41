# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The metric's folder as a Space: its card, what it asks for, and its page."""

import json
import re
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from packaging.requirements import Requirement

from ssgpa.metrics import score_captions
from ssgpa.metrics.change_captioning.scorer import score_lists
from ssgpa.metrics.protocols import PROTOCOLS

from ...scripts import load_script


ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "metrics" / "change_captioning"
CARD = (FOLDER / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def app(monkeypatch):
    """The page's program, with nothing but gradio's error in place of gradio, which takes seconds to import."""
    stand_in = ModuleType("gradio")
    stand_in.Error, stand_in.Blocks = type("Error", (Exception,), {}), object
    monkeypatch.setitem(sys.modules, "gradio", stand_in)
    return load_app()


def load_app():
    return load_script(FOLDER / "app.py")


def test_the_card_says_what_a_space_needs():
    front = yaml.safe_load(CARD.split("---\n")[1])
    assert (front["sdk"], front["app_file"]) == ("gradio", "app.py")
    assert {"evaluate", "metric"} <= set(front["tags"])
    assert (FOLDER / front["app_file"]).is_file()
    asked = {Requirement(line).name: Requirement(line) for line in (FOLDER / "requirements.txt").read_text().split()}
    assert front["sdk_version"] in asked["gradio"].specifier
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert asked.keys() == {Requirement(line).name for line in extras["eval"] + extras["demo"]}
    for heading in ("Inputs", "Outputs", "Limits", "Citation"):
        assert f"\n## {heading}\n" in CARD


def test_the_card_names_every_score_option_and_protocol():
    scores = score_lists(["x"], [["x"]], meteor=False, tokenizer="nltk")
    names = re.findall(r"`(\w+)`", CARD)
    assert scores.keys() - {"bleu_2", "bleu_3"} <= set(names)
    assert {"tokenize", "tokenizer", "meteor", "spice", "predictions", "references"} <= set(names)
    assert PROTOCOLS.keys() <= set(names)


def test_the_example_of_the_page_is_scored(app, monkeypatch, tmp_path):
    monkeypatch.setattr("evaluate.config.HF_MODULES_CACHE", tmp_path / "modules")
    monkeypatch.setattr("evaluate.config.HF_METRICS_CACHE", tmp_path / "metrics")
    found = app.score_lines(app.EXAMPLE, meteor=False)
    items = dict(enumerate(map(json.loads, app.EXAMPLE.split("\n"))))
    expected = score_captions(
        {index: item["references"] for index, item in items.items()},
        {index: item["prediction"] for index, item in items.items()},
        meteor=False,
    )
    assert found == expected
    assert (
        app.score_lines(app.EXAMPLE + '\n{"prediction": "", "references": ["x"]}\n', False)["empty_predictions"] == 1
    )
    with pytest.raises(app.gradio.Error, match=r"index 0 is empty"):
        app.score_lines('{"prediction": "x", "references": []}', meteor=False)


@pytest.mark.parametrize(
    "line", ["the cube moved", '{"prediction": "x"}', '["x", ["y"]]', '{"references": [], "a": 1}']
)
def test_a_line_that_is_no_item_is_named(app, line):
    with pytest.raises(ValueError, match="Line 3 is not"):
        app.read_lines(f"{app.EXAMPLE.splitlines()[0]}\n\n{line}")


@pytest.mark.slow
def test_the_page_shows_the_card():
    pytest.importorskip("gradio", reason="gradio is not installed")
    parts = [block for block in load_app().build_page().blocks.values() if hasattr(block, "value")]
    shown = "\n".join(str(block.value) for block in parts)
    assert "# Metric card" in shown
    assert "sdk_version" not in shown
    assert "the red cube is gone" in shown
