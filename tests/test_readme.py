# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The documents tell the truth: their snippets run, their commands exist, the hub card is a valid one."""

import os
import re
import runpy
import shlex
from pathlib import Path

import pytest
import yaml

from ssgpa.cli.commands import EMBEDDED
from ssgpa_command import parse_arguments


ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CARD = (ROOT / "hub_card.md").read_text(encoding="utf-8")
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
CI = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
needs_checkpoint = pytest.mark.skipif(not EMBEDDED.is_dir(), reason="this copy holds no embedded checkpoint")


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


PYTHON = blocks(README, "python")
COMMANDS = [
    shlex.split(part) for block in blocks(README, "bash") for line in block.splitlines() for part in line.split(" && ")
]


@needs_checkpoint
@pytest.mark.parametrize("snippet", PYTHON, ids=range(len(PYTHON)))
def test_python_snippets_run(snippet, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("checkpoints", "examples"):
        Path(name).symlink_to(ROOT / name, target_is_directory=True)
    Path("snippet.py").write_text(snippet, encoding="utf-8")
    runpy.run_path("snippet.py", run_name="__main__")
    assert capsys.readouterr().out.strip()


def test_there_are_snippets_and_commands():
    assert len(PYTHON) >= 3
    assert {words[0] for words in COMMANDS} >= {"ssgpa", "python", "accelerate", "pip"}


def check_ssgpa(words):
    """The command's own parser reads the options; images are there, a table is the reader's own."""
    options = parse_arguments(words[1:])
    if "--pairs" in words:
        assert Path(options.pairs).suffix == ".csv"
        assert Path(options.output).suffix == ".jsonl"
        return
    if options.command == "score":
        assert Path(options.predictions).suffix == ".json"
        return
    assert (ROOT / options.before).is_file()
    assert (ROOT / options.after).is_file()


def check_python(words):
    if words[1] == "-m":
        assert words[2] in {"venv", "pytest"}
        return
    source = (ROOT / words[1]).read_text(encoding="utf-8")
    for word in words[2:]:
        assert not word.startswith("--") or f'"{word}"' in source, f"{words[1]} has no option {word}"


def check_accelerate(words):
    assert words[1] == "launch"
    assert (ROOT / words[2]).is_file()
    assert isinstance(yaml.safe_load((ROOT / words[3]).read_text(encoding="utf-8")), dict)


def check_pip(words):
    assert words[1] == "install"
    for option, value in zip(words[2:], [*words[3:], None], strict=True):
        if option == "-c":
            assert (ROOT / value).is_file()
        if match := re.fullmatch(r"\.\[(.+)\]", option):
            assert all(re.search(rf"^{extra} = \[", PROJECT, re.MULTILINE) for extra in match[1].split(","))


CHECKS = {
    "ssgpa": check_ssgpa,
    "python": check_python,
    "python3": check_python,
    "accelerate": check_accelerate,
    "pip": check_pip,
    ".": lambda words: None,
}


def command_parameters():
    """The sample pairs come with the checkpoint."""
    for words in COMMANDS:
        marks = [needs_checkpoint] if words[0] == "ssgpa" else []
        yield pytest.param(words, id=" ".join(words)[:60], marks=marks)


@pytest.mark.parametrize("words", list(command_parameters()))
def test_commands_exist(words):
    CHECKS[words[0]](words)


@pytest.mark.parametrize("name", ["run", "test"])
def test_the_two_commands_are_one_line_each(name):
    lines = README.split(f"<!-- command:{name} -->\n```bash\n")[1].split("```")[0].splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("python3 -m venv .venv && . .venv/bin/activate && ")


def test_the_constraint_is_the_torch_of_the_commands():
    (pin,) = re.findall(r"^torch==.*$", (ROOT / "constraints.txt").read_text("utf-8"), re.MULTILINE)
    assert README.count(f"pip install {pin} ") == 2


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


def test_make_targets_and_paths_exist():
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`make ([\w-]+)`", contributing))
    assert named
    assert named <= TARGETS
    layout = re.findall(r"^\| (`[^|]+) \|", README, re.MULTILINE)
    paths = [path for cell in layout for path in re.findall(r"`([^`]+)`", cell)]
    assert "cli.py" in paths
    assert [path for path in paths if not list(ROOT.glob(path.rstrip("/")))] == []


def test_the_documents_say_what_it_is():
    for text in (README, CARD):
        assert re.search(r"a reading\s+of\s+the\s+paper,\s+not\s+the\s+authors'\s+code", text)
        assert re.search(r"scores\s+are\s+not\s+reproduced", text)


def test_the_aux_heads_that_are_owned_up_to_are_those_of_the_run():
    run = yaml.safe_load((ROOT / "examples" / "configs" / "clevr_tiny.yaml").read_text(encoding="utf-8"))
    assert {name for name in run if name.startswith("aux_") and run[name]} == {
        "aux_attributes",
        "aux_changed",
        "aux_type",
    }


@pytest.mark.parametrize("text", [README, CARD], ids=["README", "hub_card"])
def test_remote_code_is_never_shown_without_a_revision(text):
    for snippet in blocks(text, "python"):
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
