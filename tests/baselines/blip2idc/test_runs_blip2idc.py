# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""BLIP2IDC's runs, each with its whole command, over a tiny BLIP-2."""

import json

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

from ssgpa.baselines.blip2idc import BLIP2IDCForConditionalGeneration
from ssgpa.baselines.blip2idc.conversion_blip2idc import RELEASED, TARGET_MODULES
from ssgpa.training.arguments import parse_arguments
from ssgpa.utils.loading import load_system

from ...data.readers.reader_cases import CASES
from ...examples.runs import ROOT, accelerate, launch, logged, options_of, prepare_set
from ...scripts import load_script
from .cases import save_blip2
from .test_modeling_blip2idc import inputs_of


CONFIGS = ROOT / "examples" / "configs" / "blip2idc"
# What runs share, and no run by itself.
SHARED = {"opt"}
SETS = {
    "clevr": "clevr_change",
    "clevr_dc": "clevr_dc",
    "spot": "spot_the_diff",
    "ier": "image_editing_request",
    "emu": "emu_edit",
    "syned": "emu_edit",
    "syned_first": "emu_edit",
    "emu_second": "emu_edit",
    "emu_and_syned": "emu_edit",
}
# Rank, rate, pairs of a step and seed, as published or, where nothing is, as the released defaults.
PUBLISHED = {
    "clevr": (16, 1e-4, 16, 42),
    "clevr_dc": (8, 5e-5, 16, 42),
    "spot": (8, 1e-4, 48, 1234),
    "ier": (16, 1e-4, 16, 1234),
    "emu": (8, 5e-5, 32, 42),
    "syned": (32, 4e-5, 32, 42),
    "syned_first": (8, 5e-5, 32, 42),
    "emu_second": (8, 5e-5, 32, 42),
    "emu_and_syned": (8, 5e-5, 32, 42),
}
SMALL = {
    "max_steps": 2,
    "per_device_train_batch_size": 4,
    "logging_steps": 1,
    "eval_strategy": "steps",
    "eval_steps": 2,
}
SMALL |= {"save_strategy": "steps", "save_steps": 2, "use_cpu": True, "dataloader_num_workers": 0}
SMALL |= {"generation_max_new_tokens": 4, "disable_tqdm": True}


def prepare_case(name, folder):
    """A prepared set of a reader's own fixture."""
    CASES[name].make(folder / "sources" / name)
    words = ["--dataset", name, "--source", str(folder / "sources" / name), "--output_dir", str(folder / name)]
    assert load_script("prepare_data").main(words) == 0


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("blip2idc")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.config.HF_DATASETS_CACHE", folder / "cache")
        patch.chdir(ROOT)
        save_blip2(folder / "blip2")
        words = ["--blip2", str(folder / "blip2"), "--output_dir", str(folder / "base")]
        assert load_script("make_base").main(words) == 0
        for name in ("clevr_change", "small_prepared_6x12", "spot_the_diff", "image_editing_request"):
            prepare_set(name, folder)
        for name in ("clevr_dc", "emu_edit", "syned"):
            prepare_case(name, folder)
        yield folder


def run_of(name):
    return parse_arguments([str(CONFIGS / f"{name}.yaml"), "--use_cpu", "true"])


def changes_for(workshop, name, folder):
    model, data, _ = run_of(name)
    changes = {"model_name_or_path": workshop / "base", "data_dir": workshop / SETS[name], "output_dir": folder}
    if data.synthetic_data_dir:
        changes["synthetic_data_dir"] = workshop / "syned"
    if model.adapter_name_or_path:
        changes["adapter_name_or_path"] = workshop / "runs" / "syned_first" / "best"
    return changes | SMALL


def train(name, **changes):
    return load_script("train").main([str(CONFIGS / f"{name}.yaml"), *options_of(changes)])


@pytest.fixture(scope="module")
def trained(workshop):
    """A run to its first checkpoint; made once."""

    def run(name):
        folder = workshop / "runs" / name
        if not folder.exists():
            if name == "emu_second":
                run("syned_first")
            assert train(name, **changes_for(workshop, name, folder)) == 0
        return folder

    return run


def test_every_shipped_run_is_run_here():
    assert {path.stem for path in CONFIGS.glob("*.yaml")} - SHARED == {*SETS, "clevr_tiny"}
    assert PUBLISHED.keys() == SETS.keys()


@pytest.mark.parametrize("name", SETS)
def test_published_values_are_those_of_the_runs(name):
    model, data, run = run_of(name)
    rank, rate, pairs, seed = PUBLISHED[name]
    lora = json.loads(model.lora)
    assert (lora["r"], lora["lora_alpha"], lora["lora_dropout"]) == (rank, 2 * rank, 0.05)
    assert lora["target_modules"] == TARGET_MODULES
    assert (run.learning_rate, run.per_device_train_batch_size, run.seed) == (rate, pairs, seed)
    assert run.gradient_accumulation_steps == 1
    assert (run.lr_scheduler_type.value, run.weight_decay, run.max_grad_norm) == ("constant", 0.01, 0.0)
    assert run.get_warmup_steps(1000) == 0
    assert (run.adam_beta1, run.adam_beta2, run.adam_epsilon) == (0.9, 0.999, 1e-8)
    assert model.trainable == ["none"]
    assert data.data_dir == f"prepared/{SETS[name]}"
    assert data.captions_per_pair == 1
    blurred = SETS[name] in ("image_editing_request", "emu_edit")
    assert data.augment == (["blur=0.5", "jpeg=0.5"] if blurred else [])


@pytest.mark.parametrize("name", SETS)
def test_run_over_a_tiny_blip_2(name, workshop, trained):
    folder = trained(name)
    assert list(logged(folder)) == [1, 2]
    assert all(loss > 0 for loss in logged(folder).values())
    weights = load_file(folder / "best" / "adapter_model.safetensors")
    assert weights
    assert all(".lora_" in key and value.dtype == torch.float32 for key, value in weights.items())
    told = json.loads((folder / "best" / "adapter_config.json").read_text("utf-8"))
    assert told["base_model_name_or_path"] == str(workshop / "base")
    model, processor = load_system(str(folder / "best"))
    assert isinstance(model, BLIP2IDCForConditionalGeneration)
    assert model.generation_config.eos_token_id == [2, 202]
    assert processor.pair_layout == "vertical"
    record = json.loads((folder / "trainable_parameters.json").read_text("utf-8"))
    assert record["trainable"] == sum(value.numel() for value in weights.values())


@pytest.mark.parametrize(("name", "real", "synthetic"), [("syned", 0, 8), ("emu_and_syned", 2, 2)])
def test_the_synthetic_share_is_reported(name, real, synthetic, trained, workshop, capsys):
    folder = trained(name)
    pairs = json.loads((folder / "trainable_parameters.json").read_text("utf-8"))["pairs"]
    assert pairs == {
        "real": real,
        "synthetic": synthetic,
        "available": 8,
        "share": synthetic / (real + synthetic),
    }
    changes = changes_for(workshop, name, workshop / "runs" / f"{name}-again") | {"save_strategy": "no"}
    changes |= {"max_steps": 1, "eval_strategy": "no", "load_best_model_at_end": False}
    assert train(name, **changes) == 0
    assert f"{100 * pairs['share']:.1f} % are synthetic" in capsys.readouterr().out


def test_the_second_phase_goes_on_from_the_first(trained, workshop):
    first = load_file(trained("syned_first") / "best" / "adapter_model.safetensors")
    folder = workshop / "runs" / "unmoved"
    changes = changes_for(workshop, "emu_second", folder) | {"learning_rate": 0.0}
    assert train("emu_second", **changes) == 0
    second = load_file(folder / "best" / "adapter_model.safetensors")
    assert second.keys() == first.keys()
    assert all(torch.equal(value, first[key]) for key, value in second.items())
    record = json.loads((folder / "trainable_parameters.json").read_text("utf-8"))
    assert record["adapter_name_or_path"] == str(trained("syned_first") / "best")
    moved = load_file(trained("emu_second") / "best" / "adapter_model.safetensors")
    assert any(not torch.equal(value, first[key]) for key, value in moved.items())


def test_a_checkpoint_merges_exactly(trained, workshop, tmp_path):
    """LoRA's matrices, added into the base's, compute what they did beside it; saved, to the bit."""
    base, _ = load_system(str(workshop / "base"))
    tuned = PeftModel.from_pretrained(base, trained("clevr") / "best").eval()
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            parameter.data = 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(name)))
    inputs = inputs_of(base)
    with torch.no_grad():
        wanted = tuned(**inputs).logits
        merged = tuned.merge_and_unload()
        found = merged(**inputs).logits
    assert type(merged) is BLIP2IDCForConditionalGeneration
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
    merged.save_pretrained(tmp_path)
    with torch.no_grad():
        again = BLIP2IDCForConditionalGeneration.from_pretrained(tmp_path).eval()(**inputs).logits
        bare = load_system(str(workshop / "base"))[0](**inputs).logits
    assert torch.equal(again, found)
    assert (found - bare).abs().max() > 1e-2


def test_the_released_loss_is_a_setting(workshop):
    folder = workshop / "runs" / "released"
    overrides = {"config_overrides": json.dumps(RELEASED)}
    assert train("clevr", **changes_for(workshop, "clevr", folder), **overrides) == 0
    assert list(logged(folder)) == [1, 2]


def test_the_released_blur_is_a_setting(workshop):
    folder = workshop / "runs" / "blurred"
    changes = changes_for(workshop, "ier", folder) | {"augment": "slight_blur=1.0"}
    words = [word for name, value in changes.items() for word in (f"--{name}", str(value))]
    assert load_script("train").main([str(CONFIGS / "ier.yaml"), *words]) == 0
    assert list(logged(folder)) == [1, 2]


def test_a_run_from_random_weights(workshop):
    folder = workshop / "runs" / "clevr_tiny"
    assert train("clevr_tiny", data_dir=workshop / "small_prepared_6x12", output_dir=folder, **SMALL) == 0
    assert list(logged(folder)) == [1, 2]
    model, _ = load_system(str(folder / "best"))
    record = json.loads((folder / "trainable_parameters.json").read_text("utf-8"))
    assert record["trainable"] == record["parameters"] == model.num_parameters()


def test_a_run_is_resumed(trained, workshop):
    folder = trained("clevr")
    changes = changes_for(workshop, "clevr", folder) | {"resume_from_checkpoint": "true", "max_steps": 3}
    assert train("clevr", **changes) == 0
    assert list(logged(folder)) == [1, 2, 3]


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_whole_command_under_zero2(workshop, processes):
    pytest.importorskip("deepspeed")
    plain, folder = (workshop / f"{name}-{processes}" for name in ("plain", "zero2"))
    base = workshop / "base"
    # What both compute in one dtype, without draws.
    still = {"frozen_dtype": "float32", "checkpointing": "none", "seed": 1}
    lora = json.dumps({"r": 2, "lora_alpha": 4, "target_modules": TARGET_MODULES})
    changes = changes_for(workshop, "clevr", plain) | still | {"lora": lora, "learning_rate": 1e-3}
    assert train("clevr", **changes) == 0
    changes |= {"output_dir": folder, "per_device_train_batch_size": 4 // processes}
    launch(accelerate("zero2_offload", processes), str(CONFIGS / "clevr.yaml"), workshop / "hub", **changes)
    assert logged(folder) == pytest.approx(logged(plain), rel=1e-4)
    weights = load_file(folder / "best" / "adapter_model.safetensors")
    assert all(".lora_" in key for key in weights)
    told = json.loads((folder / "best" / "adapter_config.json").read_text("utf-8"))
    assert told["base_model_name_or_path"] == str(base)
    load_system(str(folder / "best"))
