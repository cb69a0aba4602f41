# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Lists of runs: resumed, never mixed, and laid out as the files say."""

import json
import shutil
from itertools import pairwise
from pathlib import Path

import pytest

from ssgpa.benchmarks import ablation_table, run_ablations
from ssgpa.metrics.report.build import build_report
from ssgpa.utils.results import PredictionLog


ROWS = [
    {"pair_id": "a", "change_type": "color", "captions": ["the red cube turned green", "the cube is now green"]},
    {"pair_id": "b", "change_type": "drop", "captions": ["the small sphere is gone", "the sphere has left"]},
    {"pair_id": "c", "change_type": "none", "captions": ["there is no change", "the scene remains the same"]},
]
GOOD = {row["pair_id"]: row["captions"][0] for row in ROWS}
BAD = {row["pair_id"]: "there is no change" for row in ROWS}


def type_of(caption):
    return "color" if "green" in caption else "drop" if "gone" in caption else None


class FakeExamples:
    """Stands in for both examples: leaves the files that they leave."""

    def __init__(self):
        self.calls = []
        self.captions = GOOD

    def __call__(self, script, *words):
        self.calls.append((script, words))
        options = dict(pairwise(words))
        if script == "train.py":
            self.train(Path(options["--output_dir"]))
        else:
            self.evaluate(Path(options["--output"]))

    def train(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        history = [{"loss": 2.0, "step": 1}, {"train_runtime": 60.0, "step": 2}]
        state = {"global_step": 2, "log_history": history}
        (folder / "trainer_state.json").write_text(json.dumps(state), encoding="utf-8")
        (folder / "trainable_parameters.json").write_text('{"parameters": 7, "trainable": 5}', encoding="utf-8")

    def evaluate(self, output):
        report = build_report(ROWS, self.captions, ROWS, type_of)
        output.write_text(json.dumps({**report, "decoding": {"num_beams": 1}}), encoding="utf-8")
        log = output.with_suffix(".predictions.jsonl")
        log.unlink(missing_ok=True)
        PredictionLog(log, {}).add(self.captions)


@pytest.fixture
def examples(monkeypatch):
    fake = FakeExamples()
    monkeypatch.setattr(run_ablations, "call", fake)
    return fake


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a YAML of that name, and gives the words of a command line that runs it."""
    monkeypatch.setattr(run_ablations, "render_settings", lambda path: {"seed": str(path)})
    folders = ["--runs_dir", str(tmp_path / "runs"), "--results_dir", str(tmp_path / "results")]

    def call(name, text="data_dir: somewhere\noutput_dir: out\n"):
        path = tmp_path / f"{name}.yaml"
        path.write_text(text, encoding="utf-8")
        return [str(path), "--data", "scored", *folders]

    return call


def test_a_run_is_done_once(write, examples, tmp_path):
    words = write("gated_dustbin")
    assert run_ablations.main([*words, "--seeds", "1", "2"]) == 0
    assert [script for script, _ in examples.calls] == ["train.py", "evaluate.py"] * 2
    result = json.loads((tmp_path / "results" / "gated_dustbin-seed2.json").read_text(encoding="utf-8"))
    assert result["settings"]["seed"] == 2
    assert result["training"] == {
        "steps": 2,
        "seconds": 60.0,
        "parameters": 7,
        "trainable": 5,
        "last_losses": {"loss": 2.0},
    }
    assert result["scores"]["changed"]["cider"] > 1
    assert run_ablations.main([*words, "--seeds", "1", "2"]) == 0
    assert len(examples.calls) == 4


def test_a_run_without_its_result_is_scored_again_only(write, examples, tmp_path):
    words = write("gated_dustbin")
    run_ablations.main(words)
    shutil.rmtree(tmp_path / "results")
    run_ablations.main(words)
    assert [script for script, _ in examples.calls] == ["train.py", "evaluate.py", "evaluate.py"]


def test_an_interrupted_run_resumes(write, examples, tmp_path):
    (tmp_path / "runs" / "gated_dustbin-seed1" / "checkpoint-5").mkdir(parents=True)
    run_ablations.main(write("gated_dustbin"))
    words = examples.calls[0][1]
    assert words[words.index("--resume_from_checkpoint") + 1] == "true"


def test_variants_are_scored_by_their_class(write, examples):
    path = "ssgpa.benchmarks.variants.ablations.SSGPAWithoutAlignment"
    run_ablations.main(write("gated_noalignment", f"data_dir: somewhere\noutput_dir: out\nmodel_class: {path}\n"))
    words = examples.calls[1][1]
    assert words[words.index("--model_class") + 1] == path
    assert "test" not in words


def test_results_of_other_settings_are_not_passed_off(write, examples, capsys):
    run_ablations.main(write("gated_dustbin"))
    assert run_ablations.main(write("gated_dustbin", "data_dir: elsewhere\noutput_dir: out\n")) == 2
    error = capsys.readouterr().err
    assert "gated_dustbin-seed1.json" in error
    assert error.count("\n") == 1


def test_a_failing_example_stops_the_list(write, capsys):
    assert run_ablations.main(write("gated_dustbin", "data_dir: nowhere\noutput_dir: out\n")) == 2
    assert "train.py ended with code 2" in capsys.readouterr().err


def test_tables_say_what_the_files_say(write, examples, tmp_path, monkeypatch):
    monkeypatch.setattr(ablation_table, "load_prepared", lambda path: {"validation": None})
    monkeypatch.setattr(ablation_table, "light_rows", lambda rows: ROWS)
    run_ablations.main([*write("gated_dustbin"), "--seeds", "1", "2"])
    examples.captions = BAD
    run_ablations.main(write("nofusion_noalignment"))
    folder = tmp_path / "results"
    words = ["--results_dir", str(folder), "--runs_dir", str(tmp_path / "runs"), "--data", "scored"]
    assert ablation_table.main(words) == 0
    page = (folder / "README.md").read_text(encoding="utf-8")
    good = json.loads((folder / "gated_dustbin-seed1.json").read_text(encoding="utf-8"))
    cider = 100 * good["scores"]["changed"]["cider"]
    grid = {line.split("|")[1].strip(): line for line in page.splitlines() if line.startswith("|")}
    assert f"{cider:.1f} ({cider:.1f} to {cider:.1f})" in grid["similarity-gated"]
    assert "type 100.0" in grid["similarity-gated"]
    assert grid["no fusion"].split("|")[2].strip().startswith("0.0 [0.0, 0.0], type 0.0 %")
    assert grid["same cell"].split("|")[2:5] == [" - "] * 3
    assert f"{-cider:+.1f} [" in grid["nofusion_noalignment"]
    assert grid["gated_dustbin"].rstrip(" |").endswith("-")
    # From the stored files alone, the same page.
    assert ablation_table.main(words[:2]) == 0
    assert (folder / "README.md").read_text(encoding="utf-8") == page


def test_no_results_are_an_error(tmp_path, capsys):
    assert ablation_table.main(["--results_dir", str(tmp_path)]) == 2
    assert "run_ablations.py" in capsys.readouterr().err
