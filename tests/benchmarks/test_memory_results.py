# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The stored memory of training at the paper's size: what it must show, its table, and a recount of it."""

import copy
import json
from pathlib import Path

import pytest

from ssgpa.benchmarks import measure_memory
from ssgpa.benchmarks.readme_table import read_block, replace_block
from ssgpa.benchmarks.reproduction import build_reproduction, reproduction_batch
from ssgpa.benchmarks.tables.memory_table import format_memory
from ssgpa.training.memory.count import frozen_bytes, in_gib, weight_bytes
from ssgpa.training.memory.inputs import TextSizes, start_model
from ssgpa.training.memory.measure import Timing
from ssgpa.training.memory.plot import draw_memory
from ssgpa.training.memory.report import MemoryOptions, count_run


ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks/results/memory.json"


@pytest.fixture(scope="module")
def figures():
    return json.loads(RESULTS.read_text(encoding="utf-8"))


def counted(figures, run, batch_size, checkpointing):
    """The one row of a run."""
    (found,) = (
        row
        for row in figures["counted"]
        if (row["run"], row["batch_size"], bool(row["checkpointing"])) == (run, batch_size, checkpointing)
    )
    return found


@pytest.mark.parametrize(
    ("run", "batch_size", "checkpointing", "largest"),
    [
        ("24gb", 16, True, 24.0),
        ("24gb", 4, False, 24.0),
        ("24gb", 2, False, 17.0),
        ("16gb", 2, True, 10.0),
        ("40gb", 16, False, 40.0),
    ],
)
def test_the_counts_stay_within_their_bounds(figures, run, batch_size, checkpointing, largest):
    row = counted(figures, run, batch_size, checkpointing)
    assert row["gib"]["weights"] < row["gib"]["total"] <= largest


def test_frozen_weights_fit_and_recomputation_pays(figures):
    with_layers, without = (counted(figures, "24gb", 1, flag) for flag in (True, False))
    assert with_layers["gib_frozen"] == without["gib_frozen"] <= 14.8
    part = "mib_activations_by_part"
    assert with_layers[part]["language_model"] < 0.1 * without[part]["language_model"]
    # Nothing of the frozen tower is kept.
    assert "vision_tower" not in without[part]


def test_the_reproduction_needs_what_its_description_says(figures):
    row = counted(figures, "reproduction", 2, False)
    ours = counted(figures, "24gb", 2, False)
    assert row["gib"]["total"] > 3 * ours["gib"]["total"] - 2
    # The description's own arithmetic: 23.0 GiB static, of which 3.5 for gradients and moments.
    static = sum(row["gib"][name] for name in ("weights", "gradients", "optimizer"))
    assert static == pytest.approx(23.0, abs=0.4)
    assert row["tokens_per_pair"] == pytest.approx(550, abs=40)


def test_the_reproduction_has_the_published_number_of_parameters():
    values = json.loads(measure_memory.PRESET.read_text(encoding="utf-8"))
    vision, text = (
        {name: value for name, value in values[part].items() if name != "model_type"}
        for part in ("vision_config", "text_config")
    )
    model = build_reproduction(vision, text | {"vocab_size": 32000})
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    # Without biases that its forward pass never uses, nor a stem that it never calls.
    assert trained == pytest.approx(313_556_864, rel=1e-3)
    assert sum(parameter.numel() for parameter in model.parameters()) == pytest.approx(9_091_004_800, rel=1e-3)


def test_a_tiny_reproduction_trains_its_cross_attention_alone():
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    text = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
    model = build_reproduction(vision | {"image_size": 28, "patch_size": 14}, text | {"vocab_size": 64})
    model(**reproduction_batch(2, 5, size=28)).loss.backward()
    for name, parameter in model.named_parameters():
        trains = "cross_attn" in name or name.split(".")[0] in (
            "tower_norm",
            "fusion_norm",
            "before_projection",
            "projection",
        )
        assert (parameter.grad is not None) == trains, name


@pytest.mark.parametrize(("name", "run"), [("24gb.yaml", "24gb"), ("40gb.yaml", "40gb")])
def test_static_bytes_are_counted_again(figures, name, run):
    """Cheap, and from the YAML: the stored rows tell of the presets as they are."""
    model = start_model(measure_memory.run_of(name, [], "meta")[0], "meta")
    row = next(row for row in figures["counted"] if row["run"] == run)
    assert row["gib_frozen"] == in_gib(frozen_bytes(model))
    assert row["gib"]["weights"] == in_gib(sum(sum(part.values()) for part in weight_bytes(model).values()))
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert row["gib"]["gradients"] == in_gib(4 * trained)
    assert row["gib"]["optimizer"] == pytest.approx(in_gib(8 * trained), abs=2e-4)


@pytest.mark.slow
@pytest.mark.parametrize("overrides", [[], measure_memory.OFF])
def test_a_step_is_counted_again(figures, overrides):
    options = MemoryOptions(TextSizes(caption=measure_memory.CAPTION), Timing())
    (row,) = count_run("24gb", measure_memory.run_of("24gb.yaml", overrides, "meta"), [1], options)
    stored = counted(figures, "24gb", 1, not overrides)
    assert row["gib"]["activations"] == pytest.approx(stored["gib"]["activations"], rel=1e-3)
    assert row["gib"]["total"] == pytest.approx(stored["gib"]["total"], rel=1e-3)
    assert row["processor_seconds"] < 60


def test_the_page_says_what_the_file_says(figures):
    page = (ROOT / "docs/memory.md").read_text(encoding="utf-8")
    assert replace_block(page, read_block(RESULTS, format_memory), "memory") == page
    text = format_memory(figures, "x.json")
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    row = counted(figures, "24gb", 16, True)
    (found,) = (line for line in cells if line[:2] == ["24gb, checkpointing", "16"])
    assert float(found[6].strip("*")) == pytest.approx(row["gib"]["total"], abs=0.005)
    if not figures["measured"]:
        assert "not measured" in text
        assert {line[7] for line in cells[1:]} == {"not measured"}


def measured_row(row, **values):
    """What a GPU would give for a counted row."""
    row = copy.deepcopy(row) | {"device": "NVIDIA H100", "cap_gib": None, "gib_reserved": 20.5, "share_of_peak": 0.21}
    row["gib"]["total"] = 19.25
    return row | {"pairs_per_second": 31.4, "tokens_per_second": 4000.0, "decoded_tokens_per_second": 900.0} | values


def test_measurements_stand_beside_the_counts(figures, tmp_path):
    row = counted(figures, "24gb", 16, True)
    capped = measured_row(row, cap_gib=24.0, out_of_memory=True)
    figures = figures | {"measured": [measured_row(row), capped]}
    text = format_memory(figures, "x.json")
    assert "| 19.25 / 20.50 |" in text
    assert "| NVIDIA H100 | - | 24gb, checkpointing | 16 | 19.25 / 20.50 | 31.4 | 4000 | 21 % | 900 |" in text
    assert "| NVIDIA H100 | 24 | 24gb, checkpointing | 16 | out of memory |" in text
    draw_memory([*figures["counted"], measured_row(row)], tmp_path / "memory.png")
    assert (tmp_path / "memory.png").read_bytes().startswith(b"\x89PNG")


def test_new_measurements_replace_those_on_the_same_gpu(figures):
    row = counted(figures, "24gb", 16, True)
    stored = figures | {"measured": [measured_row(row), measured_row(row, cap_gib=24.0)]}
    merged = measure_memory.merge(stored, [measured_row(row, pairs_per_second=5.0)], "cuda")
    assert [(row["cap_gib"], row["pairs_per_second"]) for row in merged["measured"]] == [(24.0, 31.4), (None, 5.0)]
    assert merged["counted"] == figures["counted"]
    again = measure_memory.merge(merged, [row], "meta")
    assert again["counted"] == [row]
    assert len(again["measured"]) == 2


def test_the_plot_is_small():
    assert 5_000 < (ROOT / "docs/memory.png").stat().st_size < 150_000
