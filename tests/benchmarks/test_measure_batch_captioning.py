# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The measurement of batch captioning: its pairs, its reading of the samples, and one small run."""

import csv
import json

import pytest

from ssgpa.benchmarks.measure_batch_captioning import ROOT, describe_memory, main, write_pairs
from ssgpa.cli.commands import EMBEDDED
from ssgpa.image_utils_ssgpa import load_image


STORED = ROOT / "benchmarks" / "results" / "batch_captioning.json"


def test_the_broken_rows_are_broken_and_no_others(tmp_path):
    broken = write_pairs(tmp_path, 40, 10)
    assert broken == [10, 20, 30, 40]
    with (tmp_path / "pairs.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 40
    kinds = set()
    for number, row in enumerate(rows, start=1):
        if number not in broken:
            load_image(tmp_path / row["before"])
            load_image(tmp_path / row["after"])
            continue
        with pytest.raises((OSError, ValueError)) as caught:
            [load_image(tmp_path / name) for name in row.values()]
        kinds.add(type(caught.value))
    assert kinds == {FileNotFoundError, ValueError}


def test_memory_counts_from_the_first_line_on():
    samples = [(0.0, 900.0, 0), *((float(i), 100.0 + i, 1) for i in range(8))]
    memory = describe_memory(samples)
    assert memory["quarters_largest_mib"] == [101, 103, 105, 107]
    assert memory["quarters_median_mib"] == [100.5, 102.5, 104.5, 106.5]
    assert memory["growth_mib"] == 6
    assert memory["peak_mib"] == 900
    with pytest.raises(ValueError, match="too few"):
        describe_memory(samples[:4])


def test_the_stored_run_is_whole_and_flat():
    figures = json.loads(STORED.read_text(encoding="utf-8"))
    assert (figures["pairs"], figures["captioned"], figures["failed"]) == (1000, 990, 10)
    assert len(figures["errors"]) == 3
    assert figures["exit_code"] == 1
    assert figures["memory"]["growth_mib"] < 0.05 * figures["memory"]["peak_mib"]


@pytest.mark.slow
@pytest.mark.skipif(not EMBEDDED.is_dir(), reason="this copy holds no embedded checkpoint")
def test_a_small_run_is_flat(tmp_path):
    assert main(["--output", str(tmp_path / "out.json"), "--pairs", "200", "--broken_every", "20"]) == 0
    figures = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert (figures["captioned"], figures["failed"]) == (190, 10)
    assert figures["memory"]["growth_mib"] < 0.05 * figures["memory"]["peak_mib"]
