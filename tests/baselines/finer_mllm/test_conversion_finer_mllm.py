# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""FINER-MLLM beside the code of its authors: the same outputs of the same weights, and every weight taken over."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ssgpa.baselines.finer_mllm import FinerMLLMForConditionalGeneration
from ssgpa.baselines.finer_mllm.conversion_finer_mllm import QFORMER, TOWER, convert_official
from ssgpa.baselines.finer_mllm.lora import load_official_adapter
from ssgpa.benchmarks.measure_parity import draw_inputs, draw_weights, read_specification
from ssgpa.benchmarks.parity.finer_mllm import compute


HERE = Path(__file__).parent
GOLDEN = json.loads((HERE / "golden.json").read_text(encoding="utf-8"))
SPECIFICATION = read_specification("finer_mllm", "tiny")
FIELDS = SPECIFICATION["fields"]
QUERY = "Qformer.bert.encoder.layer.0.attention.self.query"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("parity") / "checkpoint.safetensors"
    save_file(draw_weights(SPECIFICATION["weights"], GOLDEN["seed"]), path)
    return path


def outputs(checkpoint, **fields):
    return compute(checkpoint, draw_inputs(SPECIFICATION["inputs"], GOLDEN["seed"]), FIELDS | fields)


@pytest.fixture(scope="module")
def found(checkpoint):
    return outputs(checkpoint)


def differing(found):
    """The pinned outputs that are others."""
    names = []
    for name, wanted in GOLDEN["outputs"].items():
        value = found[name]
        assert list(value.shape) == wanted["shape"], name
        if "values" in wanted:
            same = value.tolist() == wanted["values"]
        else:
            total, squares = value.double().sum().item(), value.double().square().sum().item()
            # Each of the values is within 1e-4 there; their sum is held to a hundredth of that a value.
            same = total == pytest.approx(wanted["sum"], abs=1e-4 + 1e-6 * value.numel())
            same = same and squares == pytest.approx(wanted["sum_of_squares"], rel=1e-4)
        if not same:
            names.append(name)
    return names


def test_outputs_are_those_of_the_released_code(found):
    assert GOLDEN["other_side"] == {
        "repository": "xianzhangzx/FINER-MLLM",
        "commit": "17178f3b24db74926f17abdf27092997c79298ec",
    }
    assert found.keys() == GOLDEN["outputs"].keys()
    assert {"tower_states", "attention", "emphasis", "logits", "loss", "greedy_ids"} <= found.keys()
    assert differing(found) == []


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"released_emphasis": False}, {"emphasis", "logits", "caption_loss", "loss"}),
        ({"released_constraints": False}, {"loss"}),
        ({"consistency_target_temperature": 0.1}, {"consistency_loss", "loss"}),
    ],
)
def test_a_setting_of_our_own_is_seen(checkpoint, fields, named):
    assert named <= set(differing(outputs(checkpoint, **fields)))


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("visual_encoder.blocks.1.attn.qkv.lora_B", "tower_states"),
        ("visual_encoder.blocks.2.mlp.fc2.lora_A", "tower_states"),
        ("visual_encoder.blocks.0.attn.v_bias", "tower_states"),
        ("Qformer.bert.encoder.layer.2.crossattention.self.query.lora_A", "attention"),
        ("Qformer.bert.encoder.layer.3.attention.self.value.lora_B", "visual_tokens"),
        ("llm_model.assistant.sub_bag_weight.in_proj_bias", "emphasis"),
    ],
)
def test_a_changed_weight_is_seen(checkpoint, tmp_path, name, seen):
    weights = load_file(checkpoint)
    weights[name][: len(weights[name]) // 2] *= 1.5
    save_file(weights, tmp_path / "changed.safetensors")
    assert seen in differing(outputs(tmp_path / "changed.safetensors"))


def test_the_stored_comparison_agrees():
    path = HERE.parents[2] / "benchmarks" / "results" / "finer_mllm-parity.json"
    report = json.loads(path.read_text(encoding="utf-8"))["tiny"]
    assert report["agrees"]
    assert report["other_side"] == GOLDEN["other_side"]
    assert report["outputs"].keys() == GOLDEN["outputs"].keys()
    for figures in report["outputs"].values():
        assert figures.get("largest_difference", 0) <= 1e-4
        assert figures.get("different_values", 0) == 0


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"visual_encoder.blocks.1.norm1.bias": None}, r"missing: .*layers\.1\.layer_norm1\.bias"),
        ({"visual_encoder.blocks.1.attn.v_bias": None}, r"no 'visual_encoder\.blocks\.1\.attn\.v_bias'"),
        ({"visual_encoder.blocks.1.attn.qkv.lora_A": None}, r"no 'visual_encoder\.blocks\.1\.attn\.qkv\.lora_A'"),
        ({f"{QUERY}.lora_B": None}, r"no 'Qformer\..*query\.lora_B'"),
        ({f"{QUERY}.weight": None}, r"LoRA of model\.connector\.qformer\..*query, and not its weight"),
        ({"llm_model.assistant.sub_bag_weight.in_proj_bias": None}, r"missing: emphasis\.k_proj\.bias"),
        ({"query_tokens": None}, "no 'query_tokens'"),
        ({"visual_encoder.adapter.weight": torch.zeros(2)}, r"without a place: visual_encoder\.adapter\.weight"),
        ({"llm_proj.bias": torch.zeros(3)}, r"of another shape: model\.connector\.language_projection\.bias"),
    ],
)
def test_a_checkpoint_of_the_authors_must_fit(checkpoint, tmp_path, change, named):
    weights = {name: value for name, value in (load_file(checkpoint) | change).items() if value is not None}
    torch.save(weights, tmp_path / "clevr_model_params.pth")
    with pytest.raises(ValueError, match=named):
        FinerMLLMForConditionalGeneration.from_official(tmp_path / "clevr_model_params.pth", **FIELDS)


def test_every_weight_has_a_place_or_no_effect(checkpoint):
    source, official = load_file(checkpoint), convert_official(checkpoint, False, **FIELDS)
    moved = sum(value.numel() for value in official.weights.values())
    moved += sum(part.numel() for matrices in official.lora.values() for part in matrices)
    unused = sum(value.numel() for name, value in source.items() if "out_proj" in name or "assistant.ln" in name)
    width = source["llm_proj.bias"].numel()
    values = width * width + width  # a third of the emphasis's projection
    keys = 3 * 32  # zeros for biases of the tower's keys
    assert moved == sum(value.numel() for value in source.values()) - unused - values + keys


def test_the_placeholder_is_a_row_of_its_own(checkpoint):
    fields = {name: value for name, value in FIELDS.items() if name != "image_token_id"}
    model = FinerMLLMForConditionalGeneration.from_official(checkpoint, qformer_merged=False, **fields)
    theirs = load_file(checkpoint)["llm_model.backbone.lm_head.weight"]
    assert model.config.image_token_id == len(theirs) == model.config.text_config.vocab_size - 1
    assert torch.equal(model.lm_head.weight[:-1], theirs)
    assert not model.lm_head.weight[-1].any()
    assert model.generation_config.suppress_tokens == [len(theirs)]


@pytest.mark.parametrize("merged", [True, False])
def test_lora_is_taken_out_of_weights_that_hold_it(checkpoint, merged):
    source = load_file(checkpoint)
    weight, down, up = (source[f"{QUERY}.{name}"] for name in ("weight", "lora_A", "lora_B"))
    update = up @ down / len(down)
    model = FinerMLLMForConditionalGeneration.from_official(checkpoint, qformer_merged=merged, **FIELDS)
    found = model.get_parameter(f"{QFORMER}encoder.layer.0.attention.attention.query.weight")
    torch.testing.assert_close(found.data, weight if merged else weight + update)
    # The tower's are kept apart in either case.
    tower = source["visual_encoder.blocks.0.attn.qkv.weight"]
    down, up = (source[f"visual_encoder.blocks.0.attn.qkv.lora_{side}"] for side in "AB")
    parts = model.get_submodule(f"{TOWER}encoder.layers.0.self_attn.qkv")
    torch.testing.assert_close(parts.q.weight.data, tower[:32] + up[:32] @ down[:4] / 4)
    torch.testing.assert_close(parts.k.weight.data, tower[32:64])
    torch.testing.assert_close(parts.v.weight.data, tower[64:] + up[32:] @ down[4:] / 4)


@pytest.mark.parametrize("merged", [True, False])
def test_lora_beside_the_weights_merges_to_the_same(checkpoint, merged):
    tuned = load_official_adapter(checkpoint, merged, **FIELDS)
    config = tuned.active_peft_config
    assert config.lora_alpha == 1
    scalings = {name: module.scaling["default"] for name, module in tuned.named_modules() if hasattr(module, "lora_A")}
    assert {value for name, value in scalings.items() if "vision_tower" in name} == {1 / 4}
    assert {value for name, value in scalings.items() if "qformer" in name} == {1 / 2}
    inputs = draw_inputs(SPECIFICATION["inputs"], 0)["pixel_values"]
    model = FinerMLLMForConditionalGeneration.from_official(checkpoint, merged, **FIELDS)
    with torch.no_grad():
        wanted = model.get_image_features(inputs, return_dict=True).pooler_output
        apart = tuned.get_base_model().get_image_features(inputs, return_dict=True).pooler_output
        together = tuned.merge_and_unload().get_image_features(inputs, return_dict=True).pooler_output
    torch.testing.assert_close(apart, wanted, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(together, wanted, atol=1e-6, rtol=1e-5)


def test_a_checkpoint_without_lora_has_no_adapter(checkpoint, tmp_path):
    weights = {name: value for name, value in load_file(checkpoint).items() if "lora_" not in name}
    save_file(weights, tmp_path / "plain.safetensors")
    with pytest.raises(ValueError, match="no LoRA"):
        load_official_adapter(tmp_path / "plain.safetensors", **FIELDS)
    FinerMLLMForConditionalGeneration.from_official(tmp_path / "plain.safetensors", **FIELDS)


def test_another_file_is_refused(tmp_path):
    torch.save({"weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other\.pth is no checkpoint of FINER-MLLM"):
        FinerMLLMForConditionalGeneration.from_official(tmp_path / "other.pth")
    (tmp_path / "text.pth").write_text("no tensors", encoding="utf-8")
    with pytest.raises(ValueError, match="no tensors that could be read"):
        FinerMLLMForConditionalGeneration.from_official(tmp_path / "text.pth")
