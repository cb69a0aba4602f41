# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Saving, loading, growing and adapting the model."""

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import safe_open
from transformers import AutoModelForImageTextToText

from ssgpa import SSGPAForConditionalGeneration, SSGPAModel

from .ssgpa_cases import LOSSES, VARIANTS, inputs_for, random_pixels, tiny_model
from .tiny_systems import TINY_SYSTEMS, tiny_config


CLOSE = {"atol": 1e-5, "rtol": 1e-5}


@pytest.mark.parametrize("variant", VARIANTS)
def test_saving_and_loading_changes_nothing(variant, tmp_path):
    model, processor = tiny_model(variant)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path)
    assert type(loaded) is SSGPAForConditionalGeneration
    states, others = model.state_dict(), loaded.state_dict()
    assert states.keys() == others.keys()
    assert all(torch.equal(states[name], others[name]) for name in states)
    buffers = dict(loaded.named_buffers())  # the non-persistent ones are not in the state
    assert all(torch.equal(value, buffers[name]) for name, value in model.named_buffers())
    inputs = inputs_for(processor)
    assert torch.equal(model(**inputs).logits, loaded(**inputs).logits)


@pytest.mark.parametrize("name", TINY_SYSTEMS)
def test_systems_survive_saving(name, tmp_path):
    model, processor = TINY_SYSTEMS[name]()
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    loaded, processor_again = type(model).from_pretrained(tmp_path), type(processor).from_pretrained(tmp_path)
    images = [[image.clamp(-1, 1).add(1).div(2) for image in random_pixels(1)[0]]]
    inputs, others = (each(images=images, return_tensors="pt") for each in (processor, processor_again))
    assert all(torch.equal(inputs[key], others[key]) for key in inputs)
    greedy = {"max_new_tokens": 5, "do_sample": False}
    assert torch.equal(model.generate(**inputs, **greedy), loaded.generate(**others, **greedy))


@pytest.mark.parametrize("name", TINY_SYSTEMS)
def test_systems_in_shards_come_back_with_all_their_buffers(name, tmp_path):
    model, _ = TINY_SYSTEMS[name]()
    model.save_pretrained(tmp_path, max_shard_size="10KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path)
    assert type(loaded) is type(model)
    for kind in ("named_parameters", "named_buffers"):
        # Buffers that are not saved among them: they are made anew.
        wanted, found = (dict(getattr(each, kind)()) for each in (model, loaded))
        assert wanted.keys() == found.keys()
        assert all(torch.equal(value, found[key]) for key, value in wanted.items())


@pytest.mark.parametrize("variant", ["instructblip-qformer", "resnet"])
def test_what_a_checkpoint_lacks_starts_as_the_definition_says(variant, tmp_path):
    model, _ = tiny_model(variant)
    new = ("change_fusion_adapter", "alignment", "contrast", "global_token", "position_embeddings", "query_tokens")
    kept = {name: value for name, value in model.state_dict().items() if not any(part in name for part in new)}
    model.config.save_pretrained(tmp_path)
    loaded, report = SSGPAForConditionalGeneration.from_pretrained(
        None, config=model.config, state_dict=kept, output_loading_info=True
    )
    assert all(any(part in name for part in new) for name in report["missing_keys"])
    assert all(parameter.isfinite().all() and not parameter.is_meta for parameter in loaded.parameters())
    alignment = loaded.model.alignment
    assert alignment.dustbin_score.item() == pytest.approx(0.3)
    assert alignment.patch_scale == alignment.global_scale == 0
    assert not alignment.evidence_mlp.fc2.weight.any()
    assert loaded.contrast.logit_scale.exp().item() == pytest.approx(1 / 0.07)
    for layer in loaded.model.change_fusion_adapter.layers:
        assert layer.gate_threshold.item() == pytest.approx(0.5)
        assert not layer.up_proj.weight.any()
    for name, parameter in loaded.named_parameters():
        if name.rpartition(".")[2] in ("global_token", "position_embeddings", "query_tokens"):
            assert parameter.std().item() == pytest.approx(0.02, rel=0.3)


@pytest.mark.parametrize("variant", VARIANTS)
def test_model_can_be_built_without_memory(variant):
    with torch.device("meta"):
        model = SSGPAForConditionalGeneration(tiny_config(**VARIANTS[variant]))
    assert all(parameter.is_meta for parameter in model.parameters())


def test_losses_can_be_counted_on_the_meta_device():
    with torch.device("meta"):
        model = SSGPAForConditionalGeneration(tiny_config()).train()
        ids = torch.zeros(2, 50, dtype=torch.long)
        output = model(input_ids=ids, pixel_values=torch.zeros(2, 2, 3, 32, 32), labels=ids, use_cache=True)
    assert output.loss.is_meta
    assert set(output.loss_parts) == LOSSES


def test_base_model_loads_from_the_whole_models_checkpoint(tmp_path):
    model, _ = tiny_model("resnet")
    model.save_pretrained(tmp_path)
    base = SSGPAModel.from_pretrained(tmp_path)
    assert torch.equal(base.alignment.match_proj.weight, model.model.alignment.match_proj.weight)


def test_tied_embeddings_are_saved_once_and_tied_again(tmp_path):
    text = tiny_config().text_config.to_dict() | {"tie_word_embeddings": True}
    model, processor = tiny_model("instructblip", text_config=text)
    assert model.lm_head.weight is model.get_input_embeddings().weight
    model.save_pretrained(tmp_path)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        saved = set(file.keys())
    assert "model.language_model.embed_tokens.weight" in saved
    assert "lm_head.weight" not in saved
    loaded = SSGPAForConditionalGeneration.from_pretrained(tmp_path)
    assert loaded.lm_head.weight is loaded.get_input_embeddings().weight
    inputs = inputs_for(processor)
    assert torch.equal(model(**inputs).logits, loaded(**inputs).logits)


def test_vocabulary_can_grow(tmp_path):
    model, processor = tiny_model("resnet")
    inputs = inputs_for(processor, captions=True)
    size = model.config.text_config.vocab_size
    before = model(**inputs)
    model.resize_token_embeddings(size + 8)
    assert model.config.text_config.vocab_size == model.lm_head.out_features == size + 8
    after = model(**inputs)
    torch.testing.assert_close(after.logits[..., :size], before.logits, **CLOSE)
    assert after.loss.isfinite()
    model.save_pretrained(tmp_path)
    assert torch.equal(SSGPAForConditionalGeneration.from_pretrained(tmp_path)(**inputs).logits, after.logits)


@pytest.mark.parametrize("where", ["language_model", "qformer"])
def test_lora_with_fully_trained_parts_is_saved_whole(where, tmp_path):
    parts = {"language_model": "q_proj|v_proj", "qformer": "query|value"}
    model, processor = tiny_model("instructblip-qformer")
    model.save_pretrained(tmp_path / "base")
    options = LoraConfig(
        r=2,
        lora_alpha=4,
        target_modules=rf".*\.{where}\..*\.({parts[where]})",
        modules_to_save=["change_fusion_adapter", "alignment"],
    )
    tuned = get_peft_model(model, options)
    inputs = inputs_for(processor, captions=True)
    optimizer = torch.optim.SGD([value for value in tuned.parameters() if value.requires_grad], lr=0.5)
    for _ in range(3):
        optimizer.zero_grad()
        torch.manual_seed(0)
        tuned.train()(**inputs).loss.backward()
        optimizer.step()
    tuned.eval().save_pretrained(tmp_path / "adapter")
    with safe_open(tmp_path / "adapter" / "adapter_model.safetensors", "pt") as file:
        names = list(file.keys())
    assert any(".alignment." in name for name in names)
    assert any(".change_fusion_adapter." in name for name in names)
    assert all(where in name for name in names if "lora_" in name)
    assert any("lora_" in name for name in names)
    base = SSGPAForConditionalGeneration.from_pretrained(tmp_path / "base")
    plain = base(**inputs).logits
    again = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    torch.testing.assert_close(again(**inputs).logits, tuned(**inputs).logits, **CLOSE)
    assert not torch.allclose(again(**inputs).logits, plain, atol=1e-3)
