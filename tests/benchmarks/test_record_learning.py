# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Records of runs: what they cost, whether they have left the constant captions, and the table of them."""

import copy
import json
from pathlib import Path

import pytest

from ssgpa.benchmarks import record_training
from ssgpa.benchmarks.readme_table import BLOCKS, read_block
from ssgpa.benchmarks.record_learning import main


RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "ssgpa-clevr-tiny.json"
VALUES = {"max_steps": 30, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}


@pytest.fixture
def run(tmp_path):
    """The files of a run that has ended."""
    folder = tmp_path / "run"
    folder.mkdir()
    (tmp_path / "run.yaml").write_text(json.dumps(VALUES), encoding="utf-8")
    state = {"global_step": 30, "log_history": [{"step": 30, "loss": 1.5}]}
    (folder / "trainer_state.json").write_text(json.dumps(state), encoding="utf-8")
    (folder / "train_results.json").write_text(json.dumps({"train_runtime": 120.0}), encoding="utf-8")
    return folder


@pytest.fixture
def results():
    found = json.loads(RESULTS.read_text(encoding="utf-8"))
    return found | {"render_settings": {"scenes": 500}}


def record(tmp_path, run, results, system="small", stages=1):
    (tmp_path / "results.json").write_text(json.dumps(results), encoding="utf-8")
    words = ["--configs", *[str(tmp_path / "run.yaml")] * stages, "--runs", *[str(run)] * stages]
    words += ["--results", str(tmp_path / "results.json"), "--output", str(tmp_path / "learning.json")]
    return main([system, *words])


def test_stages_add_up_and_systems_stand_beside_each_other(tmp_path, run, results, capsys):
    poor = copy.deepcopy(results)
    best = poor["baselines"][poor["best_constant_baseline"]["changed"]]["changed"]["cider"]
    # A score above the constant caption's, not safely.
    poor["scores"]["changed"] |= {"cider": best + 0.1}
    poor["scores"]["changed"]["intervals"]["cider"] = [best - 0.01, best + 0.2]
    assert record(tmp_path, run, results, "small", stages=2) == 0
    assert "small has left" in capsys.readouterr().out
    assert record(tmp_path, run, poor, "poor") == 0
    assert "poor has NOT left" in capsys.readouterr().out
    stored = json.loads((tmp_path / "learning.json").read_text(encoding="utf-8"))
    assert list(stored) == ["poor", "small"]
    assert [one["pairs"] for one in stored["small"]["runs"]] == [240, 240]
    file, lay_out = BLOCKS["learning"]
    table = read_block(tmp_path / file, lay_out)
    (row,) = (line for line in table.splitlines() if line.startswith("| small |"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1].startswith(f"**{100 * results['scores']['changed']['cider']:.1f}** (")
    assert cells[2] == f"{100 * best:.1f}"
    assert cells[-3:] == ["no", "480, 500", "4"]
    assert "| poor |" not in table
    figures = f"{100 * (best + 0.1):.1f}; best constant {100 * best:.1f}"
    assert table.endswith(f"Not beyond the constant captions yet: poor ({figures}).")


def test_correct_captions_have_a_column_where_scenes_were_known(tmp_path, run, results):
    file, lay_out = BLOCKS["learning"]
    assert record(tmp_path, run, results) == 0
    head, _, row, *_ = read_block(tmp_path / file, lay_out).splitlines()
    place = head.split(" | ").index("correct, changed pairs (95 %)")
    share, (low, high) = results["scores"]["changed"]["correct"], results["scores"]["changed"]["intervals"]["correct"]
    assert row.split(" | ")[place] == f"{100 * share:.1f} % ({100 * low:.1f} to {100 * high:.1f})"
    plain = copy.deepcopy(results)
    del plain["scores"]["changed"]["correct"]
    assert record(tmp_path, run, plain) == 0
    assert "correct" not in read_block(tmp_path / file, lay_out).splitlines()[0]


def test_a_run_that_its_file_does_not_tell_is_refused(tmp_path, run, results, capsys):
    (tmp_path / "run.yaml").write_text(json.dumps(VALUES | {"max_steps": 40}), encoding="utf-8")
    assert record(tmp_path, run, results) == 2
    assert "took 30 steps" in capsys.readouterr().err
    assert not (tmp_path / "learning.json").exists()


def test_a_run_that_has_not_ended_is_refused(tmp_path, run, results, capsys):
    (run / "train_results.json").unlink()
    assert record(tmp_path, run, results) == 2
    assert "train_results.json" in capsys.readouterr().err


def test_a_run_has_the_values_of_its_base(tmp_path, run, results):
    values = json.loads((tmp_path / "run.yaml").read_text(encoding="utf-8"))
    (tmp_path / "base.yaml").write_text(json.dumps(values), encoding="utf-8")
    (tmp_path / "run.yaml").write_text(json.dumps({"base": "base.yaml", "model_config": None}), encoding="utf-8")
    assert record(tmp_path, run, results) == 0
    (found,) = json.loads((tmp_path / "learning.json").read_text(encoding="utf-8"))["small"]["runs"]
    assert found["values"] == {name: value for name, value in values.items() if name != "model_config"}


def test_the_training_of_a_checkpoint_is_kept_whole(tmp_path, run, capsys):
    data = tmp_path / "data"
    data.mkdir()
    (data / "prepared.json").write_text(json.dumps({"render_settings": {"scenes": 500, "seed": 1}}), encoding="utf-8")
    values = VALUES | {"data_dir": str(data)}
    (tmp_path / "run.yaml").write_text(json.dumps(values), encoding="utf-8")
    words = ["--configs", *[str(tmp_path / "run.yaml")] * 2, "--runs", *[str(run)] * 2]
    words += ["--output", str(tmp_path / "training.json")]
    assert record_training.main(words) == 0
    assert "30 steps in 2 minutes, then 30 steps in 2 minutes" in capsys.readouterr().out
    stored = json.loads((tmp_path / "training.json").read_text(encoding="utf-8"))
    assert [one["data"] for one in stored["runs"]] == [{"scenes": 500, "seed": 1}] * 2
    assert [one["log"] for one in stored["runs"]] == [[{"step": 30, "loss": 1.5}]] * 2
    assert all(one["values"] == values for one in stored["runs"])
    (data / "prepared.json").write_text("{}", encoding="utf-8")
    assert record_training.main(words) == 2
    assert "was not rendered" in capsys.readouterr().err
