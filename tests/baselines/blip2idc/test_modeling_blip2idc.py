# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""BLIP2IDC against BLIP-2 itself, equations written out, and published counts."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from ssgpa.baselines.blip2idc import BLIP2IDCConfig, BLIP2IDCForConditionalGeneration
from ssgpa.baselines.blip2idc.conversion_blip2idc import RELEASED_TARGETS, TARGET_MODULES
from ssgpa.image_utils_ssgpa import concatenate
from ssgpa.training.arguments import ModelArguments, parse_arguments
from ssgpa.training.collator import IGNORED, PairCollator
from ssgpa.training.lora import wrap_model
from ssgpa.training.memory.inputs import add_matrices, start_model
from ssgpa.training.model_setup import prepare_training
from ssgpa.training.systems import read_config

from ...tiny_systems import TINY_SYSTEMS
from .cases import PLACEHOLDER, tiny_blip2


ROOT = Path(__file__).parents[3]
PUBLISHED = ROOT / "examples/configs/models/blip2idc-opt-2.7b.json"
CLOSE = {"atol": 1e-5, "rtol": 1e-4}
# Of the specification: rank, vision tower, Q-Former, OPT.
COUNTS = [(8, 1_757_184, 577_536, 3_932_160), (16, 3_514_368, 1_155_072, 7_864_320)]
COUNTS += [(32, 7_028_736, 2_310_144, 15_728_640)]


@pytest.fixture
def tiny():
    return TINY_SYSTEMS["blip2idc"]()


@pytest.fixture
def wide():
    """A tiny model whose layers are as those of `from_blip2`, and the BLIP-2 it was made of."""
    source = tiny_blip2()
    return BLIP2IDCForConditionalGeneration.from_blip2(source), source


def noise(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def inputs_of(model, captions=((5, 6, 7, 2), (8, 9, 2))):
    """Prompts of queries and start token, and captions with their end, padded on the right."""
    prompt = [model.config.image_token_id] * model.config.num_query_tokens + [2]
    width = len(prompt) + max(map(len, captions))
    ids, labels = torch.full((len(captions), width), 1), torch.full((len(captions), width), IGNORED)
    mask = torch.zeros_like(ids)
    for row, caption in enumerate(captions):
        whole = torch.tensor([*prompt, *caption])
        ids[row, : len(whole)], mask[row, : len(whole)] = whole, 1
        labels[row, len(prompt) : len(whole)] = torch.tensor(caption)
    side = model.config.vision_config.image_size
    pixels = noise(len(captions), 3, side, side)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels, "pixel_values": pixels}


def test_it_computes_what_blip_2_does(wide):
    model, source = wide
    inputs = inputs_of(model)
    del inputs["labels"]
    with torch.no_grad():
        wanted = source(**inputs).logits
        found = model(**inputs).logits
        last = model(**inputs, logits_to_keep=2).logits
    kept = inputs["attention_mask"].bool()
    torch.testing.assert_close(found[kept], wanted[kept], **CLOSE)
    torch.testing.assert_close(last, found[:, -2:], **CLOSE)


def test_the_loss_is_that_of_caption_and_one_end_token(wide):
    model, _ = wide
    inputs = inputs_of(model)
    with torch.no_grad():
        output = model(**inputs)
    start = model.config.num_query_tokens
    terms = []
    for row, caption in enumerate(((5, 6, 7, 2), (8, 9, 2))):
        for place, token in enumerate(caption):
            terms.append(-output.logits[row, start + place].log_softmax(-1)[token])
    torch.testing.assert_close(output.loss, torch.stack(terms).mean())
    assert output.loss_parts["caption"] is output.loss


def released_loss(source, pixels, captions, length):
    """The released loss by BLIP-2 itself: a caption filled up with end tokens, of which all but the first count."""
    rows = torch.tensor([[2, *caption, *[2] * length][:length] for caption in captions])
    prompt = torch.full((len(rows), source.config.num_query_tokens), PLACEHOLDER)
    logits = source(input_ids=torch.cat([prompt, rows], 1), pixel_values=pixels).logits[:, -length:]
    return nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), rows[:, 1:].flatten())


@pytest.mark.parametrize("length", [3, 6, 30])
def test_the_released_loss_counts_padding_and_cuts(length):
    source = tiny_blip2()
    model = BLIP2IDCForConditionalGeneration.from_blip2(source, padded_length=length)
    inputs = inputs_of(model)
    with torch.no_grad():
        output = model(**inputs)
        wanted = released_loss(source, inputs["pixel_values"], ((5, 6, 7), (8, 9)), length)
    torch.testing.assert_close(output.loss, wanted, **CLOSE)
    assert output.logits.shape[1] == length
    left = {
        name: torch.stack(
            [row.roll(int((mask == 0).sum())) for row, mask in zip(value, inputs["attention_mask"], strict=True)]
        )
        for name, value in inputs.items()
        if name != "pixel_values"
    }
    with torch.no_grad():
        padded_left = model(pixel_values=inputs["pixel_values"], **left).loss
    torch.testing.assert_close(padded_left, wanted, **CLOSE)


def test_the_released_loss_is_a_mean_of_the_batch_under_accumulation():
    model = BLIP2IDCForConditionalGeneration.from_blip2(tiny_blip2(), padded_length=8)
    inputs = inputs_of(model)
    with torch.no_grad():
        plain = model(**inputs).loss
        # The two captions have seven tokens of the fourteen of an accumulated batch.
        shared = model(**inputs, num_items_in_batch=torch.tensor(14)).loss
    torch.testing.assert_close(shared, plain / 2)


def test_the_released_loss_takes_one_caption_a_pair(tiny):
    model, processor = tiny
    model.config.padded_length = 8
    image = Image.new("RGB", (32, 32))
    item = {"pair_id": "a", "scene_id": 0, "captions": ["the red cube", "gone"]}
    batch = PairCollator(processor)([item | {"images": noise(3, 32, 32).numpy().astype("uint8")}])
    del batch["pair_ids"], batch["scene_ids"]
    with pytest.raises(ValueError, match="captions_per_pair"):
        model(**batch)
    assert processor(images=[[image, image]], return_tensors="pt")["pixel_values"].shape == (1, 3, 32, 32)


def test_packed_captions_are_computed_as_if_each_stood_alone(tiny):
    model, processor = tiny
    images = noise(3, 32, 32).mul(60).add(128).clamp(0, 255).numpy().astype("uint8")
    item = {"pair_id": "a", "scene_id": 0, "images": images}
    captions = ["the red cube has disappeared", "nothing changed", "a small sphere"]

    def scores(texts):
        batch = PairCollator(processor)([item | {"captions": texts}])
        del batch["pair_ids"], batch["scene_ids"]
        logits = model(**batch).logits
        return logits[:, :-1][batch["labels"][:, -logits.shape[1] :][:, 1:] != IGNORED]

    with torch.no_grad():
        torch.testing.assert_close(scores(captions), torch.cat([scores([text]) for text in captions]), **CLOSE)


@pytest.mark.parametrize(("rank", "tower", "qformer", "text"), COUNTS)
def test_published_parameters_of_the_adapters(rank, tower, qformer, text):
    """At real size, on the meta device, by the YAML's own pattern."""
    path = str(ROOT / "examples/configs/blip2idc/opt.yaml")
    arguments, _, _ = parse_arguments([path, "--use_cpu=true", "--output_dir=unused", f"--model_config={PUBLISHED}"])
    lora = json.loads(arguments.lora) | {"r": rank, "lora_alpha": 2 * rank}
    assert lora["target_modules"] == TARGET_MODULES
    arguments.lora = json.dumps(lora)
    model = add_matrices(start_model(arguments, "meta"), arguments)
    trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
    assert all(value.dtype == torch.float32 and ".lora_" in name for name, value in trained.items())
    sizes = [
        sum(value.numel() for name, value in trained.items() if name.startswith(f"model.{part}."))
        for part in ("vision_model", "qformer", "language_model")
    ]
    assert sizes == [tower, qformer, text]
    assert sum(sizes) == {8: 6_266_880, 16: 12_533_760, 32: 25_067_520}[rank]
    assert len(trained) == 2 * 177
    base = sum(value.numel() for name, value in model.named_parameters() if ".lora_" not in name)
    # The released share at rank 8, of a vocabulary of 50,272 where ours has the 50,304 of today's checkpoint.
    if rank == 8:
        assert 100 * sum(sizes) / (base + sum(sizes)) == pytest.approx(0.167, abs=5e-4)


def test_the_pattern_matches_what_the_released_list_does():
    with torch.device("meta"):
        model = BLIP2IDCForConditionalGeneration(read_config(str(PUBLISHED)))
    names = [name for name, _ in model.named_modules()]
    pattern = {name for name in names if re.fullmatch(TARGET_MODULES, name)}
    released = {name for name in names if any(name == one or name.endswith(f".{one}") for one in RELEASED_TARGETS)}
    assert pattern == released
    assert len(pattern) == 39 + (24 + 18) + 96 == 177


def test_adapters_stay_in_float32_over_a_base_in_bfloat16(wide):
    """AdamW over 16-bit parameters makes NaN at its first step; these are finite and move."""
    model, _ = wide
    arguments = ModelArguments(
        trainable=["none"], frozen_dtype="bfloat16", lora=json.dumps({"r": 2, "target_modules": TARGET_MODULES})
    )
    trainable = prepare_training(model, arguments, set())
    assert trainable == {}
    tuned = wrap_model(model, arguments.lora, trainable).train()
    learned = {name: value for name, value in tuned.named_parameters() if value.requires_grad}
    assert {value.dtype for value in learned.values()} == {torch.float32}
    assert {value.dtype for name, value in tuned.named_parameters() if name not in learned} == {torch.bfloat16}
    before = {name: value.detach().clone() for name, value in learned.items()}
    optimizer = torch.optim.AdamW(learned.values(), lr=1e-3)
    inputs = inputs_of(model)
    losses = []
    for _ in range(3):
        loss = tuned(**inputs).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert all(value.isfinite().all() for value in learned.values())
    assert losses[-1] < losses[0]
    moved = {name for name, value in learned.items() if not torch.equal(value, before[name])}
    assert moved == learned.keys()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_what_the_released_code_does_over_16_bits_is_not_a_number(dtype):
    """The reason for float32: AdamW's own arithmetic over parameters in 16 bits, of which a gradient is 0."""
    weight = nn.Parameter(torch.zeros(2, dtype=dtype))
    weight.grad = torch.tensor([0.0, 1e-4], dtype=dtype)
    torch.optim.AdamW([weight], lr=1e-3).step()
    # float16's epsilon of 1e-8 is 0; bfloat16 has the range for it, and three digits.
    assert weight.isfinite().all() == (dtype == torch.bfloat16)


def test_generation_stops_at_the_end_token_and_at_blip_2s(wide):
    model, source = wide
    assert model.generation_config.eos_token_id == [2, 202]
    assert model.config.text_config.eos_token_id == 2
    assert (model.generation_config.pad_token_id, model.generation_config.num_beams) == (1, 1)
    inputs = inputs_of(model)
    prompt = inputs["input_ids"][:, : model.config.num_query_tokens + 1]
    # Whatever comes first is the end token.
    model.lm_head.weight.data = source.language_model.lm_head.weight.data.clone()
    with torch.no_grad():
        state = model.model(prompt, inputs["pixel_values"]).last_hidden_state[0, -1]
    model.lm_head.weight.data[2] = 1e3 * state
    ids = model.generate(input_ids=prompt[:1], pixel_values=inputs["pixel_values"][:1], max_new_tokens=9)
    assert ids[0, prompt.shape[1] :].tolist() == [2]


def test_real_ends_are_those_of_the_published_checkpoint():
    source = tiny_blip2()
    source.config.text_config.eos_token_id = source.generation_config.eos_token_id = 50118
    model = BLIP2IDCForConditionalGeneration.from_blip2(source)
    assert model.generation_config.eos_token_id == [2, 50118]


def test_composites_have_the_published_geometry(tiny):
    """Pairs of 480 x 320 become 480 x 640 and then the tower's square."""
    _, processor = tiny
    before, after = (Image.effect_noise((480, 320), 60).convert("RGB") for _ in range(2))
    joined = concatenate(before, after, "vertical")
    assert joined.size == (480, 640)
    assert joined.crop((0, 0, 480, 320)).tobytes() == before.tobytes()
    assert joined.crop((0, 320, 480, 640)).tobytes() == after.tobytes()
    pixels = processor(images=[[before, after]], return_tensors="pt")["pixel_values"][0]
    squashed = joined.resize((32, 32), Image.Resampling.BICUBIC)
    wanted = torch.from_numpy(np.array(squashed)).permute(2, 0, 1) / 255
    mean, std = (
        torch.tensor(values).view(3, 1, 1) for values in (BLIP2IDCConfig.image_mean, BLIP2IDCConfig.image_std)
    )
    torch.testing.assert_close(pixels, (wanted - mean) / std, atol=1e-5, rtol=0)


def test_what_is_no_composite_is_refused(tiny):
    model, _ = tiny
    for pixels, named in (
        (torch.zeros(1, 2, 3, 32, 32), "vertical"),
        (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), "normalized"),
        (torch.zeros(1, 3, 64, 32), "64 x 32"),
    ):
        with pytest.raises(ValueError, match=named):
            model.get_image_features(pixels)
    ids = torch.tensor([[4, 4, 4, 1]])
    with pytest.raises(ValueError, match="image_seq_length"):
        model(input_ids=ids, pixel_values=torch.zeros(1, 3, 32, 32))


def test_taller_images_are_read_by_interpolated_positions(tiny):
    model, _ = tiny
    model.config.interpolate_pos_encoding = True
    tall = model.get_image_features(noise(1, 3, 64, 32))
    assert tall.last_hidden_state.shape[1] == 8 * 4 + 1
    assert tall.pooler_output.shape == (1, 6, 32)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"padded_length": 1}, "padded_length"),
        ({"num_query_tokens": 0}, "num_query_tokens"),
        ({"text_config": {"hidden_size": 32, "word_embed_proj_dim": 16, "num_attention_heads": 4}}, "word_embed"),
        ({"image_token_id": -1}, "image_token_id"),
    ],
)
def test_sizes_that_make_no_model_are_named(values, named):
    with pytest.raises(Exception, match=named):
        BLIP2IDCConfig(**values)
