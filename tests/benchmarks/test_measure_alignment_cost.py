# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The cost law: fits of known laws, bytes counted by hand, and what the figures are made of."""

import json

import pytest
import torch
from torch import nn

from ssgpa.benchmarks import measure_alignment_cost as cost
from ssgpa.configuration_ssgpa import SSGPAConfig
from ssgpa.modeling_ssgpa import GlobalPartTransportAlignment


SMALL = ["--width", "16", "--batch_size", "2", "--repeats", "1", "--tower_repeats", "3"]
TOWER = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 8,
}


@pytest.fixture(autouse=True)
def _same_threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize(("power", "factor"), [(1, 3.0), (2, 0.5)])
def test_a_pure_law_is_found(power, factor):
    sizes = [64, 256, 1024]
    fit = cost.fit_law(sizes, [factor * size**power for size in sizes])
    assert fit["exponent"] == pytest.approx(power)
    assert fit["between_sizes"] == pytest.approx([power, power])
    assert fit["per_patch"] == pytest.approx(factor if power == 1 else 0, abs=1e-9)
    assert fit["per_patch_squared"] == pytest.approx(factor if power == 2 else 0, abs=1e-9)


def test_the_balance_of_a_mixed_law():
    sizes = [64, 256, 1024]
    fit = cost.fit_law(sizes, [600 * size + 2 * size**2 for size in sizes])
    assert fit["balance"] == pytest.approx(300)
    assert 1 < fit["exponent"] < 2


def test_no_term_falls_below_zero():
    sizes = [64, 256, 1024]
    concave = cost.fit_law(sizes, [size**0.8 for size in sizes])
    assert concave["per_patch_squared"] == 0
    assert concave["per_patch"] > 0
    assert concave["balance"] is None
    assert cost.fit_law(sizes, [size**2.5 for size in sizes])["per_patch"] == 0


def test_saved_bytes_count_each_storage_once_and_no_weight():
    layer = nn.Linear(8, 8)
    states = torch.randn(4, 8, requires_grad=True)

    def forward():
        hidden = layer(states)  # keeps its input and its weight
        return hidden.sigmoid() + states.square()  # keeps its output; the same input again

    assert cost.saved_bytes(forward, list(layer.parameters())) == 2 * 4 * 8 * 4


@pytest.mark.parametrize(("patches", "grid"), [(64, (8, 8)), (96, (8, 12)), (7, (1, 7))])
def test_grids(patches, grid):
    assert cost.nearest_grid(patches) == grid


def test_the_alignment_has_the_defaults_of_the_configuration():
    alignment = cost.build_alignment((2, 3), 1408)
    fields = SSGPAConfig.__dataclass_fields__
    assert isinstance(alignment, GlobalPartTransportAlignment)
    assert alignment.iterations == fields["sinkhorn_iterations"].default
    assert alignment.epsilon == fields["transport_epsilon"].default
    assert alignment.match_proj.weight.shape == (fields["alignment_hidden_size"].default, 1408)
    assert alignment.dustbin_score.item() == pytest.approx(fields["dustbin_score"].default)


def test_the_default_tower_is_eva_vit_g():
    config = cost.tower_config(None)
    assert (config.hidden_size, config.num_hidden_layers, config.intermediate_size) == (1408, 39, 6144)
    assert (config.image_size // config.patch_size) ** 2 == 256


def test_more_parts_keep_more(tmp_path):
    figures = run(tmp_path)
    kept = [row["saved_bytes"] for row in figures["law"]["sizes"]]
    assert kept == sorted(kept)
    # More than in proportion: the plans grow with the square.
    assert kept[2] / kept[1] > 4
    assert figures["law"]["fits"]["saved_bytes"]["exponent"] > 1


def run(tmp_path, *words):
    tower, output = tmp_path / "tower.json", tmp_path / "new" / "out.json"
    tower.write_text(json.dumps(TOWER), encoding="utf-8")
    options = ["--patches", "4", "64", "256", "--tower", str(tower), "--output", str(output), "--threads", "1"]
    assert cost.main([*options, *SMALL, *words]) == 0
    return json.loads(output.read_text("utf-8"))


def test_figures_of_both_halves(tmp_path, capsys):
    figures = run(tmp_path)
    overhead = figures["overhead"]
    assert overhead["patches"] == 16
    assert overhead["pairs"] == 2
    for row in overhead["dtypes"].values():
        seconds = row["seconds"]
        assert len(seconds["tower"]) == len(seconds["alignment"]) == 3
        assert row["ratio"] == pytest.approx(sorted(seconds["alignment"])[1] / sorted(seconds["tower"])[1])
    assert set(overhead["dtypes"]) == {"float32", "bfloat16"}
    assert figures["threads"] == 1
    assert figures["versions"]["torch"]
    assert figures["settings"]["seed"] == 0
    assert "of the tower's time the alignment takes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--patches", "4", "4", "16"], "--patches"),
        (["--tower", "none.json", "--patches", "1", "2", "4"], "none.json"),
        (["--tower_dtypes", "float8"], "--tower_dtypes"),
    ],
)
def test_errors_take_one_line(words, named, tmp_path, capsys):
    try:
        code = cost.main([*SMALL, "--output", str(tmp_path / "o.json"), *words])
    except SystemExit as stop:
        code = stop.code
    lines = capsys.readouterr().err.strip().splitlines()
    assert code == 2
    assert len(lines) == 1
    assert named in lines[0]
    assert not (tmp_path / "o.json").exists()
