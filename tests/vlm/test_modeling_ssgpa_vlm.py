# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""SSGPA inside a VLM of every family: what it equals, what trains, what it refuses."""

import copy
import re
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import torch
from torch.nn import functional as F

from ssgpa.benchmarks.tiny_vlms import (
    TINY_VLMS,
    build_vlm,
    plain_inputs,
    tiny_pairs,
    tiny_prompts,
    wrap_vlm,
)
from ssgpa.vlm import SSGPAForVLM
from ssgpa.vlm.ports_ssgpa_vlm import PORTS

from .cases import DTYPES, FAMILIES, SHORT, fresh, opened, untrained


every_family = pytest.mark.parametrize("family", FAMILIES)


def plain_logits(vlm, model, pixels, prompts):
    with torch.no_grad():
        return vlm(**plain_inputs(model.config.port, vlm.config, pixels.to(vlm.dtype), prompts)).logits


@every_family
@pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "bfloat16"])
def test_untrained_model_is_the_vlm(family, dtype):
    vlm, model = untrained(family, dtype)
    pixels = tiny_pairs(family)
    assert next(model.vlm.parameters()).dtype == dtype
    for side in ("left", "right"):
        prompts = tiny_prompts(model, family, side)
        with torch.no_grad():
            found = model(pixel_values=pixels, **prompts).logits
        assert torch.equal(found, plain_logits(vlm, model, pixels, prompts))
    assert found.shape[:2] == prompts["input_ids"].shape


@every_family
def test_untrained_model_captions_as_the_vlm(family):
    vlm, model = untrained(family)
    pixels, prompts = tiny_pairs(family), tiny_prompts(model, family)
    encoded = {"image": model.get_image_features(pixels)}
    for beams in (1, 3):
        plain = plain_inputs(model.config.port, vlm.config, pixels, prompts)
        wanted = vlm.generate(**plain, **SHORT, num_beams=beams)
        assert torch.equal(model.generate(pixel_values=pixels, **prompts, **SHORT, num_beams=beams), wanted)
        # Beams repeat what was encoded; a second call must not see it repeated.
        for _ in range(2):
            again = model.generate(mm_encoder_outputs=encoded, **prompts, **SHORT, num_beams=beams)
            assert torch.equal(again, wanted)


@every_family
def test_caption_loss_is_the_cross_entropy(family):
    vlm, model = untrained(family)
    pixels, prompts = tiny_pairs(family), tiny_prompts(model, family, "right", captions=True)
    with torch.no_grad():
        outputs = model(pixel_values=pixels, **prompts)
    logits, labels = plain_logits(vlm, model, pixels, prompts), prompts["labels"]
    kept = labels[:, 1:] != -100
    assert kept.sum() == 6  # three words, one word, and an end each
    wanted = F.cross_entropy(logits[:, :-1][kept].float(), labels[:, 1:][kept])
    torch.testing.assert_close(outputs.loss, wanted)
    assert list(outputs.loss_parts) == ["caption"]


def gradients(model, family):
    """Gradients of a training step, by name."""
    model.zero_grad()
    torch.manual_seed(0)
    prompts = tiny_prompts(model, family, "right", captions=True)
    model(pixel_values=tiny_pairs(family), **prompts).loss.backward()
    return {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}


@every_family
def test_every_new_parameter_trains_and_checkpointing_changes_no_gradient(family):
    model = fresh(family).train()
    found = gradients(model, family)
    new = {name for name, _ in model.named_parameters() if not name.startswith("vlm.")}
    # A bias of keys moves all scores of a query alike.
    idle = {name for name in new if name.endswith("k_proj.bias")}
    silent = sorted(name for name in new - idle if name not in found or not found[name].abs().max() > 0)
    assert not silent
    assert any(name.startswith("vlm.") for name in found)
    for reentrant in (True, False):
        model.gradient_checkpointing_enable({"use_reentrant": reentrant})
        again = gradients(model, family)
        assert again.keys() == found.keys()
        for name, value in found.items():
            torch.testing.assert_close(again[name], value, atol=1e-6, rtol=1e-4, msg=name)


@every_family
def test_opened_parts_reach_the_caption(family):
    vlm, model = untrained(family)
    pixels, prompts = tiny_pairs(family), tiny_prompts(model, family)
    with torch.no_grad():
        found = opened(family)(pixel_values=pixels, **prompts, output_evidence=True)
    assert (found.logits - plain_logits(vlm, model, pixels, prompts)).abs().max() > 1e-5
    change = found.evidence.change_map
    assert change.shape == (2, 2, *model.config.patch_grid)
    assert change.min() >= 0
    assert change.max() <= 1
    assert change.std() > 0


@pytest.mark.parametrize("grid", [(1, 2), (2, 5), (7, 3), (8, 8)])
@pytest.mark.parametrize("family", ["gemma3", "llava", "llava_next", "qwen2_5_vl"])
def test_any_grid_is_compared_on(family, grid):
    """Coarser than the VLM's own in both directions, in one, and finer."""
    vlm, _ = untrained(family)
    model = wrap_vlm(build_vlm(family), family, patch_grid=grid)
    pixels, prompts = tiny_pairs(family), tiny_prompts(model, family)
    with torch.no_grad():
        found = model(pixel_values=pixels, **prompts, output_evidence=True)
    assert found.evidence.change_map.shape == (2, 2, *grid)
    assert torch.equal(found.logits, plain_logits(vlm, model, pixels, prompts))


@every_family
def test_tower_runs_once(family):
    model, calls = copy.deepcopy(opened(family)), []
    name, first = next(
        (name, module) for name, module in model.vlm.named_modules() if re.search("patch_(embed|conv)", name)
    )
    first.register_forward_hook(lambda *_: calls.append(name))
    pixels, prompts = tiny_pairs(family), tiny_prompts(model, family, captions=True)
    labels = prompts.pop("labels")

    def counted(**inputs):
        calls.clear()
        model(**prompts, **inputs)
        return len(calls)

    def generated(**inputs):
        calls.clear()
        model.generate(**prompts, **inputs, **SHORT, num_beams=2)
        return len(calls)

    with torch.no_grad():
        once = counted(pixel_values=pixels)
        encoded = {"image": model.get_image_features(pixels)}
        assert once == 1
        assert generated(pixel_values=pixels) == 1
        assert generated(mm_encoder_outputs=encoded) == 0
        assert counted(mm_encoder_outputs=encoded, labels=labels) == 0
        # The warp loss sends the warped pairs through it.
        model.train()
        assert counted(pixel_values=pixels, labels=labels) == 2
        model.loss_weights["warp"] = 0
        assert counted(pixel_values=pixels, labels=labels) == 1


@every_family
def test_saved_model_comes_back_exactly(family, tmp_path):
    model = opened(family)
    model.save_pretrained(tmp_path)
    again = SSGPAForVLM.from_pretrained(tmp_path)
    assert again.config.to_dict() | {"_name_or_path": ""} == model.config.to_dict() | {"_name_or_path": ""}
    wanted = model.state_dict()
    assert again.state_dict().keys() == wanted.keys()
    assert all(torch.equal(value, wanted[name]) for name, value in again.state_dict().items())
    pixels, prompts = tiny_pairs(family), tiny_prompts(model, family)
    with torch.no_grad():
        both = [one(pixel_values=pixels, **prompts, output_evidence=True) for one in (model, again)]
    assert torch.equal(both[0].logits, both[1].logits)
    assert torch.equal(both[0].evidence.change_map, both[1].evidence.change_map)


@pytest.mark.parametrize("family", ["llava", "qwen3_vl"])
def test_sharded_model_comes_back_through_the_auto_class(family, tmp_path):
    from transformers import AutoModelForImageTextToText

    model = opened(family)
    model.save_pretrained(tmp_path, max_shard_size="50KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    again = AutoModelForImageTextToText.from_pretrained(tmp_path)
    assert type(again) is SSGPAForVLM
    wanted = model.state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in again.state_dict().items())


@pytest.mark.parametrize("family", ["gemma3", "paligemma", "qwen2_vl", "smolvlm"])
def test_tied_words_stay_tied(family, tmp_path):
    from transformers import AutoModelForImageTextToText
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    values = copy.deepcopy(TINY_VLMS[family][0])
    values["text_config"]["tie_word_embeddings"] = values["tie_word_embeddings"] = True
    torch.manual_seed(0)
    vlm = AutoModelForImageTextToText.from_config(CONFIG_MAPPING[family](**values)).eval()

    def is_tied(model):
        head, words = model.get_output_embeddings(), model.get_input_embeddings()
        return head.weight.data_ptr() == words.weight.data_ptr()

    assert is_tied(vlm)
    model = wrap_vlm(vlm, family)
    assert is_tied(model)
    model.save_pretrained(tmp_path)
    again = SSGPAForVLM.from_pretrained(tmp_path)
    assert is_tied(again)
    assert torch.equal(again.get_output_embeddings().weight, vlm.get_output_embeddings().weight)


@every_family
def test_threads_do_not_meet(family):
    """Two pairs at once, in turns that overlap: each thread finds what it would alone."""
    model, barrier = opened(family), Barrier(2)
    pairs = [tiny_pairs(family, 1, seed) for seed in (3, 4)]

    def encode(pixels):
        with torch.no_grad():
            found = model.get_image_features(pixels)
        tokens = found.pooler_output
        tokens = torch.cat([*tokens]) if isinstance(tokens, list | tuple) else tokens
        return tokens, found.evidence.change_map

    alone = [encode(pixels) for pixels in pairs]

    def together(pixels):
        barrier.wait()
        return encode(pixels)

    for _ in range(2):
        with ThreadPoolExecutor(2) as pool:
            for wanted, found in zip(alone, pool.map(together, pairs), strict=True):
                assert all(torch.equal(one, other) for one, other in zip(wanted, found, strict=True))
    assert not torch.equal(alone[0][0], alone[1][0])


def test_thread_may_call_what_another_takes_off():
    """PyTorch takes a hook off in two steps, and a thread that calls in between gives it no keywords."""
    connector = torch.nn.Identity()
    holder = torch.nn.Module()
    holder.model = torch.nn.Module()
    holder.model.multi_modal_projector = connector

    def refuse(states):
        raise AssertionError("another thread's features were changed")

    with PORTS["llava"].tapped(holder, refuse), ThreadPoolExecutor(1) as pool:
        assert len(connector._forward_pre_hooks) == 1
        connector._forward_pre_hooks_with_kwargs.clear()
        assert pool.submit(connector, torch.ones(1)).result().item() == 1
    assert not connector._forward_pre_hooks


@every_family
def test_no_hook_is_left_after_an_error_and_copies_work(family, monkeypatch):
    model = copy.deepcopy(opened(family))
    pixels, prompts = tiny_pairs(family), tiny_prompts(model, family)

    def broken(*args, **kwargs):
        raise ArithmeticError("in the alignment")

    with torch.no_grad():
        monkeypatch.setattr(model.alignment, "forward", broken)
        with pytest.raises(ArithmeticError, match="in the alignment"):
            model(pixel_values=pixels, **prompts)
        monkeypatch.undo()
        left = [
            name
            for name, module in model.vlm.named_modules()
            if module is model.vlm.get_submodule(model.config.port.connector)
            and (module._forward_hooks or module._forward_pre_hooks)
        ]
        assert not left
        again = model(pixel_values=pixels, **prompts).logits
        assert torch.equal(again, opened(family)(pixel_values=pixels, **prompts).logits)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda pixels: pixels[:, :, :, :-1], "configuration says"),
        (lambda pixels: pixels[:, 0], "shape"),
        (lambda pixels: pixels.to(torch.uint8), "normalized"),
    ],
)
def test_wrong_pixels_are_named(change, named):
    model = opened("llava")
    with pytest.raises(ValueError, match=named):
        model(pixel_values=change(tiny_pairs("llava")), **tiny_prompts(model, "llava"))


def test_pixels_and_encoded_images_exclude_each_other():
    model, pixels = opened("llava"), tiny_pairs("llava")
    encoded = {"image": model.get_image_features(pixels)}
    with pytest.raises(ValueError, match="both pixel_values and mm_encoder_outputs"):
        model(pixel_values=pixels, mm_encoder_outputs=encoded, **tiny_prompts(model, "llava"))
    with pytest.raises(ValueError, match="input_ids"):
        model(pixel_values=pixels)
    with pytest.raises(ValueError, match="captions_per_pair"):
        model(pixel_values=pixels, **tiny_prompts(model, "llava") | {"attention_mask": torch.ones(2, 1, 4, 4)})


def test_warp_loss_asks_for_pixels():
    model = fresh("llava").train()
    encoded = {"image": model.get_image_features(tiny_pairs("llava"))}
    with pytest.raises(ValueError, match="warp_weight"):
        model(mm_encoder_outputs=encoded, **tiny_prompts(model, "llava", captions=True))


def test_vlm_of_another_shape_is_refused(tmp_path):
    """Weights that do not fit are no silent new ones."""
    vlm = build_vlm("llava")
    lost = vlm.state_dict()
    lost.pop(next(name for name in lost if name.endswith("linear_1.weight")))
    vlm.state_dict = lambda: lost
    with pytest.raises(ValueError, match=r"does not fit: 1 weights, the first vlm\.model\.multi_modal_projector"):
        wrap_vlm(vlm, "llava")
