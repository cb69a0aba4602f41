# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The runs over a pretrained language model, each with its whole command, over tiny backbones."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM, ResNetConfig, ResNetModel

from ssgpa.training.arguments import parse_arguments
from ssgpa.utils.loading import load_system

from ..scripts import load_script
from ..tiny_systems import VISION, tiny_config, tiny_tokenizer
from .runs import DATA_SETS, ROOT, accelerate, launch, logged, options_of, prepare_set, save_base


CONFIGS = ROOT / "examples" / "configs"
# What runs share, and no runs by themselves; `custom_pairs` is run by tests/test_tutorial.py.
SHARED = {"ssgpa_vicuna7b", "ablations/base", "custom_pairs"}
# Runs of other systems, in folders of their names, are tested beside these systems; the reproduction's by
# tests/benchmarks/test_reproduction_runs.py, those of the comparison by tests/benchmarks/test_run.py, those over a VLM
# by tests/vlm/test_runs_vlm.py.
SYSTEMS = {path.name for path in (ROOT / "baselines").iterdir()}
SHIPPED = {
    str(path.relative_to(CONFIGS).with_suffix(""))
    for path in CONFIGS.rglob("*.yaml")
    if path.parent.name not in {"cards", "comparison", "reproduction", "vlm", *SYSTEMS}
} - SHARED
GPU_SIZES = ["24gb", "40gb", "16gb"]
# From random weights, or from the run that all ablations start from.
START = "ablations/start"
TOWER = "clevr_tiny_tower"
OWN_MODELS = [TOWER, "clevr_tiny", START]
ABLATIONS = sorted(name for name in SHIPPED if name.startswith("ablations/") and name != START)
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
    told = json.loads((folder / "resnet" / "generation_config.json").read_text("utf-8"))
    config = json.loads((folder / "resnet" / "config.json").read_text("utf-8"))
    assert (told["num_beams"], told["max_new_tokens"]) == (5, 40)
    assert told["suppress_tokens"] == [config["image_token_id"]]


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("presets")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.config.HF_DATASETS_CACHE", folder / "cache")
        for name in sorted({data_of(run) for run in SHIPPED}):
            prepare_set(name, folder)
        data = folder / "clevr_change"
        save_base(folder / "eva", data)
        # Layers as wide as a block of 4-bit weights.
        text = tiny_config().text_config.to_dict() | {"hidden_size": 64, "intermediate_size": 128, "head_dim": 16}
        save_base(folder / "wide", data, text_config=text)
        resnet_base(folder)
        yield folder


def data_of(name):
    """The fixture of the data set that a run's YAML reads."""
    _, data, _ = parse_arguments([str(CONFIGS / f"{name}.yaml"), "--use_cpu", "true"])
    return Path(data.data_dir).name


def changes_for(workshop, name, folder, base="eva"):
    base = workshop / ("resnet" if name == RESNET else base)
    return {"model_name_or_path": base, "data_dir": workshop / data_of(name), "output_dir": folder, **SMALL}


def check_choice(folder, name):
    """The run came to its checkpoint, chosen by a score that its data has."""
    state = json.loads((folder / "trainer_state.json").read_text("utf-8"))
    assert (folder / "checkpoint-2" / "trainer_state.json").is_file()
    typed = DATA_SETS[data_of(name)][0] == "clevr_change"
    assert typed == bool(logged(folder, "eval_changed_cider"))
    # Rendered sets know their scenes, and so which captions are correct.
    names = ("eval_changed_correct", "eval_changed_cider") if typed else ("eval_total_cider",)
    scores = next(filter(None, (logged(folder, score) for score in names)))
    assert state["best_metric"] == scores[state["best_global_step"]] == max(scores.values())


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


def test_every_shipped_run_is_run_here():
    assert {*RUNS, RESNET, *GPU_SIZES, *OWN_MODELS, *ABLATIONS} == SHIPPED
    assert {data_of(name) for name in SHIPPED} <= set(DATA_SETS)


@pytest.mark.parametrize("name", [*RUNS, RESNET])
def test_run_with_tiny_backbones(workshop, name):
    changes = changes_for(workshop, name, workshop / f"{name}-plain")
    assert load_script("train").main([str(CONFIGS / f"{name}.yaml"), *options_of(changes)]) == 0
    check_run(changes["output_dir"], changes["model_name_or_path"])
    check_choice(changes["output_dir"], name)
    more = options_of(changes | {"resume_from_checkpoint": "true", "max_steps": 2})
    assert load_script("train").main([str(CONFIGS / f"{name}.yaml"), *more]) == 0


@pytest.fixture(scope="module")
def own_model(workshop):
    """Runs a YAML with the model that it names, to its first checkpoint; the folder."""

    def run(name, **changes):
        folder = workshop / "own" / name
        if not folder.exists():
            values = {"data_dir": workshop / data_of(name), "output_dir": folder, **SMALL, "save_steps": 2} | changes
            _, _, run = parse_arguments([str(CONFIGS / f"{name}.yaml"), "--use_cpu", "true"])
            values |= {"eval_steps": 2} if run.eval_strategy == "steps" else {}
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(ROOT)
                words = [str(CONFIGS / f"{name}.yaml"), *options_of(values)]
                assert load_script("train").main(words) == 0
        return folder

    return run


def test_the_embedded_checkpoints_run(own_model):
    tower = own_model(TOWER)
    assert set(logged(tower, "loss_parts/aux_objects")) == {1, 2}
    start = tower / "checkpoint-2"
    folder = own_model("clevr_tiny", model_name_or_path=start)
    check_choice(folder, "clevr_tiny")
    before, after = (load_system(str(path))[0].state_dict() for path in (start, folder / "best"))
    # The first stage trains the tower alone, the second one everything.
    assert all(not torch.equal(before[name], value) for name, value in after.items() if name.endswith("_proj.weight"))
    told = json.loads((folder / "trainable_parameters.json").read_text("utf-8"))
    assert told["canonical_captions"]["unchanged"]
    config = load_system(str(folder / "best"))[0].config
    assert (config.caption_weight, config.contrast_weight) == (1.0, 0.1)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if "gated_dustbin" in name else pytest.mark.slow) for name in ABLATIONS]
)
def test_ablations_start_from_a_common_model(own_model, name):
    start = own_model(START)
    folder = own_model(name, model_name_or_path=start / "best")
    assert (folder / "checkpoint-2" / "trainer_state.json").is_file()
    assert list(logged(folder)) == [1, 2]


@pytest.mark.parametrize("name", GPU_SIZES)
def test_runs_for_cards_with_tiny_backbones(workshop, name):
    if name == "16gb":
        pytest.importorskip("bitsandbytes")
    folder = workshop / name
    changes = changes_for(workshop, name, folder, "wide") | {"model_config": ""}
    assert load_script("train").main([str(CONFIGS / f"{name}.yaml"), *options_of(changes)]) == 0
    assert list(logged(folder)) == [1, 2]
    check_choice(folder, name)
    model, _ = load_system(str(folder / "best"))
    base, _ = load_system(str(workshop / "wide"))
    # In bfloat16 where the whole model is saved.
    frozen = weights_of(model, base, "language_model.layers.0.mlp.up_proj.weight")
    assert torch.allclose(frozen[0], frozen[1].to(frozen[0].dtype))
    assert not torch.equal(*weights_of(model, base, "dustbin_score"))


def weights_of(model, base, name):
    """A weight of a trained model, whatever wraps it, and of its base."""
    found = [
        [value for key, value in one.state_dict().items() if key.endswith(name) and "original_module" not in key]
        for one in (model, base)
    ]
    return [value for (value,) in found]


def test_lora_over_a_base_in_4_bit(workshop):
    pytest.importorskip("bitsandbytes")
    name = RUNS[0]
    nf4 = json.dumps({"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"})
    changes = changes_for(workshop, name, workshop / "qlora", "wide") | {"quantization_config": nf4}
    assert load_script("train").main([str(CONFIGS / f"{name}.yaml"), *options_of(changes)]) == 0
    check_run(changes["output_dir"], changes["model_name_or_path"])


def test_a_model_in_4_bit_is_not_saved_whole(workshop, capsys):
    changes = changes_for(workshop, "16gb", workshop / "none") | {"model_config": "", "save_trained_only": False}
    assert load_script("train").main([str(CONFIGS / "16gb.yaml"), *options_of(changes)]) == 2
    assert "`quantization_config` needs `lora` or `save_trained_only`" in capsys.readouterr().err
    assert not (workshop / "none").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", [*RUNS, RESNET])
def test_whole_command_under_zero2(workshop, name):
    changes = changes_for(workshop, name, workshop / name)
    launch(ZERO2, str(CONFIGS / f"{name}.yaml"), workshop / "hub", **changes)
    check_run(changes["output_dir"], changes["model_name_or_path"])


@pytest.mark.slow
def test_lora_whose_parameters_are_shared_out(workshop):
    """Under ZeRO-3 each of two processes holds half of everything; what is saved is whole."""
    name = RUNS[0]
    changes = changes_for(workshop, name, workshop / "zero3")
    launch(accelerate("zero3_offload", 2), str(CONFIGS / f"{name}.yaml"), workshop / "hub", **changes)
    check_run(changes["output_dir"], changes["model_name_or_path"])
