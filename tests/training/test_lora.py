# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Checkpoints over a base: what they hold, and that they come back whole."""

import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText, pipeline
from transformers.utils import ADAPTER_SAFE_WEIGHTS_NAME

from ssgpa import SSGPAForConditionalGeneration
from ssgpa.training.arguments import ModelArguments, parse_arguments
from ssgpa.training.lora import PREFIX, add_lora, complete_checkpoint, lasting_name, split_trainable
from ssgpa.training.memory.inputs import start_model
from ssgpa.training.systems import set_trainable, trained_parameters
from ssgpa.utils.loading import load_system

from ..ssgpa_cases import inputs_for, tiny_model


CONFIGS = Path(__file__).parents[2] / "examples" / "configs"
LORA = {
    "r": 2,
    "lora_alpha": 4,
    "target_modules": r"model\.(language_model|connector\.qformer)\..*\.(q_proj|v_proj|query|value)",
}
TRAINED = ["change_fusion_adapter", "alignment", "^contrast", "connector.*language_projection"]
# Of a tower of maps, what is not the tower's own.
MAPS = [r"vision_tower\.(patch_projection|position_embeddings|global_token)"]
CASES = {
    "lora": ("instructblip-qformer", LORA),
    "no-lora": ("instructblip-qformer", None),
    # The tower's own parameters lie in a module that does not train whole.
    "loose": ("resnet", None),
    "loose-lora": ("resnet", LORA),
}


def tune(variant, lora, folder):
    """A saved base, the model over it after a few steps, and inputs."""
    model, processor = tiny_model(variant)
    base = folder / "base"
    model.save_pretrained(base)
    processor.save_pretrained(base)
    model = SSGPAForConditionalGeneration.from_pretrained(base)
    arguments = ModelArguments(model_name_or_path=str(base), lora=json.dumps(lora) if lora else None)
    patterns = TRAINED + (MAPS if variant == "resnet" else [])
    tuned = add_lora(model, arguments, set_trainable(model, patterns, set()))
    inputs = inputs_for(processor, captions=True)
    optimizer = torch.optim.SGD([value for value in tuned.parameters() if value.requires_grad], lr=0.5)
    for _ in range(3):
        optimizer.zero_grad()
        torch.manual_seed(0)
        tuned.train()(**inputs).loss.backward()
        optimizer.step()
    return tuned.eval(), processor, inputs


def save(tuned, processor, folder):
    tuned.save_pretrained(folder)
    processor.save_pretrained(folder)
    complete_checkpoint(tuned, folder)
    return folder


@pytest.mark.parametrize("case", CASES)
def test_saved_checkpoint_gives_the_same_logits(case, tmp_path):
    variant, lora = CASES[case]
    tuned, processor, inputs = tune(variant, lora, tmp_path)
    folder = save(tuned, processor, tmp_path / "tuned")
    with torch.no_grad():
        wanted = tuned(**inputs).logits
        plain = SSGPAForConditionalGeneration.from_pretrained(tmp_path / "base")(**inputs).logits
        loaded, _ = load_system(str(folder))
        by_peft = PeftModel.from_pretrained(
            SSGPAForConditionalGeneration.from_pretrained(tmp_path / "base"), folder
        ).eval()
        assert torch.equal(loaded(**inputs).logits, wanted)
        assert torch.equal(by_peft(**inputs).logits, wanted)
    assert (plain - wanted).abs().max() > 1e-3


@pytest.mark.parametrize("case", CASES)
def test_checkpoint_holds_what_was_trained_and_names_its_base(case, tmp_path):
    variant, lora = CASES[case]
    tuned, processor, _ = tune(variant, lora, tmp_path)
    folder = save(tuned, processor, tmp_path / "tuned")
    weights = load_file(folder / ADAPTER_SAFE_WEIGHTS_NAME)
    assert sum(value.numel() for value in weights.values()) == sum(trained_parameters(tuned).values())
    assert any("lora_" in name for name in weights) == bool(lora)
    assert not any("vision_tower.tower" in name for name in weights)
    assert json.loads((folder / "adapter_config.json").read_text("utf-8"))["base_model_name_or_path"] == str(
        tmp_path / "base"
    )


def test_trained_weights_differ_from_the_base(tmp_path):
    tuned, processor, _ = tune("resnet", LORA, tmp_path)
    weights = load_file(save(tuned, processor, tmp_path / "tuned") / ADAPTER_SAFE_WEIGHTS_NAME)
    base = load_file(tmp_path / "base" / "model.safetensors")
    shared = {name: value for name, value in weights.items() if "lora_" not in name}
    moved = [name for name, value in shared.items() if not value.equal(base[name.removeprefix(PREFIX)])]
    assert {"position_embeddings", "dustbin_score"} <= {name.rpartition(".")[2] for name in moved}


def test_base_that_is_gone_is_named(tmp_path):
    tuned, processor, _ = tune("instructblip-qformer", LORA, tmp_path)
    folder = save(tuned, processor, tmp_path / "tuned")
    (tmp_path / "base").rename(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=r"tuned: .*base"):
        load_system(str(folder))


def over_relative_base(folder, monkeypatch, lora=LORA):
    """A checkpoint trained from `folder` over a base with a relative name, one that could be an id on the Hub."""
    monkeypatch.chdir(folder)
    model, processor = tiny_model("instructblip-qformer")
    for part in (model, processor):
        part.save_pretrained("bases/tiny")
    model = SSGPAForConditionalGeneration.from_pretrained("bases/tiny")
    arguments = ModelArguments(model_name_or_path="bases/tiny", lora=json.dumps(lora) if lora else None)
    tuned = add_lora(model, arguments, set_trainable(model, TRAINED, set()))
    return save(tuned, processor, folder / "runs" / "one" / "best")


@pytest.fixture
def no_hub(monkeypatch):
    """A request to the Hub is a failure, whatever an environment says of being offline."""

    def refuse(*args, **kwargs):
        raise AssertionError("the Hub was asked")

    monkeypatch.setattr("huggingface_hub.file_download._get_metadata_or_catch_error", refuse)
    monkeypatch.setattr("huggingface_hub.hf_api.HfApi.model_info", refuse)


@pytest.mark.usefixtures("no_hub")
@pytest.mark.parametrize("lora", [LORA, None], ids=["lora", "no-lora"])
def test_base_is_found_from_another_folder_through_every_door(lora, tmp_path, monkeypatch):
    folder = over_relative_base(tmp_path, monkeypatch, lora)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    told = json.loads((folder / "adapter_config.json").read_text("utf-8"))
    assert told["base_model_name_or_path"] == str(tmp_path / "bases" / "tiny")
    wanted = load_system(str(folder))[0].state_dict()
    doors = [
        AutoModelForImageTextToText.from_pretrained(folder),
        pipeline("change-captioning", model=str(folder), device="cpu").model,
    ]
    for model in doors:
        assert all(torch.equal(value, wanted[name]) for name, value in model.state_dict().items())


@pytest.mark.usefixtures("no_hub")
def test_base_is_found_after_both_were_moved(tmp_path, monkeypatch):
    (tmp_path / "before").mkdir()
    over_relative_base(tmp_path / "before", monkeypatch)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "before").rename(tmp_path / "after")
    model, _ = load_system(str(tmp_path / "after" / "runs" / "one" / "best"))
    assert any("lora_" in name for name in model.state_dict())
    (tmp_path / "after" / "bases").rename(tmp_path / "gone")
    with pytest.raises(ValueError, match=r"its base .*before/bases/tiny is not there.*adapter_config\.json"):
        load_system(str(tmp_path / "after" / "runs" / "one" / "best"))


def as_older(folder, **changes):
    """A checkpoint as it was written before, with a relative base and no word of where it lies."""
    path = folder / ADAPTER_SAFE_WEIGHTS_NAME
    save_file(load_file(path), path, metadata={"format": "pt"})
    config = folder / "adapter_config.json"
    told = json.loads(config.read_text("utf-8")) | {"base_model_name_or_path": "bases/tiny"} | changes
    config.write_text(json.dumps(told), encoding="utf-8")


@pytest.mark.usefixtures("no_hub")
def test_older_checkpoint_finds_its_base_above_or_asks_nobody(tmp_path, monkeypatch):
    folder = over_relative_base(tmp_path, monkeypatch)
    as_older(folder)
    monkeypatch.chdir(tmp_path / "runs")
    load_system(str(folder))
    (tmp_path / "bases").rename(tmp_path / "gone")
    with pytest.raises(ValueError, match=r"its base bases/tiny is not there.*`revision`"):
        load_system(str(folder))


def test_base_on_the_hub_is_kept_with_its_commit(tmp_path, monkeypatch):
    commit = "0123456789abcdef0123456789abcdef01234567"
    config = tmp_path / "hub" / "models--org--name" / "snapshots" / commit / "config.json"
    monkeypatch.setattr("ssgpa.training.lora.try_to_load_from_cache", lambda *args, **kwargs: str(config))
    assert lasting_name("org/name") == ("org/name", commit)
    assert lasting_name("org/name", "main") == ("org/name", commit)
    monkeypatch.setattr("ssgpa.training.lora.try_to_load_from_cache", lambda *args, **kwargs: None)
    assert lasting_name("org/name", "v1") == ("org/name", "v1")


@pytest.mark.parametrize("part", ["lora_B", "alignment", "global_token"])
def test_missing_weights_are_refused(part, tmp_path):
    """The last one trains in a module that does not train whole, which PEFT would not miss."""
    tuned, processor, _ = tune("resnet", LORA, tmp_path)
    folder = save(tuned, processor, tmp_path / "tuned")
    weights = load_file(folder / ADAPTER_SAFE_WEIGHTS_NAME)
    kept = {name: value for name, value in weights.items() if part not in name}
    assert len(kept) < len(weights)
    with safe_open(folder / ADAPTER_SAFE_WEIGHTS_NAME, "pt") as file:
        metadata = file.metadata()
    save_file(kept, folder / ADAPTER_SAFE_WEIGHTS_NAME, metadata=metadata)
    with pytest.raises(ValueError, match="do not hold"):
        load_system(str(folder))


@pytest.mark.parametrize(
    ("lora", "named"),
    [
        ("{", "no JSON"),
        ('{"r": 4}', "target_modules"),
        ('{"target_modules": ".*nothing"}', "target_modules"),
        ('{"target_modules": ".*q_proj", "rank": 4}', "rank"),
        ('{"target_modules": ".*q_proj", "modules_to_save": ["lm_head"]}', "modules_to_save"),
        ('{"target_modules": ".*_proj"}', "change_fusion_adapter.*Anchor"),
    ],
)
def test_bad_options_are_named(lora, named):
    model, _ = tiny_model("instructblip-qformer")
    trainable = set_trainable(model, ["alignment"], set())
    with pytest.raises(ValueError, match=named):
        add_lora(model, ModelArguments(model_name_or_path="base", lora=lora), trainable)


def test_base_must_be_a_saved_system():
    model, _ = tiny_model("resnet")
    with pytest.raises(ValueError, match="model_name_or_path"):
        add_lora(model, ModelArguments(model_config="tiny.json"), set_trainable(model, ["alignment"], set()))


def test_largest_whole_modules_are_found():
    model, _ = tiny_model("resnet")
    trainable = set_trainable(model, TRAINED + MAPS, set())
    parts = split_trainable(model, trainable)
    assert {
        "model.alignment",
        "model.change_fusion_adapter",
        "contrast",
        "model.vision_tower.patch_projection",
    } <= set(parts.whole)
    assert parts.loose == [
        "model.vision_tower.global_token",
        "model.vision_tower.position_embeddings",
    ]


def test_sizes_over_vicuna_7b():
    """Counted on the meta device; the numbers of docs/training.md."""
    sizes = []
    for name in ("24gb", "ssgpa_eva_vicuna7b_clevr"):
        model_config = ["--model_config", str(CONFIGS / "models" / "ssgpa-eva-vicuna7b.json")]
        arguments, *_ = parse_arguments([str(CONFIGS / f"{name}.yaml"), *model_config, "--bf16", "false"])
        model = start_model(arguments, "meta")
        arguments.model_name_or_path = "base"
        tuned = add_lora(model, arguments, trained_parameters(model))
        trained = {name: value for name, value in tuned.named_parameters() if value.requires_grad}
        assert {value.dtype for value in trained.values()} == {torch.float32}
        sizes.append({name: 4 * value.numel() for name, value in trained.items()})
    assert round(sum(sizes[0].values()) / 1e6) == 95
    assert round(sum(sizes[1].values()) / 1e6) == 132
    vicuna = sum(size for name, size in sizes[1].items() if "lora_" in name and "language_model" in name)
    # 32 layers, two matrices of 4096 by 4096, each with 16 columns and 16 rows more.
    assert vicuna == 4 * 32 * 2 * 16 * (4096 + 4096)
    assert round(sum(size for name, size in sizes[1].items() if "lora_" in name) / 1e6) == 37


def test_a_checkpoint_over_a_base_captions_as_its_run_did(tmp_path):
    tuned, processor, _ = tune("instructblip-qformer", LORA, tmp_path)
    tuned.get_base_model().generation_config.update(num_beams=3, repetition_penalty=1.5)
    folder = save(tuned, processor, tmp_path / "tuned")
    settings = load_system(str(folder))[0].generation_config
    assert (settings.num_beams, settings.repetition_penalty) == (3, 1.5)
    # Earlier versions saved none.
    (folder / "generation_config.json").unlink()
    assert load_system(str(folder))[0].generation_config.repetition_penalty in (None, 1.0)
