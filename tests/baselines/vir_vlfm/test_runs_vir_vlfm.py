# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""VIR-VLFM's runs, each with its whole command, over tiny backbones; LoRA beside them, and ZeRO-2 on the CPU."""

import json
import re
import runpy

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from tokenizers import decoders
from transformers import InstructBlipProcessor, LlamaConfig, LlamaForCausalLM
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from ssgpa.baselines.vir_vlfm import VIRVLFMForConditionalGeneration
from ssgpa.baselines.vir_vlfm.conversion_vir_vlfm import PROMPT
from ssgpa.data.prepared import load_prepared
from ssgpa.training.arguments import parse_arguments
from ssgpa.training.word_tokenizer import build_word_tokenizer
from ssgpa.utils.loading import load_system

from ...examples.runs import ROOT, accelerate, launch, logged, options_of, prepare_set
from ...scripts import load_script
from ...test_conversion_ssgpa import tiny_source
from ...tiny_systems import tiny_config
from .cases import SIZES, official_files, random_batch, random_model


CONFIGS = ROOT / "examples" / "configs" / "vir_vlfm"
# What runs share, and no run by itself.
SHARED = {"vicuna7b"}
SETS = {"clevr": "clevr_change", "spot": "spot_the_diff", "ier": "image_editing_request"}
SMALL = {"max_steps": 2, "warmup_steps": 1, "per_device_train_batch_size": 4, "logging_steps": 1}
SMALL |= {"eval_steps": 2, "save_steps": 2, "use_cpu": True, "bf16": False, "dataloader_num_workers": 0}
SMALL |= {"generation_max_new_tokens": 4, "generation_num_beams": 2, "disable_tqdm": True}
CLOSE = {"atol": 1e-5, "rtol": 1e-5}
TRAINED = ("_adapter.", "model.registration.", "model.emphasis.", "_projection.")


def write_instructblip(folder, texts):
    """A tiny InstructBLIP checkpoint with a tokenizer of the captions' words."""
    tokenizer = build_word_tokenizer(texts, PROMPT.format(" "))
    text = tiny_config().text_config.to_dict() | {"vocab_size": len(tokenizer)}
    image_token = tokenizer.convert_tokens_to_ids("<image>")
    qformer = tiny_config(qformer=True).qformer_config.to_dict() | {"vocab_size": len(tokenizer)}
    source = tiny_source("instructblip", text_config=text, qformer_config=qformer, image_token_index=image_token)
    source.save_pretrained(folder)
    images = CLIPImageProcessorPil(size={"height": 32, "width": 32}, do_center_crop=False)
    InstructBlipProcessor(images, tokenizer, tokenizer, num_query_tokens=4).save_pretrained(folder)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vir_vlfm")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.config.HF_DATASETS_CACHE", folder / "cache")
        patch.chdir(ROOT)
        texts = []
        for name in SETS.values():
            data = load_prepared(prepare_set(name, folder))
            texts += [text for row in data["train"]["captions"] for text in row]
        write_instructblip(folder / "instructblip", texts)
        words = ["--instructblip", str(folder / "instructblip"), "--output_dir", str(folder / "base")]
        assert load_script("make_vir_vlfm_base").main(words) == 0
        yield folder


def train(name, **changes):
    return load_script("train").main([str(CONFIGS / f"{name}.yaml"), *options_of(changes)])


def places_of(workshop, name, folder):
    return {"model_name_or_path": workshop / "base", "data_dir": workshop / SETS[name], "output_dir": folder}


def test_every_shipped_run_is_run_here():
    assert {path.stem for path in CONFIGS.glob("*.yaml")} - SHARED == {*SETS, "clevr_tiny", "clevr_tiny_second"}


def test_the_base_has_the_published_prompt(workshop):
    model, processor = load_system(str(workshop / "base"))
    assert type(model) is VIRVLFMForConditionalGeneration
    assert processor.prompt == PROMPT.format("<image>")
    assert processor.image_seq_length == model.config.image_seq_length == 2
    assert model.config.qformer_input_ids
    settings = model.generation_config
    assert (settings.num_beams, settings.max_new_tokens) == (5, 40)
    assert settings.suppress_tokens == [model.config.image_token_id]


@pytest.mark.parametrize("name", SETS)
def test_runs_over_frozen_backbones(name, workshop):
    folder = workshop / "runs" / name
    assert train(name, **places_of(workshop, name, folder), **SMALL) == 0
    assert list(logged(folder)) == [1, 2]
    assert logged(folder, "eval_total_cider").keys() == {2}
    # What was trained alone, in float32, over the base.
    weights = load_file(folder / "best" / "adapter_model.safetensors")
    base, _ = load_system(str(workshop / "base"))
    names = {name for name, _ in base.named_parameters() if any(part in name for part in TRAINED)}
    assert {name.replace("base_model.model.", "") for name in weights} == names
    told = json.loads((folder / "best" / "adapter_config.json").read_text("utf-8"))
    assert told["base_model_name_or_path"] == str(workshop / "base")
    assert any("up_proj" in name and value.any() for name, value in weights.items())
    model, processor = load_system(str(folder / "best"))
    # It captions as it was evaluated, and what the run says nothing of is its base's.
    assert model.generation_config.repetition_penalty == 1.5
    assert base.generation_config.repetition_penalty in (None, 1.0)
    assert model.generation_config.num_beams == base.generation_config.num_beams
    assert processor.prompt == PROMPT.format("<image>")
    kept = dict(model.named_parameters())
    assert all(torch.equal(value, kept[name]) for name, value in base.named_parameters() if name not in names)


def test_a_run_from_random_weights(workshop):
    data = prepare_set("small_prepared_8x8", workshop)
    folder = workshop / "runs" / "clevr_tiny"
    assert train("clevr_tiny", data_dir=data, output_dir=folder, **SMALL) == 0
    assert list(logged(folder)) == [1, 2]
    _, processor = load_system(str(folder / "best"))
    assert processor.prompt == PROMPT.format("<image>")
    second = workshop / "runs" / "clevr_tiny_second"
    start = folder / "best"
    assert train("clevr_tiny_second", model_name_or_path=start, data_dir=data, output_dir=second, **SMALL) == 0
    assert list(logged(second)) == [1, 2]
    assert load_system(str(second / "best"))[1].prompt == processor.prompt


def test_published_values_are_those_of_the_runs():
    words = ["--use_cpu", "true", "--output_dir", "unused"]
    _, data, run = parse_arguments([str(CONFIGS / "clevr.yaml"), *words])
    assert (run.learning_rate, run.weight_decay, run.max_grad_norm, run.seed) == (5e-5, 0.05, 0.0, 42)
    assert (run.max_steps, run.get_warmup_steps(run.max_steps)) == (40 * 4500, 4500)
    assert run.lr_scheduler_kwargs == {"min_lr": 1e-5, "warmup_lr_rate": pytest.approx(1e-6 / 5e-5)}
    # A scene is two pairs; eight processes of one scene each.
    assert run.per_device_train_batch_size == 8 * 2
    decoding = (run.generation_num_beams, run.generation_repetition_penalty, run.generation_max_new_tokens)
    assert decoding == (5, 1.5, 30)
    assert data.distractor_swap


def test_the_released_split_can_be_made_and_trained_on(workshop):
    """By the lines of the README."""
    text = (ROOT / "baselines" / "vir_vlfm" / "README.md").read_text("utf-8")
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "join_splits" in block]
    (workshop / "join.py").write_text(code, encoding="utf-8")
    join_splits = runpy.run_path(str(workshop / "join.py"))["join_splits"]
    join_splits(str(workshop / "clevr_change"), str(workshop / "joined"))
    before, after = (load_prepared(workshop / name) for name in ("clevr_change", "joined"))
    assert len(after["train"]) == len(before["train"]) + len(before["validation"]) - 2
    assert after["test"]["pair_id"][:] == before["test"]["pair_id"][:]
    places = places_of(workshop, "clevr", workshop / "runs" / "joined") | {"data_dir": workshop / "joined"}
    options = SMALL | {"eval_strategy": "no", "load_best_model_at_end": False}
    assert train("clevr", **places, **options) == 0
    assert list(logged(workshop / "runs" / "joined")) == [1, 2]


def llama_folder(folder, model, pad_token=None):
    """A language model of the released code's files, with a tokenizer that is decoded as Llama's is."""
    text = model.config.text_config.to_dict()
    tokenizer = build_word_tokenizer([" ".join(f"w{number}" for number in range(text["vocab_size"] - 30))], "###")
    tokenizer.backend_tokenizer.decoder = decoders.Fuse()
    if pad_token:
        tokenizer.add_special_tokens({"pad_token": pad_token})
    tokenizer.save_pretrained(folder)
    LlamaForCausalLM(LlamaConfig(**text | {"vocab_size": len(tokenizer)})).save_pretrained(folder)
    return len(tokenizer)


def test_a_base_of_the_released_codes_files(workshop):
    model = random_model()
    files = official_files(model, workshop)
    size = llama_folder(workshop / "v0", model, pad_token="[PAD]")
    words = ["--official", *map(str, files), "--language", str(workshop / "v0"), "--dtype", "float32"]
    assert load_script("make_vir_vlfm_base").main([*words, "--output_dir", str(workshop / "theirs")]) == 0
    found, processor = load_system(str(workshop / "theirs"))
    # What version 0 of Vicuna pads with is free: no row was added.
    assert processor.image_token == "[PAD]"
    assert found.config.text_config.vocab_size == size
    assert found.config.image_token_id == size - 1
    assert torch.equal(found.model.registration.flow.weight, model.model.registration.flow.weight)
    images = [torch.rand(3, 32, 32), torch.rand(3, 32, 32)]
    inputs = processor(images=[images], return_tensors="pt")
    assert (inputs["input_ids"] == found.config.image_token_id).sum() == SIZES["num_query_tokens"]
    ids = found.generate(**inputs, max_new_tokens=3)
    assert len(processor.post_process_captions(ids, inputs)) == 1


def test_a_base_needs_its_sources(tmp_path, capsys):
    main = load_script("make_vir_vlfm_base").main
    assert main(["--output_dir", str(tmp_path / "none")]) == 2
    assert "Give --instructblip, or --official and --language" in capsys.readouterr().err
    assert main(["--instructblip", str(tmp_path / "missing"), "--output_dir", str(tmp_path)]) == 2
    assert "exists" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


LORA = {
    "r": 2,
    "lora_alpha": 4,
    "target_modules": r"model\.(language_model\..*\.(q_proj|v_proj)|qformer\..*\.(query|value)|vision_model\..*\.qkv)",
}


def test_lora_beside_what_trains_is_saved_loaded_and_merged(workshop):
    folder = workshop / "runs" / "lora"
    changes = SMALL | {"lora": json.dumps(LORA), "learning_rate": 0.05, "frozen_dtype": "float32"}
    assert train("clevr", **places_of(workshop, "clevr", folder), **changes) == 0
    weights = load_file(folder / "best" / "adapter_model.safetensors")
    found = [name for name in weights if "lora_B" in name]
    assert all(any(part in name for name in found) for part in ("language_model", "qformer", "vision_model"))
    assert any(weights[name].any() for name in found)
    base, _ = load_system(str(workshop / "base"))
    batch = random_batch(base.config)
    plain = base(**batch).logits
    tuned = PeftModel.from_pretrained(base, folder / "best").eval()
    wanted = tuned(**batch).logits
    assert not torch.allclose(plain, wanted, atol=1e-3)
    # Loaded as a system, LoRA's matrices are merged already.
    loaded, _ = load_system(str(folder / "best"))
    merged = tuned.merge_and_unload()
    for model in (loaded, merged):
        assert type(model) is VIRVLFMForConditionalGeneration
        torch.testing.assert_close(model(**batch).logits, wanted, **CLOSE)
    merged.save_pretrained(workshop / "merged")
    again = VIRVLFMForConditionalGeneration.from_pretrained(workshop / "merged")
    assert torch.equal(again(**batch).logits, merged(**batch).logits)


@pytest.mark.slow
def test_whole_command_under_zero2(workshop):
    pytest.importorskip("deepspeed")
    plain, sharded = workshop / "runs" / "plain", workshop / "runs" / "zero2"
    changes = SMALL | {"frozen_dtype": "float32"}
    assert train("clevr", **places_of(workshop, "clevr", plain), **changes) == 0
    changes |= places_of(workshop, "clevr", sharded) | {"per_device_train_batch_size": 2}
    launch(accelerate("zero2_offload", 2), str(CONFIGS / "clevr.yaml"), workshop / "hub", **changes)
    assert logged(sharded) == pytest.approx(logged(plain), rel=0, abs=1e-4)
    one, two = (load_file(folder / "best" / "adapter_model.safetensors") for folder in (plain, sharded))
    assert one.keys() == two.keys()
    load_system(str(sharded / "best"))
