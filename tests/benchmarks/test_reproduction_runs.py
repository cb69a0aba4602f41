# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The runs of the public reproduction's variants, each with its whole command, over tiny backbones."""

import re

import pytest
import torch
from safetensors.torch import load_file
from transformers import ResNetConfig, ResNetModel
from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil

from ssgpa.benchmarks.variants.reproduction import PROMPT, TRAINABLE, ResNetReproduction, ViTReproduction
from ssgpa.training.arguments import parse_arguments
from ssgpa.training.systems import model_class_of
from ssgpa.utils.loading import load_partial_system, load_system

from ..examples.runs import ROOT, logged, options_of, prepare_set, save_base
from ..scripts import load_script
from ..tiny_systems import VISION


CONFIGS = ROOT / "examples" / "configs" / "reproduction"
RUNS = {"vit_clevr": ViTReproduction, "vit_spot": ViTReproduction}
RUNS |= {"resnet_clevr": ResNetReproduction, "resnet_spot": ResNetReproduction}
IMAGENET = (0.485, 0.456, 0.406)
TINY = ("start_tiny", "clevr_tiny", "ssgpa_tiny")
SMALL = {"max_steps": 2, "warmup_steps": 1, "logging_steps": 1, "per_device_train_batch_size": 4}
SMALL |= {"use_cpu": True, "dataloader_num_workers": 0, "disable_tqdm": True}
# A CPU has no loss scaler in the trainer.
RUN = {**SMALL, "fp16": False, "generation_max_new_tokens": 4, "generation_num_beams": 2, "save_strategy": "steps"}
RUN |= {"save_steps": 2, "eval_strategy": "steps", "eval_steps": 2}


def make_base(*words):
    assert load_script(ROOT / "benchmarks/make_reproduction_base.py").main([str(word) for word in words]) == 0


def train(name, **changes):
    return load_script("train").main([str(CONFIGS / f"{name}.yaml"), *options_of(changes)])


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reproduction")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.config.HF_DATASETS_CACHE", folder / "cache")
        patch.chdir(ROOT)
        for name in ("clevr_change", "small_prepared_8x8", "spot_the_diff"):
            prepare_set(name, folder)
        save_base(folder / "ssgpa", folder / "clevr_change")
        torch.manual_seed(0)
        sizes = {name: value for name, value in VISION["resnet"].items() if name != "model_type"}
        ResNetModel(ResNetConfig(**sizes)).save_pretrained(folder / "resnet")
        ConvNextImageProcessorPil(size={"shortest_edge": 32}, image_mean=list(IMAGENET)).save_pretrained(
            folder / "resnet"
        )
        make_base("--base", folder / "ssgpa", "--output_dir", folder / "vit")
        make_base("--base", folder / "ssgpa", "--resnet", folder / "resnet", "--output_dir", folder / "resnet_vit")
        yield folder


def test_every_shipped_run_is_run_here():
    assert {path.stem for path in CONFIGS.glob("*.yaml")} == {*RUNS, *TINY, "base"}


@pytest.mark.parametrize(("name", "kind"), [("vit", ViTReproduction), ("resnet_vit", ResNetReproduction)])
def test_a_base_has_the_prompt_behind_both_images(name, kind, workshop):
    model, processor = load_system(str(workshop / name), model_class=kind)
    assert processor.prompt == PROMPT.format("<image>", "<s>")
    ids = processor(images=[list(torch.rand(2, 3, 32, 32))], return_tensors="pt")["input_ids"][0]
    image = model.config.image_token_id
    assert (ids == image).nonzero().flatten().tolist() == list(range(2 * model.config.image_seq_length))
    # Behind the images, the start token and 11 words.
    assert len(ids) == 2 * model.config.image_seq_length + 12
    assert ids[2 * model.config.image_seq_length] == processor.tokenizer.bos_token_id
    _, base = load_partial_system(str(workshop / "ssgpa"))[:2]
    means = IMAGENET if kind is ResNetReproduction else base.image_processor.image_mean
    assert tuple(processor.image_processor.image_mean) == tuple(means)
    assert tuple(base.image_processor.image_mean) != IMAGENET


def test_an_impossible_base_is_one_line(workshop, capsys):
    script = load_script(ROOT / "benchmarks/make_reproduction_base.py")
    assert script.main(["--base", str(workshop / "ssgpa"), "--output_dir", str(workshop / "vit")]) == 2
    assert "exists; choose another --output_dir" in capsys.readouterr().err
    assert script.main(["--base", str(workshop / "none"), "--output_dir", str(workshop / "new")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("name", RUNS)
def test_runs_over_frozen_backbones(name, workshop):
    kind, folder = RUNS[name], workshop / "runs" / name
    base = workshop / ("vit" if kind is ViTReproduction else "resnet_vit")
    data = workshop / ("clevr_change" if name.endswith("clevr") else "spot_the_diff")
    assert train(name, model_name_or_path=base, data_dir=data, output_dir=folder, **RUN) == 0
    assert list(logged(folder)) == [1, 2]
    assert logged(folder, "eval_total_cider").keys() == {2}
    model, _ = load_system(str(folder / "best"), model_class=kind)
    start, _ = load_system(str(base), model_class=kind)
    kept, found = (dict(one.named_parameters()) for one in (start, model))
    trained = {name for name in kept if any(re.search(pattern, name) for pattern in TRAINABLE)}
    saved = load_file(folder / "best" / "adapter_model.safetensors")
    saved = {name.removeprefix("base_model.model."): value for name, value in saved.items()}
    assert set(saved) == trained
    assert {value.dtype for value in saved.values()} == {torch.float32}
    assert all(not torch.equal(value, kept[name]) for name, value in saved.items())
    assert all(torch.equal(found[name], value) for name, value in kept.items() if name not in saved)
    assert not any("language_model" in parameter for parameter in trained)


def test_published_values_are_those_of_the_runs():
    words = ["--output_dir", "unused", "--use_cpu", "true", "--fp16", "false"]
    expected = {"clevr": (5e-5, 4000, 40, 4, True), "spot": (3e-5, 1000, 20, 2, False)}
    for name, kind in RUNS.items():
        model, data, run = parse_arguments([str(CONFIGS / f"{name}.yaml"), *words])
        rate, warmup, epochs, batch, swap = expected[name.rpartition("_")[2]]
        assert (run.learning_rate, run.get_warmup_steps(10**6), run.num_train_epochs) == (rate, warmup, epochs)
        assert (run.per_device_train_batch_size, data.distractor_swap, data.augment) == (batch, swap, [])
        assert run.lr_scheduler_kwargs["min_lr"] == pytest.approx(1e-5)
        assert run.lr_scheduler_kwargs["warmup_lr_rate"] * rate == pytest.approx(1e-5)
        assert (run.weight_decay, run.max_grad_norm, run.seed, run.adam_beta2) == (0.1, 0.0, 42, 0.999)
        decoding = (run.generation_num_beams, run.generation_repetition_penalty, run.generation_max_new_tokens)
        assert decoding == (5, 1.5, 50 - 12)
        assert model_class_of(model.model_class) is kind
        assert tuple(model.trainable) == TRAINABLE
    assert "fp16: true" in (CONFIGS / "base.yaml").read_text("utf-8")


def test_the_tiny_comparison_from_its_start(workshop):
    """By the commands of its files: a common start, then both sides of it."""
    runs = workshop / "tiny"
    places = {"data_dir": workshop / "small_prepared_8x8", **SMALL, "save_steps": 2, "cache_images": False}
    assert train("start_tiny", output_dir=runs / "start", **places) == 0
    make_base("--base", runs / "start/best", "--output_dir", runs / "base")
    assert train("clevr_tiny", model_name_or_path=runs / "base", output_dir=runs / "clevr_tiny", **places) == 0
    assert train("ssgpa_tiny", model_name_or_path=runs / "start/best", output_dir=runs / "ssgpa_tiny", **places) == 0
    start, _ = load_system(str(runs / "start/best"), model_class=model_class_of(class_of("start_tiny")))
    theirs, processor = load_system(str(runs / "clevr_tiny/best"), model_class=ViTReproduction)
    ours, own_processor = load_system(str(runs / "ssgpa_tiny/best"))
    assert processor.prompt == own_processor.prompt == PROMPT.format("<image>", "<s>")
    for part in ("language_model.", "vision_tower.tower.encoder."):
        for name, value in start.named_parameters():
            if part in name:
                assert torch.equal(value, dict(theirs.named_parameters())[name])
                assert torch.equal(value, dict(ours.named_parameters())[name])
    assert any(layer.up_proj.weight.any() for layer in ours.model.change_fusion_adapter.layers)
    settings = [parse_arguments([str(CONFIGS / f"{name}.yaml")]) for name in TINY[1:]]
    equal = ("max_steps", "seed", "learning_rate", "per_device_train_batch_size", "weight_decay", "warmup_steps")
    assert all(getattr(settings[0].training, name) == getattr(settings[1].training, name) for name in equal)
    assert settings[0].data == settings[1].data


def class_of(name):
    return parse_arguments([str(CONFIGS / f"{name}.yaml")]).model.model_class
