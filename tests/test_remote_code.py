# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""A saved folder carries its own code: it loads and computes the same where the package is not installed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from ssgpa import SSGPAConfig, SSGPAForConditionalGeneration, SSGPAProcessor

from .remote_steps import compute
from .tiny_systems import tiny_ssgpa


VARIANTS = {"qformer": {"qformer": True}, "resnet": {"vision": "resnet"}}
MODEL_FILES = {
    "alignment",
    "configuration",
    "conversion",
    "losses",
    "modeling",
    "prompt_sharing",
    "system",
    "transport",
    "visual_prompt",
    "warp",
}
FILES = MODEL_FILES | {"image_utils", "processing", "prompts"}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Folders of two tiny systems with their code, and two images."""
    root = tmp_path_factory.mktemp("remote")
    for name, value in (("before", 0), ("after", 128)):
        image = Image.linear_gradient("L").rotate(value).resize((48, 40))
        image.save(root / f"{name}.png")
    with pytest.MonkeyPatch.context() as patch:
        for cls, auto_class in (
            (SSGPAConfig, "AutoConfig"),
            (SSGPAForConditionalGeneration, "AutoModelForImageTextToText"),
            (SSGPAProcessor, "AutoProcessor"),
        ):
            patch.setattr(cls, "_auto_class", None)
            cls.register_for_auto_class(auto_class)
        for name, options in VARIANTS.items():
            model, processor = tiny_ssgpa(**options)
            for parameter in model.parameters():
                # What starts at zero would hide a module that was left out.
                parameter.data += 0.05 * torch.randn_like(parameter)
            model.save_pretrained(root / name)
            processor.save_pretrained(root / name)
    return root


@pytest.fixture(scope="module")
def remote(saved):
    """What a fresh process without the package computes, by variant."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(saved / "home"), "PYTHONPATH": ""}
    environment["HF_MODULES_CACHE"] = str(saved / "modules")
    script = Path(__file__).with_name("remote_steps.py")
    command = [sys.executable, script, *(saved / name for name in ("before.png", "after.png", *VARIANTS))]
    result = subprocess.run(command, cwd=saved, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return {name: torch.load(saved / f"{name}.pt", weights_only=True) for name in VARIANTS}


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_folder_holds_its_code(variant, saved):
    folder = saved / variant
    assert {path.name.removesuffix("_ssgpa.py") for path in folder.glob("*_ssgpa.py")} >= FILES
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["auto_map"]["AutoModelForImageTextToText"] == "modeling_ssgpa.SSGPAForConditionalGeneration"
    assert config["auto_map"]["AutoConfig"] == "configuration_ssgpa.SSGPAConfig"
    processor = json.loads((folder / "processor_config.json").read_text(encoding="utf-8"))
    assert processor["auto_map"]["AutoProcessor"] == "processing_ssgpa.SSGPAProcessor"


@pytest.mark.parametrize("variant", VARIANTS)
def test_without_the_package_everything_is_computed_alike(variant, saved, remote):
    images = [saved / "before.png", saved / "after.png"]
    auto = AutoModelForImageTextToText.from_pretrained, AutoProcessor.from_pretrained
    local = compute(saved / variant, [images, images[::-1]], *auto)
    found = remote[variant]
    assert found.pop("module").startswith("transformers_modules.")
    assert local.pop("module") == "ssgpa.modeling_ssgpa"
    assert found.keys() == local.keys()
    for key, value in local.items():
        assert torch.equal(found[key], value) if isinstance(value, torch.Tensor) else found[key] == value, key
