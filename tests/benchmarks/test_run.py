# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The comparison: runs are resumed and never mixed, all are scored alike, and the table says what the file says."""

import copy
import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from ssgpa.benchmarks import measure_step, run
from ssgpa.benchmarks.tables.comparison_table import format_comparison
from ssgpa.training.arguments import read_yaml

from ..examples.runs import logged, options_of, prepare_set, write_workshop
from ..scripts import load_script


ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "examples" / "configs" / "comparison"
RESULTS = json.loads((ROOT / "benchmarks" / "results" / "ssgpa-clevr-tiny.json").read_text("utf-8"))
STEP = {"flops_per_pair": 2.5e9, "pairs_per_second": 10.0, "peak_mib": 400.0, "parameters": 1234, "threads": 1}


class FakeExamples:
    """Stands in for the programs that are called: leaves the files that they leave."""

    def __init__(self):
        self.calls = []

    def __call__(self, script, *words):
        options = dict(pairwise(words))
        self.calls.append((script, options))
        if script == "train.py":
            folder = Path(options["--output_dir"])
            folder.mkdir(parents=True)
            (folder / "trainer_state.json").write_text('{"global_step": 30, "log_history": []}', encoding="utf-8")
            (folder / "train_results.json").write_text('{"train_runtime": 120.0}', encoding="utf-8")
        elif script == "evaluate.py":
            found = copy.deepcopy(RESULTS)
            if "--compare" in options:
                compared = {"difference": -0.2, "p": 0.002}
                found["comparison"] = {"changed": {"correct": compared}}
            Path(options["--output"]).write_text(json.dumps(found), encoding="utf-8")
        else:
            Path(options["--output"]).write_text(json.dumps(STEP), encoding="utf-8")


@pytest.fixture
def examples(monkeypatch):
    fake = FakeExamples()
    monkeypatch.setattr(run, "call", fake)
    monkeypatch.setattr("ssgpa.benchmarks.run_ablations.call", fake)
    monkeypatch.setattr(run, "render_settings", lambda path: {"seed": str(path), "scenes": 500})
    return fake


@pytest.fixture
def words(tmp_path):
    """The command line for two systems."""
    values = {"data_dir": "somewhere", "output_dir": "out", "max_steps": 30, "per_device_train_batch_size": 4}
    for name in ("ours", "other"):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    paths = [str(tmp_path / "ours.yaml"), str(tmp_path / "other.yaml")]
    return [*paths, "--data", "scored", "--runs_dir", str(tmp_path / "runs"), "--output", str(tmp_path / "all.json")]


def test_every_run_is_an_entry_and_is_not_run_again(examples, words, tmp_path, capsys):
    assert run.main([*words, "--seeds", "1", "2"]) == 0
    stored = json.loads((tmp_path / "all.json").read_text("utf-8"))
    assert list(stored) == ["other-seed1", "other-seed2", "ours-seed1", "ours-seed2"]
    scored = [options for script, options in examples.calls if script == "evaluate.py"]
    assert {options["--split"] for options in scored} == {"test"}
    # Ours with nothing, the other with ours of the same seed.
    assert [options.get("--compare") for options in scored] == [
        None,
        str(tmp_path / "runs" / "ours-seed1" / "evaluation.predictions.jsonl"),
        None,
        str(tmp_path / "runs" / "ours-seed2" / "evaluation.predictions.jsonl"),
    ]
    assert stored["other-seed2"]["training"]["pairs"] == 120
    count = len(examples.calls)
    assert run.main([*words, "--seeds", "1", "2"]) == 0
    assert len(examples.calls) == count
    capsys.readouterr()
    assert run.main([*words, "--split", "validation"]) == 2
    assert "holds ours-seed1 with other settings" in capsys.readouterr().err


def test_the_table_says_what_the_file_says(examples, words, tmp_path):
    assert run.main([*words, "--seeds", "1", "2"]) == 0
    stored = json.loads((tmp_path / "all.json").read_text("utf-8"))
    stored["ours-seed2"]["scores"]["changed"]["correct"] = RESULTS["scores"]["changed"]["correct"] + 0.1
    stored["poor-seed1"] = {**stored["other-seed1"], "system": "poor", "has_left_baselines": False}
    table = format_comparison(stored, "all.json")
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| o")]
    low = 100 * RESULTS["scores"]["changed"]["correct"]
    assert [row[0] for row in rows] == ["| ours, 2 seeds", "| other, 2 seeds"]
    assert rows[0][1] == f"**{low + 5:.1f} % ({low:.1f} % to {low + 10:.1f} %)**"
    assert rows[0][2] == "-"
    assert rows[1][2] == "-20.0 (-20.0 to -20.0), p 0.002"
    assert rows[1][7] == "2.50"
    assert "30 steps, 120 pairs of 500 scenes" in table
    assert "Not beyond the constant captions: poor" in table
    assert "| poor" not in table


def test_a_step_is_counted_as_torch_counts(tmp_path, monkeypatch):
    """Of a model that is one matrix: 2 x rows x columns operations forward, and as many for its gradient."""
    config = write_workshop(tmp_path) / "run.yaml"

    class Matrix(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(6, 5))

        def forward(self, pixel_values, **batch):
            return type("Output", (), {"loss": (torch.ones(3, 6) @ self.weight).sum()})

        def num_parameters(self):
            return self.weight.numel()

    start = measure_step.start_system
    monkeypatch.setattr(measure_step, "start_system", lambda *words: (Matrix(), start(*words)[1], set()))
    output = tmp_path / "step.json"
    assert measure_step.main([str(config), "--output", str(output), "--steps", "1"]) == 0
    found = json.loads(output.read_text("utf-8"))
    assert found["flops_per_pair"] * found["pairs"] == 2 * (2 * 3 * 6 * 5)
    assert found["parameters"] == 30
    assert found["pairs_per_second"] > 0


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("comparison")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.config.HF_DATASETS_CACHE", folder / "cache")
        yield folder


@pytest.mark.parametrize("name", sorted(path.stem for path in CONFIGS.glob("*.yaml") if path.stem != "base"))
def test_runs_of_the_comparison(name, workshop, monkeypatch):
    """Each from its own random weights, with all of its losses."""
    values = read_yaml(CONFIGS / f"{name}.yaml")
    data = workshop / Path(values["data_dir"]).name
    if not data.exists():
        prepare_set(data.name, workshop)
    changes = {"data_dir": data, "output_dir": workshop / name, "max_steps": 2, "per_device_train_batch_size": 4}
    changes |= {"bf16": False, "logging_steps": 1, "save_steps": 2}
    monkeypatch.chdir(ROOT)
    assert load_script("train").main([str(CONFIGS / f"{name}.yaml"), *options_of(changes)]) == 0
    for part in ("attributes", "objects", "counterpart", "changed", "type"):
        assert set(logged(workshop / name, f"loss_parts/aux_{part}")) == ({1, 2} if values[f"aux_{part}"] else set())
    told = json.loads((workshop / name / "trainable_parameters.json").read_text("utf-8"))
    assert told["trainable"] == told["parameters"] > 100_000
    assert (workshop / name / "best" / "model.safetensors").is_file()
