# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Commits laid out side by side: each runs its own files, under the names that things have there."""

import shutil
import subprocess

import pytest

from ssgpa.benchmarks import revisions
from ssgpa.benchmarks.revisions import commit_of, find, lay_out, run_at


pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="no git")
OLD = {"__init__.py": "", "old.py": "NAME = 'first'\n", "command/__init__.py": "WORD = 'before'\n"}
NEW = {"__init__.py": "", "new/place.py": "NAME = 'second'\n", "cli/entry/__init__.py": "WORD = 'after'\n"}


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Two commits, in whose second one everything has moved."""
    root = tmp_path / "repository"
    root.mkdir()
    git = ["git", "-C", str(root), "-c", "user.name=A", "-c", "user.email=a@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    for files in (OLD, NEW):
        for path in root.glob("[!.]*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        for name, text in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text, encoding="utf-8")
        subprocess.run([*git, "add", "-A"], check=True)
        subprocess.run([*git, "commit", "-qm", "Move"], check=True)
    monkeypatch.setattr(revisions, "ROOT", root)
    return [lay_out(commit_of(name), tmp_path / name.replace("~", "-")) for name in ("HEAD~1", "HEAD")]


def joined(*words: str) -> list:
    import ssgpa_command

    return [find("ssgpa.new.place:NAME", "ssgpa.old:NAME"), ssgpa_command.WORD, doubled(words[0]), len(words)]


def doubled(word: str) -> str:
    return 2 * word


def lost() -> None:
    find("ssgpa.nowhere:NAME", "ssgpa:NOTHING")


def test_a_function_finds_what_has_moved(places):
    answers = [run_at(place, joined, "ab", "c", uses=(doubled,)) for place in places]
    assert answers == [["first", "before", "abab", 2], ["second", "after", "abab", 2]]


def test_what_a_revision_lacks_is_told(places):
    with pytest.raises(ValueError, match=r"lost failed .* none of ssgpa\.nowhere:NAME, ssgpa:NOTHING"):
        run_at(places[0], lost)
