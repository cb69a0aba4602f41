# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Comparisons of a system with its authors' code: outputs, speed and memory. The other side is a file."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from ssgpa.benchmarks import measure_parity, measure_system_speed
from ssgpa.benchmarks.measure_parity import compare, compute, draw_weights, expand, read_specification


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parity")
    assert measure_parity.main(["draw", "clip4idc", "--size", "tiny", "--folder", str(folder)]) == 0
    return folder


def test_draws_are_the_same_whatever_comes_first():
    shapes = {"a.weight": [3, 4], "b.weight": [4], "b.bias": [4], "scale": []}
    weights = draw_weights(shapes, 1)
    again = draw_weights(dict(reversed(shapes.items())), 1)
    assert all(torch.equal(weights[name], again[name]) for name in shapes)
    assert not torch.equal(weights["a.weight"], draw_weights(shapes, 2)["a.weight"])
    assert (weights["b.weight"] - 1).abs().max() < 0.5
    assert expand("layer.#3.x") == ["layer.0.x", "layer.1.x", "layer.2.x"]


def outputs_of(drawn):
    specification = read_specification("clip4idc", "tiny")
    inputs = load_file(drawn / "inputs.safetensors")
    return compute("clip4idc", drawn / "checkpoint.safetensors", inputs, specification["fields"])


def test_equal_sides_agree_and_others_do_not(drawn, capsys):
    outputs = {name: value.contiguous() for name, value in outputs_of(drawn).items()}
    words = ["compare", "clip4idc", "--size", "tiny", "--folder", str(drawn), "--output", str(drawn / "figures.json")]
    notes = {"repository": "https://example.org/theirs", "commit": "0" * 40}
    save_file(outputs, drawn / "outputs.safetensors", notes)
    assert measure_parity.main([*words, "--golden", str(drawn / "golden.json")]) == 0
    found = json.loads((drawn / "figures.json").read_text("utf-8"))["tiny"]
    assert found["agrees"]
    assert found["other_side"] == notes
    golden = json.loads((drawn / "golden.json").read_text("utf-8"))["outputs"]
    assert golden["greedy_ids"]["values"] == outputs["greedy_ids"].tolist()
    assert golden["logits"]["sum"] == pytest.approx(outputs["logits"].double().sum().item())
    outputs["logits"] = outputs["logits"] + 2e-4
    save_file(outputs, drawn / "outputs.safetensors", notes)
    assert measure_parity.main(words) == 2
    assert "differ by more than" in capsys.readouterr().err
    found = json.loads((drawn / "figures.json").read_text("utf-8"))["tiny"]
    assert not found["agrees"]
    assert found["outputs"]["logits"]["largest_difference"] == pytest.approx(2e-4, rel=0.05)


@pytest.mark.parametrize(
    ("theirs", "named"), [({}, "Only one side has"), ({"x": torch.zeros(2, 1)}, r"x is \(2,\) here")]
)
def test_outputs_that_do_not_fit_are_named(theirs, named):
    with pytest.raises(ValueError, match=named):
        compare({"x": torch.zeros(2)}, theirs)


def test_one_other_token_is_no_agreement():
    report = compare({"ids": torch.tensor([1, 2])}, {"ids": torch.tensor([1, 3])})
    assert report["ids"]["different_values"] == 1
    assert not measure_parity.agrees(report)


def test_rounds_of_both_sides_are_compared(drawn, tmp_path, capsys):
    for task in measure_system_speed.TASKS:
        words = ["round", "clip4idc", "--size", "tiny", "--folder", str(drawn), "--task", task, "--pairs", "2"]
        assert measure_system_speed.main([*words, "--steps", "1", "--rounds", str(tmp_path / "ours.json")]) == 0
    ours = json.loads((tmp_path / "ours.json").read_text("utf-8"))["rounds"]
    theirs = [one | {"seconds": 2 * one["seconds"], "peak_mib": one["peak_mib"] / 2} for one in ours]
    other = {"repository": "https://example.org/theirs", "commit": "0" * 40, "rounds": theirs}
    (tmp_path / "theirs.json").write_text(json.dumps(other), encoding="utf-8")
    words = ["report", "clip4idc", "--rounds", str(tmp_path / "ours.json"), "--output", str(tmp_path / "speed.json")]
    assert measure_system_speed.main([*words, "--other", str(tmp_path / "theirs.json")]) == 0
    tasks = json.loads((tmp_path / "speed.json").read_text("utf-8"))["tasks"]
    for task in measure_system_speed.TASKS:
        assert tasks[task]["speed_ratio"] == pytest.approx(2.0)
        assert tasks[task]["memory_ratio"] == pytest.approx(2.0)
    assert measure_system_speed.main(words) == 2
    assert "--other" in capsys.readouterr().err
    theirs[0]["pairs"] = 3
    with pytest.raises(ValueError, match="one number of pairs"):
        measure_system_speed.compare(ours, theirs)
