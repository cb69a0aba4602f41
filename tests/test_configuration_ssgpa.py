# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""What the configuration derives, keeps and refuses."""

import json
from pathlib import Path

import pytest
from huggingface_hub.errors import StrictDataclassClassValidationError, StrictDataclassFieldValidationError
from transformers import AutoConfig

from ssgpa import SSGPAConfig

from .ssgpa_cases import TOWERS, VARIANTS
from .tiny_systems import tiny_config


PRESETS = sorted((Path(__file__).parents[1] / "examples" / "configs" / "models").glob("*.json"))


@pytest.mark.parametrize("variant", VARIANTS)
def test_round_trip_through_json(variant, tmp_path):
    config = tiny_config(**VARIANTS[variant])
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert type(loaded) is SSGPAConfig
    assert loaded.to_diff_dict() == config.to_diff_dict()
    content = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert SSGPAConfig(**content).to_json_string(use_diff=False) == config.to_json_string(use_diff=False)


def test_grid_and_widths_follow_the_tower():
    config = tiny_config(patch_grid=None, patch_hidden_size=None, fusion_hidden_size=None)
    assert config.patch_grid == [4, 4]
    assert config.num_patches == 16
    assert config.patch_hidden_size == 32
    assert config.fusion_hidden_size == 8
    assert tiny_config("resnet", patch_hidden_size=None, fusion_hidden_size=None).patch_hidden_size == 16
    wide = tiny_config(patch_grid=None, vision_config=TOWERS["vit"]["vision_config"] | {"image_size": [32, 64]})
    assert wide.patch_grid == [4, 8]


def test_defaults_are_those_of_the_definition():
    config = SSGPAConfig()
    assert config.vision_config.model_type == "instructblip_vision_model"
    assert (config.patch_hidden_size, config.patch_grid) == (1408, [16, 16])
    assert config.qformer_config is None
    assert (config.fusion_layers, config.fusion_hidden_size) == (4, 352)
    settings = ("centering", "marginal_eta", "dustbin_score", "transport_epsilon", "sinkhorn_iterations")
    assert [getattr(config, name) for name in settings] == [0.5, 0.5, 0.3, 0.05, 50]
    assert (config.position_weight, config.contrast_negatives, config.warp_fraction) == (0.1, 7, 0.25)
    weights = [getattr(config, f"{name}_weight") for name in ("caption", "contrast", "warp", "cycle", "global")]
    assert weights == [1.0, 0.1, 0.1, 0.05, 0.05]
    assert config.label_smoothing == 0.0


def test_tokens_of_one_image():
    assert tiny_config().image_seq_length == 17
    assert tiny_config(qformer=True).image_seq_length == 5
    assert tiny_config(qformer=True).qformer_config.encoder_hidden_size == 32


def test_tying_follows_the_language_model():
    assert not tiny_config().tie_word_embeddings
    text = tiny_config().text_config.to_dict() | {"tie_word_embeddings": True}
    assert tiny_config(text_config=text).tie_word_embeddings


@pytest.mark.parametrize(
    "wrong",
    [
        {"fusion_layers": "2"},
        {"centering": "half"},
        {"patch_grid": "4x4"},
        {"qformer_input_ids": "describe"},
        {"sinkhorn_iterations": 5.5},
    ],
)
def test_wrong_types_are_refused(wrong):
    (name,) = wrong
    with pytest.raises(StrictDataclassFieldValidationError, match=name):
        tiny_config(**wrong)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"vision": "resnet", "patch_grid": None}, "`patch_grid`.*is needed: a resnet tower"),
        ({"patch_grid": [3, 3]}, r"\[3, 3\], but the instructblip_vision_model tower makes \[4, 4\]"),
        ({"patch_grid": [4]}, "two positive numbers"),
        ({"vision": "resnet", "patch_grid": [0, 4]}, "two positive numbers"),
        ({"patch_hidden_size": 16}, "`patch_hidden_size` is 16"),
        ({"fusion_hidden_size": 18}, "`fusion_hidden_size` .18. must be a multiple"),
        ({"alignment_hidden_size": 18}, "`alignment_hidden_size` .18. must be a multiple"),
        ({"marginal_eta": 1.5}, "`marginal_eta` must lie in"),
        ({"centering": -0.1}, "`centering` must lie in"),
        ({"transport_epsilon": 0.0}, "`transport_epsilon` must be positive"),
        ({"transport_epsilon": 0.005}, r"`transport_epsilon` \(0.005\) is too small for a `dustbin_score` of 0.3"),
        ({"dustbin_score": -3.5}, r"`transport_epsilon` \(0.05\) is too small for a `dustbin_score` of -3.5"),
        ({"contrast_temperature": 0.0}, "`contrast_temperature` must be positive"),
        ({"sinkhorn_iterations": 0}, "`sinkhorn_iterations` must be at least 1"),
        ({"contrast_weight": -1.0}, "`contrast_weight` must not be negative"),
        ({"warp_weight": -0.1}, "`warp_weight` must not be negative"),
        ({"cycle_weight": -0.1}, "`cycle_weight` must not be negative"),
        ({"global_weight": -0.1}, "`global_weight` must not be negative"),
        ({"warp_fraction": 0.0}, "`warp_fraction` must lie in"),
        ({"warp_fraction": 1.5}, "`warp_fraction` must lie in"),
        ({"label_smoothing": 1.0}, "`label_smoothing` must lie in"),
        ({"label_smoothing": -0.1}, "`label_smoothing` must lie in"),
        ({"image_token_id": -1}, "`image_token_id` must not be negative, got -1"),
        ({"qformer": True, "qformer_input_ids": [3, -4]}, r"`qformer_input_ids` must lie in \[0, 30\).*got -4"),
        ({"qformer": True, "qformer_input_ids": [30]}, r"`qformer_input_ids` must lie in \[0, 30\).*got 30"),
        ({"qformer": True, "qformer_input_ids": []}, "`qformer_input_ids` is empty"),
        ({"vision": "resnet", "patch_hidden_size": 0}, "`patch_hidden_size` must be at least 1, got 0"),
        ({"fusion_hidden_size": 0}, "`fusion_hidden_size` must be at least 1, got 0"),
        ({"fusion_hidden_size": -16}, "`fusion_hidden_size` must be at least 1, got -16"),
        ({"fusion_num_attention_heads": 0}, "`fusion_num_attention_heads` must be at least 1, got 0"),
        ({"fusion_num_attention_heads": -4}, "`fusion_num_attention_heads` must be at least 1, got -4"),
        ({"alignment_hidden_size": 0}, "`alignment_hidden_size` must be at least 1, got 0"),
        ({"alignment_num_attention_heads": 0}, "`alignment_num_attention_heads` must be at least 1, got 0"),
        ({"num_query_tokens": 0}, "`num_query_tokens` must be at least 1"),
        ({"layer_norm_eps": 0.0}, "`layer_norm_eps` must be positive"),
        ({"initializer_range": -0.02}, "`initializer_range` must not be negative"),
        ({"gate_sharpness": -1.0}, "`gate_sharpness` must not be negative"),
        ({"gate_threshold": float("nan")}, "`gate_threshold` must be a finite number, got nan"),
        ({"contrast_weight": float("nan")}, "`contrast_weight` must be a finite number"),
        ({"warp_weight": float("inf")}, "`warp_weight` must be a finite number"),
    ],
)
def test_senseless_values_are_refused(wrong, words):
    with pytest.raises(StrictDataclassClassValidationError, match=words):
        tiny_config(**wrong)


@pytest.fixture
def told(monkeypatch):
    """Warnings of the configuration, each as often as it comes."""
    lines = []
    monkeypatch.setattr("ssgpa.change_config_ssgpa.logger.warning_once", lines.append)
    return lines


@pytest.mark.parametrize(
    ("name", "words"),
    [("fusion_layer", "did you mean `fusion_layers`?"), ("of_a_later_version", "misspelled, or of another version")],
)
def test_unknown_fields_are_told_and_load(name, words, told, tmp_path):
    tiny_config().save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {name: 3}), encoding="utf-8")
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert loaded.fusion_layers == tiny_config().fusion_layers
    assert len(set(told)) == 1
    assert f"no field `{name}`" in told[0]
    assert words in told[0]


def test_fields_of_transformers_itself_are_none_to_tell(told, tmp_path):
    shared = {"torch_dtype": "float32", "use_cache": True, "auto_map": {}, "custom_pipelines": {}, "num_labels": 2}
    shared |= {"_name_or_path": "x", "_commit_hash": "0" * 40, "architectures": ["A"], "attn_implementation": "eager"}
    shared |= {"pad_token_id": 0, "max_length": 20, "quantization_config": {}, "output_attentions": False}
    shared |= {"tokenizer_class": None, "torchscript": False, "use_bfloat16": False, "pruned_heads": {}}
    config = tiny_config(qformer=True, **shared)
    config.save_pretrained(tmp_path)
    AutoConfig.from_pretrained(tmp_path, attn_implementation="sdpa", trust_remote_code=False)
    assert told == []


def test_embedded_checkpoints_preset_was_trained_on_captions_and_contrast_alone():
    """Before the other losses were there: they must not come in by their defaults."""
    (preset,) = (path for path in PRESETS if path.stem == "ssgpa-clevr-tiny")
    config = SSGPAConfig(**json.loads(preset.read_text(encoding="utf-8")))
    weights = [getattr(config, f"{name}_weight") for name in ("caption", "contrast", "warp", "cycle", "global")]
    assert weights == [1.0, 0.1, 0.0, 0.0, 0.0]


@pytest.mark.skipif(not PRESETS, reason="no presets in this checkout")
@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_presets_load(preset):
    content = json.loads(preset.read_text(encoding="utf-8"))
    config = SSGPAConfig(**content)
    assert config.num_patches > 0
    unknown = set(content) - set(config.to_dict()) - {"architectures", "transformers_version", "dtype", "auto_map"}
    assert not unknown, f"{preset.name} sets what the configuration does not know"
