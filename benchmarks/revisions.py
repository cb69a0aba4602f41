# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Commits of this repository beside each other: each laid out in a folder, where its own files run."""

import importlib
import inspect
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any


ROOT = Path(__file__).resolve().parents[1]
SIDES = ("before", "after")
GIT = shutil.which("git") or "git"
# Where the command's own package has been; the oldest revisions have none.
COMMANDS = ("cli/entry", "command")


def git(*words: str) -> str:
    """What git says in this repository.

    Raises:
        ValueError: It fails.
    """
    done = subprocess.run([GIT, "-C", str(ROOT), *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"git {words[0]}: {' '.join(done.stderr.split()) or words[-1]}")
    return done.stdout.strip()


def commit_of(revision: str) -> str:
    """The commit that a revision names.

    Raises:
        ValueError: This is no git repository, or it knows no such commit.
    """
    return git("rev-parse", "--verify", f"{revision}^{{commit}}")


def lay_out(commit: str, folder: Path) -> Path:
    """Write a commit's files to `folder/ssgpa`, a package of that name, and the command's own package beside it.

    Args:
        commit (`str`): The commit.
        folder (`Path`): Is made.

    Returns:
        `Path`: `folder`, for `environment_of`.
    """
    folder.mkdir()
    archive = folder / "files.tar"
    git("archive", "--prefix=ssgpa/", f"--output={archive}", commit)
    with tarfile.open(archive) as files:
        files.extractall(folder, filter="data")
    archive.unlink()
    for place in COMMANDS:
        if (folder / "ssgpa" / place).is_dir():
            (folder / "ssgpa_command").symlink_to(folder / "ssgpa" / place)
    return folder


def environment_of(folder: Path) -> dict[str, str]:
    """This process's environment with what is laid out in a folder ahead of an installed package of the same name."""
    return os.environ | {"PYTHONPATH": str(folder), "HF_HUB_OFFLINE": "1"}


def find(*places: str) -> Any:
    """What a revision has at the first of several places that it has.

    Args:
        *places (`str`): "module:name", the newest first.

    Raises:
        ImportError: It has none of them.
    """
    for place in places:
        module, name = place.split(":")
        try:
            return getattr(importlib.import_module(module), name)
        except (ModuleNotFoundError, AttributeError):
            continue
    raise ImportError(f"this revision has none of {', '.join(places)}.")


def run_at(folder: Path, function: Callable[..., Any], *words: str, uses: tuple[Callable[..., Any], ...] = ()) -> Any:
    """Call a function under the revision laid out in a folder, in a process of its own.

    Its source runs there, so it imports by itself what it needs, and finds what has moved with `find`.

    Args:
        folder (`Path`): See `lay_out`.
        function (`Callable[..., Any]`): Takes strings and returns what JSON holds.
        *words (`str`): Its arguments.
        uses (`tuple[Callable[..., Any], ...]`): Further functions that it calls.

    Returns:
        `Any`: What it returns there.

    Raises:
        ValueError: It fails.
    """
    head = "from __future__ import annotations\nimport importlib, json, sys\n"
    sources = [inspect.getsource(part) for part in (find, *uses, function)]
    program = "\n".join([head, *sources, f"print(json.dumps({function.__name__}(*sys.argv[1:])))"])
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        env=environment_of(folder),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ValueError(f"{function.__name__} failed at a revision: {' '.join(done.stderr.split())[-300:]}")
    return json.loads(done.stdout.splitlines()[-1])
