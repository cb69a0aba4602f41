# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Starting a model, and which of its parameters train."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from ssgpa import SSGPAForConditionalGeneration
from ssgpa.baselines.clip4idc import CLIP4IDCForPairTextRetrieval
from ssgpa.baselines.procap import ProCapForImageReconstruction, ProCapForPreTraining
from ssgpa.training.arguments import ChangeCaptioningArguments, DataArguments, ModelArguments
from ssgpa.training.run import check_data_fits
from ssgpa.training.systems import (
    create_system,
    load_base,
    model_class_of,
    parameter_report,
    set_trainable,
)
from ssgpa.training.word_tokenizer import build_word_tokenizer

from ..tiny_systems import TINY_SYSTEMS, tiny_ssgpa


CAPTIONS = ["The red cube moved.", "nothing has changed"]


def test_tokenizer_knows_the_words_of_captions_and_prompt():
    tokenizer = build_word_tokenizer(CAPTIONS, "before: <image> after: <image> change:")
    ids = tokenizer("the RED cube moved .")["input_ids"]
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids) == "the red cube moved ."
    assert tokenizer("zebra")["input_ids"] == [tokenizer.unk_token_id]
    assert tokenizer.convert_tokens_to_ids("<image>") == tokenizer.image_token_id
    assert tokenizer("<image> after :")["input_ids"][0] == tokenizer.image_token_id
    assert tokenizer.padding_side == "left"
    # Specials, the words of the captions, those of the prompt, and two signs.
    assert len(tokenizer) == 5 + 7 + 3 + 2


def test_created_system_is_built_by_configuration_and_tokenizer(make_system, model_config_values):
    model, processor = make_system(attn_implementation="eager")
    assert isinstance(model, SSGPAForConditionalGeneration)
    assert model.config._attn_implementation == "eager"
    assert model.config.patch_grid == model_config_values["patch_grid"]
    assert model.config.text_config.vocab_size == len(processor.tokenizer)
    assert model.config.image_token_id == processor.image_token_id
    assert model.generation_config.eos_token_id == processor.tokenizer.eos_token_id
    assert model.generation_config.max_new_tokens == 40
    assert model.generation_config.suppress_tokens == [model.config.image_token_id]
    assert processor.image_processor.size == {"height": 32, "width": 48}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (None, FileNotFoundError),
        ("{", ValueError),
        ("[]", ValueError),
        ('{"model_type": "ssgpa"}', ValueError),
        ('{"model_type": "ssgpa", "text_config": {"model_type": "llama"}, "fusion_layers": "two"}', ValueError),
    ],
)
def test_bad_model_configurations_are_named(tmp_path, text, error):
    path = tmp_path / "model.json"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(error, match=r"model\.json"):
        create_system(ModelArguments(model_config=str(path)), CAPTIONS)


def test_overrides_change_numbers_of_a_configuration(make_system):
    model, _ = make_system(config_overrides='{"fusion_layers": 0, "centering": 1.0}')
    assert len(model.model.change_fusion_adapter.layers) == 0
    assert model.model.alignment.centering == 1.0


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("{", "no JSON"),
        ("[1]", r"\[1\]"),
        ('{"fusion_layer": 1}', "fusion_layer"),
        ('{"vision_config": {}}', "vision_config"),
        ('{"model_type": "llama"}', "model_type"),
        ('{"fusion_layers": "two"}', "fusion_layers"),
        ('{"centering": 2.0}', "centering"),
    ],
)
def test_bad_overrides_are_named(make_system, text, named):
    with pytest.raises(ValueError, match=named):
        make_system(config_overrides=text)


def test_overrides_of_a_saved_system_add_parts_that_train(make_system, tmp_path):
    model, processor = make_system(config_overrides='{"fusion_layers": 0}')
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    path = str(tmp_path)
    overrides = '{"fusion_layers": 1, "centering": 0.25}'
    loaded, _, missing = load_base(ModelArguments(model_name_or_path=path, config_overrides=overrides))
    assert loaded.model.alignment.centering == 0.25
    assert {name.split(".")[1] for name in missing} == {"change_fusion_adapter"}
    kept = dict(model.named_parameters())
    shared = [name for name, _ in loaded.named_parameters() if name not in missing]
    assert all(torch.equal(loaded.get_parameter(name), kept[name]) for name in shared)
    with pytest.raises(ValueError, match="fusion_layer'"):
        load_base(ModelArguments(model_name_or_path=path, config_overrides='{"fusion_layer": 1}'))


def test_image_size_needs_two_numbers(model_config):
    with pytest.raises(ValueError, match="image_size"):
        create_system(ModelArguments(model_config=str(model_config), image_size=[32]), CAPTIONS)


@pytest.mark.parametrize("path", ["nothing", "ssgpa.no_module.Model", "ssgpa.NoModel", "ssgpa.SSGPAConfig"])
def test_class_path_must_name_a_model(path):
    with pytest.raises(ValueError, match=path):
        model_class_of(path)


@pytest.fixture
def saved(tmp_path):
    model, processor = tiny_ssgpa()
    model.save_pretrained(tmp_path / "saved")
    processor.save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


def drop_weights(folder, part):
    weights = load_file(folder / "model.safetensors")
    save_file(
        {name: value for name, value in weights.items() if part not in name},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )


def test_saved_system_comes_back(saved):
    model, processor, missing = load_base(ModelArguments(model_name_or_path=str(saved)))
    assert not missing
    assert processor.image_seq_length == model.config.image_seq_length
    wanted = tiny_ssgpa()[0].state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in model.state_dict().items())


def test_what_a_checkpoint_lacks_must_train(saved):
    drop_weights(saved, "model.alignment.")
    model, _, missing = load_base(ModelArguments(model_name_or_path=str(saved)))
    assert missing
    assert all(name.startswith("model.alignment.") for name in missing)
    with pytest.raises(ValueError, match=r"neither loaded nor trainable.*model\.alignment"):
        set_trainable(model, ["connector"], missing)
    assert set(set_trainable(model, ["connector", "alignment"], missing)) >= missing


def test_weights_of_another_shape_are_refused(saved):
    config = json.loads((saved / "config.json").read_text(encoding="utf-8"))
    config["alignment_hidden_size"] *= 2
    (saved / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ValueError, match=r"saved: 15 of the model's weights have another shape .*model\.alignment"):
        load_base(ModelArguments(model_name_or_path=str(saved)))


def test_patterns_choose_what_trains():
    model, _ = tiny_ssgpa()
    trainable = set_trainable(model, [r"^model\.alignment\.", "lm_head"], set())
    names = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert names == set(trainable)
    assert names == {
        name for name, _ in model.named_parameters() if name.startswith("model.alignment.") or "lm_head" in name
    }
    report = parameter_report(model, trainable)
    assert report["parameters"] == model.num_parameters()
    assert report["trainable"] == model.num_parameters(only_trainable=True)


@pytest.mark.parametrize("pattern", ["q_former", "("])
def test_bad_patterns_are_named(pattern):
    model, _ = tiny_ssgpa()
    with pytest.raises(ValueError, match="trainable") as error:
        set_trainable(model, ["lm_head", pattern], set())
    assert repr(pattern) in str(error.value)


@pytest.mark.parametrize("values", [{"eval_strategy": "epoch"}, {"eval_on_start": True}, {"push_to_hub": True}])
@pytest.mark.parametrize("stage", [CLIP4IDCForPairTextRetrieval, ProCapForPreTraining, ProCapForImageReconstruction])
def test_a_stage_without_captions_refuses_what_needs_them(stage, values, splits, prepared_dir):
    model, processor = TINY_SYSTEMS[stage.config_class.model_type]()
    arguments = ChangeCaptioningArguments(output_dir="unused", use_cpu=True, **values)
    with pytest.raises(ValueError, match=f"A {stage.__name__} makes no captions.*`{next(iter(values))}`"):
        check_data_fits(stage(model.config), processor, splits["train"], DataArguments(str(prepared_dir)), arguments)


def test_one_warning_where_captions_would_be_retrieved(splits, prepared_dir, monkeypatch):
    told = []
    monkeypatch.setattr("ssgpa.training.run.logger.warning", told.append)
    arguments = ChangeCaptioningArguments(output_dir="unused", use_cpu=True, generation_max_new_tokens=2)
    for name, count in (("ssgpa", 0), ("finer_mllm", 1)):
        model, processor = TINY_SYSTEMS[name]()
        check_data_fits(model, processor, splits["train"].take(1), DataArguments(str(prepared_dir)), arguments)
        assert len(told) == count
    assert "--retrieval_store" in told[0]
