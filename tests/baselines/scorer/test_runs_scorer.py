# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""SCORER's runs, each with its whole command, over a tiny backbone."""

import json

import pytest
import torch
from transformers import ResNetConfig, ResNetModel

import ssgpa.baselines.scorer
from ssgpa.baselines.scorer import SCORERForConditionalGeneration
from ssgpa.training.arguments import parse_arguments
from ssgpa.utils.loading import load_system

from ...examples.runs import ROOT, logged, options_of, prepare_set
from ...scripts import load_script
from ...tiny_systems import VISION


CONFIGS = ROOT / "examples" / "configs" / "scorer"
# What runs share, and no run by itself.
SHARED = {"resnet101"}
SETS = {"clevr": "clevr_change", "spot": "spot_the_diff", "ier": "image_editing_request"}
TINY = f"{ssgpa.baselines.scorer.__path__[0]}/tiny.json"
SMALL = {"max_steps": 2, "per_device_train_batch_size": 4, "logging_steps": 1, "eval_steps": 2, "save_steps": 2}
SMALL |= {"use_cpu": True, "dataloader_num_workers": 0, "generation_max_new_tokens": 4, "disable_tqdm": True}


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scorer")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.config.HF_DATASETS_CACHE", folder / "cache")
        patch.chdir(ROOT)
        torch.manual_seed(0)
        ResNetModel(ResNetConfig(**VISION["resnet"])).save_pretrained(folder / "resnet")
        for name in (*SETS.values(), "scorer_prepared"):
            prepare_set(name, folder)
        yield folder


def base_of(workshop, data, *more):
    words = ["--vision", str(workshop / "resnet"), "--data", str(workshop / data), "--model_config", TINY]
    return load_script("make_scorer_base").main(
        [*words, "--image_size", "32", "32", "--output_dir", str(workshop / f"base-{data}"), *more]
    )


def train(name, **changes):
    return load_script("train").main([str(CONFIGS / f"{name}.yaml"), *options_of(changes)])


def test_every_shipped_run_is_run_here():
    assert {path.stem for path in CONFIGS.glob("*.yaml")} - SHARED == {*SETS, "clevr_tiny"}


@pytest.mark.parametrize("name", SETS)
def test_runs_over_a_frozen_backbone(name, workshop):
    data, folder = SETS[name], workshop / "runs" / name
    assert base_of(workshop, data) == 0
    base, _ = load_system(str(workshop / f"base-{data}"))
    wanted = ResNetModel.from_pretrained(workshop / "resnet").state_dict()
    assert all(
        torch.equal(value, wanted[key]) for key, value in base.get_vision_encoder().backbone.state_dict().items()
    )
    places = {"model_name_or_path": workshop / f"base-{data}", "data_dir": workshop / data, "output_dir": folder}
    assert train(name, **places, feature_cache=workshop / "features", **SMALL) == 0
    assert list(logged(folder)) == [1, 2]
    assert {"loss_parts/cross_view", "loss_parts/cross_modal", "cross_view_scale"} <= _logged_names(folder)
    assert list((workshop / "features").rglob("*.safetensors"))
    model, processor = load_system(str(folder / "best"))
    assert type(model) is SCORERForConditionalGeneration
    kept, before = model.state_dict(), base.state_dict()
    # Spot-the-Diff has a layer more than its base.
    assert model.config.encoder_layers == (3 if name == "spot" else 2)
    same = {key for key, value in before.items() if torch.equal(value, kept[key])}
    assert {key for key in before if "vision_tower" in key} <= same
    assert "model.encoder.fusion.weight" not in same
    assert "backward_reasoning.condition.weight" not in same
    assert processor.tokenizer.vocab_size == model.config.vocab_size
    assert logged(folder, "eval_total_cider").keys() == {2}


def _logged_names(folder):
    history = json.loads((folder / "trainer_state.json").read_text("utf-8"))["log_history"]
    return {name for entry in history for name in entry}


def test_a_run_from_random_weights(workshop):
    folder = workshop / "runs" / "clevr_tiny"
    assert train("clevr_tiny", data_dir=workshop / "scorer_prepared", output_dir=folder, **SMALL) == 0
    assert list(logged(folder)) == [1, 2]
    load_system(str(folder / "best"))


def test_the_rate_falls_in_steps(workshop):
    folder = workshop / "runs" / "steps"
    values = SMALL | {"max_steps": 6, "eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
    places = {"data_dir": workshop / "scorer_prepared", "output_dir": folder}
    steps = {"lr_step_size": 2, "lr_step_factor": 0.5, "learning_rate": 0.008}
    assert train("clevr_tiny", **places, **values, **steps) == 0
    # Each is the rate of the step that follows.
    assert list(logged(folder, "learning_rate").values()) == pytest.approx([0.008, 0.008, 0.004, 0.004, 0.002, 0.002])


def test_published_values_are_those_of_the_runs():
    words = ["--use_cpu", "true", "--output_dir", "unused"]
    _, _, run = parse_arguments([str(CONFIGS / "clevr.yaml"), *words])
    assert (run.learning_rate, run.lr_step_size, run.lr_step_factor) == (2e-4, 15 * 265, 0.1)
    assert (run.per_device_train_batch_size, run.max_steps, run.eval_steps) == (2 * 128, 10_000, 1_000)
    assert (run.weight_decay, run.max_grad_norm, run.get_warmup_steps(run.max_steps), run.seed) == (0, 0, 0, 1111)
    assert (run.adam_beta1, run.adam_beta2, run.adam_epsilon) == (0.9, 0.999, 1e-8)


def test_a_base_of_another_backbone_is_refused(workshop, capsys):
    other = ResNetModel(ResNetConfig(**VISION["resnet"] | {"hidden_sizes": [8, 24]}))
    other.save_pretrained(workshop / "other")
    assert base_of(workshop, "scorer_prepared", "--vision", str(workshop / "other")) == 2
    assert "is not the `vision_config`" in capsys.readouterr().err
    assert not (workshop / "base-scorer_prepared").exists()
