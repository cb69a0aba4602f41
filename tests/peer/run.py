# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Run the common tests of the installed transformers on tiny ssgpa models.

Usage: `python tests/peer/run.py [pytest options]`.

The tests come from the source distribution of the very version that is installed. They are unpacked to a cache folder
(`SSGPA_PEER_CACHE`, by default `~/.cache/ssgpa/peer-<version>`) and never to this repository. The exit code is that of
pytest; it is 1, after one line, where the tests are not in the cache and the package index cannot be reached.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import transformers
from PIL import Image


ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
PACKAGE = "transformers_peer"

# What the tests import and the source distribution leaves out. Images of the Hub become a pair of local ones; tests of
# `generate` are our own.
STUBS = {
    f"{PACKAGE}/__init__.py": "",
    f"{PACKAGE}/generation/__init__.py": "",
    f"{PACKAGE}/generation/test_utils.py": (HERE / "generation_tester.py").read_text(encoding="utf-8"),
    f"{PACKAGE}/exporters/__init__.py": "",
    f"{PACKAGE}/exporters/test_export.py": "class ExportTesterMixin:\n    pass\n",
    f"{PACKAGE}/utils/__init__.py": "",
    f"{PACKAGE}/utils/test_configuration_utils.py": "config_common_kwargs = {}\n",
    # The pipeline tests read which tiny models there are, and import the library by its folder in a clone.
    "tests/utils/tiny_model_summary.json": "{}\n",
    "src/transformers/__init__.py": "",
    "utils/fetch_hub_objects_for_ci.py": (
        "from pathlib import Path\n\n\n"
        "def url_to_local_path(url, return_url_if_not_found=True):\n"
        "    folder = Path(__file__).parent\n"
        "    return [str(folder / 'before.png'), str(folder / 'after.png')] if url.endswith('.png') else url\n"
    ),
}


def download(folder: Path) -> Path:
    """Fetch the source distribution of the installed transformers with pip, which installs nothing here."""
    name = f"transformers=={transformers.__version__}"
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--no-binary",
        ":all:",
        "--dest",
        str(folder),
        name,
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    archives = list(folder.glob("*.tar.gz"))
    if result.returncode or not archives:
        reason = (result.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
        sys.exit(f"make test-peer: the source distribution of {name} is not cached and cannot be fetched ({reason}).")
    return archives[0]


def write_stubs(folder: Path) -> None:
    """Write what the source distribution leaves out, where it is not there yet or was another one."""
    for path, content in STUBS.items():
        target = folder / path
        if not target.is_file() or target.read_text(encoding="utf-8") != content:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(content, encoding="utf-8")


def unpack(archive: Path, folder: Path) -> None:
    """Copy the test modules out of the archive and write the stubs beside them."""
    write_stubs(folder)
    for side, color in (("before", "gray"), ("after", "teal")):
        Image.new("RGB", (64, 48), color).save(folder / "utils" / f"{side}.png")
    with tarfile.open(archive) as members:
        for member in members:
            parts = Path(member.name).parts
            if member.isfile() and len(parts) == 3 and parts[1] == "tests" and parts[2].endswith(".py"):
                (folder / PACKAGE / parts[2]).write_bytes(members.extractfile(member).read())


def prepare(cache: Path) -> None:
    """Fill the cache folder, whole or not at all."""
    if (cache / PACKAGE).is_dir():
        # A cache of an earlier version of this file.
        write_stubs(cache)
        return
    cache.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache.parent) as scratch:
        filled = Path(scratch) / "filled"
        unpack(download(Path(scratch)), filled)
        if not (filled / PACKAGE / "test_modeling_common.py").is_file():
            sys.exit("make test-peer: the source distribution of transformers holds no common tests any more.")
        shutil.rmtree(cache, ignore_errors=True)
        filled.replace(cache)


def main() -> int:
    """Prepare the cache and hand over to pytest, which compares every skip with the table in README.md."""
    default = Path.home() / ".cache" / "ssgpa" / f"peer-{transformers.__version__}"
    cache = Path(os.environ.get("SSGPA_PEER_CACHE", default)).expanduser().resolve()
    prepare(cache)
    modules = sorted(str(path) for path in HERE.glob("peer_*.py"))
    search = os.pathsep.join(filter(None, [str(cache), str(HERE), os.environ.get("PYTHONPATH", "")]))
    with tempfile.TemporaryDirectory() as home:
        offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": home, "PYTHONPATH": search}
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "-p",
            "skip_reasons",
            "--disable-warnings",
            "-m",
            "",
            "-rs",
            "-q",
            *sys.argv[1:],
            *modules,
        ]
        return subprocess.run(command, cwd=ROOT, env=os.environ | offline, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
