# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""InstructBLIP and BLIP-2 give their weights to SSGPA: all of them, unchanged, or one error."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    InstructBlipConfig,
    InstructBlipForConditionalGeneration,
)

from ssgpa import SSGPAForConditionalGeneration
from ssgpa.conversion_ssgpa import KEY_MAP, convert_key

from .ssgpa_cases import inputs_for, random_pixels
from .tiny_systems import tiny_config, tiny_processor


CLOSE = {"atol": 1e-5, "rtol": 1e-5}
SMALL = {"fusion_hidden_size": 16, "alignment_hidden_size": 16}
INSTRUCTION = [3, 4, 5]
OPT = {
    "model_type": "opt",
    "vocab_size": 60,
    "hidden_size": 32,
    "word_embed_proj_dim": 32,
    "ffn_dim": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
T5 = {"model_type": "t5", "vocab_size": 60, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}


def family_config(family, **changes):
    """A tiny configuration of one of the families; `changes` replace its values."""
    ours = tiny_config(qformer=True)
    vision, qformer, text = (getattr(ours, f"{name}_config").to_dict() for name in ("vision", "qformer", "text"))
    values = {"vision_config": vision, "num_query_tokens": 4, "image_token_index": ours.image_token_id}
    if family == "instructblip":
        return InstructBlipConfig(**(values | {"qformer_config": qformer, "text_config": text} | changes))
    for part in (vision, qformer):
        part.pop("model_type")
    return Blip2Config(**(values | {"qformer_config": qformer, "text_config": OPT} | changes))


CLASSES = {"instructblip": InstructBlipForConditionalGeneration, "blip2": Blip2ForConditionalGeneration}


def tiny_source(family, **changes):
    """A tiny model of one of the families, its queries no longer zero."""
    torch.manual_seed(0)
    source = CLASSES[family](family_config(family, **changes)).eval()
    torch.nn.init.normal_(source.query_tokens)
    return source


def convert(family, source, **options):
    if family == "instructblip":
        return SSGPAForConditionalGeneration.from_instructblip(source, INSTRUCTION, **(SMALL | options))
    return SSGPAForConditionalGeneration.from_blip2(source, **(SMALL | options))


def their_outputs(family, source, pixels):
    """Q-Former's and projection's outputs of single images by Transformers' own code."""
    ids = torch.tensor([INSTRUCTION]).expand(len(pixels), -1)
    options = {"qformer_input_ids": ids} if family == "instructblip" else {}
    output = source.get_image_features(pixels, **options)
    return output.qformer_outputs[0][:, :4], output.pooler_output


@pytest.fixture(params=CLASSES)
def family(request):
    return request.param


@pytest.mark.parametrize("path_type", [str, Path, None])
def test_images_are_read_as_the_original_reads_them(family, path_type, tmp_path):
    source = tiny_source(family)
    source.save_pretrained(tmp_path)
    model = convert(family, path_type(tmp_path) if path_type else source)
    pixels, read = random_pixels(2), []
    model.model.connector.qformer.register_forward_hook(lambda module, inputs, output: read.append(output[0]))
    tokens = model.get_image_features(pixels).pooler_output.unflatten(1, (2, -1))[:, :, 1:]
    queries, projected = their_outputs(family, source, pixels.flatten(0, 1))
    torch.testing.assert_close(read[0][:, :4], queries, **CLOSE)
    torch.testing.assert_close(tokens.flatten(0, 1), projected, **CLOSE)


def test_the_language_model_says_what_the_original_says(family):
    source = tiny_source(family)
    model = convert(family, source)
    inputs = inputs_for(tiny_processor(model.config))
    assert (inputs["attention_mask"] == 0).any()
    output = model(**inputs)
    embeddings = source.get_input_embeddings()(inputs["input_ids"])
    embeddings[inputs["input_ids"] == model.config.image_token_id] = output.image_hidden_states.flatten(0, 1)
    theirs = source.language_model(inputs_embeds=embeddings, attention_mask=inputs["attention_mask"]).logits
    kept = inputs["attention_mask"].bool()
    torch.testing.assert_close(output.logits[kept], theirs[kept], **CLOSE)


def test_converted_saved_and_loaded_again(family, tmp_path):
    model = convert(family, tiny_source(family))
    model.save_pretrained(tmp_path)
    loaded, report = SSGPAForConditionalGeneration.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values())
    inputs = inputs_for(tiny_processor(model.config))
    assert torch.equal(loaded(**inputs).logits, model(**inputs).logits)
    assert loaded.config.qformer_input_ids == (INSTRUCTION if family == "instructblip" else None)
    assert loaded.generation_config.eos_token_id == 2
    assert torch.equal(loaded.generate(**inputs, max_new_tokens=3), model.generate(**inputs, max_new_tokens=3))


def test_new_parts_start_as_the_definition_says(family):
    model = convert(family, tiny_source(family))
    assert not model.training
    assert model.model.alignment.dustbin_score.item() == pytest.approx(0.3)
    assert all(not layer.up_proj.weight.any() for layer in model.model.change_fusion_adapter.layers)
    assert all(parameter.isfinite().all() for parameter in model.parameters())


def test_no_weight_is_copied(family):
    """Two copies of 7 B parameters would not fit where one does."""
    source = tiny_source(family)
    model = convert(family, source)
    places = {tensor.data_ptr() for tensor in model.state_dict().values()}
    assert [name for name, tensor in source.state_dict().items() if tensor.data_ptr() not in places] == []


def test_tied_embeddings_stay_tied():
    model = convert("blip2", tiny_source("blip2"))
    assert model.lm_head.weight is model.get_input_embeddings().weight


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_kept_or_chosen(family, dtype, tmp_path):
    source = tiny_source(family)
    source.save_pretrained(tmp_path)
    chosen = convert(family, tmp_path, dtype=dtype)
    assert {parameter.dtype for parameter in chosen.parameters()} == {dtype}
    source.to(dtype).save_pretrained(tmp_path)
    kept = convert(family, tmp_path)
    assert {parameter.dtype for parameter in kept.parameters()} == {dtype}
    pixels = random_pixels(1).to(dtype)
    tokens = kept.get_image_features(pixels).pooler_output.unflatten(1, (2, -1))[:, :, 1:]
    torch.testing.assert_close(tokens.flatten(0, 1), their_outputs(family, source, pixels.flatten(0, 1))[1])


def test_every_key_has_one_place(family):
    names = list(tiny_source(family).state_dict())
    converted = [convert_key(name) for name in names]
    assert None not in converted
    assert len(set(converted)) == len(names)
    assert {prefix for prefix in KEY_MAP if any(name.startswith(prefix) for name in names)} == set(KEY_MAP)
    assert convert_key("itm_head.weight") is None


def edit(folder, change):
    """Change the weights of a saved model."""
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


LAST = "vision_model.encoder.layers.1.mlp.fc2.bias"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.pop(LAST), f"does not fit: missing: {LAST}"),
        (lambda weights: weights.update({"itm_head.bias": torch.zeros(2)}), "without a place: itm_head.bias"),
        (lambda weights: weights.update({LAST: torch.zeros(7)}), f"of another shape: {LAST}"),
    ],
    ids=["missing", "left over", "shape"],
)
def test_files_that_do_not_fit_are_refused(family, change, message, tmp_path):
    tiny_source(family).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=message):
        convert(family, edit(tmp_path, change))


def test_a_model_with_more_parts_is_refused(family):
    source = tiny_source(family)
    source.itm_head = torch.nn.Linear(32, 2)
    with pytest.raises(ValueError, match=r"no place for itm_head\.bias, itm_head\.weight of "):
        convert(family, source)


@pytest.mark.parametrize(
    ("layers", "message"), [(3, "missing: .*vision_tower.tower.encoder.layers.2"), (1, "without a place: .*layers.1")]
)
def test_another_size_than_the_checkpoints_is_refused(family, layers, message):
    source = tiny_source(family)
    vision = source.config.vision_config.to_dict()
    model_type = {"instructblip": "instructblip_vision_model", "blip2": "blip_2_vision_model"}[family]
    changed = vision | {"num_hidden_layers": layers, "model_type": model_type}
    with pytest.raises(ValueError, match=message):
        convert(family, source, vision_config=changed)
    with pytest.raises(ValueError, match=r"without a place: model.connector.qformer"):
        convert(family, source, qformer_config=None)
    with pytest.raises(ValueError, match=r"of another shape: model.connector.query_tokens"):
        convert(family, source, num_query_tokens=5)


def test_buffers_of_older_files_are_no_weights(tmp_path):
    """Files of 2023 also hold what is computed."""
    tiny_source("instructblip").save_pretrained(tmp_path)
    old = {"qformer.embeddings.position_ids": torch.arange(512)[None]}
    old |= {f"language_model.model.layers.{i}.self_attn.rotary_emb.inv_freq": torch.ones(4) for i in range(2)}
    convert("instructblip", edit(tmp_path, lambda weights: weights.update(old)))


def test_safetensors_alone_are_read(family, tmp_path):
    source = tiny_source(family)
    source.config.save_pretrained(tmp_path)
    torch.save(source.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        convert(family, tmp_path)


def test_flan_t5_is_refused_before_its_weights_are_read(family, tmp_path):
    family_config(family, text_config=T5).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"encoder-decoder 't5'.*instructblip-vicuna-7b.*blip2-opt-2.7b"):
        convert(family, tmp_path)
    with pytest.raises(ValueError, match="encoder-decoder 't5'"):
        convert(family, tiny_source(family, text_config=T5))


def test_the_other_family_is_named(family, tmp_path):
    other = {"instructblip": "blip2", "blip2": "instructblip"}[family]
    source = tiny_source(other)
    source.config.save_pretrained(tmp_path)
    for given in (source, tmp_path):
        with pytest.raises(ValueError, match="`from_instructblip` reads InstructBLIP, `from_blip2` reads BLIP-2"):
            convert(family, given)


def test_instructions_are_checked():
    source = tiny_source("instructblip")
    convert_it = SSGPAForConditionalGeneration.from_instructblip
    with pytest.raises(ValueError, match=r"give `qformer_input_ids`.*qformer_tokenizer"):
        convert_it(source)
    with pytest.raises(ValueError, match=r"1 to 512 of the Q-Former's 30 tokens, got \[3, 30\]"):
        convert_it(source, [3, 30])
    with pytest.raises(ValueError, match="reads no instruction"):
        convert("blip2", tiny_source("blip2"), qformer_input_ids=[3])


def test_the_placeholder_is_checked(family):
    source = tiny_source(family, image_token_index=None)
    with pytest.raises(ValueError, match="give `image_token_id`"):
        convert(family, source)
    with pytest.raises(ValueError, match="`image_token_id` 60 is none of the language model's"):
        convert(family, source, image_token_id=60)
    assert convert(family, source, image_token_id=4).config.image_token_id == 4


def test_a_missing_folder_is_named(family, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(family_config(family).to_dict()), encoding="utf-8")
    with pytest.raises(OSError, match=r"model\.safetensors"):
        convert(family, tmp_path)
