# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
import json
import subprocess
import sys
from pathlib import Path

import pytest

from ssgpa import SSGPAForConditionalGeneration
from ssgpa.hub.publish import publish_folder
from ssgpa.metrics.report.markdown import format_report
from ssgpa.utils.results import (
    PredictionLog,
    folder_state,
    library_versions,
    read_predictions,
    read_results,
    write_results,
)


SETTINGS = {"model": "m", "split": "test", "num_beams": 5, "model_files": [["model.safetensors", 1, 2]]}


def test_log_is_taken_up_again(tmp_path):
    path = tmp_path / "new" / "x.predictions.jsonl"
    PredictionLog(path, SETTINGS).add({"a": "the red cube\nis gone", "b": "caf\u00e9"})
    log = PredictionLog(path, SETTINGS)
    assert log.captions == {"a": "the red cube\nis gone", "b": "caf\u00e9"}
    log.add({"c": "x"})
    assert list(PredictionLog(path, SETTINGS).captions) == ["a", "b", "c"]
    assert len(path.read_text(encoding="utf-8").splitlines()) == 4


def test_a_line_that_was_cut_off_is_written_anew(tmp_path):
    path = tmp_path / "x.jsonl"
    PredictionLog(path, SETTINGS).add({"a": "x", "b": "y"})
    path.write_bytes(path.read_bytes()[:-4])
    log = PredictionLog(path, SETTINGS)
    assert log.captions == {"a": "x"}
    log.add({"b": "z"})
    assert PredictionLog(path, SETTINGS).captions == {"a": "x", "b": "z"}


def test_two_captions_for_one_pair_are_an_error(tmp_path):
    path = tmp_path / "x.jsonl"
    log = PredictionLog(path, SETTINGS)
    log.add({"a": "x", "b": "y"})
    log.add({"b": "z"})
    with pytest.raises(ValueError, match=r"x\.jsonl hold ids twice: 'b'"):
        read_predictions(path)


@pytest.mark.parametrize("change", [{"num_beams": 1}, {"model_files": [["model.safetensors", 1, 3]]}, {"more": 1}])
def test_foreign_log_is_an_error(tmp_path, change):
    path = tmp_path / "x.jsonl"
    PredictionLog(path, SETTINGS).add({"a": "x"})
    before = path.read_bytes()
    with pytest.raises(ValueError, match=rf"x\.jsonl .*{next(iter(change))}"):
        PredictionLog(path, {**SETTINGS, **change})
    assert path.read_bytes() == before


def test_a_log_is_replaced_on_request_and_only_where_it_must(tmp_path):
    path = tmp_path / "x.jsonl"
    PredictionLog(path, SETTINGS).add({"a": "x"})
    assert PredictionLog(path, SETTINGS, replace=True).captions == {"a": "x"}
    other = {**SETTINGS, "seed": 5}
    assert PredictionLog(path, other, replace=True).captions == {}
    assert read_predictions(path)[:2] == (other, {})


@pytest.mark.parametrize("content", ["hello\n", "[1]\n", '{"settings": {}}\n{"pair": 1}\n', "no line end"])
def test_a_file_that_is_no_log_is_left_alone(tmp_path, content):
    path = tmp_path / "x.jsonl"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=r"x\.jsonl does not hold predictions"):
        PredictionLog(path, SETTINGS)
    assert path.read_text(encoding="utf-8") == content


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "x.json"
    write_results(path, {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_results(path, {"a": float("nan")})
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": 1}
    assert [file.name for file in path.parent.iterdir()] == ["x.json"]


def test_folder_state_sees_new_weights_but_no_results(tmp_path):
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"one")
    state = folder_state(tmp_path)
    (tmp_path / "results.json").write_text("{}", encoding="utf-8")
    assert folder_state(tmp_path) == state
    weights.write_bytes(b"longer")
    assert folder_state(tmp_path) != state
    assert folder_state(Path("name") / "on-the-hub") is None


def test_versions():
    import torch

    assert library_versions()["torch"] == torch.__version__


def test_two_runs_do_not_write_to_one_log(tmp_path):
    """Of two processes, the second is told to wait; the lock ends with its process."""
    path = tmp_path / "results.predictions.jsonl"
    code = (
        "import json, sys; from pathlib import Path; from ssgpa.utils.results import PredictionLog\n"
        "PredictionLog(Path(sys.argv[1]), json.loads(sys.argv[2])).add({'b': 'y'})"
    )
    second = [sys.executable, "-c", code, str(path), json.dumps(SETTINGS)]
    log = PredictionLog(path, SETTINGS)
    log.add({"a": "x"})
    done = subprocess.run(second, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "results.predictions.jsonl: another run is writing to it; wait until it has ended" in done.stderr
    del log
    assert subprocess.run(second, check=False).returncode == 0
    assert PredictionLog(path, SETTINGS).captions == {"a": "x", "b": "y"}


ROOT = Path(__file__).parents[2]
CHECKPOINT = ROOT / "checkpoints" / "ssgpa-clevr-tiny"
STORED = ROOT / "benchmarks" / "results" / "ssgpa-clevr-tiny.json"
FORMER = {"baselines": "floors", "upper_bounds": "ceilings", "best_constant_baseline": "best_constant_floor"}


def test_results_of_an_earlier_version_read_as_those_of_today(tmp_path):
    report = json.loads(STORED.read_text(encoding="utf-8"))
    assert FORMER.keys() <= report.keys()
    former = {FORMER.get(name, name): value for name, value in report.items()}
    path = tmp_path / "former.json"
    write_results(path, {**former, "runs": [{"again": former}]})
    found = read_results(path)
    assert found.pop("runs") == [{"again": report}]
    assert found == report == read_results(str(STORED))
    assert format_report(found, "x") == format_report(report, "x")


def test_results_of_an_earlier_version_are_published(tmp_path, monkeypatch):
    report = json.loads(STORED.read_text(encoding="utf-8"))
    write_results(tmp_path / "x.json", {FORMER.get(name, name): value for name, value in report.items()})
    monkeypatch.setattr(SSGPAForConditionalGeneration, "push_to_hub", lambda self, repo_id, **options: options["card"])
    card = publish_folder(CHECKPOINT, "org/tiny", results=tmp_path / "x.json")
    assert format_report(report, str(tmp_path / "x.json")) in card.text


def test_names_of_change_types_are_no_former_keys(tmp_path):
    scores = {"by_type": {"floors": {"cider": 1.0}, "ceilings": None}}
    write_results(tmp_path / "x.json", {"scores": scores, "floors": {}, "captions": {"floors": "a new floor"}})
    assert read_results(tmp_path / "x.json") == {
        "scores": scores,
        "baselines": {},
        "captions": {"floors": "a new floor"},
    }


@pytest.mark.parametrize("text", ["", "{", "[]", '"scores"', "{}", '{"scores": 3}', '{"scores": {}', "[" * 100_000])
def test_what_is_no_results_file_is_one_error_that_names_it(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"x\.json does not hold the results of an evaluation") as caught:
        read_results(path)
    assert "\n" not in str(caught.value)


def test_results_in_another_encoding_are_no_results(tmp_path):
    path = tmp_path / "x.json"
    path.write_bytes('{"scores": {"caf\u00e9": 1}}'.encode("latin-1"))
    with pytest.raises(ValueError, match=r"x\.json does not hold the results"):
        read_results(path)
