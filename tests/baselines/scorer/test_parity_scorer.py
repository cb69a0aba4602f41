# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""What the authors' released code computes of drawn weights, pinned by shapes and sums of its outputs."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ssgpa.benchmarks.measure_parity import draw_inputs, draw_weights, read_specification
from ssgpa.benchmarks.parity.scorer import compute


GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    specification = read_specification("scorer", "real")
    assert specification["seed"] == GOLDEN["seed"]
    checkpoint = tmp_path_factory.mktemp("parity") / "checkpoint.safetensors"
    save_file(draw_weights(specification["weights"], specification["seed"]), checkpoint)
    inputs = draw_inputs(specification["inputs"], specification["seed"])
    return compute(checkpoint, inputs, specification["fields"])


def test_the_golden_file_tells_its_source():
    assert GOLDEN["other_side"] == {
        "repository": "tuyunbin/SCORER",
        "commit": "2525039f7c492bed2d986ef07507122ce8313440",
    }


def test_everything_that_is_pinned_is_computed(found):
    assert found.keys() == GOLDEN["outputs"].keys()
    assert {"caption_loss", "cross_view_loss", "cross_modal_loss", "loss", "change.logits"} <= found.keys()


@pytest.mark.parametrize("name", GOLDEN["outputs"])
def test_outputs_are_those_of_the_released_code(found, name):
    value, wanted = found[name], GOLDEN["outputs"][name]
    assert list(value.shape) == wanted["shape"]
    if "values" in wanted:
        assert value.tolist() == wanted["values"]
        return
    # Each of the values is within 1e-4 there; their sum is held to a hundredth of that a value.
    assert value.double().sum().item() == pytest.approx(wanted["sum"], abs=1e-4 + 1e-6 * value.numel())
    assert value.double().square().sum().item() == pytest.approx(wanted["sum_of_squares"], rel=1e-4, abs=1e-7)


def test_a_setting_of_our_own_is_seen(tmp_path):
    """The default residual connection computes something else: the golden file would tell."""
    specification = read_specification("scorer", "real")
    checkpoint = tmp_path / "checkpoint.safetensors"
    save_file(draw_weights(specification["weights"], specification["seed"]), checkpoint)
    inputs = draw_inputs(specification["inputs"], specification["seed"])
    other = compute(checkpoint, inputs, {"decoder_residual": "block"})["change.logits"]
    wanted = GOLDEN["outputs"]["change.logits"]["sum_of_squares"]
    assert other.double().square().sum().item() != pytest.approx(wanted, rel=1e-2)
    assert torch.isfinite(other).all()
