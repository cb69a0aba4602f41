# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Thin checkpoints over a plain VLM: LoRA on its language model, the new parts whole, nothing of the VLM."""

import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file
from transformers.utils import ADAPTER_SAFE_WEIGHTS_NAME

from ssgpa.benchmarks.tiny_vlms import TINY_VLMS, open_parts, save_vlm, tiny_pairs, tiny_prompts
from ssgpa.training.arguments import ModelArguments
from ssgpa.training.lora import add_lora, complete_checkpoint
from ssgpa.training.systems import set_trainable
from ssgpa.utils.loading import load_system

from .cases import untrained


LORA = {"r": 2, "lora_alpha": 4, "target_modules": r"vlm\.model\.(language_model|text_model)\..*\.(q_proj|v_proj)"}
NEW = ["^change_fusion_adapter", "^alignment", "^contrast"]
FIELDS = {"patch_grid": (3, 4), "fusion_layers": 1, "fusion_hidden_size": 8, "alignment_hidden_size": 16}
every_case = pytest.mark.parametrize(
    ("family", "lora"), [("llava", True), ("llava", False), ("smolvlm", True), ("qwen3_vl", True)]
)


def tune(family, lora, folder):
    """A plain VLM on disk, a model over it after a few steps, saved as the trainer saves it, and inputs."""
    save_vlm(family, folder / "base")
    size = TINY_VLMS[family][1]
    model, processor = load_system(str(folder / "base"), image_size=size, instruction="what changed ?", **FIELDS)
    arguments = ModelArguments(
        model_name_or_path=str(folder / "base"),
        config_overrides=json.dumps({**FIELDS, "image_size": list(size)}),
        lora=json.dumps(LORA) if lora else None,
        save_trained_only=True,
    )
    tuned = add_lora(open_parts(model), arguments, set_trainable(model, NEW, set()))
    inputs = {"pixel_values": tiny_pairs(family), **tiny_prompts(model, family, captions=True)}
    optimizer = torch.optim.SGD([value for value in tuned.parameters() if value.requires_grad], lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        torch.manual_seed(0)
        tuned.train()(**inputs).loss.backward()
        optimizer.step()
    tuned.eval()
    tuned.save_pretrained(folder / "tuned")
    processor.save_pretrained(folder / "tuned")
    complete_checkpoint(tuned, folder / "tuned")
    return tuned, inputs


@every_case
def test_thin_checkpoint_comes_back_exactly(family, lora, tmp_path):
    tuned, inputs = tune(family, lora, tmp_path)
    weights = load_file(tmp_path / "tuned" / ADAPTER_SAFE_WEIGHTS_NAME)
    of_vlm = [name for name in weights if ".vlm." in name]
    assert all("lora_" in name for name in of_vlm)
    assert bool(of_vlm) == lora
    told = json.loads((tmp_path / "tuned" / "adapter_config.json").read_text("utf-8"))
    assert told["base_model_name_or_path"] == str(tmp_path / "base")
    with torch.no_grad():
        wanted = tuned(**inputs, output_evidence=True)
        again, processor = load_system(str(tmp_path / "tuned"))
        found = again(**inputs, output_evidence=True)
        plain, _ = load_system(str(tmp_path / "base"), image_size=TINY_VLMS[family][1], **FIELDS)
        assert (plain(**inputs).logits - wanted.logits).abs().max() > 1e-4
    assert torch.equal(found.logits, wanted.logits)
    assert torch.equal(found.evidence.change_map, wanted.evidence.change_map)
    assert tuple(again.config.patch_grid) == (3, 4)
    assert tuple(again.config.image_size) == TINY_VLMS[family][1]
    assert "what changed ?" in processor.prompt


def test_base_is_found_where_it_was_moved_and_missed_by_name(tmp_path):
    (tmp_path / "here").mkdir()
    tuned, inputs = tune("llava", True, tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    again, _ = load_system(str(tmp_path / "there" / "tuned"))
    with torch.no_grad():
        assert torch.equal(again(**inputs).logits, tuned(**inputs).logits)
    (tmp_path / "there" / "base").rename(tmp_path / "gone")
    with pytest.raises(ValueError, match=r"its base .*here/base is not there.*adapter_config\.json"):
        load_system(str(tmp_path / "there" / "tuned"))


def test_revision_of_a_base_on_the_hub_is_kept(tmp_path, monkeypatch):
    commit = "0123456789abcdef0123456789abcdef01234567"
    save_vlm("llava", tmp_path / "base")
    model, _ = load_system(str(tmp_path / "base"), image_size=(32, 32), **FIELDS)
    config = tmp_path / "hub" / "models--org--name" / "snapshots" / commit / "config.json"
    monkeypatch.setattr("ssgpa.training.lora.try_to_load_from_cache", lambda *args, **kwargs: str(config))
    arguments = ModelArguments(model_name_or_path="org/name", lora=json.dumps(LORA))
    told = add_lora(model, arguments, set_trainable(model, NEW, set())).active_peft_config
    assert (told.base_model_name_or_path, told.revision) == ("org/name", commit)


def test_checkpoint_tells_the_fields_of_its_configuration_alone():
    """What the class has for all of its configurations would be told as unknown when it is loaded."""
    _, model = untrained("llava")
    told = model.config.fields_over_base()
    assert told.keys() <= {field.name for field in dataclasses.fields(model.config)}
    assert {"patch_grid", "image_size", "warp_weight"} <= told.keys()
    assert not any(name.startswith("vlm_") for name in told)
