# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The presets have the sizes of the models they are named after, counted here by hand."""

import json
from pathlib import Path

import pytest
import torch

from ssgpa.benchmarks import count_parameters
from ssgpa.benchmarks.count_parameters import FROZEN_TOWER_AND_LANGUAGE_MODEL
from ssgpa.benchmarks.readme_table import format_parameters

from ..tiny_systems import tiny_config, tiny_ssgpa


ROOT = Path(__file__).resolve().parents[2]
PRESETS = ("ssgpa-eva-vicuna7b", "ssgpa-resnet101-vicuna7b")
STORED = ROOT / "benchmarks" / "results" / "parameters.json"


def linear(inputs, outputs, bias=True):
    return inputs * outputs + bias * outputs


def layer_norm(width):
    return 2 * width


def eva_tower(width=1408, inner=6144, layers=39, patch=14, patches=256):
    """EVA-CLIP's ViT-g/14 without its last block: pre-norm blocks, no relative positions, no layer scale."""
    block = 2 * layer_norm(width) + linear(width, 3 * width) + linear(width, width)
    block += linear(width, inner) + linear(inner, width)
    stem = linear(3 * patch * patch, width) + width + (patches + 1) * width
    return stem + layers * block + layer_norm(width)


def resnet101():
    """Convolutions without bias, each with a batch norm of two values a channel; no classifier."""
    total, width = 3 * 64 * 49 + 2 * 64, 64
    for inner, depth in ((64, 3), (128, 4), (256, 23), (512, 3)):
        for _ in range(depth):
            outer = 4 * inner
            total += width * inner + inner * inner * 9 + inner * outer + 2 * (inner + inner + outer)
            total += (width * outer + 2 * outer) if width != outer else 0
            width = outer
    return total


def llama_7b(vocabulary, width=4096, inner=11008, layers=32):
    """Embeddings, blocks of four attention and three MLP matrices with two norms, last norm; and the head."""
    body = vocabulary * width + layers * (4 * width * width + 3 * width * inner + 2 * width) + width
    return body, vocabulary * width


def qformer(width=768, inner=3072, layers=12, image=1408, vocabulary=30523, positions=512, queries=32):
    """BERT-base with a second MLP for queries and cross-attention in every other layer, and the queries."""
    attention = 4 * linear(width, width) + layer_norm(width)
    cross = 2 * linear(width, width) + 2 * linear(image, width) + layer_norm(width)
    mlp = linear(width, inner) + linear(inner, width) + layer_norm(width)
    embeddings = (vocabulary + positions + queries) * width + layer_norm(width)
    return embeddings + layers * (attention + 2 * mlp) + layers // 2 * cross


@pytest.fixture(scope="module")
def counted(tmp_path_factory):
    path = tmp_path_factory.mktemp("counts") / "parameters.json"
    configs = [str(ROOT / "examples" / "configs" / "models" / f"{name}.json") for name in PRESETS]
    assert count_parameters.main([*configs, "--output", str(path)]) == 0
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", PRESETS)
def test_language_model_is_llama_7b(name, counted):
    parts = counted["models"][name]["parts"]
    assert (parts["language model"]["total"], parts["head"]["total"]) == llama_7b(32001)
    # What Meta released has 32,000 tokens.
    assert sum(llama_7b(32000)) == 6_738_415_616


def test_eva_and_qformer_have_the_sizes_of_instructblip(counted):
    parts = counted["models"]["ssgpa-eva-vicuna7b"]["parts"]
    assert parts["tower"]["total"] == eva_tower() == 985_952_256
    assert parts["Q-Former and its queries"]["total"] == qformer()
    # The queries' summary and the global token, each to the language model.
    assert parts["projections to the language model"]["total"] == linear(768, 4096) + linear(1408, 4096)


def test_resnet_is_resnet101(counted):
    parts = counted["models"]["ssgpa-resnet101-vicuna7b"]["parts"]
    assert parts["tower"]["total"] == resnet101() == 42_500_160
    assert parts["1 x 1 projection, positions, global token"]["total"] == linear(2048, 1024) + 14 * 14 * 1024 + 1024
    assert parts["projections to the language model"]["total"] == layer_norm(1024) + linear(1024, 4096)


@pytest.mark.parametrize("name", PRESETS)
def test_tower_and_language_model_alone_are_frozen(name, counted):
    model = counted["models"][name]
    frozen = {part for part, counts in model["parts"].items() if not counts["trainable"]}
    assert frozen == {"tower", "language model", "head"}
    assert all(counts["trainable"] in (0, counts["total"]) for counts in model["parts"].values())
    for key in ("total", "trainable"):
        assert model[key] == sum(counts[key] for counts in model["parts"].values())


@pytest.mark.parametrize(
    ("name", "size", "patches", "tokens"), [(PRESETS[0], 224, 256, 33), (PRESETS[1], 448, 196, 197)]
)
def test_a_preset_reads_images_of_its_size(name, size, patches, tokens):
    model, _ = count_parameters.build_empty(ROOT / "examples" / "configs" / "models" / f"{name}.json")
    assert (model.config.num_patches, model.config.image_seq_length) == (patches, tokens)
    with torch.device("meta"):
        ids, pixels = torch.zeros(1, 2 * tokens + 5, dtype=torch.long), torch.zeros(1, 2, 3, size, size)
        output = model.eval()(input_ids=ids, pixel_values=pixels, use_cache=True, output_evidence=True)
    assert output.image_hidden_states.shape == (1, 2 * tokens, 4096)
    assert output.evidence.change_map.flatten(2).shape == (1, 2, patches)
    assert output.logits.shape == (1, 2 * tokens + 5, 32001)


def test_a_preset_is_built_in_seconds(counted):
    assert all(model["seconds"] < 30 for model in counted["models"].values())


def test_the_stored_counts_are_current(counted):
    stored = json.loads(STORED.read_text(encoding="utf-8"))
    assert stored["trainable"] == counted["trainable"] == FROZEN_TOWER_AND_LANGUAGE_MODEL
    for name in PRESETS:
        assert {**stored["models"][name], "seconds": None} == {**counted["models"][name], "seconds": None}


def test_every_parameter_is_in_its_part():
    model, _ = tiny_ssgpa(vision="resnet", qformer=True)
    counts = count_parameters.count(model, ["alignment", "patch_projection"])
    base = model.model
    expected = {
        "tower": base.vision_tower.tower,
        "adapter": base.change_fusion_adapter,
        "alignment": base.alignment,
        "language model": base.language_model,
        "head": model.lm_head,
        "losses": model.contrast,
    }
    for part, module in expected.items():
        assert counts["parts"][part]["total"] == sum(value.numel() for value in module.parameters())
    assert counts["total"] == sum(value.numel() for value in model.parameters())
    projection = base.vision_tower.patch_projection
    assert counts["parts"]["1 x 1 projection, positions, global token"]["trainable"] == sum(
        map(torch.numel, projection.parameters())
    )
    assert counts["trainable"] == sum(value.numel() for value in model.parameters() if value.requires_grad)


def test_patterns_of_the_command_line(tmp_path):
    path, output = tmp_path / "tiny.json", tmp_path / "counts.json"
    path.write_text(json.dumps(tiny_config().to_diff_dict()), encoding="utf-8")
    words = [str(path), "--output", str(output), "--trainable", "alignment", "lm_head"]
    assert count_parameters.main(words) == 0
    parts = json.loads(output.read_text(encoding="utf-8"))["models"]["tiny"]["parts"]
    assert {part for part, counts in parts.items() if counts["trainable"]} == {"alignment", "head"}


@pytest.mark.parametrize(
    ("content", "patterns", "named"),
    [
        (None, [], "no such model configuration"),
        ("[]", [], "does not describe a model"),
        ('{"model_type": "ssgpa", "fusion_layers": "two"}', [], "fusion_layers"),
        ('{"model_type": "nothing"}', [], "does not describe a model"),
        ("{", [], "does not describe a model"),
        ("tiny", ["q_former"], "'q_former' matches no parameter"),
    ],
)
def test_errors_take_one_line(content, patterns, named, tmp_path, capsys):
    path, output = tmp_path / "model.json", tmp_path / "counts.json"
    if content is not None:
        tiny = json.dumps(tiny_config().to_diff_dict())
        path.write_text(tiny if content == "tiny" else content, encoding="utf-8")
    words = [str(path), "--output", str(output), *(["--trainable", *patterns] if patterns else [])]
    assert count_parameters.main(words) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("count_parameters.py: error: ")
    assert named in line
    assert not output.exists()


def test_the_table_holds_the_counts(counted):
    text = format_parameters(counted, "x.json")
    head, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"
    ]
    assert head[1:] == [f"{name}, {what}" for name in PRESETS for what in ("all", "trainable")]
    cells = {row[0]: row[1:] for row in rows}
    eva, resnet = (counted["models"][name] for name in PRESETS)
    assert cells["tower"] == ["985,952,256", "0", "42,500,160", "0"]
    assert cells["1 x 1 projection, positions, global token"][:2] == ["-", "-"]
    together = [eva["total"], eva["trainable"], resnet["total"], resnet["trainable"]]
    assert [int(cell.replace(",", "")) for cell in cells["**together**"]] == together
    assert "From `x.json`." in text
