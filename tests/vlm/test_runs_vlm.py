# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The runs over a VLM, each with its whole command, over a tiny random model of its family."""

import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText

from ssgpa.benchmarks.measure_vlm_memory import run_names
from ssgpa.benchmarks.tiny_vlms import TINY_VLMS, save_vlm
from ssgpa.training.arguments import parse_arguments, read_yaml
from ssgpa.training.systems import build_model, read_config
from ssgpa.utils.loading import load_system
from ssgpa.vlm import SSGPAForVLM

from ..data.readers.reader_cases import Images
from ..examples.runs import ROOT, logged, options_of
from ..scripts import load_script


CONFIGS = ROOT / "examples" / "configs" / "vlm"
MODELS = ROOT / "examples" / "configs" / "models"
FAMILIES = {"smolvlm_256m": "idefics3", "smolvlm_500m": "idefics3", "internvl3_1b": "internvl"}
FAMILIES |= {"qwen3_vl_2b": "qwen3_vl", "qwen3_vl_4b": "qwen3_vl"}
# Parameters of the VLM, as recalled from the models' pages on the Hub, and of what is new.
SIZES = {
    "smolvlm_256m": (256_484_928, 5_146_120),
    "smolvlm_500m": (507_482_304, 5_146_120),
    "internvl3_1b": (938_193_024, 8_433_416),
    "qwen3_vl_2b": (2_127_532_032, 8_433_416),
    "qwen3_vl_4b": (4_437_815_808, 8_433_416),
}
SMALL = {"max_steps": 2, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "logging_steps": 1}
SMALL |= {"use_cpu": True, "dataloader_num_workers": 0, "generation_max_new_tokens": 4, "max_eval_pairs": 2}
SMALL |= {"disable_tqdm": True}
CAPTIONS = ["the red ball moved", "the cube moved", "nothing has changed"]
NARROW = {"fusion_hidden_size": 8, "alignment_hidden_size": 16, "sinkhorn_iterations": 5}
# What the runs' grids are on tiny images.
GRIDS = {"idefics3": [4, 4], "internvl": [4, 4], "qwen3_vl": [6, 8]}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Own pairs, prepared by the command that the runs' notes tell."""
    folder = tmp_path_factory.mktemp("vlm")
    image, rows = Images(folder / "my_pairs"), []
    for number in range(14):
        for side in ("before", "after"):
            image(f"{side}/dock_{number}.png")
        split = "train" if number < 8 else "validation" if number < 12 else "test"
        rows.append({"pair_id": f"dock_{number}", "captions": [CAPTIONS[number % 3]], "split": split})
    text = "\n".join(json.dumps(row) for row in rows)
    (folder / "my_pairs" / "captions.jsonl").write_text(text, encoding="utf-8")
    words = ["--dataset", "custom", "--source", str(folder / "my_pairs"), "--output_dir", str(folder / "mine")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.config.HF_DATASETS_CACHE", folder / "cache")
        assert load_script("prepare_data").main(words) == 0
        yield folder / "mine"


def train(name, **changes):
    return load_script("train").main([str(CONFIGS / f"{name}.yaml"), *options_of(changes)])


def test_every_run_is_run_here():
    assert set(run_names()) == set(FAMILIES)
    names = {path.stem: str(read_yaml(path).get("model_name_or_path")) for path in CONFIGS.glob("*.yaml")}
    published = {run for run, name in names.items() if "/" in name and not name.startswith("bases/")}
    assert published == set(FAMILIES)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_run_with_a_tiny_model_of_its_family(name, pairs, tmp_path, own_cache):
    family = FAMILIES[name]
    base, folder = save_vlm(family, tmp_path / "vlm"), tmp_path / "run"
    overrides = json.dumps({"patch_grid": GRIDS[family], "image_size": list(TINY_VLMS[family][1]), **NARROW})
    places = {"model_name_or_path": base, "data_dir": pairs, "output_dir": folder, "config_overrides": overrides}
    assert train(name, **places, **SMALL) == 0
    assert list(logged(folder)) == [1, 2]
    assert (folder / "checkpoint-2" / "trainer_state.json").is_file()
    weights = load_file(folder / "best" / "adapter_model.safetensors")
    names = " ".join(weights)
    assert all(part in names for part in ("lora_A", "alignment", "change_fusion_adapter", "contrast"))
    layers = {key.split(".lora_")[0] for key in weights if ".lora_" in key}
    assert any(part in layer for layer in layers for part in ("connector", "merger", "multi_modal_projector"))
    assert not any("vision_model" in layer or "visual.blocks" in layer for layer in layers)
    assert any(value.any() for key, value in weights.items() if "lora_B" in key)

    model, _ = load_system(str(folder / "best"))
    assert type(model) is SSGPAForVLM
    assert model.config.patch_grid == GRIDS[family]
    plain = AutoModelForImageTextToText.from_pretrained(base).state_dict()
    frozen = {key: value for key, value in model.vlm.state_dict().items() if key in plain}
    assert frozen
    assert all(torch.equal(value, plain[key].to(value.dtype)) for key, value in frozen.items())

    results = tmp_path / "results.json"
    words = ["--model", str(folder / "best"), "--data", str(pairs), "--split", "test", "--output", str(results)]
    assert load_script("evaluate").main([*words, "--no_meteor"]) == 0
    assert json.loads(results.read_text("utf-8"))["scores"]["total"]["n_items"] == 2


@pytest.mark.parametrize("name", FAMILIES)
def test_the_configuration_has_the_size_of_the_published_model(name):
    config = read_config(str(MODELS / f"vlm-{name.replace('_', '-')}.json"))
    with torch.device("meta"):
        model = build_model(config)
    vlm = sum(value.numel() for value in model.vlm.parameters())
    assert (vlm, sum(value.numel() for value in model.parameters()) - vlm) == SIZES[name]


@pytest.mark.parametrize("name", FAMILIES)
def test_the_overrides_fit_the_real_model(name):
    model, data, _ = parse_arguments([str(CONFIGS / f"{name}.yaml"), "--use_cpu", "true"])
    config = read_config(str(MODELS / f"vlm-{name.replace('_', '-')}.json"), model.config_overrides)
    assert config.patch_grid == read_yaml(CONFIGS / f"{name}.yaml")["config_overrides"]["patch_grid"]
    own = config.port.grid(config.vlm_config, tuple(config.image_size))
    # Pooled evenly: every cell is the mean of as many patches.
    assert [side % cells for side, cells in zip(own, config.patch_grid, strict=True)] == [0, 0]
    assert data.captions_per_pair == 1
    assert 0 < data.no_change_controls < 1
