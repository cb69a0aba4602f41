# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The program that measures what the training pairs take in memory."""

import json
import mmap
import os
from pathlib import Path

import pytest

from ssgpa.benchmarks import measure_pairs_memory as program


RESULTS = Path(program.__file__).parent / "results" / "pairs_memory.json"
pytestmark = pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux")


def test_private_memory_is_what_a_process_has_written():
    chunk = os.urandom(2**20)
    start = program.private()
    # Of its own: an allocator may hand out what other tests have written to and freed.
    with mmap.mmap(-1, 64 * 2**20) as region:
        for _ in range(64):
            region.write(chunk)
        assert 60 < program.private() - start < 80


def test_figures_of_this_revision(tmp_path, own_cache):
    program.write_pairs(tmp_path / "data", 40)
    figures = program.measure_revision(str(tmp_path / "data"))
    assert figures["worker_private_first_mib"] > 0
    assert figures["worker_private_last_mib"] > 0
    # 40 pairs of 2 x 96 cells of 4 bytes, and their texts.
    assert 0.03 < figures["rows_in_arrow_mib"] < 0.2


def test_unknown_revision_is_one_line(tmp_path, capsys, restored_logging):
    words = ["--before", "no-such-revision", "--output", str(tmp_path / "out.json"), "--pairs", "4"]
    assert program.main(words) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not (tmp_path / "out.json").exists()


def test_the_recorded_figures_are_those_of_the_issue():
    """As Python objects 600 MiB and 470 MiB a worker; in Arrow 83 MiB, shared."""
    found = json.loads(RESULTS.read_text("utf-8"))
    before, after = found["figures"]["before"], found["figures"]["after"]
    assert found["pairs"] == program.CLEVR_CHANGE_PAIRS
    assert before["training_data_private_mib"] > 500
    assert after["training_data_private_mib"] < 20
    growth = {
        side: found["figures"][side]["worker_private_last_mib"] - found["figures"][side]["worker_private_first_mib"]
        for side in ("before", "after")
    }
    assert growth["before"] > 400
    assert growth["after"] < 20
