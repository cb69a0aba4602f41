# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The figures of throughput: what they are made of, not how large they are."""

import json
import statistics

import pytest
import torch

from ssgpa.benchmarks import measure_throughput
from ssgpa.data.clevr_renderer.captions.sentences import change_type_of
from ssgpa.training.collator import PairCollator

from ..tiny_systems import tiny_config


SMALL = ["--image_size", "32", "48", "--batch_size", "3", "--steps", "3", "--max_new_tokens", "4"]


@pytest.fixture(autouse=True)
def _same_threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _few_scenes(monkeypatch):
    monkeypatch.setattr(measure_throughput, "SCENES", 5)


@pytest.fixture
def config(tmp_path):
    values = tiny_config(vision="resnet", patch_grid=[4, 6], fusion_layers=1, sinkhorn_iterations=5).to_diff_dict()
    path = tmp_path / "tiny.json"
    path.write_text(json.dumps(values), encoding="utf-8")
    return str(path)


def run(source, output, *options):
    assert measure_throughput.main([*source, "--output", str(output), *SMALL, *options]) == 0
    return json.loads(output.read_text(encoding="utf-8"))


@pytest.mark.parametrize("options", [[], ["--bf16"]])
def test_figures_of_a_configuration(config, tmp_path, options):
    figures = run(["--config", config], tmp_path / "new" / "out.json", "--threads", "1", *options)
    training = figures["training"]
    full, plain = training["seconds"]["ssgpa"], training["seconds"]["without_alignment"]
    assert len(full) == len(plain) == 3
    assert training["ratio"] == pytest.approx(sorted(b / a for a, b in zip(full, plain, strict=True))[1])
    assert training["pairs_per_second"]["ssgpa"] == pytest.approx(3 / statistics.median(full))
    assert figures["parameters"]["ssgpa"] > figures["parameters"]["without_alignment"] > 0
    assert figures["threads"] == 1
    assert figures["cpu"]
    assert figures["versions"]["torch"]
    assert figures["settings"]["bf16"] is bool(options)
    for beams in ("beams_1", "beams_5"):
        assert figures["generation"][beams]["captions_per_second"] > 0
        assert figures["generation"][beams]["longest_caption_tokens"] <= 4


def test_figures_of_a_saved_model(config, tmp_path):
    arguments = measure_throughput.parse_arguments(["--config", config, "--output", "unused", *SMALL])
    model, _, processor = measure_throughput.build_systems(arguments, measure_throughput.scene_captions(0))
    model.save_pretrained(tmp_path / "saved")
    processor.save_pretrained(tmp_path / "saved")
    figures = run(["--model", str(tmp_path / "saved")], tmp_path / "out.json")
    assert figures["parameters"]["ssgpa"] == model.num_parameters()


def test_models_take_their_steps_in_turn(config, monkeypatch):
    arguments = measure_throughput.parse_arguments(["--config", config, "--output", "unused", *SMALL])
    captions = measure_throughput.scene_captions(0)
    full, plain, processor = measure_throughput.build_systems(arguments, captions)
    pairs = measure_throughput.random_pairs(processor, captions, arguments)
    batches = measure_throughput.collated(pairs, arguments.batch_size, PairCollator(processor))
    assert batches[0]["pixel_values"].shape == (3, 2, 3, 32, 48)
    assert not torch.equal(batches[0]["pixel_values"], batches[1]["pixel_values"])
    taken = []

    def step(trainee, batch, bf16):
        taken.append((type(trainee.model).__name__, next(i for i, own in enumerate(batches) if own is batch)))
        return 2.0 if trainee.model is full else 1.0

    monkeypatch.setattr(measure_throughput.Trainee, "step", step)
    training = measure_throughput.measure_training({"ssgpa": full, "plain": plain}, batches, False)
    names = (type(full).__name__, type(plain).__name__)
    assert taken[4:] == [(name, number) for number in range(3) for name in names]
    assert training["ratio"] == 0.5
    assert training["pairs_per_second"] == {"ssgpa": 1.5, "plain": 3.0}


def test_step_trains_with_contrast(config):
    arguments = measure_throughput.parse_arguments(["--config", config, "--output", "unused", *SMALL])
    captions = measure_throughput.scene_captions(0)
    full, _, processor = measure_throughput.build_systems(arguments, captions)
    pairs = measure_throughput.random_pairs(processor, captions, arguments)
    batch = measure_throughput.collated(pairs, arguments.batch_size, PairCollator(processor))[0]
    assert full.train()(**batch).loss_parts["contrast"].item() > 0
    before = full.lm_head.weight.clone()
    trainee = measure_throughput.Trainee(full, torch.optim.AdamW(full.parameters(), lr=1e-3))
    assert trainee.step(batch, bf16=False) > 0
    assert not torch.equal(full.lm_head.weight, before)


def test_captions_are_those_of_scenes():
    captions = measure_throughput.scene_captions(0)
    types = {change_type_of(caption) for texts in captions for caption in texts}
    assert types == {"color", "material", "add", "drop", "move", "none"}


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--config", "none.json", "--output", "x"], "none.json"),
        (["--output", "x"], "--model"),
        (["--config", "x", "--output", "x", "--steps", "0"], "--steps"),
    ],
)
def test_errors_take_one_line(words, named, capsys):
    try:
        code = measure_throughput.main(words)
    except SystemExit as stop:
        code = stop.code
    lines = capsys.readouterr().err.strip().splitlines()
    assert code == 2
    assert len(lines) == 1
    assert named in lines[0]
