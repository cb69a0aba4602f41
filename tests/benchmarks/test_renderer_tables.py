# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The renderer's tables are what the stored files say."""

import pytest

from ssgpa.benchmarks import renderer_tables


def test_stored_tables_are_up_to_date():
    assert renderer_tables.main(["--check"]) == 0


def test_a_table_that_was_changed_by_hand_is_found_and_mended(tmp_path, monkeypatch, capsys):
    text = renderer_tables.DOCUMENT.read_text(encoding="utf-8")
    document = tmp_path / "README.md"
    document.write_text(text.replace("| words | 72 [v] | 72", "| words | 72 [v] | 71"), encoding="utf-8")
    monkeypatch.setattr(renderer_tables, "DOCUMENT", document)
    assert renderer_tables.main(["--check"]) == 1
    assert renderer_tables.main([]) == 0
    assert document.read_text(encoding="utf-8") == text
    document.write_text("nothing", encoding="utf-8")
    assert renderer_tables.main([]) == 2
    assert "figures:begin" in capsys.readouterr().err


def test_rows_hold_the_figures():
    rows = [
        {
            "backend": "numba",
            "size": [240, 160],
            "workers": 2,
            "scenes_per_second": 7.046,
            "scenes_per_cpu_second": 3.5,
        }
    ]
    rows.append({**rows[0], "load_average_before": 1.25})
    lines = renderer_tables.speed_table({"rows": rows}).splitlines()
    assert lines[2] == "| numba | 240 x 160 | 2 | 7.05 | 3.50 | not recorded |"
    assert lines[3] == "| numba | 240 x 160 | 2 | 7.05 | 3.50 | 1.2 |"
    spread = dict(zip(("mean", *renderer_tables.QUANTILES), (0.5, 0.1, 0.2, 0.3, 0.4, 0.6), strict=True))
    assert renderer_tables.spread(spread) == "0.500; 0.100 / 0.200 / 0.300 / 0.400 / 0.600"
    with pytest.raises(KeyError):
        renderer_tables.speed_table({})


def test_types_are_counted_by_split():
    types = {
        "color": {"train": 6764, "validation": 397, "test": 797},
        "add": {"train": 6771, "validation": 398, "test": 797},
    }
    assert renderer_tables.counts(types) == "6764 to 6771 / 397 to 398 / 797"


def test_a_resumed_run_that_differs_says_so():
    resume = {
        "uninterrupted": {"seconds": 10.2},
        "killed": {
            "seconds_until_killed": 5.0,
            "seconds_after_resuming": 6.0,
            "scenes_recorded": 3,
            "images_left": 10,
        },
        "verdict": {"files": [27, 28], "different": 2},
    }
    lines = renderer_tables.resume_table(resume).splitlines()
    assert lines[2] == "| seconds | 10 | 5 + 6 |"
    assert lines[-2:] == ["| files at the end | 27 | 28 |", "| of them different by SHA-256 | - | 2 |"]
