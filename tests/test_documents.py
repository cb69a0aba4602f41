# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""README and the pages in `docs`: snippets run, commands are read by their programs, links lead somewhere."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

import ssgpa
from ssgpa import alignment_ssgpa, modeling_ssgpa
from ssgpa.cli.commands import EMBEDDED

from .documents import CHECKS, PAGES, ROOT, all_commands, read, snippets
from .hub.hub_double import HubDouble
from .ssgpa_cases import LOSSES
from .tiny_systems import TINY_SYSTEMS


MODEL = read(ROOT / "docs" / "model.md")
SETTINGS = yaml.safe_load(read(ROOT / "mkdocs.yml"))
# Snippets that need a server or a data set of their own; where they run.
ELSEWHERE = {
    "docs/tutorial.md": "tests/test_tutorial.py",
    "docs/hub.md": "test_the_hub_snippets_run",
    "docs/data.md": "test_the_streaming_snippet_runs",
    "docs/space.md": "tests/examples/test_app.py",
    "docs/vlm.md": "tests/vlm/test_page_vlm.py",
}
needs_checkpoint = pytest.mark.skipif(not EMBEDDED.is_dir(), reason="this copy holds no embedded checkpoint")


def snippet_parameters():
    for page in PAGES:
        if page.relative_to(ROOT).as_posix() not in ELSEWHERE:
            # An export of the model takes its time.
            marks = [pytest.mark.slow] if page.name == "ecosystem.md" else []
            for number, snippet in enumerate(snippets(page)):
                yield pytest.param(snippet, id=f"{page.name}-{number}", marks=marks)


def table(heading):
    """The first column and the cells of the table below a heading."""
    text = MODEL.split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")
    ]
    return {row[0]: row[1:] for row in rows[2:]}


def checkout(folder):
    """What the snippets find in a clone."""
    for name in ("checkpoints", "examples", "metrics", "benchmarks"):
        (folder / name).symlink_to(ROOT / name, target_is_directory=True)
    return folder


@needs_checkpoint
@pytest.mark.parametrize("snippet", list(snippet_parameters()))
def test_python_snippets_run(snippet, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(checkout(tmp_path))
    Path("snippet.py").write_text(snippet.code, encoding="utf-8")
    runpy.run_path("snippet.py", run_name="__main__")
    printed = capsys.readouterr().out
    assert printed.strip()
    if snippet.output is not None:
        assert printed == snippet.output


def test_there_are_snippets_with_outputs():
    found = [snippet for page in PAGES for snippet in snippets(page)]
    assert len(found) >= 12
    assert sum(snippet.output is not None for snippet in found) >= 5
    assert all(snippets(ROOT / name) for name in ELSEWHERE)


@pytest.mark.parametrize("words", list(all_commands()))
def test_commands_exist(words):
    CHECKS[words[0]](words)


@needs_checkpoint
def test_the_hub_snippets_run(tmp_path):
    """Published to a Hub on this machine, then loaded by commit in a process that has neither cache nor package."""
    publish, load = snippets(ROOT / "docs" / "hub.md")
    checkout(tmp_path)
    with HubDouble() as hub:

        def run(code, home):
            done = subprocess.run(
                [sys.executable, "-c", code],
                capture_output=True,
                text=True,
                env=hub.environment(tmp_path / home),
                cwd=tmp_path,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            return done.stdout

        commit = run(f"{publish.code.replace('publish_folder(', 'print(publish_folder(', 1)[:-2]}).oid)\n", "first")
        assert re.fullmatch(r"[0-9a-f]{40}\n", commit.splitlines(keepends=True)[-1])
        commit = commit.split()[-1]
        code = load.code.replace("org/name", "org/ssgpa-clevr-tiny")
        (told,) = re.findall(r'commit = "([0-9a-f]{40})"', code)
        pair = (str(ROOT / "examples/pairs/none_0_before.png"), str(ROOT / "examples/pairs/none_0_after.png"))
        code += f"\nprint(type(model).__name__, type(processor).__name__, pipe({pair})[0]['generated_text'])"
        said = run(f"import sys\nsys.modules['ssgpa'] = None\n{code.replace(told, commit)}", "second")
    assert said.splitlines()[-1] == "SSGPAForConditionalGeneration SSGPAProcessor nothing was modified"


def test_the_streaming_snippet_runs(prepared_dir, tmp_path):
    """On a folder in the place of the Hub; tests/hub/test_data_hub.py streams from one."""
    (snippet,) = snippets(ROOT / "docs" / "data.md")
    name = "hf://datasets/ORG/NAME"
    assert name in snippet.code
    code = tmp_path / "snippet.py"
    code.write_text(snippet.code.replace(name, prepared_dir.as_posix()), encoding="utf-8")
    row = next(iter(runpy.run_path(str(code))["rows"]))
    assert {"pair_id", "before", "after", "captions"} <= row.keys()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", re.sub(r"^```.*?^```$", "", read(page), flags=re.M | re.S))
    # The badge leads to the workflow of wherever the repository is.
    targets = [target for target in targets if not target.startswith(("http", "../../actions/"))]
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_every_page_is_in_the_site():
    """Nothing is left out, and nothing is named that is not there."""

    def pages(entry):
        if isinstance(entry, str):
            return [entry]
        values = entry.values() if isinstance(entry, dict) else entry
        return [page for value in values for page in pages(value)]

    found = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")]
    assert sorted(pages(SETTINGS["nav"])) == sorted(found)


def test_the_site_is_built_without_a_network(tmp_path):
    """Every link, anchor and name of the API is there; nothing is loaded from elsewhere."""
    pytest.importorskip("material", reason="the extra `docs` is not installed")
    pytest.importorskip("mkdocstrings", reason="the extra `docs` is not installed")
    code = (
        "import socket, sys\n"
        "def refuse(*_):\n"
        "    raise OSError('no network')\n"
        "socket.socket.connect = refuse\n"
        "from mkdocs.__main__ import cli\n"
        "cli()\n"
    )
    words = ["build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=ROOT, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    site = tmp_path / "site"
    assert not list(site.rglob("*.py"))
    for page in site.rglob("*.html"):
        text = page.read_text("utf-8")
        assert not re.search(r'<(?:script|img|iframe)[^>]* src="?(?:https?:)?//', text), page
        assert not re.search(r'<link[^>]* rel="?(?:stylesheet|preconnect)[^>]*href="?(?:https?:)?//', text), page
    reference = (site / "reference" / "model.html").read_text("utf-8")
    for name in ("SSGPAConfig", "SSGPAProcessor", "SSGPAForConditionalGeneration"):
        assert re.search(rf'id="?ssgpa\.\w+\.{name}\b', reference), name
    assert "*optional*" not in reference


def test_images_are_small_enough_to_load():
    for path in (ROOT / "docs").glob("*.png"):
        assert path.stat().st_size < 300_000
        assert Image.open(path).width <= 1600


def test_the_layout_names_what_is_there():
    page = read(ROOT / "docs" / "development.md")
    layout = re.findall(r"^\| (`[^|]+) \|", page, re.MULTILINE)
    paths = [path for cell in layout for path in re.findall(r"`([^`]+)`", cell)]
    assert {"cli/", "data/", "metrics/", "training/"} <= set(paths)
    assert [path for path in paths if not list(ROOT.glob(path.rstrip("/")))] == []
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"docs"}
    assert {f"{name}/" for name in folders} <= set(paths)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_files_are_there(page):
    """Paths of the repository in backticks, without placeholders."""
    text = re.sub(r"^```.*?^```$", "", read(page), flags=re.MULTILINE | re.DOTALL)
    paths = re.findall(
        r"`((?:benchmarks|checkpoints|cli|data|docs|examples|hub|metrics|tests|training|utils)/[\w/.-]+)`", text
    )
    assert [
        path for path in paths if not re.search(r"[A-Z]{4,}", Path(path).stem) and not (ROOT / path).exists()
    ] == []


def test_the_map_of_the_tests_names_what_is_there():
    text = read(ROOT / "tests" / "README.md")
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    names = [name for name in re.findall(r"`([\w/*.]+(?:\.py|/))`", text) if not (ROOT / name).exists()]
    programs = {path.name for folder in ("examples", "benchmarks") for path in (ROOT / folder).glob("*.py")}
    assert len(names) > 30
    assert [name for name in names if name not in programs and not list((ROOT / "tests").glob(name))] == []
    folders = {path.parent.name for path in (ROOT / "tests").glob("*/__init__.py")}
    assert {f"{name}/" for name in folders} <= set(re.findall(r"`(\w+/)`", text))


def test_the_parts_of_the_model_are_its_classes():
    names = [name for row in table("Part by part").values() for name in re.findall(r"`(\w+)`", row[-1])]
    assert len(names) >= 5
    assert [name for name in names if not hasattr(modeling_ssgpa, name)] == []
    alignment = MODEL.split("\n**The alignment**")[1].split("\n**The connector**")[0]
    described = re.findall(r"^- `(\w+)`", alignment, re.MULTILINE)
    fields = alignment_ssgpa.ChangeEvidence.__dataclass_fields__
    assert described
    assert set(described) <= set(fields)


def test_the_losses_are_those_of_the_model():
    names = {name.strip("`") for name in table("What it learns from")}
    assert names == set(LOSSES)
    fields = ssgpa.SSGPAConfig.__dataclass_fields__
    assert {f"{name}_weight" for name in names} <= set(fields)


def test_what_a_new_system_needs_is_what_the_systems_have():
    """Every call that the page names, on every system."""
    for build in TINY_SYSTEMS.values():
        model, processor = build()
        image = Image.new("RGB", (48, 32), "red")
        batch = processor(images=[[image, image]], suffix=["the cube moved"], return_tensors="pt")
        output = model(**batch)
        if output.loss_parts is not None:
            assert sum(output.loss_parts.values()).item() == pytest.approx(output.loss.item(), rel=1e-5)
        inputs = processor(images=[[image, image]], return_tensors="pt")
        with torch.inference_mode():
            ids = model.generate(**inputs, max_new_tokens=3)
        assert len(processor.post_process_captions(ids, inputs)) == 1
