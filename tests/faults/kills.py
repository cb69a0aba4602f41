# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Programs that are killed without warning, again and again, at moments that nobody chose.

A process imports the program once and forks a child for every run, so that each starts at once: twenty kills take a
minute, and most of them fall into the program's work and not into its imports. A kill comes at a random time, or at
the next change of the output after it, so that the short moments in which files are written are met too.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import numpy as np


ROOT = Path(__file__).parents[2]
SEED = 16
KILLS = 20
FORK = hasattr(os, "fork") and Path("/proc/self/stat").exists()
# Lines of JSON in: argument lists. Out: the process id of the child, then its status once it has ended.
NURSERY = """
import importlib, importlib.util, json, os, sys
name, script, log = sys.argv[1:4]
if script:
    spec = importlib.util.spec_from_file_location(name, script)
    program = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
else:
    program = importlib.import_module(name)
tell = lambda *words: print(*words, flush=True)
tell("ready")
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        os.setsid()
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0), os.dup2(output, 1), os.dup2(output, 2)
        code = 1
        try:
            code = program.main(json.loads(line))
        except SystemExit as end:
            code = end.code
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(code or 0)
    tell(child)
    tell(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


class Nursery:
    """Runs of one program, each in a fork of a process that has imported it.

    Args:
        name: Of the module; or of a module that is made of `script`.
        folder: Where the programs' output and their caches go.
        script: A file with `main`.
    """

    def __init__(self, name, folder, script=""):
        self.log = folder / "log.txt"
        environment = {**os.environ, "HF_HOME": str(folder / "home"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", NURSERY, name, str(script), str(self.log)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "encoding": "utf-8"}
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment, **pipes)
        assert self._read() == "ready"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.kill()
        self.process.wait()

    def _read(self):
        return self.process.stdout.readline().strip()

    def start(self, arguments):
        """Starts a run; returns the id of its process, which leads a group of its own."""
        self.process.stdin.write(json.dumps([str(word) for word in arguments]) + "\n")
        self.process.stdin.flush()
        return int(self._read())

    def status(self):
        """Waits for the run; returns its exit code, negative for a signal."""
        return int(self._read())

    def run(self, arguments):
        """Runs to the end; returns exit code and seconds."""
        begin = time.monotonic()
        self.start(arguments)
        return self.status(), time.monotonic() - begin

    def killed(self, arguments, seconds, watched, aim):
        """Runs, and kills after so many seconds, or with `aim` at the next change below `watched`.

        Returns True if the run was killed, False if it had ended before.
        """
        process = self.start(arguments)
        end = time.monotonic() + seconds
        while time.monotonic() < end and is_running(process):
            time.sleep(0.002)
        if aim:
            before = snapshot(watched)
            while is_running(process) and snapshot(watched) == before:
                time.sleep(0.0005)
        with suppress(ProcessLookupError):
            os.killpg(process, signal.SIGKILL)
        code = self.status()
        assert code in (0, -signal.SIGKILL), self.log.read_text("utf-8", errors="replace")[-4000:]
        return code != 0


def is_running(process):
    try:
        with Path(f"/proc/{process}/stat").open(encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def snapshot(folder):
    """Names, sizes and times of all below a folder, hidden ones included."""
    found = []
    for path in [*folder.rglob("*")]:
        try:
            state = path.lstat()
        except OSError:
            continue
        found.append((str(path), state.st_size, state.st_mtime_ns))
    return sorted(found)


def kill_again_and_again(nursery, arguments, watched, check, begin, name, kills=KILLS):
    """Kills runs until there were so many kills; what a killed run has left is what the next one goes on from.

    Args:
        nursery: The program.
        arguments: A function that gives the words of the next run.
        watched: The folder whose changes are waited for.
        check: Called with True after a run that came to its end, with False after a kill; returns the name of the
            moment at which the kill came.
        begin: Called before the first run, and after every one that came to its end.
        name: Of the program, for what is told.
        kills: How many.
    """
    draw = np.random.default_rng([SEED, *name.encode()])
    begin()
    code, seconds = nursery.run(arguments())
    assert code == 0, nursery.log.read_text("utf-8", errors="replace")[-4000:]
    check(True)
    begin()
    moments, done, ends, tries = Counter(), 0, 0, 0
    while done < kills:
        tries += 1
        assert tries < 10 * kills, moments
        # The later tries of one output go on, so early kills are as likely to meet new work.
        if nursery.killed(arguments(), draw.uniform(0, 0.9 * seconds), watched, aim=tries % 2 == 0):
            done += 1
            moments[check(False)] += 1
        else:
            ends += 1
            check(True)
            begin()
    code, _ = nursery.run(arguments())
    assert code == 0, nursery.log.read_text("utf-8", errors="replace")[-4000:]
    check(True)
    sys.stderr.write(f"\n{name}: {done} kills, {ends + 1} outputs came to their end, {dict(moments)}\n")
    return moments
