# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Start-up, measured: which commands take turns, what is compared, and what stops a measurement."""

import json

import pytest

from ssgpa.benchmarks import measure_startup


@pytest.fixture
def commands(monkeypatch):
    """Commands of known length, in place of the real ones."""
    lengths = dict.fromkeys(measure_startup.RUNS, 1.0) | {"libraries": 20.0, "help": 0.1, "ssgpa caption": 1.25}
    ran = []

    def run_once(name):
        ran.append(name)
        return lengths[name], "a sentence\n" if name in {"bare script", "ssgpa caption"} else ""

    monkeypatch.setattr(measure_startup, "run_once", run_once)
    return ran


def test_commands_take_turns_and_medians_are_compared(commands, tmp_path):
    output = tmp_path / "startup.json"
    assert measure_startup.main(["--output", str(output), "--turns", "3"]) == 0
    assert commands == list(measure_startup.RUNS) * 4
    result = json.loads(output.read_text("utf-8"))
    assert result["seconds"]["help"] == [0.1] * 3
    compared = {(item["of"], item["to"]): item["ratio"] for item in result["ratios"]}
    assert compared["help", "libraries"] == pytest.approx(0.005)
    assert compared["ssgpa caption", "bare script"] == pytest.approx(1.25)
    assert {item["at_most"] for item in result["ratios"]} == {0.1, 1.1, 1.3}


def test_what_is_slower_than_it_may_be_fails(monkeypatch, tmp_path, capsys):
    said = {"bare script": "a sentence", "ssgpa caption": "a sentence"}
    monkeypatch.setattr(measure_startup, "run_once", lambda name: (1 + (name[0] == "s"), said.get(name, "")))
    assert measure_startup.main(["--output", str(tmp_path / "startup.json"), "--turns", "1"]) == 1
    assert (
        "ssgpa caption takes 2.00 times as long as bare script; at most 1.3 is asked for." in capsys.readouterr().err
    )


@pytest.mark.slow
def test_the_command_starts_in_time(tmp_path):
    assert measure_startup.main(["--output", str(tmp_path / "startup.json"), "--turns", "3"]) == 0


def test_different_captions_stop_the_measurement(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(measure_startup, "run_once", lambda name: (1.0, name))
    assert measure_startup.main(["--output", str(tmp_path / "startup.json")]) == 2
    assert "script and command differ: 'bare script', 'ssgpa caption'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_command_that_fails_stops_the_measurement(monkeypatch):
    monkeypatch.setitem(measure_startup.CODES, "wrong argument", 0)
    with pytest.raises(ChildProcessError, match=r"wrong argument ended with code 2: .*color"):
        measure_startup.run_once("wrong argument")
