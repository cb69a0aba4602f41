# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""What would be a silent wrong result over a VLM is an error, or does not happen."""

import json
import shutil

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel

from ssgpa.benchmarks.tiny_vlms import TINY_VLMS, build_vlm, save_vlm
from ssgpa.training.arguments import ModelArguments
from ssgpa.training.lora import add_lora, complete_checkpoint
from ssgpa.training.model_setup import set_precision
from ssgpa.training.systems import load_base, set_trainable
from ssgpa.utils.loading import load_system
from ssgpa.vlm import SSGPAForVLM, SSGPAVLMConfig, load_vlm


NEW = [r"^change_fusion_adapter\.", r"^alignment\.", r"^contrast\."]


def without(folder, name, change):
    path = folder / "model.safetensors"
    weights = load_file(path)
    change(weights, name)
    save_file(weights, path, metadata={"format": "pt"})


@pytest.mark.parametrize(
    "change",
    [
        lambda weights, name: weights.pop(name),
        lambda weights, name: weights.update({name: weights[name][:-1].contiguous()}),
    ],
)
def test_a_vlm_that_lacks_a_weight_is_refused(tmp_path, change):
    save_vlm("llava", tmp_path / "vlm")
    name = next(key for key in load_file(tmp_path / "vlm" / "model.safetensors") if "mlp.up_proj" in key)
    without(tmp_path / "vlm", name, change)
    with pytest.raises(ValueError, match=r"1 weights are missing or of another shape.*mlp\.up_proj"):
        load_system(str(tmp_path / "vlm"))


def test_what_is_no_vlm_is_told_with_the_families(tmp_path):
    BertModel(BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=9)).save_pretrained(
        tmp_path / "bert"
    )
    for load in (lambda path: load_system(path), lambda path: SSGPAForVLM.from_vlm(path)):
        with pytest.raises(ValueError, match=r"No port is known for 'bert'.*llava, llava_next"):
            load(str(tmp_path / "bert"))


@pytest.mark.parametrize(
    ("family", "size", "named"),
    [
        ("idefics3", [16, 64], "square"),
        ("internvl", [16, 64], "square"),
        ("llava", [64, 64], r"\[32, 32\] alone"),
        ("gemma3", [64, 64], r"\[32, 32\] alone"),
        ("qwen3_vl", [20, 32], "multiples of 8"),
        ("qwen3_vl", [32], "height and width"),
    ],
)
def test_sizes_that_a_family_does_not_take_are_refused(family, size, named):
    vlm = build_vlm(family)
    with pytest.raises((ValueError, StrictDataclassError), match=named):
        SSGPAVLMConfig(vlm_config=vlm.config.to_dict(), image_size=size)
    SSGPAVLMConfig(vlm_config=vlm.config.to_dict(), image_size=list(TINY_VLMS[family][1]))


def test_the_example_of_the_configuration_holds():
    assert SSGPAVLMConfig(vlm_config={"model_type": "smolvlm"}, fusion_layers=2).image_seq_length > 0


def test_captions_are_no_matter_of_chance(tmp_path):
    save_vlm("llava", tmp_path / "vlm")
    path = tmp_path / "vlm" / "generation_config.json"
    settings = json.loads(path.read_text()) | {"do_sample": True, "temperature": 2.0, "top_p": 0.9}
    path.write_text(json.dumps(settings))
    model, _ = load_vlm(str(tmp_path / "vlm"))
    assert not model.generation_config.do_sample
    assert model.generation_config.temperature is None


@pytest.mark.parametrize("template", ["{{ raise_exception('one image alone') }}", "{% if %}"])
def test_a_chat_template_that_takes_no_two_images_is_told(tmp_path, template):
    save_vlm("llava", tmp_path / "vlm")
    (tmp_path / "vlm" / "chat_template.jinja").write_text(template)
    with pytest.raises(ValueError, match="chat template cannot be filled"):
        load_vlm(str(tmp_path / "vlm"))


def test_an_instruction_with_an_image_token_is_told(tmp_path):
    save_vlm("llava", tmp_path / "vlm")
    with pytest.raises(ValueError, match="`instruction` holds <img_tok>"):
        load_vlm(str(tmp_path / "vlm"), instruction="what is <img_tok> ?")


def test_a_vocabulary_can_grow():
    model = SSGPAForVLM.from_vlm(build_vlm("llava"))
    size = model.get_input_embeddings().weight.shape[0]
    model.resize_token_embeddings(size + 8)
    assert len(model.get_output_embeddings().weight) == size + 8


@pytest.fixture
def thin(tmp_path):
    """A trained checkpoint over a VLM in bfloat16, its model and its processor."""
    save_vlm("llava", tmp_path / "source")
    vlm = build_vlm("llava", dtype=torch.bfloat16)
    vlm.save_pretrained(tmp_path / "vlm")
    for path in (tmp_path / "source").iterdir():
        if not (tmp_path / "vlm" / path.name).exists():
            shutil.copy(path, tmp_path / "vlm")
    lora = {"target_modules": r".*language_model\..*\.q_proj", "r": 2, "init_lora_weights": False}
    fields = {"patch_grid": [2, 2], "centering": 0.9}
    arguments = ModelArguments(
        model_name_or_path=str(tmp_path / "vlm"), config_overrides=json.dumps(fields), lora=json.dumps(lora)
    )
    model, processor, missing = load_base(arguments)
    trainable = set_trainable(model, NEW, missing)
    set_precision(model, "bfloat16")
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name in trainable:
                value += 0.05 * torch.randn_like(value)
    tuned = add_lora(model, arguments, trainable).eval()
    folder = tmp_path / "thin"
    tuned.save_pretrained(folder)
    complete_checkpoint(tuned, folder)
    processor.save_pretrained(folder)
    return folder, tuned, processor


def test_what_was_trained_in_float32_over_half_precision_comes_back_exactly(thin):
    folder, tuned, processor = thin
    model, _ = load_system(str(folder))
    assert model.vlm.dtype == torch.bfloat16
    assert model.get_alignment().match_proj.weight.dtype == torch.float32
    pixels = torch.randn(1, 2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([processor.prompt_ids()])
    with torch.no_grad():
        both = [one(input_ids=ids, pixel_values=pixels, output_evidence=True) for one in (tuned, model)]
    assert torch.equal(both[0].logits, both[1].logits)
    assert torch.equal(both[0].evidence.change_map, both[1].evidence.change_map)


def test_a_thin_checkpoint_without_its_configuration_is_refused(thin):
    folder, *_ = thin
    (folder / "config.json").unlink()
    with pytest.raises(ValueError, match=r"holds no config\.json"):
        load_system(str(folder))
