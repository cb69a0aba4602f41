# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""What the authors' released code computes of drawn weights, pinned by shapes and sums of its outputs."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ssgpa.benchmarks.measure_parity import draw_inputs, draw_weights, read_specification
from ssgpa.benchmarks.parity import blip2idc


GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Checkpoint, inputs and fields, as both sides have had them."""
    specification = read_specification("blip2idc", "tiny")
    assert specification["seed"] == GOLDEN["seed"]
    checkpoint = tmp_path_factory.mktemp("parity") / "checkpoint.safetensors"
    save_file(draw_weights(specification["weights"], specification["seed"]), checkpoint)
    return checkpoint, draw_inputs(specification["inputs"], specification["seed"]), specification["fields"]


@pytest.fixture(scope="module")
def found(drawn):
    return blip2idc.compute(*drawn)


def test_the_golden_file_tells_its_source():
    assert GOLDEN["other_side"] == {
        "repository": "gautierevn/BLIP2IDC",
        "commit": "aa490f9df1ed68152cf71005371e33ca9a1edf80",
    }


def test_everything_that_is_pinned_is_computed(found):
    assert found.keys() == GOLDEN["outputs"].keys()
    assert {"pixel_values", "logits", "loss", "validation_loss", "greedy_ids"} <= found.keys()
    assert found["logits"].shape[1] == 30


def agrees(value, wanted):
    """Whether an output is the pinned one, as far as sums tell."""
    assert list(value.shape) == wanted["shape"]
    if "values" in wanted:
        return value.tolist() == wanted["values"]
    # Each of the values is within 1e-4 there; their sum is held to a hundredth of that a value.
    total, squares = value.double().sum().item(), value.double().square().sum().item()
    return total == pytest.approx(wanted["sum"], abs=1e-4 + 1e-6 * value.numel()) and squares == pytest.approx(
        wanted["sum_of_squares"], rel=1e-4, abs=1e-7
    )


@pytest.mark.parametrize("name", GOLDEN["outputs"])
def test_outputs_are_those_of_the_released_code(found, name):
    assert agrees(found[name], GOLDEN["outputs"][name])


def test_captions_differ_and_are_no_single_token():
    captions = GOLDEN["outputs"]["greedy_ids"]["values"]
    assert len({tuple(row) for row in captions}) == len(captions)
    assert all(len(set(row)) > 2 for row in captions)


def other(drawn, monkeypatch, name, value):
    monkeypatch.setattr(blip2idc, name, value)
    return blip2idc.compute(*drawn)


def test_the_other_size_rule_is_seen(drawn, monkeypatch):
    """Pairs of one size do not depend on it, unequal ones do."""
    plain = blip2idc.build_processor

    def build(config):
        processor = plain(config)
        processor.size_of_pair = "before"
        return processor

    pixels = other(drawn, monkeypatch, "build_processor", build)
    assert agrees(pixels["pixel_values"], GOLDEN["outputs"]["pixel_values"])
    name = "pixel_values_of_unequal_images"
    assert not agrees(pixels[name], GOLDEN["outputs"][name])


def test_the_default_loss_is_another(drawn, monkeypatch):
    outputs = other(drawn, monkeypatch, "RELEASED", {})
    assert outputs["loss"].item() != pytest.approx(GOLDEN["outputs"]["loss"]["sum"], abs=1e-3)
    assert torch.equal(outputs["greedy_ids"], torch.tensor(GOLDEN["outputs"]["greedy_ids"]["values"]))


def test_another_prompt_is_seen(drawn, monkeypatch):
    """Without the start token behind the queries, other captions follow."""
    outputs = other(drawn, monkeypatch, "PROMPT", "</s><image>")
    assert not agrees(outputs["greedy_ids"], GOLDEN["outputs"]["greedy_ids"])
    assert not agrees(outputs["logits"], GOLDEN["outputs"]["logits"])
