# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Runs that must give one trajectory of losses, by the example's own command line."""

import json
import shutil
import signal
import subprocess
import sys

import pytest
from safetensors.torch import load_file

from ..scripts import load_script
from .runs import SCRIPT, launch, logged, options_of, render_pairs, save_base, write_data, write_run


STEPS = [1, 2, 3, 4, 5, 6]
CAPTION_ONLY = {"config_overrides": json.dumps({"cycle_weight": 0.0, "global_weight": 0.0})}
# Two steps an epoch at eight pairs a step; eight at two.
SAVING = {"per_device_train_batch_size": 2, "save_strategy": "steps", "save_steps": 2, "max_steps": 12}


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    """Data whose captions differ in length, the same with captions of three words, and a system for both."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.config.HF_DATASETS_CACHE", folder / "cache")
        pairs = render_pairs(folder / "rendered")
        data = write_data(pairs, folder / "data")
        write_data(pairs, folder / "short_data", words=3)
        save_base(folder / "base", data)
        yield folder


@pytest.fixture(scope="module")
def config(workshop):
    return write_run(workshop / "run.yaml", model_name_or_path=str(workshop / "base"), data_dir=str(workshop / "data"))


@pytest.fixture(scope="module")
def run(workshop, config):
    """The folder of a run with other values on the command line; a run is made once."""
    script = load_script("train")

    def call(name, **changes):
        folder = workshop / name
        if not folder.exists():
            assert script.main([config, "--output_dir", str(folder), *options_of(changes)]) == 0
        return folder

    return call


def check_equal(one, other, tolerance, names=("loss", "loss_parts/caption", "grad_norm"), steps=STEPS):
    for name in names:
        wanted = logged(one, name)
        assert list(wanted) == steps
        assert len(set(wanted.values())) == len(steps)
        assert logged(other, name) == pytest.approx(wanted, rel=0, abs=tolerance), name


@pytest.mark.parametrize("changes", [{"activation_checkpointing": True}, {"attn_implementation": "eager"}])
def test_same_mathematics_gives_the_same_losses(run, changes):
    """The plain run takes SDPA, and keeps all activations."""
    plain = run("plain")
    assert {"loss_parts/cycle", "loss_parts/global"} <= set(json.loads(last_entry(plain)))
    check_equal(plain, run(next(iter(changes)), **changes), 1e-4)


def last_entry(folder):
    state = json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
    return json.dumps([entry for entry in state["log_history"] if "loss" in entry][-1])


SHARES = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}


def test_accumulated_batches_equal_one_large_batch(run):
    check_equal(run("caption", **CAPTION_ONLY), run("caption-4", **CAPTION_ONLY, **SHARES), 1e-4)


def test_accumulated_means_equal_those_of_one_large_batch(run, workshop):
    """Means over pairs take part by tokens, and captions of one length give every pair one share."""
    short = {"data_dir": workshop / "short_data"}
    names = ("loss", "grad_norm", "loss_parts/cycle", "loss_parts/global")
    check_equal(run("short", **short), run("short-4", **short, **SHARES), 1e-4, names)


def test_cached_features_give_the_losses_of_images(run, workshop):
    cache = {"feature_cache": workshop / "features"}
    plain = run("plain")
    check_equal(plain, run("filling", **cache), 1e-5)
    files = {path: path.stat().st_mtime_ns for path in (workshop / "features").rglob("*.safetensors")}
    # Two images a pair, and the unchanged pair of a scene shows one of them again.
    assert len(files) == 24
    check_equal(plain, run("filled", **cache), 1e-5)
    assert {path: path.stat().st_mtime_ns for path in (workshop / "features").rglob("*.safetensors")} == files


@pytest.mark.slow
def test_two_processes_equal_one_with_the_whole_batch(run, config, workshop):
    torchrun = ["torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    folder = workshop / "caption-by-2"
    launch(torchrun, config, workshop / "hub", output_dir=folder, **CAPTION_ONLY, per_device_train_batch_size=4)
    check_equal(run("caption", **CAPTION_ONLY), folder, 1e-4)


def check_continued(whole, resumed, steps):
    check_equal(whole, resumed, 1e-6, ("loss", "grad_norm", "learning_rate"), steps)
    states = [load_file(folder / "best" / "model.safetensors") for folder in (whole, resumed)]
    assert states[0].keys() == states[1].keys()
    assert all(value.equal(states[1][name]) for name, value in states[0].items())


@pytest.mark.parametrize("step", [2, 8, 10], ids=["first-epoch", "end-of-epoch", "second-epoch"])
def test_resumed_run_equals_the_uninterrupted_one(run, workshop, step):
    whole = run("whole", **SAVING)
    resumed = workshop / f"resumed-{step}"
    resumed.mkdir()
    shutil.copytree(whole / f"checkpoint-{step}", resumed / f"checkpoint-{step}")
    words = ["--output_dir", str(resumed), *options_of({**SAVING, "resume_from_checkpoint": "true"})]
    assert load_script("train").main([str(workshop / "run.yaml"), *words]) == 0
    check_continued(whole, resumed, list(range(1, 13)))


# Ends the program in the middle of the second save, as no handler could prevent.
KILLED = """
import os, runpy, signal, sys
import transformers
save = transformers.Trainer._save_rng_state
def save_or_die(self, folder):
    if self.state.global_step == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    save(self, folder)
transformers.Trainer._save_rng_state = save_or_die
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.slow
def test_run_killed_in_a_save_goes_on_from_the_save_before(run, config, workshop):
    whole, killed = run("whole", **SAVING), workshop / "killed"
    words = [config, "--output_dir", str(killed), *options_of(SAVING)]
    result = subprocess.run([sys.executable, "-c", KILLED, str(SCRIPT), *words], capture_output=True, timeout=300)
    assert result.returncode == -signal.SIGKILL
    assert (killed / "checkpoint-4" / "optimizer.pt").is_file()
    assert not (killed / "checkpoint-4" / "trainer_state.json").exists()
    assert load_script("train").main([*words, "--resume_from_checkpoint", "true"]) == 0
    check_continued(whole, killed, list(range(1, 13)))
