# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""FINER-MLLM's runs, each with its whole command over tiny backbones, and LoRA as they have it."""

import json
import re

import pytest
import torch
import yaml
from peft import PeftModel
from safetensors.torch import load_file
from torch import nn

from ssgpa.baselines.finer_mllm import FinerMLLMConfig, FinerMLLMForConditionalGeneration
from ssgpa.baselines.finer_mllm.conversion_finer_mllm import QFORMER, TOWER
from ssgpa.benchmarks.readme_table import read_block, replace_block
from ssgpa.benchmarks.tables.memory_table import format_system
from ssgpa.data.prepared import load_prepared
from ssgpa.training.arguments import ModelArguments, parse_arguments
from ssgpa.training.lora import add_lora, complete_checkpoint
from ssgpa.training.memory.inputs import add_matrices, start_model
from ssgpa.training.systems import set_trainable
from ssgpa.utils.loading import load_system

from ...examples.runs import ROOT, launch, logged, options_of, prepare_set
from ...scripts import load_script
from .cases import write_instructblip, write_retriever


CONFIGS = ROOT / "examples" / "configs" / "finer_mllm"
MODEL = ROOT / "examples" / "configs" / "models" / "finer-mllm-eva-vicuna7b.json"
# What runs share, and no run by itself.
SHARED = {"vicuna7b"}
SETS = {"clevr": "clevr_change", "spot": "spot_the_diff", "ier": "image_editing_request"}
WEIGHTS = {"clevr": (0.25, 1.0), "spot": (0.75, 0.5), "ier": (0.1, 0.75)}
ZERO2 = ["accelerate.commands.launch", "--config_file", str(ROOT / "examples" / "accelerate" / "zero2_offload.yaml")]
SMALL = {"max_steps": 2, "per_device_train_batch_size": 4, "logging_steps": 1, "eval_steps": 2, "save_steps": 2}
SMALL |= {"use_cpu": True, "dataloader_num_workers": 0, "generation_max_new_tokens": 4, "disable_tqdm": True}
SMALL |= {"warmup_steps": 0}


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    """Prepared data, a base made of a tiny InstructBLIP, and a store of each set by a tiny CLIP4IDC."""
    folder = tmp_path_factory.mktemp("finer_mllm")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.config.HF_DATASETS_CACHE", folder / "cache")
        patch.chdir(ROOT)
        prompt = load_script("make_finer_mllm_base").PROMPT.format("")
        texts = [prompt]
        for name in (*SETS.values(), "small_prepared_8x8"):
            data = load_prepared(prepare_set(name, folder))
            texts += [text for row in data["train"]["captions"] for text in row]
        write_retriever(folder / "retriever", texts)
        for name in (*SETS.values(), "small_prepared_8x8"):
            words = ["--model", str(folder / "retriever"), "--data", str(folder / name)]
            words += ["--output", str(folder / f"{name}.json")]
            assert load_script("make_retrieval_store").main(words) == 0
        write_instructblip(folder / "instructblip", texts)
        words = ["--instructblip", str(folder / "instructblip"), "--output_dir", str(folder / "base")]
        assert load_script("make_finer_mllm_base").main(words) == 0
        yield folder


def changes_for(workshop, name, folder):
    data = SETS.get(name, "small_prepared_8x8")
    changes = {
        "data_dir": workshop / data,
        "retrieval_store": workshop / f"{data}.json",
        "output_dir": folder,
        **SMALL,
    }
    return changes | ({"model_name_or_path": workshop / "base"} if name in SETS else {})


def train(name, **changes):
    return load_script("train").main([str(CONFIGS / f"{name}.yaml"), *options_of(changes)])


def test_every_shipped_run_is_run_here():
    assert {path.stem for path in CONFIGS.glob("*.yaml")} - SHARED == {*SETS, "clevr_tiny"}


def test_the_base_is_instructblip_and_asks_as_the_authors_do(workshop):
    model, processor = load_system(str(workshop / "base"))
    assert type(model) is FinerMLLMForConditionalGeneration
    assert processor.prompt == "<image><image>the difference between the before image and after image is that"
    settings = model.generation_config
    assert (settings.num_beams, settings.max_new_tokens) == (5, 40)
    assert settings.suppress_tokens == [model.config.image_token_id]
    prompt = processor.prompt_ids()
    assert prompt.count(model.config.image_token_id) == model.config.visual_tokens == 8
    assert processor.tokenizer.convert_tokens_to_ids("<unk>") not in prompt
    taken = load_file(workshop / "instructblip" / "model.safetensors")
    tower = model.get_parameter(f"{TOWER}encoder.layers.1.mlp.fc2.weight")
    assert any(torch.equal(value, tower) for name, value in taken.items() if name.endswith("layers.1.mlp.fc2.weight"))
    again = ["--instructblip", str(workshop / "instructblip"), "--output_dir", str(workshop / "base")]
    assert load_script("make_finer_mllm_base").main(again) == 2


def check_run(folder, base, name):
    assert list(logged(folder)) == [1, 2]
    state = json.loads((folder / "trainer_state.json").read_text("utf-8"))
    for entry in state["log_history"]:
        if "loss" in entry:
            parts = [value for key, value in entry.items() if key.startswith("loss_parts/")]
            assert len(parts) == 3
            assert entry["loss"] == pytest.approx(sum(parts), rel=1e-3)
    weights = load_file(folder / "best" / "adapter_model.safetensors")
    told = json.loads((folder / "best" / "adapter_config.json").read_text("utf-8"))
    assert told["base_model_name_or_path"] == str(base)
    assert (told["r"], told["lora_alpha"]) == ((16, 1) if name == "clevr" else (4, 1))
    ranks = {key: value.shape[0] for key, value in weights.items() if ".lora_A." in key}
    assert {rank for key, rank in ranks.items() if "qformer" in key} == {4}
    assert {rank for key, rank in ranks.items() if "vision_tower" in key} == {told["r"]}
    learned = " ".join(weights)
    assert all(part in learned for part in ("qkv.q.", "qkv.v.", "mlp.fc1.", "mlp.fc2.", "emphasis.q_proj"))
    assert "qkv.k." not in learned
    assert "language_model" not in learned
    plain = load_file(base / "model.safetensors")
    for part in ("query_tokens", "language_projection.weight", "post_layernorm.weight", "emphasis.k_proj.weight"):
        (mine,), (theirs,) = ([value for key, value in one.items() if key.endswith(part)] for one in (weights, plain))
        assert not torch.equal(mine, theirs), part
    load_system(str(folder / "best"))


@pytest.mark.parametrize("name", SETS)
def test_runs_over_instructblip(name, workshop):
    changes = changes_for(workshop, name, workshop / f"{name}-run")
    assert train(name, **changes) == 0
    check_run(changes["output_dir"], changes["model_name_or_path"], name)
    words = [str(CONFIGS / f"{name}.yaml"), "--use_cpu", "true"]
    arguments, data, options = parse_arguments(words)
    overrides = json.loads(arguments.config_overrides or "{}")
    config = FinerMLLMConfig(**overrides)
    assert (config.consistency_weight, config.orthogonality_weight) == WEIGHTS[name]
    batch = options.per_device_train_batch_size * options.gradient_accumulation_steps
    # Of CLEVR-Change, 16 scenes with two pairs each.
    assert (batch, data.distractor_swap) == ((32, True) if name == "clevr" else (16, False))
    assert options.weight_decay == 0.1
    assert options.lr_scheduler_kwargs == {"min_lr": 1e-5}
    if name == "clevr":
        assert train(name, **changes | {"resume_from_checkpoint": "true"}) == 0


@pytest.mark.slow
def test_whole_command_under_zero2(workshop):
    changes = changes_for(workshop, "clevr", workshop / "zero2")
    launch(ZERO2, str(CONFIGS / "clevr.yaml"), workshop / "hub", **changes)
    check_run(changes["output_dir"], changes["model_name_or_path"], "clevr")


def test_a_tiny_model_trains_and_is_evaluated_with_its_store(workshop, capsys):
    changes = changes_for(workshop, "clevr_tiny", workshop / "tiny-run")
    assert train("clevr_tiny", **changes) == 0
    best = workshop / "tiny-run" / "best"
    model, _ = load_system(str(best))
    assert model.num_parameters() < 3_000_000
    # What is retrieved then has the say.
    told = json.loads((best / "config.json").read_text("utf-8"))
    (best / "config.json").write_text(json.dumps(told | {"emphasis_scale": 1e4}), encoding="utf-8")
    data, store = workshop / "small_prepared_8x8", workshop / "small_prepared_8x8.json"
    words = ["--model", str(best), "--data", str(data), "--split", "validation", "--no_meteor"]
    words += ["--num_beams", "1", "--max_new_tokens", "4", "--output", str(workshop / "scores.json")]
    assert load_script("evaluate").main([*words, "--retrieval_store", str(store)]) == 0
    first, *log = (workshop / "scores.predictions.jsonl").read_text("utf-8").splitlines()
    assert len(json.loads(first)["settings"]["retrieval_store"]) == 64
    assert len(json.loads((workshop / "scores.json").read_text("utf-8"))["retrieval_store"]) == 64
    captions = json.loads(store.read_text("utf-8"))["captions"]
    for line in log:
        found = json.loads(line)
        assert set(found["caption"].split()) <= set(" ".join(captions[found["pair_id"]]).split())
    assert len(log) == len(load_prepared(data)["validation"])
    # Captions without the store are others, and do not go on where those with it ended.
    (workshop / "scores.json").unlink()
    assert load_script("evaluate").main(words) == 2
    assert "retrieval_store" in capsys.readouterr().err
    assert load_script("evaluate").main([*words, "--overwrite"]) == 0
    results = json.loads((workshop / "scores.json").read_text("utf-8"))
    assert results["retrieval_store"] is None


def test_a_store_for_a_system_that_reads_none_is_refused(workshop, capsys):
    path = workshop / "clevr_change.json"
    words = [str(ROOT / "examples/configs/clevr_tiny_tower.yaml"), "--data_dir", str(workshop / "clevr_change")]
    words += ["--retrieval_store", str(path), "--output_dir", str(workshop / "none"), "--use_cpu", "true"]
    words += ["--aux_attributes", "0", "--aux_objects", "0", "--bf16", "false"]
    words += ["--model_config", str(ROOT / "examples/configs/models/ssgpa-clevr-tiny.json")]
    assert load_script("train").main(words) == 2
    assert "reads no retrieved captions" in capsys.readouterr().err
    more = options_of(
        {"retrieval_store": path, "data_dir": workshop / "spot_the_diff", "output_dir": workshop / "none"}
    )
    words = [str(CONFIGS / "spot.yaml"), *more, "--model_name_or_path", str(workshop / "base"), "--use_cpu", "true"]
    assert load_script("train").main(words) == 2
    assert "is stale" in capsys.readouterr().err


# LoRA


def lora_of(name):
    arguments, _, _ = parse_arguments([str(CONFIGS / f"{name}.yaml"), "--use_cpu", "true"])
    return arguments


@pytest.fixture
def tuned(workshop):
    """A model over its base after a few steps of training, its processor and a batch."""
    model, processor = load_system(str(workshop / "base"))
    told = lora_of("clevr")
    arguments = ModelArguments(model_name_or_path=str(workshop / "base"), lora=told.lora)
    tuned = add_lora(model, arguments, set_trainable(model, told.trainable, set()))
    torch.manual_seed(0)
    images = torch.randn(2, 2, 3, 32, 32)
    ids = torch.tensor([[*processor.prompt_ids(), *caption] for caption in ([7, 8, 9, 2], [10, 11, 12, 2])])
    labels = ids.clone()
    labels[:, :-4] = -100
    batch = {"input_ids": ids, "pixel_values": images, "labels": labels}
    batch |= {name: torch.tensor(rows) for name, rows in processor.retrieved_inputs([["the scene"], []]).items()}
    optimizer = torch.optim.SGD([value for value in tuned.parameters() if value.requires_grad], lr=0.5)
    for _ in range(3):
        optimizer.zero_grad()
        tuned.train()(**batch).loss.backward()
        optimizer.step()
    return tuned.eval(), processor, batch


def test_a_checkpoint_saves_reloads_and_merges_exactly(tuned, workshop, tmp_path):
    model, processor, batch = tuned
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    complete_checkpoint(model, tmp_path)
    base = FinerMLLMForConditionalGeneration.from_pretrained(workshop / "base")
    with torch.no_grad():
        wanted, plain = model(**batch).logits, base(**batch).logits
        loaded, _ = load_system(str(tmp_path))
        assert torch.equal(loaded(**batch).logits, wanted)
        assert (plain - wanted).abs().max() > 1e-2
        layers = [name for name, module in model.named_modules() if hasattr(module, "lora_A") and "_A" not in name]
        updates = {name: model.get_submodule(name).get_delta_weight("default").clone() for name in layers}
        before = {name: model.get_submodule(name).get_base_layer().weight.clone() for name in layers}
        merged = model.merge_and_unload()
        torch.testing.assert_close(merged(**batch).logits, wanted, atol=1e-5, rtol=1e-4)
        # As loralib: queries and values of the tower, alpha 1 by the rank.
        for name, weight in before.items():
            found = merged.get_parameter(f"{name.removeprefix('base_model.model.')}.weight")
            assert torch.equal(found, weight + updates[name]), name
        merged.save_pretrained(tmp_path / "merged")
        again = FinerMLLMForConditionalGeneration.from_pretrained(tmp_path / "merged")
        assert torch.equal(again(**batch).logits, merged(**batch).logits)
    assert not isinstance(merged, PeftModel)
    assert len(layers) == 2 * 4 + (2 * 2 + 2)


def count(model, *patterns):
    return sum(
        value.numel()
        for name, value in model.named_parameters()
        if value.requires_grad and any(re.search(pattern, name) for pattern in patterns)
    )


@pytest.mark.parametrize(("name", "tower"), [("clevr", 12_939_264), ("spot", 3_234_816), ("ier", 3_234_816)])
def test_trained_parameters_at_real_size(name, tower):
    arguments = lora_of(name)
    arguments.model_config, arguments.model_name_or_path, arguments.checkpointing = str(MODEL), None, []
    model = add_matrices(start_model(arguments, "meta"), arguments)
    assert count(model, r"vision_tower.*lora_") == tower
    assert count(model, r"qformer.*lora_") == 236_544
    assert count(model, r"language_projection") == 3_149_824
    assert count(model, r"query_tokens") == 32 * 768
    assert count(model, r"post_layernorm") == 2 * 1408
    assert count(model, r"language_model|lm_head") == 0
    # Theirs has values and an output too, 67.1 M in all, which nothing depends on.
    with torch.device("meta"):
        theirs = nn.MultiheadAttention(4096, 1)
    whole = sum(value.numel() for value in theirs.parameters())
    assert whole == 67_125_248
    values = 4096 * 4096 + 4096
    output = sum(value.numel() for value in theirs.out_proj.parameters())
    assert count(model, r"^emphasis\.") == whole - values - output == 33_562_624
    assert count(model, "") == tower + 236_544 + 3_149_824 + 24_576 + 2_816 + 33_562_624


def test_the_default_configuration_is_the_real_size():
    told = json.loads(MODEL.read_text("utf-8"))
    with torch.device("meta"):
        model = FinerMLLMForConditionalGeneration(FinerMLLMConfig(text_config=told["text_config"]))
    tower = sum(value.numel() for name, value in model.named_parameters() if name.startswith(TOWER))
    width, inner = 1408, 6144
    layer = 4 * width**2 + 4 * width + 2 * width * inner + inner + width + 4 * width
    # Patches, class token, positions, the last norm.
    assert tower == 39 * layer + (3 * 14 * 14 + 1) * width + width + 257 * width + 2 * width
    shared = yaml.safe_load((CONFIGS / "vicuna7b.yaml").read_text("utf-8"))
    pattern = re.compile(shared["lora"]["target_modules"])
    layers = [
        name for name, module in model.named_modules() if isinstance(module, nn.Linear) and pattern.fullmatch(name)
    ]
    assert len([name for name in layers if name.startswith(TOWER)]) == 4 * 39
    assert len([name for name in layers if name.startswith(QFORMER)]) == 2 * (12 + 6)


def test_every_batch_that_was_counted_fits_a_gpu_of_24_gb():
    stored = ROOT / "benchmarks" / "results" / "finer_mllm-memory.json"
    rows = [row for row in json.loads(stored.read_text("utf-8"))["counted"] if row["run"] == "finer_mllm"]
    as_shipped = {row["batch_size"]: row["gib"]["total"] for row in rows if row["checkpointing"]}
    assert sorted(as_shipped) == [2, 4, 16]
    assert max(as_shipped.values()) < 24
    page = (ROOT / "docs" / "systems" / "finer_mllm.md").read_text("utf-8")
    assert replace_block(page, read_block(stored, format_system), "finer_mllm-memory") == page
