# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The count of a training step's memory: against sums by hand, and against the same step on the CPU."""

import gc
import json
import re
import weakref
from pathlib import Path

import pytest
import torch
from torch import nn

from ssgpa import SSGPAForConditionalGeneration
from ssgpa.benchmarks.count_parameters import FROZEN_TOWER_AND_LANGUAGE_MODEL
from ssgpa.training.arguments import ChangeCaptioningArguments, ModelArguments
from ssgpa.training.lora import split_trainable
from ssgpa.training.memory.count import (
    COUNTED_ATTENTION,
    GIB,
    count_flops,
    count_memory,
    create_optimizer,
    describe_count,
    frozen_bytes,
    part_of,
    weight_bytes,
    weight_tensors,
)
from ssgpa.training.memory.inputs import TextSizes, add_matrices, example_batch, start_model
from ssgpa.training.memory.live_bytes import LiveBytes, SavedBytes
from ssgpa.training.model_setup import prepare_training
from ssgpa.training.systems import trained_parameters

from ...ssgpa_cases import FROZEN_QFORMER_TOO
from ...tiny_systems import tiny_config


EVA = "examples/configs/models/ssgpa-eva-vicuna7b.json"
TEXT = TextSizes(prompt=5, caption=7)
CHECKPOINTED = [r"^model\.language_model\.", r"^model\.change_fusion_adapter\."]
NO_CHECKPOINTING = ["none"]


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[3])


def tiny(device, attention, checkpointing=NO_CHECKPOINTING, frozen_dtype="bfloat16"):
    """A tiny model ready to train; the same on every device."""
    torch.manual_seed(0)
    with torch.device(device):
        config = tiny_config(qformer=True, sinkhorn_iterations=4)
        model = SSGPAForConditionalGeneration._from_config(config, attn_implementation=attention)
    arguments = ModelArguments(trainable=FROZEN_QFORMER_TOO, frozen_dtype=frozen_dtype, checkpointing=checkpointing)
    prepare_training(model, arguments, set())
    return model.train()


def batch_of(model, device, batch_size=3, captions=1):
    return example_batch(model.config, [32, 32], batch_size, TEXT, device, captions)


def optimizer_of(model, tmp_path):
    return create_optimizer(
        model, ChangeCaptioningArguments(output_dir=str(tmp_path), use_cpu=True, optim="adamw_torch")
    )


def hooked_bytes(model, batch):
    """What a forward pass on the CPU keeps, by the plainest hooks; weights and inputs are left out."""
    known = {tensor.untyped_storage().data_ptr() for tensor in [*model.parameters(), *model.buffers()]}
    known |= {value.untyped_storage().data_ptr() for value in batch.values() if isinstance(value, torch.Tensor)}
    kept = []

    def pack(tensor):
        kept.append(weakref.ref(tensor.untyped_storage()))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = model(**batch).loss
    assert loss.isfinite()
    alive = {storage.data_ptr(): storage.nbytes() for storage in (ref() for ref in kept) if storage is not None}
    return sum(size for address, size in alive.items() if address not in known)


def fused_calls(model, checkpointing):
    """Attentions that keep something, each with the 24 bytes of a random state that CUDA's kernel adds."""
    names = [name for name, module in model.named_modules() if hasattr(module, "is_causal") and "tower" not in name]
    # Frozen queries ask for no gradient before they have read an image.
    names.remove("model.connector.qformer.encoder.layer.0.attention.attention")
    return sum(not any(re.search(pattern, name) for pattern in checkpointing) for name in names)


@pytest.mark.parametrize("checkpointing", [NO_CHECKPOINTING, CHECKPOINTED])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_bytes_kept_on_meta_are_those_kept_on_the_cpu(attention, checkpointing, tmp_path):
    real = tiny("cpu", attention, checkpointing, frozen_dtype=None)
    wanted = hooked_bytes(real, batch_of(real, "cpu"))
    empty = tiny("meta", COUNTED_ATTENTION if attention == "sdpa" else attention, checkpointing, frozen_dtype=None)
    counted = count_memory(empty, batch_of(empty, "meta"), optimizer_of(empty, tmp_path))
    states = 24 * fused_calls(real, checkpointing) if attention == "sdpa" else 0
    assert counted["activations"] == wanted + states
    assert sum(counted["activations_by_part"].values()) == counted["activations"]


def test_bytes_kept_in_mixed_dtypes_differ_by_the_norms_statistics_alone(tmp_path):
    # Those of a bfloat16 layer norm are float32 on CUDA and bfloat16 on the CPU.
    real, empty = tiny("cpu", "sdpa"), tiny("meta", COUNTED_ATTENTION)
    wanted = hooked_bytes(real, batch_of(real, "cpu"))
    counted = count_memory(empty, batch_of(empty, "meta"), optimizer_of(empty, tmp_path))["activations"]
    assert 0 < counted - 24 * fused_calls(real, NO_CHECKPOINTING) - wanted < 0.001 * wanted


def test_checkpointing_keeps_less_and_the_peak_follows(tmp_path):
    models = [tiny("meta", COUNTED_ATTENTION, checkpointing) for checkpointing in (NO_CHECKPOINTING, CHECKPOINTED)]
    plain, less = (count_memory(model, batch_of(model, "meta"), optimizer_of(model, tmp_path)) for model in models)
    assert less["activations_by_part"]["language_model"] < 0.3 * plain["activations_by_part"]["language_model"]
    assert (
        less["activations_by_part"]["change_fusion_adapter"]
        < 0.3 * plain["activations_by_part"]["change_fusion_adapter"]
    )
    assert less["activations"] < 0.7 * plain["activations"]
    assert less["total"] < plain["total"]


def test_packed_captions_are_counted_with_their_mask(tmp_path):
    real, empty = tiny("cpu", "sdpa"), tiny("meta", COUNTED_ATTENTION)
    batch = batch_of(real, "cpu", captions=3)
    assert batch["attention_mask"].ndim == 4
    # The kernels lay the mask out differently.
    counted = count_memory(empty, batch_of(empty, "meta", captions=3), optimizer_of(empty, tmp_path))["activations"]
    assert counted == pytest.approx(hooked_bytes(real, batch), rel=0.05)


def test_static_bytes_are_sums_of_shapes_and_dtypes(tmp_path):
    model = tiny("cpu", "sdpa")
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    frozen = sum(parameter.numel() for parameter in model.parameters() if not parameter.requires_grad)
    buffers = sum(buffer.numel() * buffer.element_size() for buffer in model.buffers())
    assert trained > 0
    assert frozen > 0
    counted = count_memory(model, batch_of(model, "cpu"), optimizer_of(model, tmp_path))
    assert sum(size for part in counted["weights"].values() for size in part.values()) == (
        4 * trained + 2 * frozen + buffers
    )
    assert counted["frozen"] == 2 * frozen + buffers
    assert counted["gradients"] == 4 * trained
    # Two moments in float32, and a step of 4 bytes for every tensor.
    tensors = sum(parameter.requires_grad for parameter in model.parameters())
    assert counted["optimizer"] == 8 * trained + 4 * tensors
    assert counted["weights"]["vision_tower"] == {
        "bfloat16": 2 * sum(parameter.numel() for parameter in model.model.vision_tower.parameters()),
        "int64": 8 * sum(buffer.numel() for buffer in model.model.vision_tower.buffers()),
    } or not list(model.model.vision_tower.buffers())


def test_what_peft_keeps_beside_modules_that_train_whole_is_counted():
    arguments = ModelArguments(model_config=EVA, trainable=FROZEN_QFORMER_TOO, frozen_dtype="bfloat16")
    plain = start_model(arguments, "meta")
    trained = sum(parameter.numel() for parameter in plain.parameters() if parameter.requires_grad)
    whole = split_trainable(plain, trained_parameters(plain)).whole
    copied = sum(value.numel() for name in whole for value in plain.get_submodule(name).parameters())
    assert 0.9 * trained < copied <= trained
    frozen = frozen_bytes(plain)
    assert frozen_bytes(add_matrices(plain, arguments)) == frozen
    arguments.save_trained_only = True
    assert frozen_bytes(add_matrices(plain, arguments)) == pytest.approx(frozen + 4 * copied, abs=4096)


def test_tied_weights_count_once():
    first = nn.Linear(8, 8, bias=False)
    second = nn.Linear(8, 8, bias=False)
    second.weight = first.weight
    assert weight_bytes(nn.Sequential(first, second)) == {"0": {"float32": 256}}
    assert len(list(weight_tensors(nn.Sequential(first, second)))) == 1


def test_parts_are_named_by_the_model():
    assert part_of("model.language_model.layers.0.mlp.up_proj.weight") == "language_model"
    assert part_of("lm_head.weight") == "lm_head"
    assert part_of("contrast.logit_scale") == "contrast"


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_live_bytes_follow_what_lives(device):
    with LiveBytes(device, block=1) as live:
        first = torch.empty(1000, device=device)
        view = first.view(10, 100)  # the same storage
        assert (live.live, live.peak) == (4000, 4000)
        second = first + 1
        assert live.live == 8000
        del first
        assert live.live == 8000
        del view
        assert live.live == 4000
        second.mul_(2)
        assert (live.live, live.peak) == (4000, 8000)
        live.reset_peak()
        assert live.peak == 4000
        other = "meta" if device == "cpu" else "cpu"
        elsewhere = torch.empty(50, device=other)
        assert live.live == 4000
    del second, elsewhere
    assert live.live == 0


def test_storages_are_rounded_up_to_blocks():
    with LiveBytes("cpu") as live:
        tensors = [torch.empty(1), torch.empty(129)]
    assert live.live == 512 + 1024
    del tensors


def test_saved_bytes_of_a_known_graph():
    layers = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    states = torch.randn(5, 4, requires_grad=True)
    with SavedBytes({"all": layers}, [*layers.parameters(), states]) as saved:
        loss = layers(states).exp().sum()
    # The first product keeps its input, excluded; ReLU its output, which the second product keeps too; exp its own.
    assert saved.by_part() == {"all": 5 * 6 * 4, "losses": 5 * 3 * 4}
    loss.backward()
    del loss
    gc.collect()
    assert saved.by_part() == {}


def test_a_whole_step_peaks_alike_on_meta_and_on_the_cpu(tmp_path):
    peaks = {}
    for device, attention in (("cpu", "sdpa"), ("meta", COUNTED_ATTENTION)):
        model = tiny(device, attention, frozen_dtype=None)
        peaks[device] = count_memory(model, batch_of(model, device, 6), optimizer_of(model, tmp_path))
    assert peaks["meta"]["total"] == pytest.approx(peaks["cpu"]["total"], rel=0.05)
    for counted in peaks.values():
        weights = sum(size for part in counted["weights"].values() for size in part.values())
        assert counted["total"] >= weights + counted["optimizer"] + counted["activations"]


def test_flops_of_a_step_grow_with_recomputation():
    plain, more = (tiny("meta", COUNTED_ATTENTION, patterns) for patterns in (NO_CHECKPOINTING, CHECKPOINTED))
    flops = [count_flops(model, batch_of(model, "meta")) for model in (plain, more)]
    assert flops[0] < flops[1] < 1.5 * flops[0]


def test_a_row_is_json_with_the_contracts_keys(tmp_path):
    model = tiny("meta", COUNTED_ATTENTION)
    row = describe_count(count_memory(model, batch_of(model, "meta"), optimizer_of(model, tmp_path)), 3, 0.5)
    assert set(row["gib"]) == {"weights", "gradients", "optimizer", "activations", "total"}
    assert row["pairs_per_second"] is None
    assert json.loads(json.dumps(row)) == row


def test_frozen_weights_of_the_paper_s_preset():
    """One of the issue's bounds, from shapes alone: every weight of the frozen parts, two bytes each."""
    arguments = ModelArguments(model_config=EVA, trainable=FROZEN_QFORMER_TOO, frozen_dtype="bfloat16")
    model = start_model(arguments, "meta")
    assert frozen_bytes(model) <= 14.8 * GIB
    frozen = sum(parameter.numel() for parameter in model.parameters() if not parameter.requires_grad)
    assert frozen > 7.9e9
    assert frozen_bytes(model) == pytest.approx(2 * frozen, rel=1e-5)
    assert {parameter.dtype for parameter in model.parameters() if parameter.requires_grad} == {torch.float32}
    # The Q-Former's 186 million parameters and its queries are what the two patterns differ by.
    arguments.trainable = FROZEN_TOWER_AND_LANGUAGE_MODEL
    more = start_model(arguments, "meta")
    difference = frozen - sum(parameter.numel() for parameter in more.parameters() if not parameter.requires_grad)
    connector = more.model.connector
    assert difference == sum(p.numel() for p in connector.qformer.parameters()) + connector.query_tokens.numel()
