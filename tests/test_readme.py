# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""README is short, in its order, and tells the truth: its figure, tables and two commands are what the code gives."""

import json
import os
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from transformers import pipeline

from ssgpa import SSGPAForConditionalGeneration
from ssgpa.cli.commands import EMBEDDED
from ssgpa.hub.model_card import render_card

from .documents import README as PAGE
from .documents import blocks, commands, snippets


ROOT = Path(__file__).resolve().parents[1]
README = PAGE.read_text(encoding="utf-8")
CARD = str(render_card("org/ssgpa", system=SSGPAForConditionalGeneration))
TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
CI = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
RESULTS = ROOT / "benchmarks" / "results"
SECTIONS = [
    "Status",
    "Installation",
    "Usage",
    "Checkpoints",
    "Train on your own pairs",
    "Evaluation",
    "Results",
    "Documentation",
    "Citation",
]
needs_checkpoint = pytest.mark.skipif(not EMBEDDED.is_dir(), reason="this copy holds no embedded checkpoint")


def marked(name):
    """What stands between two marks."""
    return README.split(f"<!-- {name}:begin -->\n")[1].split(f"<!-- {name}:end -->")[0]


def section(title):
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def stored(name):
    return json.loads((RESULTS / name).read_text("utf-8"))


def test_it_is_short():
    """The words of what is shown, tables among them, without code and citation."""
    text = README.split("\n## Citation\n")[0]
    text = re.sub(r"```.*?```|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"\]\([^)]*\)", "]", re.sub(r"!\[[^]]*\]\([^)]*\)", "", text))
    words = [word for word in text.split() if re.search(r"\w", word)]
    assert 300 < len(words) < 900


def test_its_sections_are_in_order():
    assert re.findall(r"^## (.+)$", README, re.MULTILINE) == SECTIONS
    top = README.split("\n## ")[0]
    assert top.index("badge") < top.index("<!-- figure:begin -->")


def test_status_has_three_lines():
    assert len(re.findall(r"^- ", section("Status"), re.MULTILINE)) == 3


@needs_checkpoint
def test_the_figure_is_what_the_checkpoint_gives():
    before, after, overlay = re.findall(r"!\[[^]]*\]\(([^)]+)\)", marked("figure"))
    (said,) = re.findall(r"^> (.+)$", marked("figure"), re.MULTILINE)
    pipe = pipeline("change-captioning", model=str(EMBEDDED), device="cpu")
    result = pipe((ROOT / before, ROOT / after), return_change_map=True)[0]
    assert result["generated_text"] == said
    shown, drawn = (
        np.asarray(image.convert("RGB"), dtype=float)
        for image in (Image.open(ROOT / overlay), result["overlay_before"])
    )
    assert np.abs(shown - drawn).max() <= 3
    assert np.abs(drawn - np.asarray(Image.open(ROOT / before).convert("RGB"), dtype=float)).max() > 30
    assert (ROOT / overlay).stat().st_size < 200_000


def test_the_snippet_has_its_output():
    assert [snippet.output is not None for snippet in snippets(PAGE)] == [True]


def test_training_takes_three_commands():
    (block,) = blocks(section("Train on your own pairs"), "bash")
    assert len(block.splitlines()) == 3
    rows = [json.loads(line) for line in blocks(section("Train on your own pairs"), "json")[0].splitlines()]
    assert all({"pair_id", "captions"} <= row.keys() for row in rows)


def rounded(count):
    """A count of parameters as the table writes it."""
    return f"{count / 1e9:.1f} B" if count >= 1e9 else f"{count / 1e6:.3g} M"


def test_the_checkpoints_are_there_with_their_sizes():
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in marked("checkpoints").splitlines()[2:]]
    sizes = {re.search(r"`([\w-]+)`", row[0])[1]: row[3] for row in rows}
    assert all((ROOT / re.search(r"\]\(([^)]+)\)", row[0])[1]).exists() for row in rows)
    tiny = stored("ssgpa-clevr-tiny-throughput.json")["parameters"]["ssgpa"]
    expected = {"ssgpa-clevr-tiny": rounded(tiny)}
    for name, model in stored("parameters.json")["models"].items():
        expected[name] = f"{rounded(model['total'])}, {rounded(model['trainable'])} trainable"
    assert sizes == expected


@pytest.mark.parametrize("page", ["README.md", "docs/index.md", "docs/model.md", "docs/evidence.md"])
def test_the_shares_of_the_change_map_are_the_measured_ones(page):
    """In whole percents: the map's, and where they are told, those of chance and of the best control."""
    touching = stored("localization.json")["touching"]
    names = ("change_map", "chance", "softmax_attention")[: 3 if page in ("README.md", "docs/model.md") else 1]
    text = re.sub(r"\s+", " ", (ROOT / page).read_text("utf-8"))
    assert [name for name in names if f" {100 * touching[name]['all']['mean']:.0f} %" not in text] == []


def test_the_speed_and_the_scenes_of_the_checkpoint_are_the_stored_ones():
    text = re.sub(r"\s+", " ", README)
    speeds = stored("ssgpa-clevr-tiny-throughput.json")
    rate = speeds["generation"]["beams_1"]["captions_per_second"]
    (told,) = re.findall(r"\((\d+) captions per second on (\w+) threads, in batches of (\d+)\)", text)
    assert told == (f"{rate:.0f}", {1: "one", 2: "two"}[speeds["threads"]], str(speeds["settings"]["batch_size"]))
    sets = {run["data"]["seed"]: run["data"]["scenes"] for run in stored("ssgpa-clevr-tiny-training.json")["runs"]}
    scenes = f"{sum(sets.values()):,} scenes"
    assert scenes in text
    assert scenes in re.sub(r"\s+", " ", (ROOT / "docs" / "tutorial.md").read_text("utf-8"))


@pytest.mark.parametrize("name", ["run", "test"])
def test_the_two_commands_are_one_line_each(name):
    lines = README.split(f"<!-- command:{name} -->\n```bash\n")[1].split("```")[0].splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("python3 -m venv .venv && . .venv/bin/activate && ")


@needs_checkpoint
def test_the_first_command_prints_what_it_says():
    line = README.split("<!-- command:run -->\n```bash\n")[1].split("```")[0]
    words = shlex.split(line.split(" && ")[-1])
    assert words[:2] == ["ssgpa", "caption"]
    said = README.split("<!-- output:run -->\n```text\n")[1].split("```")[0].strip()
    pipe = pipeline("change-captioning", model=str(EMBEDDED), device="cpu")
    assert pipe(tuple(ROOT / path for path in words[2:]))[0]["generated_text"] == said


def test_the_constraint_is_the_torch_of_the_commands():
    (pin,) = re.findall(r"^torch==.*$", (ROOT / "constraints.txt").read_text("utf-8"), re.MULTILINE)
    assert README.count(f"pip install {pin} ") == 2
    quickstart = (ROOT / "docs" / "quickstart.md").read_text("utf-8")
    assert quickstart.count("pip install torch==") == quickstart.count(f"pip install {pin} ") == 1


def test_it_shows_every_kind_of_command():
    assert {words[0] for words in commands(PAGE)} >= {"ssgpa", "python", "accelerate", "pip"}


def test_ci_runs_the_commands_of_the_readme():
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert "command:$1" in CI


def test_ci_makes_the_checks_of_make_quality():
    rule = re.search(r"^quality:\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)[1]
    checks = [line.strip().replace("$(PYTHON)", '"$python"') for line in rule.splitlines()]
    assert len(checks) >= 4
    assert [check for check in checks if check not in map(str.strip, CI.splitlines())] == []


def test_ci_runs_the_launcher():
    (line,) = [line for line in CI.splitlines() if "-m slow" in line]
    words = shlex.split(line)
    assert f"def test_{words[-1]}" in (ROOT / words[words.index("slow") + 1]).read_text("utf-8")


def test_make_targets_exist():
    named = set(re.findall(r"`make ([\w-]+)`", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")))
    assert named
    assert named <= TARGETS


@pytest.mark.parametrize("text", [README, CARD], ids=["README", "hub_card"])
def test_it_is_told_that_this_is_not_the_authors_code(text):
    assert re.search(r"(?:not|without)\s+the\s+authors'\s+code", text)
    assert re.search(r"not\s+reproduced", text)


def test_the_aux_heads_that_are_owned_up_to_are_those_of_the_run():
    stages = [
        yaml.safe_load((ROOT / "examples" / "configs" / f"{name}.yaml").read_text(encoding="utf-8"))
        for name in ("clevr_tiny_tower", "clevr_tiny")
    ]
    heads = {name for run in stages for name in run if name.startswith("aux_") and run[name]}
    assert heads == {"aux_attributes", "aux_objects", "aux_changed", "aux_type"}
    training = (ROOT / "docs" / "training.md").read_text("utf-8")
    assert all(f"`{name}`" in training for name in heads)


@pytest.mark.parametrize(
    "page", [PAGE, ROOT / "hub_card.md", *sorted((ROOT / "docs").rglob("*.md"))], ids=lambda page: page.name
)
def test_remote_code_is_never_shown_without_a_revision(page):
    for snippet in blocks(page.read_text("utf-8"), "python"):
        assert "trust_remote_code=True" not in snippet or "revision=" in snippet


def test_the_paper_is_cited_alike_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    (paper,) = citation["references"]
    assert blocks(README, "bibtex") == blocks(CARD, "bibtex")
    (entry,) = blocks(README, "bibtex")
    authors = " and ".join(f"{author['family-names']}, {author['given-names']}" for author in paper["authors"])
    assert authors in entry
    assert paper["title"] in entry
    assert f"{paper['start']}--{paper['end']}" in entry
    assert citation["license"] == "Apache-2.0"
