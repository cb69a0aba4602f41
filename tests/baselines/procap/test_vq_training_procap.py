# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Training of the image tokenizer: as the released code computes it, and what it hands on to both stages."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import multiprocessing

from ssgpa.baselines.procap import (
    ProCapConfig,
    ProCapForConditionalGeneration,
    ProCapForImageReconstruction,
    ProCapForPreTraining,
)
from ssgpa.baselines.procap.vq_training_procap import ProCapUpsample
from ssgpa.benchmarks.measure_parity import draw_inputs, draw_weights, read_specification
from ssgpa.benchmarks.parity.procap_vq import compute
from ssgpa.data.decoding import load_pair, undecoded
from ssgpa.data.prepared import load_prepared


GOLDEN = json.loads(Path(__file__).with_name("golden_vq.json").read_text(encoding="utf-8"))
TINY = json.loads((Path(__file__).parents[3] / "baselines" / "procap" / "tiny.json").read_text(encoding="utf-8"))
SMALL = {"base_channels": 32, "channel_multiplier": [1, 1, 2], "num_res_blocks": 1, "num_embeddings": 256}
SMALL |= {"embed_dim": 64, "latent_channels": 64, "resolution": 32}


def tiny(model_class=ProCapForImageReconstruction, seed=0, **fields):
    torch.manual_seed(seed)
    return model_class(ProCapConfig(**{name: TINY[name] for name in TINY if name != "model_type"} | fields))


def noise(batch=2, frames=1, seed=0):
    return torch.rand(batch, frames, 3, 32, 32, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    specification = read_specification("procap_vq", "tiny")
    assert specification["seed"] == GOLDEN["seed"]
    path = tmp_path_factory.mktemp("parity") / "checkpoint.safetensors"
    save_file(draw_weights(specification["weights"], specification["seed"]), path)
    return path, draw_inputs(specification["inputs"], specification["seed"]), specification["fields"]


@pytest.fixture(scope="module")
def found(checkpoint):
    return compute(*checkpoint)


@pytest.mark.parametrize("name", GOLDEN["outputs"])
def test_outputs_are_those_of_the_released_code(found, name):
    value, wanted = found[name], GOLDEN["outputs"][name]
    assert list(value.shape) == wanted["shape"]
    if "values" in wanted:
        assert value.tolist() == wanted["values"]
        return
    assert value.double().sum().item() == pytest.approx(wanted["sum"], abs=1e-4 + 1e-6 * value.numel())
    assert value.double().square().sum().item() == pytest.approx(wanted["sum_of_squares"], rel=1e-4, abs=1e-9)


def test_attention_that_is_left_out_is_seen(found, checkpoint):
    """As where the released code reads a VQGAN at another size: the golden file would tell."""
    path, inputs, fields = checkpoint
    other = compute(path, inputs, fields | {"keep_attention": False})
    assert other["reconstruction"].shape == found["reconstruction"].shape
    assert not torch.allclose(other["reconstruction"], found["reconstruction"], atol=1e-2)


def test_a_vqgan_that_lacks_a_weight_is_refused(checkpoint, tmp_path):
    weights = load_file(checkpoint[0])
    for name in ("decoder.up.1.upsample.conv.bias", "encoder.conv_in.weight"):
        save_file({key: value for key, value in weights.items() if key != name}, tmp_path / "less.safetensors")
        with pytest.raises(ValueError, match=re.escape(name.removeprefix("decoder."))):
            ProCapForImageReconstruction.from_vqgan(tmp_path / "less.safetensors", resolution=32)
    save_file(weights | {"decoder.more": torch.zeros(2)}, tmp_path / "more.safetensors")
    with pytest.raises(ValueError, match=r"pixel_decoder\.more"):
        ProCapForImageReconstruction.from_vqgan(tmp_path / "more.safetensors", resolution=32)


def test_the_published_size_has_as_many_parameters_as_the_released_one():
    with torch.device("meta"):
        model = ProCapForImageReconstruction(ProCapConfig())
    # Of taming-transformers at 224 pixels, where attention is left in the middle alone.
    assert sum(value.numel() for value in model.pixel_decoder.parameters()) == 39_294_851
    assert sum(value.numel() for value in model.model.parameters()) == 27_588_608


def test_the_losses_are_the_equations():
    model = tiny(codebook_weight=0.5).train()
    pixels = noise(2, 3)
    out = model(pixels, return_loss=True)
    assert out.reconstruction.shape == pixels.shape
    assert out.codes.shape == (2, 3 * 16)
    tokenizer = model.model.vision_tower.tokenizer
    latents = tokenizer.quant_conv(tokenizer.encoder(pixels.flatten(0, 1))).permute(0, 2, 3, 1)
    codebook = tokenizer.quantize.embedding.weight
    distances = (latents.unsqueeze(-2) - codebook).square().sum(-1)
    assert torch.equal(distances.argmin(-1).view(2, -1), out.codes)
    nearest = codebook[distances.argmin(-1)]
    squared = (latents - nearest).square().mean()
    # Both terms have one value; the weight of the second is Chameleon's 0.25.
    torch.testing.assert_close(out.loss_parts["codebook"], 0.5 * 1.25 * squared)
    torch.testing.assert_close(out.loss_parts["reconstruction"], (out.reconstruction - pixels).abs().mean())
    torch.testing.assert_close(out.loss, sum(out.loss_parts.values()))
    share = len(out.codes.unique()) / 32
    assert model.training_notes(out)["used_codes"].item() == pytest.approx(share)
    assert model(pixels).loss is None
    assert model(pixels, labels=torch.ones(2, 3, dtype=torch.long)).loss is not None


def test_the_tokenizer_learns_here_alone():
    model = tiny()
    model(noise(), return_loss=True).loss.backward()
    assert all(value.grad is not None for value in model.parameters())
    stage_1 = tiny(ProCapForPreTraining)
    assert not any(value.requires_grad for value in stage_1.get_vision_encoder().parameters())
    assert model.frames_per_pair == 1
    assert stage_1.frames_per_pair == stage_1.config.num_frames == 4


def test_idle_codes_move_to_latents_and_used_ones_stay():
    model = tiny(code_restart_steps=3).train()
    pixels = noise(4)
    embedding = model.model.vision_tower.tokenizer.quantize.embedding.weight
    before = embedding.detach().clone()
    used = model(pixels).codes.unique()
    assert len(used) < 32
    with torch.no_grad():
        latents = model.model(pixels.flatten(0, 1)).permute(0, 2, 3, 1).flatten(0, 2)
    model(pixels)
    assert torch.equal(embedding, before)
    assert model.idle_steps[used].tolist() == [0] * len(used)
    assert model.idle_steps.max() == 2
    model(pixels)
    idle = torch.ones(32, dtype=torch.bool)
    idle[used] = False
    assert torch.equal(embedding[used], before[used])
    moved, old = ((one[idle].unsqueeze(1) - latents).norm(dim=-1).min(1).values for one in (embedding, before))
    assert moved.max() < 1e-5
    assert old.min() > 1e-3
    # Evaluation, and a run that does not ask for it, move nothing.
    for other in (tiny(code_restart_steps=1).eval(), tiny().train()):
        kept = other.model.vision_tower.tokenizer.quantize.embedding.weight.detach().clone()
        other(pixels)
        assert torch.equal(other.model.vision_tower.tokenizer.quantize.embedding.weight, kept)


def pictures(prepared_dir):
    rows = undecoded(load_prepared(prepared_dir)["train"])
    images = [image.resize((32, 32)) for row in rows for image in load_pair(row)]
    pixels = np.stack([np.asarray(image) for image in images]).transpose(0, 3, 1, 2)
    return torch.from_numpy(pixels).float().unsqueeze(1) / 127.5 - 1


def learn(pixels, steps, **fields):
    """Train from random weights; the mean absolute error at the end, and how many codes the pictures have."""
    model = tiny(vq_config=SMALL, **fields).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(steps):
        loss = model(pixels, return_loss=True).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        out = model.eval()(pixels, return_loss=True)
    return out.loss_parts["reconstruction"].item(), len(out.codes.unique())


def test_codes_of_rendered_scenes_are_learned_in_seconds(prepared_dir, own_cache):
    pixels = pictures(prepared_dir)[:8]
    # The best that one color does.
    one_color = pixels.transpose(0, 2).flatten(1).median(1).values.view(3, 1, 1)
    constant = (pixels - one_color).abs().mean().item()
    error, used = learn(pixels, 25, code_restart_steps=5)
    assert error < 0.6 * constant
    assert used > 150
    # Of a codebook that is left alone, few codes are used.
    _, alone = learn(pixels, 25)
    assert alone < 0.6 * used


def test_both_stages_start_from_its_checkpoint(tmp_path):
    model = tiny().eval()
    pixels = noise(2, 4)
    codes = model(pixels).codes
    model.save_pretrained(tmp_path)
    stage_1, told = ProCapForPreTraining.from_pretrained(tmp_path, output_loading_info=True)
    assert torch.equal(stage_1.get_vision_encoder().encode(pixels).codes, codes)
    assert not told["unexpected_keys"]
    assert not told["mismatched_keys"]
    assert not [name for name in told["missing_keys"] if "vision_tower" in name]
    stage_2, told = ProCapForConditionalGeneration.from_pretrained(tmp_path, output_loading_info=True)
    assert not told["unexpected_keys"]
    assert torch.equal(stage_2.get_vision_encoder().encode(pixels).codes, codes)
    # And it may go on from stage 1, with a new decoder.
    stage_1.save_pretrained(tmp_path / "next")
    again, told = ProCapForImageReconstruction.from_pretrained(tmp_path / "next", output_loading_info=True)
    assert not told["unexpected_keys"]
    assert {name.partition(".")[0] for name in told["missing_keys"]} == {"pixel_decoder", "idle_steps"}
    assert torch.equal(again(pixels).codes, codes)


def test_up_sampling_repeats_pixels():
    layer = ProCapUpsample(1)
    with torch.no_grad():
        layer.conv.weight.zero_()[..., 1, 1] = 1
        layer.conv.bias.zero_()
    maps = torch.arange(4.0).view(1, 1, 2, 2)
    assert torch.equal(layer(maps), maps.repeat_interleave(2, 2).repeat_interleave(2, 3))


def restart(rank, folder):
    """One of two processes, each with pictures of its own."""
    store = torch.distributed.FileStore(f"{folder}/store", 2)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    torch.set_num_threads(1)
    model = tiny(code_restart_steps=1).train()
    torch.manual_seed(rank)
    model(noise(seed=rank))
    weight = model.model.vision_tower.tokenizer.quantize.embedding.weight.detach().clone()
    torch.save({"codes": weight, "idle": model.idle_steps}, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_processes_keep_one_codebook(tmp_path):
    multiprocessing.spawn(restart, args=(str(tmp_path),), nprocs=2)
    one, two = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert torch.equal(one["codes"], two["codes"])
    assert torch.equal(one["idle"], two["idle"])
    fresh = tiny().model.vision_tower.tokenizer.quantize.embedding.weight
    assert not torch.equal(one["codes"], fresh)
