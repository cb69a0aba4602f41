# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Outputs: two runs exclude each other, a full disk is told, and what was there before stays."""

import errno
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from ssgpa.data.clevr_renderer import RenderSettings, render_dataset
from ssgpa.data.prepared import check_prepared, write_prepared
from ssgpa.data.readers.clevr_change import load_clevr_change
from ssgpa.data.syned.pipeline import make_syned
from ssgpa.metrics.report import page as report_page
from ssgpa.training.resuming import held_run
from ssgpa.training.systems import save_base
from ssgpa.utils.files import (
    append_lines,
    holding_output,
    recover_folder,
    replacing_folder,
    write_json,
    write_png,
    write_text,
)
from ssgpa.utils.results import PredictionLog

from ..scripts import load_script
from ..tiny_systems import tiny_ssgpa


class Run:
    """As much of a run's arguments as `held_run` reads."""

    process_index = 0

    def __init__(self, folder):
        self.output_dir = str(folder)


def train(folder):
    with held_run(Run(folder)):
        pass


def render(folder):
    render_dataset(folder, RenderSettings(scenes=1, seed=0, size=(48, 32)), progress=False)


def merge(folder):
    save_base(*tiny_ssgpa(), folder)


def show(folder):
    report_page.write_page(folder, {}, [])


@pytest.mark.parametrize("work", [train, render, merge, show])
def test_two_programs_on_one_output_exclude_each_other(work, tmp_path, monkeypatch):
    monkeypatch.setattr(report_page, "build_page", lambda *_: "")
    folder = tmp_path / "out" / "one"
    with holding_output(folder), ThreadPoolExecutor(1) as other:
        with pytest.raises(FileExistsError, match="out/one: another run is writing to it; wait until it has ended"):
            other.submit(work, folder).result()
        assert [path.name for path in folder.parent.iterdir()] == [".one.lock"]
    work(folder)
    assert ".one.lock" not in [path.name for path in folder.parent.iterdir()]


def test_preparing_excludes_preparing(rendered, tmp_path, capsys):
    main = load_script("prepare_data").main
    words = ["--dataset", "clevr_change", "--source", str(rendered), "--output_dir", str(tmp_path / "one")]
    with holding_output(tmp_path / "one"), ThreadPoolExecutor(1) as other:
        assert other.submit(main, words).result() == 2
        assert "another run is writing to it" in capsys.readouterr().err
        with pytest.raises(FileExistsError, match="another run is writing to it"):
            other.submit(write_prepared, load_clevr_change(rendered), tmp_path / "one").result()
    assert list(tmp_path.iterdir()) == []


def test_synthesis_excludes_synthesis(tmp_path, monkeypatch):
    for name in ("load_originals", "list_originals", "_check_before_work"):
        monkeypatch.setattr(f"ssgpa.data.syned.pipeline.{name}", lambda *_: [])
    refused = pytest.raises(FileExistsError, match="another run is writing to it")
    with holding_output(tmp_path / "one"), ThreadPoolExecutor(1) as other, refused:
        other.submit(make_syned, tmp_path, tmp_path / "one", None).result()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_child_holds_nothing_and_the_dead_hold_nothing(tmp_path):
    read, write = os.pipe()
    child = os.fork()
    if not child:
        with holding_output(tmp_path / "one"):
            os.write(write, b"held")
            os.kill(os.getpid(), 9)
    os.read(read, 4)
    os.waitpid(child, 0)
    with holding_output(tmp_path / "one"):
        child = os.fork()
        if not child:
            try:
                with holding_output(tmp_path / "one"):
                    os._exit(1)
            except FileExistsError:
                os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path):
    folder = tmp_path / "one"

    def fill(text, error=None):
        with replacing_folder(folder) as temporary:
            (temporary / text).write_text(text, encoding="utf-8")
            if error:
                raise error

    fill("first")
    fill("second")
    assert [path.name for path in folder.iterdir()] == ["second"]
    with pytest.raises(OSError, match=r"No space left on device: '.*one'"):
        fill("third", OSError(errno.ENOSPC, "No space left on device"))
    assert [path.name for path in folder.iterdir()] == ["second"]
    # Killed between the two renames.
    folder.rename(tmp_path / ".one.old")
    recover_folder(folder)
    assert [path.name for path in folder.iterdir()] == ["second"]
    # Killed right after them.
    shutil.copytree(folder, tmp_path / ".one.old")
    fill("fourth")
    assert [path.name for path in folder.iterdir()] == ["fourth"]
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_what_a_killed_run_had_moved_away_is_told_and_put_back(rendered, tmp_path, capsys):
    folder = write_prepared(load_clevr_change(rendered), tmp_path / "one")
    folder.rename(tmp_path / ".one.old")
    with pytest.raises(FileNotFoundError, match=r"has left the former one in .*\.one\.old"):
        check_prepared(folder)
    words = ["--dataset", "clevr_change", "--source", str(rendered), "--output_dir", str(folder)]
    assert load_script("prepare_data").main(words) == 2
    assert "pass --overwrite to replace it" in capsys.readouterr().err
    assert check_prepared(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


WRITERS = {
    "text": lambda path: write_text(path, "x" * 1_000_000),
    "JSON": lambda path: write_json(path, ["x" * 1_000_000]),
    "lines": lambda path: append_lines(path, ["x" * 1_000_000]),
    "PNG": lambda path: write_png(path, Image.effect_noise((512, 512), 90)),
}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="writes to /dev/full, a disk that is always full")
@pytest.mark.parametrize("kind", WRITERS)
def test_a_full_disk_is_told_with_the_file(kind, tmp_path, monkeypatch):
    path = tmp_path / "file"
    if kind == "lines":
        path.symlink_to("/dev/full")
    else:
        (tmp_path / ".file.tmp").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device") as caught:
        WRITERS[kind](path)
    assert caught.value.filename == str(path)
    assert caught.value.errno == errno.ENOSPC
    assert not (tmp_path / ".file.tmp").exists()


def test_a_log_has_its_first_line_whole_or_is_not_there(tmp_path, monkeypatch):
    """A run that was killed in its first moment had left a file that no later run could read."""
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        PredictionLog(tmp_path / "log.jsonl", {"model": "x"})
    monkeypatch.undo()
    assert not (tmp_path / "log.jsonl").exists()
    assert PredictionLog(tmp_path / "log.jsonl", {"model": "x"}).captions == {}
