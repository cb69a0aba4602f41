# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""A table shared by the processes of a launcher: one output, the same as that of one process, and nothing twice."""

import csv
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssgpa.cli import commands as cli
from ssgpa.cli.process_group import ProcessGroup

from ..tiny_systems import save_tiny


pytestmark = pytest.mark.usefixtures("restored_logging")
ROWS = 24
BAD = (7, 20)
OPTIONS = ["--num-beams", "1", "--max-new-tokens", "4", "--batch-size", "2", "--on-error", "ignore", "--quiet"]
# As the launcher on a machine without a GPU would start GPU processes: they find none, and use the CPU.
LAUNCH = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--mixed_precision", "no"]
LAUNCH += ["--dynamo_backend", "no"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("model"))


@pytest.fixture
def table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    rows = []
    for row in range(1, ROWS + 1):
        Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(f"{row}.png")
        rows.append((f"p{row}", "gone.png" if row in BAD else f"{row}.png", "1.png"))
    with Path("pairs.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("pair_id", "before", "after"), *rows])


def words(model, output, *more):
    return ["caption", "--pairs", "pairs.csv", "--model", str(model), "--output", output, *OPTIONS, *more]


def free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return str(server.getsockname()[1])


def launch(*arguments, machines=1, rank=0, port=None):
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    place = ["--num_processes", str(2 * machines)]
    place += ["--num_machines", str(machines), "--machine_rank", str(rank), "--main_process_port", port or free_port()]
    place += ["--main_process_ip", "127.0.0.1", "--rdzv_backend", "static"] if machines > 1 else []
    return subprocess.Popen(
        [*LAUNCH, *place, "-m", "ssgpa", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def alone(model, capsys):
    assert cli.main(words(model, "alone.jsonl")) == 0
    capsys.readouterr()
    return Path("alone.jsonl").read_bytes()


def test_without_a_launcher_there_is_one_process(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")  # what a cluster sets means nothing without the rest
    with ProcessGroup() as group:
        assert (group.count, group.rank, group.is_first, group.device) == (1, 0, True, None)
        assert group.deal([["a"]]) == ["a"]
        assert group.collect("b") == ["b"]
        assert group.first(lambda: 7) == 7


@pytest.mark.slow
def test_two_processes_write_what_one_does(table, model, capsys):
    expected = alone(model, capsys)
    code, out, err = finish(launch(*words(model, "shared.jsonl")))
    assert (code, out) == (0, "shared.jsonl: 22 pairs captioned, 2 failed.\n"), err
    assert err.count("ssgpa: row 7: ") == err.count("ssgpa: row 20: ") == 1
    assert Path("shared.jsonl").read_bytes() == expected
    # The same command has nothing left to do but the errors.
    code, out, _ = finish(launch(*words(model, "shared.jsonl")))
    assert (code, out) == (0, "shared.jsonl: 0 pairs captioned, 22 were there already, 2 failed.\n")
    assert Path("shared.jsonl").read_bytes() == expected


@pytest.mark.slow
def test_two_machines_of_two_processes_write_what_one_does(table, model, capsys):
    expected = alone(model, capsys)
    port = free_port()
    machines = [launch(*words(model, "shared.jsonl"), machines=2, rank=rank, port=port) for rank in range(2)]
    (code, out, err), (other_code, other_out, _) = map(finish, machines)
    assert (code, other_code, other_out) == (0, 0, ""), err
    assert out == "shared.jsonl: 22 pairs captioned, 2 failed.\n"
    assert Path("shared.jsonl").read_bytes() == expected


def children(pid):
    """Processes that a launcher started, by rank."""
    import psutil

    found = {}
    for child in psutil.Process(pid).children(recursive=True):
        rank = child.environ().get("RANK")
        if rank is not None and "ssgpa" in child.cmdline():
            found[int(rank)] = child.pid
    return found


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_is_killed_costs_a_batch_and_nothing_twice(rank, table, model, capsys):
    expected = alone(model, capsys)
    launcher = launch(*words(model, "shared.jsonl"))
    output = Path("shared.jsonl")
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and len(processes := children(launcher.pid)) < 2:
        time.sleep(0.1)
    while time.monotonic() < deadline and not (output.exists() and output.stat().st_size):
        time.sleep(0.001)
    os.kill(processes[rank], signal.SIGKILL)
    code, _, err = finish(launcher)
    assert code != 0
    assert "SIGKILL" in err
    written = [json.loads(line)["row"] for line in output.read_text("utf-8").splitlines()]
    assert 0 < len(written) < ROWS
    assert written == sorted(set(written))
    code, out, err = finish(launch(*words(model, "shared.jsonl")))
    assert code == 0, err
    known = int(re.search(r"(\d+) were there already", out)[1])
    assert known == len([row for row in written if row not in BAD])
    assert output.read_bytes() == expected


@pytest.mark.slow
def test_an_error_of_one_process_ends_all(table, model):
    """The first one says why, once; the others do not wait for it."""
    code, out, err = finish(launch(*words(model, "none/shared.jsonl")))
    assert code != 0
    assert out == ""
    assert err.count("ssgpa: error: ") == 1
    assert "ssgpa: error: none/shared.jsonl: there is no folder none to write to." in err
    stop = [word if word != "ignore" else "stop" for word in words(model, "shared.jsonl")]
    code, out, err = finish(launch(*stop))
    assert code != 0
    assert err.count("ssgpa: error: ") == 1
    assert "ssgpa: error: row 7: " in err
    assert not {7, 20} & {json.loads(line)["row"] for line in Path("shared.jsonl").read_text("utf-8").splitlines()}
