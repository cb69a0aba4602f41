# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""ProCap with the same weights as its authors' code: what that computed is in `golden.json`."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ssgpa.baselines.procap.conversion_procap import RELEASED
from ssgpa.benchmarks.measure_parity import draw_inputs, draw_weights, read_specification
from ssgpa.benchmarks.parity.procap import stage_1, stage_2


GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text("utf-8"))
STAGE_1 = {"codes", "states", "msm_logits", "align_logits", "other_align_logits", "csy_logits"}
STAGE_1 |= {"corrupted_csy_logits", "msm_loss", "align_loss", "csy_loss"}
STAGE_2 = {"procedure", "memory", "logits", "caption_loss", "greedy_ids"}
# What a correction of each slip changes.
CHANGES = {
    "rescale_vq_input": (stage_2, {"rescale_vq_input": True}, {"procedure", "memory", "logits", "caption_loss"}),
    "text_slots": (stage_2, {"text_slots": "padding"}, {"procedure", "memory", "logits", "caption_loss"}),
    "shifted_attention_mask": (stage_2, {"shifted_attention_mask": False}, {"procedure", "memory"}),
    "scale_by_hidden_size": (stage_2, {"scale_by_hidden_size": False}, {"logits", "caption_loss"}),
    "loss_reduction": (stage_2, {"loss_reduction": "mean"}, {"caption_loss"}),
    "csy_counts_fully_masked": (stage_1, {"csy_counts_fully_masked": False}, {"csy_loss"}),
}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Weights in the authors' format, and inputs."""
    specification = read_specification("procap", "tiny")
    assert specification["seed"] == GOLDEN["seed"]
    path = tmp_path_factory.mktemp("parity") / "checkpoint.safetensors"
    save_file(draw_weights(specification["weights"], GOLDEN["seed"], specification["factors"]), path)
    return path, draw_inputs(specification["inputs"], GOLDEN["seed"])


def differences(outputs):
    """Names of outputs that are not what the authors' code computed."""
    found = set()
    for name, value in outputs.items():
        pinned = GOLDEN["outputs"][name]
        assert list(value.shape) == pinned["shape"], name
        if "values" in pinned:
            equal = value.tolist() == pinned["values"]
        else:
            sums = {"sum": value.double().sum().item(), "sum_of_squares": value.double().square().sum().item()}
            # Of as many numbers as there are, each within 1e-4.
            bound = 1e-4 * max(1.0, value.numel() ** 0.5)
            equal = all(sums[kind] == pytest.approx(pinned[kind], rel=1e-5, abs=bound) for kind in sums)
        if not equal:
            found.add(name)
    return found


@pytest.mark.parametrize(("stage", "names"), [(stage_1, STAGE_1), (stage_2, STAGE_2)])
def test_outputs_are_those_of_the_authors_code(drawn, stage, names):
    assert GOLDEN["other_side"]["repository"] == "https://github.com/BlueberryOreo/ProCap"
    with torch.no_grad():
        outputs = stage(*drawn, {})
    assert outputs.keys() == names
    assert differences(outputs) == set()
    if "greedy_ids" in names:
        captions = {tuple(row) for row in outputs["greedy_ids"].tolist()}
        assert len(captions) == 4
        assert all(len(set(row)) > 2 for row in captions)


@pytest.mark.parametrize("slip", CHANGES)
def test_every_correction_changes_what_it_corrects(drawn, slip):
    stage, fields, names = CHANGES[slip]
    with torch.no_grad():
        assert names <= differences(stage(*drawn, fields))


def test_all_settings_of_the_released_code_are_accounted_for():
    # Of the others, one starts from what is equal, and one needs captions that are equal.
    assert RELEASED.keys() == CHANGES.keys() | {"shared_queries", "skip_equal_captions"}


def test_a_weight_that_is_another_one_is_found(drawn):
    path, inputs = drawn
    specification = read_specification("procap", "tiny")
    weights = draw_weights(specification["weights"], GOLDEN["seed"], specification["factors"])
    weights["text_decoder.decoder.layers.0.attention.layer.wk.weight"] *= 1.05
    changed = path.with_name("changed.safetensors")
    save_file(weights, changed)
    with torch.no_grad():
        assert differences(stage_2(changed, inputs, {})) >= {"logits", "caption_loss"}
