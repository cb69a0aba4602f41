"""What is installed is complete, imports quietly, and does not depend on the name of the checkout."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import metadata
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet


ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = PROJECT["tool"]["setuptools"]["packages"]
NO_PACKAGES = {"tests", "examples", "build", "dist", "checkpoints", "runs", "outputs", "datasets"}


def folder_of(package):
    return ROOT.joinpath(*package.split(".")[1:])


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
            found.add(".".join(("ssgpa", *parts)))
    assert found == set(PACKAGES)


def test_nothing_asks_for_torchvision():
    """Its wheels replace the installed torch; so do those of whatever depends on it."""
    wanted = list(PROJECT["project"]["dependencies"])
    for extra in PROJECT["project"]["optional-dependencies"].values():
        wanted += extra
    names = {re.match(r"[\w.-]+", requirement)[0].lower() for requirement in wanted}
    assert names & {"torchvision", "timm", "open-clip-torch", "torchaudio"} == set()
    assert not any(requirement.startswith("transformers[") for requirement in wanted)


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
        assert 'requires-python = "' not in (text := example.read_text("utf-8")) or f'"{promised}"' in text, example


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
print(seen, sorted(optional & set(sys.modules)))
"""


def test_importing_uses_no_network_no_process_and_no_extra(tmp_path):
    done = run(sys.executable, "-c", QUIET, cwd=tmp_path)
    assert (done.stdout, done.returncode) == ("[] []\n", 0), done.stderr


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
    expected = {f"ssgpa/{path.relative_to(ROOT)}" for package in PACKAGES for path in folder_of(package).glob("*.py")}
    for data in (ROOT / "checkpoints" / "ssgpa-clevr-tiny", ROOT / "metrics" / "page_files"):
        expected |= {f"ssgpa/{path.relative_to(ROOT)}" for path in data.glob("*")}
    assert expected <= names
    assert {name for name in names - expected if not name.endswith((".json", ".md", ".yaml"))} == set()
    assert not any(name.startswith(("ssgpa/tests/", "ssgpa/examples/", "tests/", "examples/")) for name in names)


def test_what_is_installed_imports_from_elsewhere(installed, tmp_path):
    code = "import ssgpa, ssgpa.cli, ssgpa.data, ssgpa.metrics, ssgpa.training; print(ssgpa.__file__)"
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
        tests = ["tests/test_cli.py", "tests/test_pipeline_ssgpa.py"]
        done = run(sys.executable, "-m", "pytest", "--collect-only", "-q", *tests, cwd=folder)
        assert done.returncode == 0, done.stdout
        assert "test_version" in done.stdout
