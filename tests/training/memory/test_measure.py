# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Measuring on a GPU, its logic: a counter in place of CUDA's, the work done on the CPU."""

from types import SimpleNamespace

import pytest
import torch

from ssgpa import SSGPAForConditionalGeneration
from ssgpa.training.arguments import ChangeCaptioningArguments, ModelArguments
from ssgpa.training.memory import measure as measuring
from ssgpa.training.memory.count import GIB, count_memory, create_optimizer, describe_count, weight_tensors
from ssgpa.training.memory.inputs import TextSizes, example_batch
from ssgpa.training.memory.live_bytes import LiveBytes
from ssgpa.training.memory.measure import Timing, bf16_peak, measure_memory, set_cap
from ssgpa.training.model_setup import prepare_training

from ...ssgpa_cases import FROZEN_QFORMER_TOO
from ...tiny_systems import tiny_config


RESERVED = 123 * 2**20


@pytest.fixture
def gpu(monkeypatch):
    """CUDA's functions, answered from the bytes that live on the CPU."""
    state = SimpleNamespace(live=None, caches=0, synchronized=0)

    def synchronize():
        state.synchronized += 1

    def empty_cache():
        state.caches += 1

    fakes = {
        "get_device_name": lambda *_: "NVIDIA GeForce RTX 3090",
        "synchronize": synchronize,
        "empty_cache": empty_cache,
        "reset_peak_memory_stats": lambda: state.live.reset_peak(),
        "memory_allocated": lambda: state.live.live,
        "max_memory_allocated": lambda: state.live.peak,
        "max_memory_reserved": lambda: RESERVED,
        "current_device": lambda: 0,
        "get_device_properties": lambda _: SimpleNamespace(total_memory=80 * GIB),
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    return state


@pytest.fixture
def system(tmp_path):
    torch.manual_seed(0)
    config = tiny_config(qformer=True, sinkhorn_iterations=2, warp_weight=0.0, contrast_weight=0.0)
    model = SSGPAForConditionalGeneration._from_config(config, attn_implementation="sdpa")
    prepare_training(model, ModelArguments(trainable=FROZEN_QFORMER_TOO, frozen_dtype="bfloat16"), set())
    arguments = ChangeCaptioningArguments(output_dir=str(tmp_path), use_cpu=True, optim="adamw_torch")
    batch = example_batch(model.config, [32, 32], 3, TextSizes(5, 7), "cpu")
    return model.train(), batch, lambda: create_optimizer(model, arguments)


def follow(gpu, model, batch):
    tensors = [value for value in batch.values() if isinstance(value, torch.Tensor)]
    gpu.live = LiveBytes("cpu", [*(tensor for _, tensor in weight_tensors(model)), *tensors])
    return gpu.live


def test_a_measurement_agrees_with_the_count(gpu, system):
    """The same step, counted, and followed through the functions that ask CUDA."""
    model, batch, make_optimizer = system
    with follow(gpu, model, batch):
        row = measure_memory(model, batch, make_optimizer, Timing(warmup=1, steps=2, decoded=4))
    counted = describe_count(count_memory(model, batch, make_optimizer()), 3, 0.0)
    assert not row["out_of_memory"]
    for name in ("weights", "gradients", "optimizer"):
        assert row["gib"][name] == counted["gib"][name]
    assert row["gib"]["total"] == pytest.approx(counted["gib"]["total"], rel=0.05)
    assert row["gib"]["activations"] == pytest.approx(counted["gib"]["activations"], rel=0.2)
    assert row["gib_by_part"] == counted["gib_by_part"]
    assert row["gib_reserved"] == pytest.approx(RESERVED / GIB, abs=1e-4)
    assert set(counted) - {"processor_seconds", "mib_activations_by_part", "gib_by_phase"} <= set(row)
    assert gpu.synchronized >= 4
    assert model.training


def test_speeds_are_those_of_the_measured_steps(gpu, system, monkeypatch):
    model, batch, make_optimizer = system
    clock = iter(range(0, 10_000, 10))
    monkeypatch.setattr(measuring, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    with follow(gpu, model, batch):
        row = measure_memory(model, batch, make_optimizer, Timing(1, 5, decoded=4), flops=int(7.1e12))
    # Ten seconds between any two looks at the clock: five steps, and one decoding of four tokens for three pairs.
    assert row["seconds_per_step"] == 2.0
    assert row["pairs_per_second"] == 1.5
    assert row["tokens_per_second"] == batch["input_ids"].numel() / 2
    assert row["decoded_tokens_per_second"] == pytest.approx(3 * 4 / 10)
    assert row["share_of_peak"] == pytest.approx(7.1 / 2 / 71)


@pytest.mark.parametrize("where", ["training", "decoding"])
def test_running_out_of_memory_is_a_result(gpu, system, where, monkeypatch):
    model, batch, make_optimizer = system

    def fail(*args, **kwargs):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    target = (model.model.connector, "forward") if where == "training" else (model, "generate")
    monkeypatch.setattr(*target, fail)
    with follow(gpu, model, batch):
        row = measure_memory(model, batch, make_optimizer, Timing(0, 1, decoded=2))
    assert row["out_of_memory"]
    assert row["decoded_tokens_per_second"] is None
    assert (row["gib"]["total"] is None) == (where == "training")
    assert row["gib"]["weights"] is not None
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.training
    assert gpu.caches == 2
    # The next batch size has a chance.
    monkeypatch.undo()
    assert model(**batch).loss.isfinite()


def test_other_errors_are_not_taken_for_memory(gpu, system, monkeypatch):
    model, batch, make_optimizer = system

    def fail(*args, **kwargs):
        raise RuntimeError("shapes")

    monkeypatch.setattr(model.model.connector, "forward", fail)
    with follow(gpu, model, batch), pytest.raises(RuntimeError, match="shapes"):
        measure_memory(model, batch, make_optimizer, Timing(0, 1, 0))


def test_a_cap_is_a_share_of_the_gpu(gpu, monkeypatch):
    shares = []
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", shares.append)
    set_cap(24)
    assert shares == [0.3]
    with pytest.raises(ValueError, match="96 GiB is above the GPU's 80 GiB"):
        set_cap(96)


def test_cards_are_known_by_name():
    assert bf16_peak("NVIDIA H100 80GB HBM3") == 989.0
    assert bf16_peak("NVIDIA H100 PCIe") == 756.0
    assert bf16_peak("NVIDIA L4") == 121.0
    assert bf16_peak("NVIDIA L40S") == 362.0
    assert bf16_peak("Tesla K80") is None
