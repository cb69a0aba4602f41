# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""`accelerate launch` with the repository's own configurations, under ZeRO-2 and ZeRO-3 with offload, on the CPU."""

import json
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText

from ssgpa.data.prepared import load_prepared
from ssgpa.training.generation import caption_rows
from ssgpa.utils.loading import load_system

from ..scripts import load_script
from .runs import (
    accelerate,
    finish,
    launch,
    logged,
    save_base,
    start,
    teach_base,
    write_workshop,
)


pytest.importorskip("deepspeed")
pytestmark = pytest.mark.slow
STEPS = [1, 2, 3, 4]
SETTINGS = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2, "eval_strategy": "steps", "eval_steps": 4}
CAPTION_ONLY = {"config_overrides": json.dumps({"cycle_weight": 0.0, "global_weight": 0.0})}


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("deepspeed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.config.HF_DATASETS_CACHE", folder / "cache")
        yield write_workshop(folder, **SETTINGS, **CAPTION_ONLY)


@pytest.fixture(scope="module")
def plain(workshop):
    """The run without DeepSpeed."""
    folder = workshop / "plain"
    assert load_script("train").main([str(workshop / "run.yaml"), "--output_dir", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def zero(workshop):
    """A run under a configuration of the repository; made once."""

    def call(stage, processes, name="", **changes):
        folder = workshop / f"zero{stage}-by-{processes}{name}"
        if not (folder / "trainer_state.json").exists():
            launcher = accelerate(f"zero{stage}_offload", processes)
            batch = {"per_device_train_batch_size": 8 // processes}
            launch(launcher, str(workshop / "run.yaml"), workshop / "hub", output_dir=folder, **batch, **changes)
        return folder

    return call


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize(("stage", "tolerance"), [(2, 1e-5), (3, 1e-4)])
def test_losses_are_those_of_the_plain_run(plain, zero, stage, tolerance, processes):
    wanted = logged(plain)
    assert list(wanted) == STEPS
    assert len(set(wanted.values())) == 4
    assert logged(zero(stage, processes)) == pytest.approx(wanted, rel=0, abs=tolerance)


@pytest.mark.parametrize("stage", [2, 3])
def test_resumed_run_equals_the_uninterrupted_one(zero, workshop, stage):
    whole = zero(stage, 2)
    resumed = workshop / f"zero{stage}-by-2-resumed"
    shutil.copytree(whole / "checkpoint-2", resumed / "checkpoint-2")
    assert zero(stage, 2, "-resumed", resume_from_checkpoint="true") == resumed
    assert logged(resumed) == logged(whole)
    states = [load_file(folder / "best" / "model.safetensors") for folder in (whole, resumed)]
    # The losses agree to the bit; the last step's weights do to their last digit or two.
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, atol=1e-7, rtol=2.5e-7)


@pytest.mark.parametrize("stage", [2, 3])
def test_consolidated_checkpoint_is_the_saved_model(zero, workshop, stage):
    folder = zero(stage, 2)
    target = workshop / f"consolidated-{stage}"
    program = folder / "checkpoint-4" / "zero_to_fp32.py"
    words = ["--safe_serialization", str(folder / "checkpoint-4"), str(target)]
    subprocess.run([sys.executable, str(program), *words], check=True, timeout=300)
    shutil.copy(folder / "best" / "config.json", target)
    # The files may name weights as checkpoints of the parts do, so models are compared.
    saved, consolidated = (load_model(path) for path in (folder / "best", target))
    assert all(torch.equal(value, consolidated[name]) for name, value in saved.items())


def load_model(folder):
    model, info = AutoModelForImageTextToText.from_pretrained(folder, output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    return model.state_dict()


@pytest.mark.parametrize("stage", [2, 3])
def test_evaluation_by_generation_ends_and_is_the_same(plain, zero, stage):
    """Five pairs for two processes: one captions a pair that the other has had."""
    records = [
        json.loads((folder / "evaluations" / "eval-000004.json").read_text("utf-8"))
        for folder in (plain, zero(stage, 2))
    ]
    assert len(records[0]["captions"]) == 5
    assert records[1]["captions"] == records[0]["captions"]


def test_two_machines_take_the_steps_of_one_process(plain, workshop):
    """Each is started by itself, as on two hosts; here both are this one."""
    launcher = accelerate("multi_node", 2)
    folder = workshop / "two-machines"
    settings = {"output_dir": folder, "per_device_train_batch_size": 4}
    runs = [
        start([*launcher, "--machine_rank", rank], str(workshop / "run.yaml"), workshop / "hub", **settings)
        for rank in ("0", "1")
    ]
    finish(runs)
    assert logged(folder) == pytest.approx(logged(plain), rel=0, abs=1e-5)


def test_evaluation_ends_where_captions_differ_in_length(workshop):
    """Under ZeRO-3 every token takes a share of the weights from each process, also from one that has said its all."""
    save_base(workshop / "taught", workshop / "data")
    teach_base(workshop / "taught", workshop / "data")
    changes = {"max_steps": 1, "learning_rate": 0.0, "eval_steps": 1, "save_strategy": "no"}
    changes |= {"per_device_eval_batch_size": 1, "generation_max_new_tokens": 20}
    changes |= {"model_name_or_path": workshop / "taught", "per_device_train_batch_size": 4}
    folder = workshop / "uneven"
    launch(accelerate("zero3_offload", 2), str(workshop / "run.yaml"), workshop / "hub", output_dir=folder, **changes)
    found = json.loads((folder / "evaluations" / "eval-000001.json").read_text("utf-8"))["captions"]
    model, processor = load_system(str(workshop / "taught"))
    rows = load_prepared(workshop / "data")["validation"]
    assert found == caption_rows(model, processor, rows, batch_size=1, num_beams=1, max_new_tokens=20)
    lengths = [len(text.split()) for text in found.values()]
    # Each process has every other pair, and the second one the first pair once more.
    assert any(first != second for first, second in zip(lengths[::2], lengths[1::2], strict=False)), lengths
