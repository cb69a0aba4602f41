# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""What the authors' released code computes of drawn weights, pinned by shapes and sums of its outputs."""

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ssgpa.baselines.vir_vlfm.modeling_vir_vlfm import FusedAdapter, ViewpointRegistrationFlow
from ssgpa.benchmarks.measure_parity import draw_inputs, draw_weights, read_specification
from ssgpa.benchmarks.parity import vir_vlfm as parity


GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text(encoding="utf-8"))


def figures(value):
    """Sum and sum of squares."""
    return value.double().sum().item(), value.double().square().sum().item()


def pinned(name):
    """The released code's, with tolerances."""
    wanted = GOLDEN["outputs"][name]
    # Each of the values is within 1e-4 there; their sum is held to a hundredth of that a value.
    total = pytest.approx(wanted["sum"], abs=1e-4 + 1e-6 * math.prod(wanted["shape"]))
    return total, pytest.approx(wanted["sum_of_squares"], rel=1e-4, abs=1e-7)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A checkpoint, inputs and fields."""
    specification = read_specification("vir_vlfm", "tiny")
    assert specification["seed"] == GOLDEN["seed"]
    checkpoint = tmp_path_factory.mktemp("parity") / "checkpoint.safetensors"
    save_file(draw_weights(specification["weights"], specification["seed"]), checkpoint)
    inputs = draw_inputs(specification["inputs"], specification["seed"])
    return checkpoint, inputs, specification["fields"]


@pytest.fixture(scope="module")
def found(drawn):
    return parity.compute(*drawn)


def test_the_golden_file_tells_its_source():
    assert GOLDEN["other_side"] == {
        "repository": "lxn96/VIR-VLFM",
        "commit": "e0ce110318510921286bce24004a14f155de7767",
    }


def test_everything_that_is_pinned_is_computed(found):
    assert found.keys() == GOLDEN["outputs"].keys()
    parts = {"encoder_states", "flow", "registered", "queries", "emphasized", "visual_tokens", "logits", "loss"}
    captions = {"greedy_ids", "penalized_ids", "beam_ids", "penalized_beam_ids"}
    assert {f"{half}.{name}" for half in ("change", "no_change") for name in parts | captions} <= found.keys()
    assert {f"gradient.{name}" for name in parity.GRADIENTS} <= found.keys()


@pytest.mark.parametrize("name", GOLDEN["outputs"])
def test_outputs_are_those_of_the_released_code(found, name):
    value, wanted = found[name], GOLDEN["outputs"][name]
    assert list(value.shape) == wanted["shape"]
    if "values" in wanted:
        assert value.tolist() == wanted["values"]
    else:
        assert figures(value) == pinned(name)


def test_captions_tell_pairs_and_penalties_apart():
    captions = {name: value["values"] for name, value in GOLDEN["outputs"].items() if name.endswith("_ids")}
    assert captions["change.greedy_ids"] != captions["no_change.greedy_ids"]
    assert captions["change.greedy_ids"] != captions["change.penalized_ids"]
    assert captions["change.beam_ids"] != captions["change.penalized_beam_ids"]


def swapped_images(module, inputs, output):
    return output.unflatten(0, (-1, 2)).flip(1).flatten(0, 1)


def half_a_flow(module, inputs):
    return (inputs[0] * 0.99,)


@pytest.mark.parametrize("mutation", ["adapter", "flow"])
def test_a_slip_is_seen(drawn, monkeypatch, mutation):
    """Up-projections that are exchanged in fused blocks, or registration that reads scaled images."""
    kind = {"adapter": FusedAdapter, "flow": ViewpointRegistrationFlow}[mutation]
    build = kind.__init__

    def changed(self, *args):
        build(self, *args)
        if mutation == "adapter":
            self.register_forward_hook(swapped_images)
        else:
            self.register_forward_pre_hook(half_a_flow)

    monkeypatch.setattr(kind, "__init__", changed)
    # Without captions, which take most of the time.
    monkeypatch.setattr(parity, "DECODING", {})
    found = parity.compute(*drawn)
    wrong = {name for name, value in found.items() if figures(value) != pinned(name)}
    assert {"change.registered", "change.visual_tokens", "change.logits", "loss"} <= wrong
    assert ("change.encoder_states" in wrong) == (mutation == "adapter")
    assert all(torch.isfinite(value).all() for value in found.values())
