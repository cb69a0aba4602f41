# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The tables of the alignment say what the files say, and the stored files hold what the README tells."""

import json
from pathlib import Path

import pytest

from ssgpa.benchmarks.readme_table import BLOCKS, NO_FIGURES, read_block
from ssgpa.benchmarks.tables.evidence_tables import ROWS, TYPES, format_cost, format_localization


ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"


@pytest.fixture(scope="module")
def localization():
    return json.loads((RESULTS / "localization.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def cost():
    return json.loads((RESULTS / "alignment_cost.json").read_text("utf-8"))


def cells(text, first):
    """The cells of the row whose first cell begins so."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    return next(row[1:] for row in rows if row[0].startswith(first))


def test_the_rows_hold_the_numbers_of_the_file(localization):
    text = format_localization(localization, "x.json")
    for name, label in ROWS.items():
        row, figures = cells(text, label), localization["pointing"][name]
        assert [float(cell) for cell in row[:5]] == pytest.approx(
            [100 * figures[kind]["mean"] for kind in TYPES], abs=0.051
        )
        assert float(row[5].split()[0]) == pytest.approx(100 * figures["all"]["mean"], abs=0.051)
        assert float(row[6]) == pytest.approx(100 * localization["touching"][name]["all"]["mean"], abs=0.051)
    assert cells(text, "chance")[7:] == ["-", "-"]


def test_costs_are_told(cost):
    text = format_cost(cost, "x.json")
    for size in cost["law"]["sizes"]:
        row = cells(text, str(size["patches"]))
        assert float(row[0]) == pytest.approx(size["forward_seconds"], abs=0.0051)
        assert float(row[2]) == pytest.approx(size["saved_bytes"] / 1e6, abs=0.51)
    assert "985,952,256 parameters" in text


def test_only_stored_files_are_told(tmp_path):
    for name in ("localization", "cost"):
        file, lay_out = BLOCKS[name]
        assert read_block(tmp_path / file, lay_out) == NO_FIGURES


def test_the_page_shows_both():
    text = (ROOT / "docs" / "evidence.md").read_text("utf-8")
    marks = [f"<!-- {name}:{end} -->" for name in ("localization", "cost") for end in ("begin", "end")]
    assert [text.count(mark) for mark in marks] == [1, 1, 1, 1]


def test_the_figure_of_the_readme_is_small():
    assert (ROOT / "docs" / "alignment.png").stat().st_size < 300_000


def test_what_the_page_says_of_localization(localization):
    """Each sentence under the table; when one fails, the text is to be changed with the numbers."""
    assert localization["pairs"] == {"changed": 1000, "unchanged": 1000}
    touching = localization["touching"]
    assert touching["change_map"]["all"]["mean"] > 0.7
    for measure in ("pointing", "touching"):
        difference = localization["differences"][measure]
        assert difference["change_map - same_cell"]["interval"][0] > 0
        low, high = difference["residual - softmax_attention"]["interval"]
        assert low < 0 < high
    assert localization["differences"]["touching"]["change_map - softmax_attention"]["interval"][0] > 0
    assert all(abs(touching["content"][kind]["mean"] - 0.98) < 0.015 for kind in ("color", "material"))
    assert touching["change_map"]["move"]["mean"] > touching["softmax_attention"]["move"]["mean"] + 0.1
    for kind in ("color", "material", "add", "drop"):
        assert abs(touching["change_map"][kind]["mean"] - touching["softmax_attention"][kind]["mean"]) < 0.05
    means = {name: localization["pointing"][name]["all"] for name in ("change_map", "largest_of_three")}
    assert means["change_map"]["interval"][0] > means["largest_of_three"]["interval"][1]


def test_the_alignment_costs_less_than_a_tenth_of_the_tower(cost):
    overhead = cost["overhead"]
    assert (overhead["patches"], overhead["pairs"], overhead["tower_parameters"]) == (256, 8, 985_952_256)
    assert all(row["ratio"] < 0.10 for row in overhead["dtypes"].values())
    assert 256 < cost["law"]["fits"]["forward_seconds"]["balance"] < 1024
    assert cost["law"]["fits"]["saved_bytes"]["balance"] > 1024
