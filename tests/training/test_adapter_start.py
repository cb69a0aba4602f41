# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Runs over a base that go on from what another such run has trained, and LoRA's matrices alone."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers.utils import ADAPTER_SAFE_WEIGHTS_NAME

from ssgpa import SSGPAForConditionalGeneration
from ssgpa.training.arguments import ChangeCaptioningArguments, DataArguments, ModelArguments
from ssgpa.training.lora import add_lora
from ssgpa.training.model_setup import prepare_training
from ssgpa.training.run import check_settings
from ssgpa.training.systems import set_trainable

from .test_lora import CASES, LORA, MAPS, TRAINED, save, tune


def start(folder, lora, patterns, adapter):
    model = SSGPAForConditionalGeneration.from_pretrained(folder / "base")
    arguments = ModelArguments(
        model_name_or_path=str(folder / "base"),
        lora=json.dumps(lora) if lora else None,
        adapter_name_or_path=str(adapter),
    )
    return add_lora(model, arguments, set_trainable(model, patterns, set()))


def patterns_of(variant):
    return TRAINED + (MAPS if variant == "resnet" else [])


@pytest.mark.parametrize("case", CASES)
def test_a_run_goes_on_where_another_has_ended(case, tmp_path):
    variant, lora = CASES[case]
    tuned, processor, inputs = tune(variant, lora, tmp_path)
    folder = save(tuned, processor, tmp_path / "tuned")
    again = start(tmp_path, lora, patterns_of(variant), folder).eval()
    with torch.no_grad():
        assert torch.equal(again(**inputs).logits, tuned(**inputs).logits)
    names = {name for name, value in tuned.named_parameters() if value.requires_grad}
    assert {name for name, value in again.named_parameters() if value.requires_grad} == names


def test_a_run_that_was_another_one_is_refused(tmp_path):
    tuned, processor, _ = tune("instructblip-qformer", LORA, tmp_path)
    folder = save(tuned, processor, tmp_path / "tuned")
    with pytest.raises(FileNotFoundError, match=r"adapter_model\.safetensors"):
        start(tmp_path, LORA, TRAINED, tmp_path / "base")
    with pytest.raises(ValueError, match="lora_alpha 4, this run's `lora` says 8"):
        start(tmp_path, LORA | {"lora_alpha": 8}, TRAINED, folder)
    with pytest.raises(ValueError, match="r 2, this run's"):
        start(tmp_path, LORA | {"r": 3}, TRAINED, folder)
    with pytest.raises(ValueError, match=r"also holds .*alignment"):
        start(tmp_path, LORA, ["change_fusion_adapter", "^contrast", "connector.*language_projection"], folder)
    with pytest.raises(ValueError, match=r"alpha_pattern \{\}, this run's"):
        start(tmp_path, LORA | {"alpha_pattern": {".*q_proj": 64}}, TRAINED, folder)
    weights = load_file(folder / ADAPTER_SAFE_WEIGHTS_NAME)
    lost = next(name for name in weights if "lora_A" in name)
    save_file({name: value for name, value in weights.items() if name != lost}, folder / ADAPTER_SAFE_WEIGHTS_NAME)
    with pytest.raises(ValueError, match=r"lacks .*lora_A"):
        start(tmp_path, LORA, TRAINED, folder)
    save_file(weights | {lost: torch.zeros(1, 1)}, folder / ADAPTER_SAFE_WEIGHTS_NAME)
    with pytest.raises(ValueError, match=r"of another shape .*lora_A"):
        start(tmp_path, LORA, TRAINED, folder)


def test_a_run_over_another_base_is_refused(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        tuned, processor, _ = tune("instructblip-qformer", LORA, tmp_path / name)
        save(tuned, processor, tmp_path / name / "tuned")
    with pytest.raises(ValueError, match=r"trained over .*one.base, this run starts from .*two.base"):
        start(tmp_path / "two", LORA, TRAINED, tmp_path / "one" / "tuned")
    # Both may move together, and a link is the same folder.
    (tmp_path / "one").rename(tmp_path / "moved")
    (tmp_path / "link").symlink_to(tmp_path / "moved", target_is_directory=True)
    start(tmp_path / "link", LORA, TRAINED, tmp_path / "moved" / "tuned")
    (tmp_path / "moved" / "base").rename(tmp_path / "moved" / "elsewhere")
    with pytest.raises(FileNotFoundError, match=r"adapter_name_or_path.*is not there"):
        start(tmp_path / "two", LORA, TRAINED, tmp_path / "moved" / "tuned")
    # An id on the Hub counts with its commit.
    told = json.loads((tmp_path / "two" / "tuned" / "adapter_config.json").read_text("utf-8"))
    told |= {"base_model_name_or_path": "org/base", "revision": "0" * 40}
    (tmp_path / "two" / "tuned" / "adapter_config.json").write_text(json.dumps(told), encoding="utf-8")
    save_file(load_file(tmp_path / "two" / "tuned" / ADAPTER_SAFE_WEIGHTS_NAME), tmp_path / "x.safetensors")
    (tmp_path / "x.safetensors").replace(tmp_path / "two" / "tuned" / ADAPTER_SAFE_WEIGHTS_NAME)
    with pytest.raises(ValueError, match=r"trained over org/base \(0{40}\), this run starts from .*two.base"):
        start(tmp_path / "two", LORA, TRAINED, tmp_path / "two" / "tuned")


def test_an_adapter_needs_the_settings_of_its_run(tmp_path):
    arguments = ChangeCaptioningArguments(output_dir=str(tmp_path), use_cpu=True)
    with pytest.raises(ValueError, match="adapter_name_or_path"):
        check_settings(ModelArguments(adapter_name_or_path="x"), DataArguments(data_dir="y"), arguments)


def test_nothing_trains_in_full_where_trainable_is_none(tmp_path):
    tune("instructblip-qformer", LORA, tmp_path)
    model = SSGPAForConditionalGeneration.from_pretrained(tmp_path / "base")
    arguments = ModelArguments(model_name_or_path=str(tmp_path / "base"), trainable=["none"], lora=json.dumps(LORA))
    tuned = add_lora(model, arguments, prepare_training(model, arguments, set()))
    trained = [name for name, value in tuned.named_parameters() if value.requires_grad]
    assert trained
    assert all(".lora_" in name for name in trained)
    with pytest.raises(ValueError, match="nothing would train"):
        prepare_training(model, ModelArguments(trainable=["none"]), set())
