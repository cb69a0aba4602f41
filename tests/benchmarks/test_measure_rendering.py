# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Rows of the renderer's speed: measured ones, and those of an earlier call."""

import json

import pytest

from ssgpa.benchmarks import measure_rendering


def row(backend, size, workers, rate):
    return {"backend": backend, "size": list(size), "workers": workers, "scenes_per_second": rate}


def test_rows_of_an_earlier_call_stay():
    old = [row("numpy", (48, 32), 1, 1.0), row("numba", (48, 32), 1, 2.0)]
    new = [row("numba", (48, 32), 2, 4.0), row("numba", (48, 32), 1, 3.0)]
    merged = measure_rendering.merge_rows(old, new)
    assert [(one["backend"], one["workers"], one["scenes_per_second"]) for one in merged] == [
        ("numba", 1, 3.0),
        ("numba", 2, 4.0),
        ("numpy", 1, 1.0),
    ]


def test_figures_are_measured(tmp_path, capsys):
    output = tmp_path / "rows.json"
    arguments = ["--output", str(output), "--backends", "numpy", "--sizes", "48x32", "--scenes", "2", "2"]
    assert measure_rendering.main(arguments) == 0
    (found,) = json.loads(output.read_text(encoding="utf-8"))["rows"]
    assert found["scenes"] == 2
    assert found["size"] == [48, 32]
    assert found["scenes_per_second"] == pytest.approx(2 / found["seconds"])
    assert 0 < found["cpu_seconds"] < 1.5 * found["seconds"]
    assert measure_rendering.main([*arguments[:4], "--sizes", "48"]) == 2
    assert "240x160" in capsys.readouterr().err
