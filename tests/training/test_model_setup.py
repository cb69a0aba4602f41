# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""What a model becomes before it trains: dtypes, recomputed layers, layers in 4 bit; and that it trains so."""

import pytest
import torch
from torch import nn

from ssgpa import SSGPAForConditionalGeneration
from ssgpa.training.arguments import ModelArguments
from ssgpa.training.memory.count import finish_step
from ssgpa.training.memory.inputs import TextSizes, example_batch
from ssgpa.training.model_setup import prepare_training, set_checkpointing, set_precision
from ssgpa.training.quantization import quantize_linears, read_quantization
from ssgpa.training.systems import set_trainable

from ..ssgpa_cases import FROZEN_QFORMER_TOO, wake
from ..tiny_systems import tiny_config


NF4 = '{"load_in_4bit": true, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": true}'


def tiny(attention="sdpa", qformer=True, **options):
    torch.manual_seed(0)
    config = tiny_config(qformer=qformer, sinkhorn_iterations=10, **options)
    return wake(SSGPAForConditionalGeneration._from_config(config, attn_implementation=attention))


def batch_of(model, captions=1):
    torch.manual_seed(1)
    return example_batch(model.config, [32, 32], 3, TextSizes(5, 7), "cpu", captions)


def loss_of(model, batch):
    torch.manual_seed(2)  # warps and negatives
    return model(**batch).loss


def prepared(**options):
    model = tiny()
    arguments = ModelArguments(**({"trainable": FROZEN_QFORMER_TOO, "frozen_dtype": "bfloat16"} | options))
    prepare_training(model, arguments, set())
    return model.train()


def test_frozen_weights_compute_in_their_dtype_and_trained_ones_stay_whole():
    model = prepared()
    for name, parameter in model.named_parameters():
        frozen = name.startswith(("model.vision_tower.tower", "model.language_model", "lm_head")) or any(
            part in name for part in ("qformer", "query_tokens")
        )
        assert parameter.requires_grad != frozen, name
        assert parameter.dtype == (torch.bfloat16 if frozen else torch.float32), name
    # Rotary frequencies need every digit.
    assert {buffer.dtype for buffer in model.model.language_model.buffers()} == {torch.float32}


def test_running_statistics_stay_in_float32():
    model = tiny(qformer=False, vision="resnet")
    set_trainable(model, FROZEN_QFORMER_TOO[:1], set())
    set_precision(model, "bfloat16")
    kinds = {True: set(), False: set()}
    for module in model.model.vision_tower.tower.modules():
        kinds[isinstance(module, nn.BatchNorm2d)] |= {
            parameter.dtype for parameter in module.parameters(recurse=False)
        }
    assert kinds == {True: {torch.float32}, False: {torch.bfloat16}}
    assert loss_of(model.train(), batch_of(model)).isfinite()


def test_an_unknown_dtype_is_named():
    with pytest.raises(ValueError, match=r"frozen_dtype.*'half'"):
        prepared(frozen_dtype="half")


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("captions", [1, 3])
def test_a_step_in_mixed_dtypes_moves_what_trains_and_stays_near_float32(attention, captions):
    whole, mixed = tiny(attention), tiny(attention)
    mixed.load_state_dict(whole.state_dict())
    set_trainable(whole, FROZEN_QFORMER_TOO, set())
    prepare_training(mixed, ModelArguments(trainable=FROZEN_QFORMER_TOO, frozen_dtype="bfloat16"), set())
    batch = batch_of(whole, captions)
    losses = [loss_of(model.train(), batch) for model in (whole, mixed)]
    assert torch.allclose(*losses, rtol=0.02)
    before = {name: parameter.clone() for name, parameter in mixed.named_parameters()}
    trained = [parameter for parameter in mixed.parameters() if parameter.requires_grad]
    finish_step(losses[1], torch.optim.AdamW(trained, lr=1e-3), 1.0)
    for name, parameter in mixed.named_parameters():
        # A bias before a softmax over keys has no gradient.
        if not parameter.requires_grad:
            assert torch.equal(parameter, before[name]), name
        elif name.endswith("proj.weight"):
            assert not torch.equal(parameter, before[name]), name


def test_recomputed_layers_are_those_that_match_and_change_no_gradient():
    plain, less = prepared(), prepared(checkpointing=[r"^model\.language_model\.", "alignment"])
    chosen = {name for name, module in less.named_modules() if getattr(module, "gradient_checkpointing", False)}
    layers = {f"model.language_model.layers.{index}" for index in range(2)}
    assert layers <= chosen
    assert "model.alignment" in chosen
    assert not any("adapter" in name or "qformer" in name or "tower" in name for name in chosen)
    batch = batch_of(plain)
    for model in (plain, less):
        loss_of(model, batch).backward()
    for (name, one), other in zip(plain.named_parameters(), less.parameters(), strict=True):
        if one.requires_grad:
            assert torch.allclose(one.grad, other.grad, atol=1e-5, rtol=1e-4), name
    # Frozen embeddings are not made to ask for gradients.
    assert not less.get_input_embeddings()(batch["input_ids"]).requires_grad


@pytest.mark.parametrize("pattern", ["nothing", "("])
def test_bad_checkpointing_patterns_are_named(pattern):
    with pytest.raises(ValueError, match="checkpointing") as error:
        set_checkpointing(tiny(), [pattern])
    assert repr(pattern) in str(error.value)


@pytest.mark.parametrize(
    ("text", "named"),
    [("{", "{"), ('{"load_in_8bit": true}', "load_in_4bit"), ('{"load_in_4bit": true, "bnb_4bit": 1}', "bnb_4bit")],
)
def test_bad_quantization_is_named(text, named):
    pytest.importorskip("bitsandbytes")
    with pytest.raises(ValueError, match="quantization_config") as error:
        read_quantization(text)
    assert named in str(error.value)


def test_quantization_without_its_library(monkeypatch):
    monkeypatch.setattr("ssgpa.training.quantization.is_bitsandbytes_available", lambda: False)
    with pytest.raises(ImportError, match="ssgpa\\[quant\\]"):
        read_quantization(NF4)


def test_layers_in_4_bit_are_bitsandbytes_own():
    """Weights are those that bitsandbytes itself would dequantize; half a byte each and the blocks' scales."""
    functional = pytest.importorskip("bitsandbytes.functional")
    torch.manual_seed(0)
    linear = nn.Linear(128, 64).to(torch.bfloat16).requires_grad_(False)
    model = nn.Sequential(linear)
    assert quantize_linears(model, ["0"], read_quantization(NF4)) == 1
    weight = model[0].weight
    assert weight.numel() * weight.element_size() == 128 * 64 // 2
    packed, state = functional.quantize_4bit(linear.weight.data, quant_type="nf4", compress_statistics=True)
    assert torch.equal(weight.data, packed)
    wanted = functional.dequantize_4bit(packed, state)
    assert 0 < (wanted - linear.weight).abs().mean() < 0.15 * linear.weight.abs().mean()
    states = torch.randn(5, 128, dtype=torch.bfloat16, requires_grad=True)
    output = model(states)
    assert torch.allclose(output, nn.functional.linear(states, wanted, linear.bias), atol=0.02)
    output.sum().backward()
    assert torch.allclose(states.grad, wanted.sum(0).expand(5, -1), atol=0.1)


def test_a_quantized_language_model_trains_the_rest():
    pytest.importorskip("bitsandbytes")
    model = prepared(quantization_config=NF4, checkpointing=[r"^model\.language_model\."])
    kinds = {type(module).__name__ for module in model.model.language_model.modules()}
    assert "Linear4bit" in kinds
    assert "Linear" not in kinds
    assert type(model.lm_head) is nn.Linear
    loss = loss_of(model, batch_of(model))
    assert loss.isfinite()
    loss.backward()
    adapter = model.model.change_fusion_adapter
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in adapter.parameters())


def test_layers_that_train_are_not_quantized():
    pytest.importorskip("bitsandbytes")
    with pytest.raises(ValueError, match=r"quantized.*cannot train"):
        prepared(quantization_config=NF4, quantized=["alignment"])
    with pytest.raises(ValueError, match=r"quantized.*'nothing'"):
        prepared(quantization_config=NF4, quantized=["nothing"])
