# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The runs over a pretrained language model, each with its whole command, over tiny backbones."""

import json

import pytest
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM, ResNetConfig, ResNetModel

from ssgpa.loading import load_system

from ..scripts import load_script
from ..tiny_systems import VISION, tiny_config, tiny_tokenizer
from .runs import ROOT, launch, logged, options_of, render_pairs, save_base, write_data


CONFIGS = ROOT / "examples" / "configs"
RUNS = ["ssgpa_eva_vicuna7b_clevr", "ssgpa_eva_vicuna7b_spot", "ssgpa_eva_vicuna7b_ier"]
RESNET = "ssgpa_resnet101_vicuna7b_clevr"
ZERO2 = ["accelerate.commands.launch", "--config_file", str(ROOT / "examples" / "accelerate" / "zero2_offload.yaml")]
SMALL = {"max_steps": 2, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "logging_steps": 1}
SMALL |= {"use_cpu": True, "bf16": False, "dataloader_num_workers": 0, "generation_max_new_tokens": 4}


def resnet_base(folder):
    """Made of a tower and a language model, as the run's own notes tell."""
    tokenizer = tiny_tokenizer()
    tiny = tiny_config(vision="resnet", warp_weight=0.0)
    text = tiny.text_config.to_dict() | {"vocab_size": len(tokenizer) - 1}
    tokenizer.save_pretrained(folder / "language")
    LlamaForCausalLM(LlamaConfig(**text)).save_pretrained(folder / "language")
    ResNetModel(ResNetConfig(**VISION["resnet"])).save_pretrained(folder / "vision")
    (folder / "sizes.json").write_text(json.dumps(tiny.to_diff_dict()), encoding="utf-8")
    words = ["--vision", str(folder / "vision"), "--language", str(folder / "language"), "--image_size", "32", "32"]
    words += ["--model_config", str(folder / "sizes.json"), "--output_dir", str(folder / "resnet")]
    assert load_script("make_base").main(words) == 0


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("presets")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.config.HF_DATASETS_CACHE", folder / "cache")
        data = write_data(render_pairs(folder / "rendered"), folder / "data")
        save_base(folder / "eva", data)
        resnet_base(folder)
        yield folder


def changes_for(workshop, name, folder):
    base = workshop / ("resnet" if name == RESNET else "eva")
    return {"model_name_or_path": base, "data_dir": workshop / "data", "output_dir": folder, **SMALL}


def check_run(folder, base):
    assert list(logged(folder)) == [1, 2]
    weights = load_file(folder / "best" / "adapter_model.safetensors")
    names = " ".join(weights)
    assert all(part in names for part in ("lora_A", "alignment.dustbin_score", "gate_threshold", "projection"))
    assert not [name for name in weights if "lm_head" in name or "embed_tokens" in name]
    told = json.loads((folder / "best" / "adapter_config.json").read_text("utf-8"))
    assert told["base_model_name_or_path"] == str(base)
    model, processor = load_system(str(folder / "best"))
    assert processor.image_seq_length == model.config.image_seq_length


@pytest.mark.parametrize("name", [RUNS[0], RESNET])
def test_run_with_tiny_backbones(workshop, name):
    changes = changes_for(workshop, name, workshop / f"{name}-plain")
    assert load_script("train").main([str(CONFIGS / f"{name}.yaml"), *options_of(changes)]) == 0
    check_run(changes["output_dir"], changes["model_name_or_path"])
    more = options_of(changes | {"resume_from_checkpoint": "true", "max_steps": 2})
    assert load_script("train").main([str(CONFIGS / f"{name}.yaml"), *more]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", [*RUNS, RESNET])
def test_whole_command_under_zero2(workshop, name):
    changes = changes_for(workshop, name, workshop / name)
    launch(ZERO2, str(CONFIGS / f"{name}.yaml"), workshop / "hub", **changes)
    check_run(changes["output_dir"], changes["model_name_or_path"])
