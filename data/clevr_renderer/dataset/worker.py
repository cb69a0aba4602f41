# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The program that a worker process of the renderer runs: lines of JSON in, one line of JSON out for each.

The first line is the task, every other one a list of scene numbers. The program is started by its path and imports the
package without running `ssgpa/__init__.py`, which imports torch.
"""

import importlib
import json
import os
import signal
import sys
import traceback
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from types import ModuleType


def enter_package() -> None:
    """Make the modules of `ssgpa` importable without running its `__init__`."""
    package = ModuleType("ssgpa")
    package.__path__ = [str(Path(__file__).resolve().parents[3])]
    sys.modules["ssgpa"] = package


def read_lines(lines: SimpleQueue) -> None:
    """Pass lines on, and end the process when the input ends: the next run renders what is missing."""
    for line in sys.stdin:
        lines.put(line)
    os._exit(0)


def main() -> None:
    """Render until the input ends."""
    # Ctrl-C reaches all processes; the one that reads our answers decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    lines: SimpleQueue[str] = SimpleQueue()
    Thread(target=read_lines, args=(lines,), daemon=True).start()
    task = json.loads(lines.get())
    sys.path[:] = task["path"]
    enter_package()
    rendering = importlib.import_module("ssgpa.data.clevr_renderer.dataset.rendering")
    settings_module = importlib.import_module("ssgpa.data.clevr_renderer.dataset.settings")
    folder, settings = Path(task["folder"]), settings_module.RenderSettings.from_dict(task["settings"])
    while True:
        error = None
        try:
            for index in json.loads(lines.get()):
                rendering.render_scene(folder, settings, index, task["with_record"])
        except OSError as problem:
            error = str(problem)
        sys.stdout.write(json.dumps({"error": error}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    try:
        main()
    except Exception:
        traceback.print_exc()
        # An ordinary exit would wait for the thread that reads.
        os._exit(1)
