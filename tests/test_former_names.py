# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""What earlier versions saved still loads: configurations, weights, checkpoints over a base, chat templates."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText

from ssgpa import SSGPAConfig, SSGPAForConditionalGeneration, SSGPAProcessor
from ssgpa.training.arguments import ModelArguments, parse_arguments
from ssgpa.training.lora import add_lora, complete_checkpoint
from ssgpa.training.resuming import refuse_former_checkpoint
from ssgpa.training.systems import set_trainable
from ssgpa.utils.loading import load_system

from .tiny_systems import tiny_ssgpa


def former(text):
    for name in ("patch_projection", "patch_scale", "patch_grid", "patch_hidden_size"):
        text = text.replace(name, name.replace("patch", "part"))
    return text


def rename_file(path):
    """Give the weights of a file, and what it tells of them, their former names; returns how many changed."""
    with safe_open(path, "pt") as file:
        told = {key: former(value) for key, value in (file.metadata() or {}).items()}
    weights = load_file(path)
    save_file({former(name): value for name, value in weights.items()}, path, metadata=told)
    return sum(former(name) != name for name in weights)


def save_earlier(folder, model, processor):
    """A folder as an earlier version would have written it."""
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    assert rename_file(folder / "model.safetensors") == 3
    for name in ("config.json", "chat_template.jinja"):
        path = folder / name
        path.write_text(former(path.read_text("utf-8")).replace("images_per", "pictures_per"), encoding="utf-8")
    assert '"part_grid"' in (folder / "config.json").read_text("utf-8")


@pytest.fixture
def woken():
    model, processor = tiny_ssgpa(vision="resnet")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return model, processor


def same(one, other):
    states, others = one.state_dict(), other.state_dict()
    return states.keys() == others.keys() and all(torch.equal(value, others[name]) for name, value in states.items())


def test_a_checkpoint_loads_and_is_saved_under_the_names_of_now(woken, tmp_path):
    model, processor = woken
    save_earlier(tmp_path / "earlier", model, processor)
    loaded, _ = load_system(str(tmp_path / "earlier"))
    assert same(loaded, model)
    assert loaded.config.patch_grid == model.config.patch_grid
    loaded.save_pretrained(tmp_path / "now")
    with safe_open(tmp_path / "now" / "model.safetensors", "pt") as file:
        names = set(file.keys())
    assert names == {former(name).replace("part_", "patch_") for name in names}
    assert "model.alignment.patch_scale" in names
    assert "part_" not in (tmp_path / "now" / "config.json").read_text("utf-8")
    assert same(AutoModelForImageTextToText.from_pretrained(tmp_path / "now"), model)


def test_weights_that_never_had_another_name_are_saved_under_their_own(woken, tmp_path):
    woken[0].save_pretrained(tmp_path)
    assert not [name for name in load_file(tmp_path / "model.safetensors") if "part_" in name]


def test_fields_of_a_configuration_may_have_their_former_names():
    values = tiny_ssgpa()[0].config.to_diff_dict()
    config = SSGPAConfig(**{former(name): value for name, value in values.items()})
    assert (config.patch_grid, config.patch_hidden_size) == ([4, 4], 32)


def test_a_chat_template_asks_another_prompt_too(woken, tmp_path):
    model, processor = woken
    save_earlier(tmp_path, model, processor)
    chat = [{"role": "user", "content": [{"type": "image", "url": "a.png"}, {"type": "image", "url": "b.png"}]}]
    for options in ({}, {"prompt": "<image> <image> what is new?"}):
        loaded = SSGPAProcessor.from_pretrained(tmp_path, **options)
        text = loaded.apply_chat_template(chat, tokenize=False)
        assert text == (options.get("prompt") or processor.prompt)


@pytest.mark.parametrize("whole", [["alignment"], ["alignment", "patch_projection"], ["patch_projection", "lm_head"]])
def test_a_checkpoint_over_a_base_loads(whole, woken, tmp_path):
    processor = woken[1]
    for part in woken:
        part.save_pretrained(tmp_path / "base")
    lora = '{"target_modules": "model.language_model.*(q_proj|v_proj)", "r": 2}'
    arguments = ModelArguments(model_name_or_path=str(tmp_path / "base"), lora=lora)
    base = SSGPAForConditionalGeneration.from_pretrained(tmp_path / "base")
    tuned = add_lora(base, arguments, set_trainable(base, whole, set()))
    with torch.no_grad():
        for parameter in tuned.parameters():
            parameter += 0.1 * torch.randn_like(parameter) * parameter.requires_grad
    folder = tmp_path / "adapter"
    tuned.save_pretrained(folder)
    complete_checkpoint(tuned, folder)
    processor.save_pretrained(folder)
    wanted, _ = load_system(str(folder))
    assert rename_file(folder / "adapter_model.safetensors")
    path = folder / "adapter_config.json"
    path.write_text(former(path.read_text("utf-8")), encoding="utf-8")
    assert same(load_system(str(folder))[0], wanted)
    values = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(values | {"modules_to_save": ["model.no_such"]}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"adapter: .*no module model\.no_such"):
        load_system(str(folder))


def test_a_run_of_an_earlier_version_is_not_resumed(woken, tmp_path):
    save_earlier(tmp_path, *woken)
    names = type(woken[0]).former_names
    with pytest.raises(ValueError, match=r"earlier version.*part_.*model_name_or_path"):
        refuse_former_checkpoint(tmp_path, names)
    woken[0].save_pretrained(tmp_path)
    refuse_former_checkpoint(tmp_path, names)
    save_file({"type.weight": torch.zeros(1)}, tmp_path / "training_hints.safetensors")
    with pytest.raises(ValueError, match="training_hints"):
        refuse_former_checkpoint(tmp_path, names)


def test_former_arguments_are_told_their_name_of_now(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("hint_type: 0.3\ncache_pictures: true\n", encoding="utf-8")
    with pytest.raises(ValueError, match="`hint_type` is now `aux_type`; `cache_pictures` is now `cache_images`"):
        parse_arguments([str(path)])
