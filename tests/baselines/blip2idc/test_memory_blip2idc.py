# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The stored memory of training at real size: what it must show, its table, and a recount of a row."""

import json

import pytest

from ssgpa.benchmarks import measure_system_memory
from ssgpa.benchmarks.readme_table import read_block, replace_block
from ssgpa.benchmarks.tables.memory_table import format_system

from ...examples.runs import ROOT


RESULTS = ROOT / "benchmarks/results/blip2idc-memory.json"
WORDS = ["blip2idc", "--run", str(ROOT / "examples/configs/blip2idc/clevr.yaml"), "--prompt_tokens", "1"]
WORDS += ["--model_config", str(ROOT / "examples/configs/models/blip2idc-opt-2.7b.json")]


@pytest.fixture(scope="module")
def figures():
    return json.loads(RESULTS.read_text(encoding="utf-8"))


def counted(figures, run, batch_size, checkpointing):
    (found,) = (
        row
        for row in figures["counted"]
        if (row["run"], row["batch_size"], bool(row["checkpointing"])) == (run, batch_size, checkpointing)
    )
    return found


def test_every_run_fits_a_gpu_of_24_gb(figures):
    """The largest batch of the YAMLs is 48 pairs, at rank 8; rank 32 adds what its matrices need four times."""
    largest = counted(figures, "blip2idc", 48, True)["gib"]
    assert largest["total"] < 24 - 0.5
    trained = 4 * 12_533_760 / 2**30
    assert largest["gradients"] == pytest.approx(trained, abs=1e-3)
    assert largest["optimizer"] == pytest.approx(2 * trained, abs=1e-3)
    assert largest["total"] + 4 * trained < 24 - 0.5


def test_the_base_is_kept_in_16_bits_and_what_trains_in_32(figures):
    parts = counted(figures, "blip2idc", 2, True)["gib_by_part"]
    assert parts["language_model"].keys() == {"bfloat16", "float32"}
    assert parts["language_model"]["float32"] == pytest.approx(4 * 7_864_320 / 2**30, abs=1e-3)


@pytest.mark.parametrize("batch_size", [2, 4, 16])
def test_it_stands_beside_ssgpa(figures, batch_size):
    for checkpointing in (True, False):
        ours = counted(figures, "blip2idc", batch_size, checkpointing)["gib"]
        ssgpa = counted(figures, "SSGPA, 24gb", batch_size, checkpointing)["gib"]
        assert ours["weights"] < 0.5 * ssgpa["weights"]
    stored = json.loads((ROOT / "benchmarks/results/memory.json").read_text(encoding="utf-8"))
    row = next(row for row in stored["counted"] if (row["run"], row["batch_size"]) == ("24gb", batch_size))
    assert row["gib"] == counted(figures, "SSGPA, 24gb", batch_size, bool(row["checkpointing"]))["gib"]


def test_the_page_says_what_the_file_says():
    page = (ROOT / "docs/systems/blip2idc.md").read_text(encoding="utf-8")
    block = read_block(RESULTS, format_system)
    assert "**9.03**" in block
    assert replace_block(page, block, "blip2idc-memory") == page


@pytest.mark.slow
def test_a_row_is_counted_again(figures, tmp_path):
    assert measure_system_memory.main([*WORDS, "--batch_size", "2", "--output", str(tmp_path / "found.json")]) == 0
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    for checkpointing in (True, False):
        again = counted(found, "blip2idc", 2, checkpointing)["gib"]
        assert again == pytest.approx(counted(figures, "blip2idc", 2, checkpointing)["gib"], rel=1e-3)


def test_what_is_no_run_is_told(tmp_path, capsys):
    words = ["blip2idc", "--run", str(tmp_path / "none.yaml"), *WORDS[3:], "--output", str(tmp_path / "out.json")]
    assert measure_system_memory.main(words) == 2
    assert "none.yaml" in capsys.readouterr().err
    assert not (tmp_path / "out.json").exists()
