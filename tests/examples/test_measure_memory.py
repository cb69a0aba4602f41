# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Counting a run's memory from its YAML, by the example's own command line."""

import json
from pathlib import Path

import pytest
import torch
import yaml

from ssgpa.training import run
from ssgpa.training.arguments import parse_arguments
from ssgpa.training.collator import PairCollator
from ssgpa.training.dataset import PairDataset
from ssgpa.training.memory.inputs import TextSizes, example_batch

from ..scripts import load_script
from ..tiny_systems import tiny_config


ROOT = Path(__file__).parents[2]


def load_program():
    return load_script("measure_memory")


@pytest.fixture
def run_file(tmp_path):
    """A run of a tiny model."""
    config = tiny_config(qformer=True, sinkhorn_iterations=4)
    (tmp_path / "model.json").write_text(json.dumps(config.to_diff_dict()), encoding="utf-8")
    values = {
        "model_config": str(tmp_path / "model.json"),
        "image_size": [32, 32],
        "trainable": ["adapter", "alignment", "projection"],
        "frozen_dtype": "bfloat16",
        "checkpointing": ["language_model"],
        "output_dir": str(tmp_path / "run"),
    }
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def test_a_run_is_counted_for_every_batch_size(run_file, tmp_path, capsys):
    words = [str(run_file), "--batch_size", "1", "3", "--output", str(tmp_path / "memory.json")]
    assert load_program().main([*words, "--plot", str(tmp_path / "memory.png"), "--caption_tokens", "9"]) == 0
    content = json.loads((tmp_path / "memory.json").read_text(encoding="utf-8"))
    one, three = content["rows"]
    assert (one["batch_size"], three["batch_size"]) == (1, 3)
    assert one["device"] == "meta"
    assert one["run"] == "tiny"
    assert one["checkpointing"] == ["language_model"]
    assert one["tokens_per_pair"] == 2 * 5 + 12 + 9
    assert set(one["gib"]) == {"weights", "gradients", "optimizer", "activations", "total"}
    assert one["pairs_per_second"] is None
    assert three["gib"]["weights"] == one["gib"]["weights"]
    assert three["gib"]["activations"] > one["gib"]["activations"] > 0
    assert content["assumptions"]
    assert (tmp_path / "memory.png").stat().st_size > 1000
    assert "batch 3" in capsys.readouterr().out


def test_the_command_line_overrides_the_run(run_file, tmp_path):
    words = [str(run_file), "--batch_size", "2", "--output", str(tmp_path / "memory.json"), "--flops"]
    assert load_program().main([*words, "--checkpointing", "none", "--captions_per_pair", "2"]) == 0
    (row,) = json.loads((tmp_path / "memory.json").read_text(encoding="utf-8"))["rows"]
    assert row["checkpointing"] == []
    assert row["flops_per_step"] > 0
    # The prompt but its last token, and for each caption that token and the caption.
    assert row["tokens_per_pair"] == 2 * 5 + 11 + 2 * 51


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--frozen_dtype", "half"], "frozen_dtype"),
        (["--checkpointing", "nothing"], "nothing"),
        (["--model_config=missing.json"], "missing.json"),
        (["--batchsize", "2"], "--batchsize"),
    ],
)
def test_errors_take_one_line(run_file, tmp_path, capsys, words, named):
    output = tmp_path / "memory.json"
    assert load_program().main([str(run_file), "--batch_size", "1", "--output", str(output), *words]) == 2
    error = capsys.readouterr().err.strip()
    assert named in error
    assert len(error.splitlines()) == 1
    assert not output.exists()


@pytest.mark.parametrize("name", ["24gb", "16gb", "40gb"])
def test_the_presets_are_runs(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    model, _, arguments = parse_arguments([f"examples/configs/{name}.yaml", "--use_cpu=true"])
    assert Path(model.model_config).is_file()
    assert model.frozen_dtype == "bfloat16"
    assert bool(model.quantization_config) == (name == "16gb")
    assert (model.checkpointing == ["none"]) == (name == "40gb")
    assert not arguments.bf16


@pytest.mark.parametrize("captions", [1, 3])
def test_example_batches_are_those_of_the_collator(splits_and_system, captions):
    rows, model, processor = splits_and_system
    dataset = PairDataset(rows, processor, captions_per_pair=captions)
    real = PairCollator(processor)([dataset[index] for index in (0, 1)])
    text = TextSizes(len(processor.prompt_ids()) - 2 * model.config.image_seq_length, 6)
    made = example_batch(model.config, [32, 48], 2, text, "cpu", captions)
    assert set(made) == set(real) - {"pair_ids", "scene_ids"}
    for name, value in made.items():
        if isinstance(value, torch.Tensor):
            assert value.dtype == real[name].dtype, name
            assert value.ndim == real[name].ndim, name
    assert made["pixel_values"].shape == real["pixel_values"].shape
    kept = real["logits_to_keep"] - real["labels"].shape[1]
    assert made["logits_to_keep"] - made["labels"].shape[1] == kept
    for batch in (made, real):
        assert (batch["labels"][:, -batch["logits_to_keep"]] == -100).all()
        assert (batch["labels"][:, 1 - batch["logits_to_keep"]] != -100).all()
    assert (made["labels"] != -100).sum(1).tolist() == [6 * captions] * 2
    assert model(**made).loss.isfinite()


@pytest.fixture
def splits_and_system(prepared_dir, model_config, own_cache):
    from ssgpa.data.prepared import load_prepared
    from ssgpa.training.arguments import ModelArguments
    from ssgpa.training.systems import create_system

    rows = load_prepared(prepared_dir)["train"]
    captions = [caption for row in rows["captions"] for caption in row]
    arguments = ModelArguments(model_config=str(model_config), image_size=[32, 48])
    return rows, *create_system(arguments, captions)[:2]


def test_training_a_preset_without_its_weights_is_refused_at_once(monkeypatch):
    """Nobody waits for billions of random numbers to be told so."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(run, "create_system", lambda *_: pytest.fail("weights were drawn"))
    arguments = parse_arguments(["examples/configs/24gb.yaml", "--use_cpu=true"])[0]
    with pytest.raises(ValueError, match="neither loaded nor trainable"):
        run.start_system(arguments, {})
