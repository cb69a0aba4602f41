# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""YAML and command line to arguments."""

from pathlib import Path

import pytest

from ssgpa.training.arguments import parse_arguments, yaml_to_arguments


CONFIGS = Path(__file__).parents[2] / "examples" / "configs"


@pytest.fixture
def write(tmp_path):
    def call(text):
        path = tmp_path / "run.yaml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return call


def test_values_get_the_types_of_their_arguments(write):
    path = write(
        """
learning_rate: 1e-3
weight_decay: 0.05
max_steps: 7
bf16: true
use_cpu: true
greater_is_better: false
image_size: [128, 192]
trainable: ["change_fusion_adapter", "^model\\\\.alignment"]
lr_scheduler_kwargs: {"min_lr": 0.1}
max_eval_pairs: null
prompt: "-> <image> <image> change:"
data_dir: 7
output_dir: out
"""
    )
    model, data, arguments = parse_arguments([path])
    assert arguments.learning_rate == 0.001
    assert arguments.weight_decay == 0.05
    assert arguments.max_steps == 7
    assert arguments.bf16 is True
    assert arguments.greater_is_better is False
    assert model.image_size == [128, 192]
    assert model.trainable == ["change_fusion_adapter", r"^model\.alignment"]
    assert arguments.lr_scheduler_kwargs == {"min_lr": 0.1}
    assert data.max_eval_pairs is None
    assert model.prompt == "-> <image> <image> change:"
    assert data.data_dir == "7"


def test_command_line_wins(write):
    path = write("learning_rate: 1e-3\ntrainable: [a, b]\nbf16: true\nuse_cpu: true\noutput_dir: out\n")
    overrides = ["--learning_rate", "2e-4", "--trainable", "c", "--bf16", "false", "--aux-type", "0.5"]
    model, _, arguments = parse_arguments([path, *overrides])
    assert arguments.learning_rate == 2e-4
    assert model.trainable == ["c"]
    assert arguments.bf16 is False
    assert arguments.aux_type == 0.5


@pytest.mark.parametrize(
    ("text", "extra", "named"),
    [
        ("learning_rat: 1\n", [], "--learning_rat=1"),
        ("seed: 1\n", ["--learning_rat", "1"], "--learning_rat 1"),
        ("seed: 1\n", ["--max_step", "1"], "--max_step 1"),
        ("learning_rate: fast\n", [], "learning_rate"),
        ("trainable: []\n", [], "trainable"),
        ("eval_strategy: sometimes\n", [], "sometimes"),
    ],
)
def test_bad_arguments_are_named(write, text, extra, named):
    with pytest.raises(ValueError, match=named):
        parse_arguments([write(f"output_dir: out\n{text}"), *extra])


@pytest.mark.parametrize("text", ["", "- a\n", "1: 2\n", "a: [1\n"])
def test_what_is_no_mapping_is_refused(write, text):
    path = write(text)
    with pytest.raises(ValueError, match=r"run\.yaml"):
        yaml_to_arguments(path)


def test_missing_files_are_named():
    with pytest.raises(FileNotFoundError, match=r"nowhere\.yaml"):
        parse_arguments(["nowhere.yaml"])
    with pytest.raises(ValueError, match="YAML"):
        parse_arguments(["--learning_rate", "1"])


# What others go on from.
SHARED = {"ssgpa_vicuna7b.yaml"}
RUNS = sorted(path for path in CONFIGS.glob("*.yaml") if path.name not in SHARED)


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.name)
def test_shipped_configurations_parse(path):
    # Those in bf16 are refused where there is neither a GPU nor this.
    model, data, arguments = parse_arguments([str(path), "--use_cpu", "true"])
    assert data.data_dir
    assert arguments.output_dir
    assert bool(model.model_config) != bool(model.model_name_or_path)


def test_a_base_gives_what_the_file_leaves_out(tmp_path, write):
    (tmp_path / "base.yaml").write_text("seed: 3\nmax_steps: 9\nconfig_overrides: {a: 1, b: 2}\n", encoding="utf-8")
    words = yaml_to_arguments(write("base: base.yaml\nmax_steps: 4\nconfig_overrides: {b: 3}\n"))
    assert words == ["--seed=3", "--max_steps=4", '--config_overrides={"a": 1, "b": 3}']


def test_bases_that_are_missing_or_circular_are_named(tmp_path, write):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        yaml_to_arguments(write("base: nowhere.yaml\n"))
    (tmp_path / "other.yaml").write_text("base: run.yaml\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"run\.yaml: is its own"):
        yaml_to_arguments(write("base: other.yaml\n"))
