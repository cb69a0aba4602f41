# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Importing checkpoints and vocabularies in the layouts of the released code and of torchvision."""

import json
import sys
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import ResNetConfig, ResNetModel

from ssgpa.baselines.scorer import SCORERForConditionalGeneration
from ssgpa.baselines.scorer.conversion_scorer import RELEASED, convert_torchvision, convert_vocabulary, read_backbone
from ssgpa.benchmarks.measure_parity import draw_weights, read_specification

from ...tiny_systems import VISION


@pytest.fixture(scope="module")
def weights():
    """Random weights under the released code's names."""
    specification = read_specification("scorer", "real")
    return draw_weights(specification["weights"], specification["seed"])


def parts(weights, *kept):
    """Nested as the released code saves them."""
    states = {}
    for name, value in weights.items():
        part, _, rest = name.partition(".")
        states.setdefault(part, {})[rest] = value
    return {name: states[name] for name in kept or states}


@pytest.fixture
def released(weights, tmp_path, monkeypatch):
    """A file as the released code writes it: two parts, and its configuration as a class of its own."""
    module = ModuleType("utils.attr_dict")
    module.AttrDict = type("AttrDict", (dict,), {"__module__": "utils.attr_dict"})
    monkeypatch.setitem(sys.modules, "utils", ModuleType("utils"))
    monkeypatch.setitem(sys.modules, "utils.attr_dict", module)
    states = parts(weights, "change_detector_state", "speaker_state")
    states["speaker_state"]["core.position_enc.pe"] = torch.zeros(24, 300)
    states["model_cfg"] = module.AttrDict(exp_name="x", model=module.AttrDict(type=""))
    torch.save(states, tmp_path / "checkpoint_10000.pt")
    monkeypatch.undo()
    return tmp_path / "checkpoint_10000.pt"


def test_a_released_checkpoint_is_read_without_its_code(released, weights):
    model = SCORERForConditionalGeneration.from_official(released)
    assert not model.training
    config = model.config
    assert (config.vocab_size, config.max_position_embeddings, config.patch_grid) == (76, 24, [14, 14])
    assert {name: getattr(config, name) for name in RELEASED} == RELEASED
    assert model.generation_config.suppress_tokens == [1]
    assert model.generation_config.max_new_tokens == 23
    encoder = model.model.encoder
    whole = weights["change_detector_state.img.0.weight"].flatten(1)
    assert torch.equal(encoder.embeddings.projection.weight, whole[:, :1024])
    assert torch.equal(encoder.embeddings.coordinate_projection.weight, whole[:, 1024:])
    columns = weights["change_detector_state.w_embedding.weight"]
    assert torch.equal(encoder.embeddings.column_embeddings.weight, columns)
    assert torch.equal(model.lm_head.weight, weights["speaker_state.logit.weight"])
    assert torch.equal(model.contrast.logit_scale, weights["change_detector_state.scorer.1.attention.logit_scale"])
    assert all(parameter.isfinite().all() for parameter in model.backward_reasoning.parameters())


def test_every_weight_finds_its_place(weights, tmp_path):
    save_file(weights, tmp_path / "checkpoint.safetensors")
    model = SCORERForConditionalGeneration.from_official(tmp_path / "checkpoint.safetensors")
    own = sorted(value.double().sum().item() for name, value in model.named_parameters() if "vision_tower" not in name)
    unused = "change_detector_state.scorer.0.attention.logit_scale"
    total = sum(value.double().sum().item() for name, value in weights.items() if name != unused)
    assert sum(own) == pytest.approx(total, abs=1e-3)
    query = weights["generator_state.mh_att.in_proj_weight"][:512]
    assert torch.equal(model.backward_reasoning.attention.q_proj.weight, query)


def test_what_is_no_checkpoint_is_told(weights, tmp_path):
    def refuse(states, named):
        torch.save(states, tmp_path / "bad.pt")
        with pytest.raises(ValueError, match=named) as error:
            SCORERForConditionalGeneration.from_official(tmp_path / "bad.pt")
        return str(error.value)

    assert "bad.pt" in refuse({"model": 1}, "change_detector_state")
    states = parts(weights)
    refuse(states | {"speaker_state": states["speaker_state"] | {"extra.weight": torch.zeros(1)}}, "extra.weight")
    lacking = {name: value for name, value in states["speaker_state"].items() if name != "logit.bias"}
    refuse(states | {"speaker_state": lacking}, "missing: lm_head.bias")
    wrong = states["change_detector_state"] | {"embed_fc.0.bias": torch.zeros(3)}
    refuse(states | {"change_detector_state": wrong}, "of another shape: model.encoder.fusion.bias")
    (tmp_path / "text.pt").write_text("no weights", encoding="utf-8")
    with pytest.raises(ValueError, match=r"text\.pt"):
        SCORERForConditionalGeneration.from_official(tmp_path / "text.pt")


class Malicious:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_no_code_of_a_checkpoint_runs(tmp_path):
    torch.save({"change_detector_state": Malicious(tmp_path / "written")}, tmp_path / "bad.pt")
    with pytest.raises(ValueError, match=r"bad\.pt"):
        SCORERForConditionalGeneration.from_official(tmp_path / "bad.pt")
    assert not (tmp_path / "written").exists()
    # What pickle itself would have called.
    function, arguments = Malicious(tmp_path / "written").__reduce__()
    function(*arguments).close()
    assert (tmp_path / "written").exists()


def as_torchvision(state, classifier=True):
    """Names of torchvision's ResNet for those of Transformers, written out independently of the importer."""
    named = {}
    for name, value in state.items():
        words = name.split(".")
        kind = {"convolution": "conv", "normalization": "bn"}[words[-2]]
        if words[0] == "embedder":
            named[f"{kind}1.{words[-1]}"] = value
        elif "shortcut" in words:
            place = 0 if kind == "conv" else 1
            named[f"layer{int(words[2]) + 1}.{words[4]}.downsample.{place}.{words[-1]}"] = value
        else:
            named[f"layer{int(words[2]) + 1}.{words[4]}.{kind}{int(words[6]) + 1}.{words[-1]}"] = value
    return named | ({"fc.weight": torch.zeros(2, 2), "fc.bias": torch.zeros(2)} if classifier else {})


def test_a_resnet_of_torchvision_is_read(tmp_path):
    torch.manual_seed(0)
    model = ResNetModel(ResNetConfig(**VISION["resnet"] | {"layer_type": "bottleneck", "depths": [2, 3]}))
    wanted = model.state_dict()
    torch.save(as_torchvision(wanted), tmp_path / "resnet.pth")
    found = convert_torchvision(tmp_path / "resnet.pth")
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], value) for name, value in wanted.items())
    torch.save({"blocks.0.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"blocks\.0\.weight"):
        convert_torchvision(tmp_path / "other.pth")


def test_a_backbone_comes_with_the_checkpoint(released):
    torch.manual_seed(0)
    four_stages = {"embedding_size": 8, "hidden_sizes": [8, 8, 1024, 16], "depths": [1, 1, 1, 1]}
    resnet = ResNetModel(ResNetConfig(**four_stages, layer_type="basic"))
    model = SCORERForConditionalGeneration.from_official(released, vision=resnet)
    assert model.config.vision_config.hidden_sizes == [8, 8, 1024]
    backbone = model.get_vision_encoder().backbone
    wanted = resnet.state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in backbone.state_dict().items())


# Seventy-two words, as the training captions of CLEVR-Change have.
WORDS = ["The", "the", ",", ";", *(f"word{number}" for number in range(68))]


@pytest.fixture
def vocabulary(tmp_path):
    special = ["<NULL>", "<UNK>", "<START>", "<END>"]
    path = tmp_path / "transformer_vocab.json"
    path.write_text(json.dumps({word: index for index, word in enumerate(special + sorted(WORDS))}), encoding="utf-8")
    return path


def test_a_vocabulary_becomes_a_tokenizer(vocabulary):
    tokenizer = convert_vocabulary(vocabulary)
    assert len(tokenizer) == 76
    assert (tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (
        0,
        1,
        2,
        3,
    )
    words = json.loads(vocabulary.read_text(encoding="utf-8"))
    wanted = [words[word] for word in ("The", "word3", ",", "the", ";", "word4")] + [1]
    assert tokenizer("The word3, the; word4 Word4?.").input_ids == [2, *wanted]
    assert tokenizer.decode([2, *wanted[:2], 3, 0, 0], skip_special_tokens=True) == "The word3"


def test_what_is_no_vocabulary_is_told(tmp_path):
    (tmp_path / "vocab.json").write_text('{"a": 0}', encoding="utf-8")
    with pytest.raises(ValueError, match=r"vocab\.json"):
        convert_vocabulary(tmp_path / "vocab.json")


def test_a_backbone_that_lacks_a_weight_is_refused(tmp_path):
    ResNetModel(ResNetConfig(embedding_size=8, hidden_sizes=[8, 16, 24], depths=[1, 1, 1])).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    lost = next(name for name in weights if "stages.1" in name and name.endswith("convolution.weight"))
    del weights[lost]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"missing: .*stages\.1"):
        read_backbone(tmp_path)
