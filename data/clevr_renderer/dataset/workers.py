# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Worker processes of the renderer, fed with scene numbers through pipes.

They are programs of their own and not `multiprocessing`'s, whose processes import the main program and with it torch,
which takes many times longer than all that rendering needs.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from .rendering import warm_up
from .settings import RenderSettings


PROGRAM = Path(__file__).with_name("worker.py")
CHUNK = 4


class Worker:
    """One process, which ends as soon as its input does: with this object, or with the process that made it."""

    def __init__(self, folder: Path, settings: RenderSettings, with_record: bool) -> None:
        # -P: the program's own folder does not belong on the path.
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(PROGRAM)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
        )
        task = {"folder": str(folder), "settings": settings.to_dict(), "with_record": with_record}
        self._send(task | {"path": sys.path})

    def _send(self, message: Any) -> None:
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()

    def render(self, indices: list[int]) -> int:
        """Render scenes and return how many.

        Raises:
            OSError: If the worker could not write, or has ended.
        """
        try:
            self._send(indices)
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            code = self.process.wait()
            raise ChildProcessError(f"a worker of the renderer ended with code {code}; run again to go on from there")
        error = json.loads(answer)["error"]
        if error:
            raise OSError(error)
        return len(indices)

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.stdout.close()


def render_in_workers(
    folder: Path, settings: RenderSettings, indices: list[int], with_record: bool, workers: int
) -> Iterator[int]:
    """Render scenes in several processes, and give the number of scenes of each finished chunk.

    Raises:
        OSError: As `Worker.render`.
    """
    warm_up(settings)
    idle: SimpleQueue[Worker] = SimpleQueue()

    def render(chunk: list[int]) -> int:
        worker = idle.get()
        try:
            return worker.render(chunk)
        finally:
            idle.put(worker)

    chunks = [indices[start : start + CHUNK] for start in range(0, len(indices), CHUNK)]
    with ThreadPoolExecutor(workers) as pool, ExitStack() as stack:
        for _ in range(min(workers, len(chunks))):
            worker = Worker(folder, settings, with_record)
            stack.callback(worker.close)
            idle.put(worker)
        stack.callback(pool.shutdown, wait=False, cancel_futures=True)
        for job in as_completed([pool.submit(render, chunk) for chunk in chunks]):
            yield job.result()
