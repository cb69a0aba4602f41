# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Worker processes: what they import, how they end, and that a killed run goes on where it was."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ssgpa.data.clevr_renderer import RenderSettings, render_dataset
from ssgpa.data.clevr_renderer.dataset.workers import PROGRAM, Worker, render_in_workers


ROOT = Path(__file__).parents[3]
# Enters the package as a worker does: the program to be killed need not wait for torch.
ENTER = """
import importlib, importlib.util, json, sys
spec = importlib.util.spec_from_file_location("worker", sys.argv[1])
worker = importlib.util.module_from_spec(spec)
spec.loader.exec_module(worker)
worker.enter_package()
"""
LIST_IMPORTS = """
rendering = importlib.import_module("ssgpa.data.clevr_renderer.dataset.rendering")
print(sorted({"torch", "transformers", "datasets"} & set(sys.modules)), rendering.__file__)
"""
RENDER = """
from ssgpa.data.clevr_renderer import RenderSettings, render_dataset
render_dataset(sys.argv[2], RenderSettings.from_dict(json.loads(sys.argv[3])), workers=2, progress=False)
"""


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def is_alive(process_id):
    """Whether a process runs; one that has ended and that nobody has waited for does not."""
    status = Path(f"/proc/{process_id}/stat")
    return status.exists() and status.read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"


def wait_until(condition, seconds):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)


def test_a_worker_imports_neither_torch_nor_transformers():
    done = subprocess.run(
        [sys.executable, "-c", ENTER + LIST_IMPORTS, str(PROGRAM)], capture_output=True, text=True, check=True
    )
    found, _, path = done.stdout.strip().partition(" ")
    assert found == "[]"
    assert Path(path) == ROOT / "data" / "clevr_renderer" / "dataset" / "rendering.py"


def test_a_worker_ends_with_its_input(tmp_path):
    worker = Worker(tmp_path, RenderSettings(scenes=1, seed=0, size=(48, 32)), with_record=False)
    worker.process.stdin.close()
    assert worker.process.wait(timeout=60) == 0
    worker.process.stdout.close()


def test_what_a_worker_cannot_write_is_one_error(tmp_path):
    settings = RenderSettings(scenes=8, seed=0, size=(48, 32))
    with pytest.raises(OSError, match="CLEVR_default_00000"):
        list(render_in_workers(tmp_path / "missing", settings, list(range(8)), False, 2))


def test_a_killed_worker_is_one_error(tmp_path):
    worker = Worker(tmp_path, RenderSettings(scenes=1, seed=0, size=(48, 32)), with_record=False)
    worker.process.kill()
    with pytest.raises(ChildProcessError, match="run again"):
        worker.render([0])
    worker.close()


def kill_half_way(folder, settings, after):
    """Start a run with two workers, kill it without warning once `after` scenes are there, return what is."""
    words = [str(PROGRAM), str(folder), json.dumps(settings.to_dict())]
    process = subprocess.Popen([sys.executable, "-c", ENTER + RENDER, *words])
    parts = folder / ".parts"
    wait_until(lambda: parts.is_dir() and sum(path.suffix == ".json" for path in parts.iterdir()) >= after, 600)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="utf-8").split()
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    wait_until(lambda: not any(is_alive(child) for child in children), 30)
    assert len(children) == 2
    assert not json.loads((folder / "render_settings.json").read_text(encoding="utf-8"))["complete"]
    return sum(path.suffix == ".json" for path in parts.iterdir())


def check_resumed(tmp_path, settings, after):
    whole = contents(render_dataset(tmp_path / "whole", settings, progress=False))
    left = kill_half_way(tmp_path / "killed", settings, after)
    assert after <= left < settings.scenes
    resumed = contents(render_dataset(tmp_path / "killed", settings, workers=2, progress=False))
    assert resumed.keys() == whole.keys()
    assert resumed == whole


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds the workers in /proc")
def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path):
    check_resumed(tmp_path, RenderSettings(scenes=16, seed=5, size=(160, 120)), after=4)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds the workers in /proc")
def test_two_thousand_scenes_killed_half_way(tmp_path):
    check_resumed(tmp_path, RenderSettings(scenes=2000, seed=6, size=(48, 32)), after=1000)
