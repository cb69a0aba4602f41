# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""What is installed is complete, imports quietly, and does not depend on the name of the checkout."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, metadata, requires
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from PIL import Image
from transformers import pipeline

from .tiny_systems import tiny_ssgpa


ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = PROJECT["tool"]["setuptools"]["packages"]
NO_PACKAGES = {
    "tests",
    "examples",
    "benchmarks",
    "docs",
    "build",
    "dist",
    "checkpoints",
    "runs",
    "outputs",
    "datasets",
}


ROOTS = PROJECT["tool"]["setuptools"]["package-dir"]


def folder_of(package):
    root, *inside = package.split(".")
    return ROOT.joinpath(ROOTS[root], *inside)


def clean_copy(target):
    """A copy of the checkout without what git ignores."""
    patterns = [line.rstrip("/") for line in (ROOT / ".gitignore").read_text("utf-8").split()]
    shutil.copytree(ROOT, target, ignore=shutil.ignore_patterns(".git", *patterns))
    return target


def run(*command, cwd, **environment):
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", **environment}
    return subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, cwd=cwd, env=environment, check=False
    )


def test_every_package_is_listed_and_there():
    assert [name for name in PACKAGES if not (folder_of(name) / "__init__.py").is_file()] == []
    found = {"ssgpa"}
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT).parts[:-1]
        if parts and parts[0] not in NO_PACKAGES and not any(part.startswith(".") for part in parts):
            folder = "/".join(parts)
            found.add(next((name for name in ROOTS if ROOTS[name] == folder), ".".join(("ssgpa", *parts))))
    assert found == set(PACKAGES)


def installed_dependencies(wanted):
    """Names of the wanted distributions and of all that they ask for in turn, as far as they are installed."""
    waiting, seen = [Requirement(text) for text in wanted], set()
    while waiting:
        requirement = waiting.pop()
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            asked = [Requirement(text) for text in requires(name) or []]
        except PackageNotFoundError:
            continue
        environments = [{"extra": extra} for extra in ("", *extras)]
        waiting += [one for one in asked if not one.marker or any(map(one.marker.evaluate, environments))]
    return {name for name, _ in seen}


def test_nothing_asks_for_torchvision():
    """Its wheels replace the installed torch; so do those of whatever depends on it."""
    extras = PROJECT["project"]["optional-dependencies"].values()
    wanted = [*PROJECT["project"]["dependencies"], *chain(*extras)]
    names = installed_dependencies(text for text in wanted if not text.startswith("ssgpa["))
    assert names > {"torch", "tokenizers", "pyarrow", "regex"}
    assert names & {"torchvision", "timm", "open-clip-torch", "torchaudio"} == set()


def test_every_extra_is_in_another_or_named():
    """An extra that nothing names is one that nobody installs."""
    extras = PROJECT["project"]["optional-dependencies"]
    documents = "".join((ROOT / name).read_text("utf-8") for name in ("README.md", "CONTRIBUTING.md"))
    everything = {extra for text in extras["all"] for extra in Requirement(text).extras}
    assert [name for name in extras if name not in everything | {"all"} and f"[{name}]" not in documents] == []


def test_the_version_is_told_once():
    version = PROJECT["project"]["version"]
    assert f'__version__ = "{version}"' in (ROOT / "__init__.py").read_text("utf-8")
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text("utf-8")


def test_python_is_what_transformers_asks_for():
    """A lower promise could not be kept."""
    asked = SpecifierSet(metadata("transformers")["Requires-Python"])
    promised = PROJECT["project"]["requires-python"]
    lowest = promised.removeprefix(">=")
    assert lowest in asked
    assert f"Python {lowest} or newer" in (ROOT / "README.md").read_text("utf-8")
    for example in (ROOT / "examples").glob("*.py"):
        header = re.search(r"^# /// script$(.*?)^# ///$", example.read_text("utf-8"), re.DOTALL | re.MULTILINE)
        assert header, f"{example} does not say what it needs"
        script = tomllib.loads(re.sub("^# ?", "", header[1], flags=re.MULTILINE))
        assert script["requires-python"] == promised
        (needed,) = map(Requirement, script["dependencies"])
        assert needed.extras <= set(PROJECT["project"]["optional-dependencies"])


QUIET = """
import sys
seen = []
sys.addaudithook(
    lambda event, _: seen.append(event)
    if event.startswith(("socket.", "subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.spawn"))
    else None
)
import ssgpa
optional = {"datasets", "numba", "pycocoevalcap", "nltk", "peft", "deepspeed", "evaluate", "gradio", "diffusers"}
optional.add("matplotlib")
print(seen, sorted(optional & set(sys.modules)))
"""


def test_importing_uses_no_network_no_process_and_no_extra(tmp_path):
    done = run(sys.executable, "-c", QUIET, cwd=tmp_path)
    assert (done.stdout, done.returncode) == ("[] []\n", 0), done.stderr


BASE_ONLY = """
import sys
for name in ("datasets", "accelerate", "peft", "pycocoevalcap", "nltk", "numba", "evaluate", "deepspeed"):
    sys.modules[name] = None
from ssgpa.cli.commands import main
sys.exit(main(sys.argv[1:]))
"""


def test_the_command_needs_no_extra(tmp_path):
    model, processor = tiny_ssgpa()
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    for name, shade in (("before.png", 40), ("after.png", 200)):
        image = Image.new("RGB", (48, 32), (shade, 90, 120))
        # An image of one color is told on stderr.
        image.paste((90, shade, 20), (8, 8, 24, 24))
        image.save(tmp_path / name)
    words = ["caption", "before.png", "after.png", "--model", "./model", "--overlay", "overlay.png", "--json"]
    done = run(sys.executable, "-c", BASE_ONLY, *words, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    expected = pipeline("change-captioning", model=model, processor=processor, device="cpu")
    pair = (tmp_path / "before.png", tmp_path / "after.png")
    assert json.loads(done.stdout)["caption"] == expected(pair)[0]["generated_text"]
    assert Image.open(tmp_path / "overlay.png").size == (48, 32)


@pytest.fixture(scope="module")
def odd_copy(tmp_path_factory):
    """A checkout whose name is no identifier."""
    return clean_copy(tmp_path_factory.mktemp("odd") / "my repo.x")


@pytest.fixture(scope="module")
def installed(odd_copy, tmp_path_factory):
    """The wheel and the folder that it was installed to."""
    base = tmp_path_factory.mktemp("installed")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input")
    built = run(*pip, "wheel", odd_copy, "--no-deps", "--no-build-isolation", "--wheel-dir", base, cwd=base)
    assert built.returncode == 0, built.stderr
    (wheel,) = base.glob("*.whl")
    put = run(*pip, "install", wheel, "--no-deps", "--no-index", "--target", base / "site", cwd=base)
    assert put.returncode == 0, put.stderr
    return wheel, base / "site"


def test_the_wheel_holds_the_package_and_nothing_else(installed):
    names = {name for name in zipfile.ZipFile(installed[0]).namelist() if ".dist-info/" not in name}
    folders = {package.replace(".", "/"): folder_of(package) for package in PACKAGES}
    expected = {f"{name}/{path.name}" for name, folder in folders.items() for path in folder.glob("*.py")}
    for data in (ROOT / "checkpoints" / "ssgpa-clevr-tiny", ROOT / "metrics" / "report" / "page_files"):
        expected |= {f"ssgpa/{path.relative_to(ROOT)}" for path in data.glob("*")}
    assert expected <= names
    assert {name for name in names - expected if not name.endswith((".json", ".md", ".yaml"))} == set()
    assert not any(
        name.startswith(("ssgpa/tests/", "ssgpa/examples/", "ssgpa/benchmarks/", "tests/", "examples/"))
        for name in names
    )


def test_what_is_installed_imports_from_elsewhere(installed, tmp_path):
    code = "import ssgpa, ssgpa.cli.commands, ssgpa.data, ssgpa.metrics, ssgpa.training; print(ssgpa.__file__)"
    done = run(sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=str(installed[1]))
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()) == installed[1] / "ssgpa" / "__init__.py"


def test_the_installed_command_starts(installed, tmp_path):
    done = run(installed[1] / "bin" / "ssgpa", "--version", cwd=tmp_path, PYTHONPATH=str(installed[1]))
    assert (done.stdout, done.returncode) == (f"ssgpa {PROJECT['project']['version']}\n", 0), done.stderr


def test_tests_are_found_whatever_the_folder_is_called(odd_copy):
    """Where the checkout's name is no identifier, and where it is one and not the package's."""
    plain = clean_copy(odd_copy.parent / "proj_rel")
    for folder in (odd_copy, plain):
        tests = ["tests/cli/test_cli.py", "tests/test_pipeline_ssgpa.py"]
        done = run(sys.executable, "-m", "pytest", "--collect-only", "-q", *tests, cwd=folder)
        assert done.returncode == 0, done.stdout
        assert "test_version" in done.stdout
