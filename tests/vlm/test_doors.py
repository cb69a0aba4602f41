# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""A plain VLM through the doors of the package: command line, training from a YAML, thin checkpoints, merging."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText, AutoProcessor

from ssgpa.benchmarks.tiny_vlms import save_vlm
from ssgpa.cli.commands import main as command
from ssgpa.publishing_ssgpa import save_repository
from ssgpa.utils.loading import load_system
from ssgpa.vlm.modeling_ssgpa_vlm import NEW_PARTS

from ..scripts import load_script


train, evaluate, merge_checkpoint = (load_script(name) for name in ("train", "evaluate", "merge_checkpoint"))


@pytest.fixture(scope="module")
def vlm(tmp_path_factory) -> Path:
    return save_vlm("llava", tmp_path_factory.mktemp("plain") / "llava")


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> tuple[str, str]:
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    paths = []
    for name in ("before", "after"):
        paths.append(str(folder / f"{name}.png"))
        Image.fromarray(rng.integers(0, 255, (40, 50, 3), dtype=np.uint8)).save(paths[-1])
    return tuple(paths)


@pytest.fixture(scope="module")
def run(tmp_path_factory, vlm, prepared_dir) -> Path:
    folder = tmp_path_factory.mktemp("run")
    lora = {"target_modules": r".*language_model\..*\.(q_proj|v_proj)", "r": 2}
    settings = {
        "model_name_or_path": str(vlm),
        "config_overrides": {"patch_grid": [2, 3], "fusion_layers": 1, "fusion_hidden_size": 8, "warp_weight": 0.1},
        "instruction": "what changed ?",
        "trainable": [r"^change_fusion_adapter\.", r"^alignment\.", r"^contrast\."],
        "lora": lora,
        "data_dir": str(prepared_dir),
        "output_dir": str(folder),
        "per_device_train_batch_size": 4,
        "learning_rate": 0.02,
        "max_steps": 3,
        "logging_steps": 1,
        "save_steps": 3,
        "eval_strategy": "steps",
        "eval_steps": 3,
        "max_eval_pairs": 4,
        "generation_num_beams": 1,
        "generation_max_new_tokens": 5,
        "use_cpu": True,
        "report_to": "none",
    }
    path = folder / "run.json"
    path.write_text(json.dumps(settings), encoding="utf-8")  # JSON is YAML
    yaml = path.rename(folder / "run.yaml")
    assert train.main([str(yaml)]) in (0, None)
    return folder


def test_the_command_captions_by_a_plain_vlm_and_says_so(vlm, pair, capsys):
    assert command(["caption", *pair, "--model", str(vlm), "--max-new-tokens", "4"]) == 0
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "adapter and change map are untrained" in told


def test_a_run_saves_what_is_new_and_names_the_vlm(run, vlm):
    best = run / "best"
    told = json.loads((best / "adapter_config.json").read_text())
    assert told["base_model_name_or_path"] == str(vlm)
    config = json.loads((best / "config.json").read_text())
    assert config["patch_grid"] == [2, 3]
    names = [name.removeprefix("base_model.model.") for name in load_file(best / "adapter_model.safetensors")]
    assert all(name.startswith(NEW_PARTS) or ".lora_" in name for name in names)
    assert {name.split(".")[0] for name in names} == {"change_fusion_adapter", "alignment", "contrast", "vlm"}


def test_a_thin_checkpoint_evaluates(run, prepared_dir, tmp_path):
    output = tmp_path / "result.json"
    arguments = ["--model", str(run / "best"), "--data", str(prepared_dir), "--split", "test"]
    assert evaluate.main([*arguments, "--num_beams", "1", "--output", str(output)]) in (0, None)
    assert json.loads(output.read_text())["scores"]


def test_a_merged_checkpoint_says_the_same_without_its_base(run, pair, tmp_path):
    model, processor = load_system(str(run / "best"))
    inputs = processor(images=[pair], suffix=["the red ball moved"], return_tensors="pt")
    with torch.no_grad():
        expected = model(**inputs, output_evidence=True)
    assert merge_checkpoint.main(["--checkpoint", str(run / "best"), "--output_dir", str(tmp_path / "whole")]) == 0
    whole = AutoModelForImageTextToText.from_pretrained(tmp_path / "whole")
    again = AutoProcessor.from_pretrained(tmp_path / "whole")(
        images=[pair], suffix=["the red ball moved"], return_tensors="pt"
    )
    with torch.no_grad():
        found = whole(**again, output_evidence=True)
    torch.testing.assert_close(found.logits, expected.logits)
    torch.testing.assert_close(found.evidence.change_map, expected.evidence.change_map)
    assert not [name for name in whole.state_dict() if "lora" in name]


def test_a_thin_checkpoint_is_merged_before_it_is_published(run, tmp_path):
    model, processor = load_system(str(run / "best"))
    with pytest.raises(ValueError, match="merge it first"):
        save_repository(model, processor, tmp_path)


def test_a_missing_vlm_is_named(run, vlm, tmp_path):
    # From here no relative path leads to it either.
    folder = tmp_path / "far" / "away" / "best"
    shutil.copytree(run / "best", folder)
    told = folder / "adapter_config.json"
    content = json.loads(told.read_text())
    told.write_text(json.dumps(content | {"base_model_name_or_path": str(tmp_path / "gone")}))
    with pytest.raises(ValueError, match="gone"):
        load_system(str(folder))


def test_several_captions_in_a_row_are_refused(vlm, prepared_dir, tmp_path, capsys):
    settings = {"model_name_or_path": str(vlm), "data_dir": str(prepared_dir), "captions_per_pair": 2}
    path = tmp_path / "run.yaml"
    path.write_text(json.dumps(settings | {"output_dir": str(tmp_path), "max_steps": 1, "use_cpu": True}))
    assert train.main([str(path)]) == 2
    assert "one caption a row" in capsys.readouterr().err
