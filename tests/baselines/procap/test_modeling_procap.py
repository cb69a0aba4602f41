# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""ProCap: counts and layouts, its losses against equations, its two stages and what passes between them."""

import pytest
import torch
from torch.nn import functional as F

from ssgpa.baselines.procap import ProCapConfig, ProCapForConditionalGeneration, ProCapForPreTraining
from ssgpa.baselines.procap.losses_procap import smoothed_divergence, true_or_false
from ssgpa.baselines.procap.masking_procap import draw_corruptions, draw_masks

from .cases import CLOSE, END, SIZES, START, captions, clips, tiny, tiny_config


BOTH = (ProCapForPreTraining, ProCapForConditionalGeneration)


def count(parts):
    return sum(parameter.numel() for parameter in parts)


def on_meta(model_class, **fields):
    with torch.device("meta"):
        return model_class(ProCapConfig(**fields)).eval()


def pairs(batch=4):
    return clips(batch)[:, [0, 3]]


@pytest.mark.parametrize(("layers", "encoder"), [(12, 85_054_464), (4, 28_351_488)])
def test_parameters_at_real_size(layers, encoder):
    # CLIP's layers: four matrices of attention, two of the MLP, their biases and two norms.
    width, inner = 768, 3072
    layer = 4 * (width * width + width) + 2 * width * inner + inner + width + 4 * width
    assert layers * layer == encoder
    first, second = (
        on_meta(model_class, vision_config={"num_hidden_layers": layers}, text_vocab_size=49_408)
        for model_class in BOTH
    )
    assert count(first.model.encoder.transformer.parameters()) == encoder
    assert count(first.model.encoder.text.token_embeddings.parameters()) == 49_408 * width == 37_945_344
    assert second.model.encoder.text.token_embeddings is None
    assert count(second.model.memory.parameters()) == width * width + width + width * 512 + 512 + 2 * 512 == 985_344
    decoder_layer = 8 * 512 * 512 + 2 * 512 * 2048 + 2048 + 512 + 6 * 512
    assert count(second.model.decoder.layers.parameters()) == 2 * decoder_layer == 8_399_872
    assert second.lm_head.weight is second.model.decoder.embed_tokens.weight
    assert count(second.lm_head.parameters()) == 80 * 512 + 80
    assert second.model.query_embeddings.shape == (2, 196, width)
    assert count(second.model.vision_tower.parameters()) == 27_588_608
    heads = [count(head.parameters()) for head in (first.msm_head, first.align_head, first.csy_head)]
    assert heads == [2 * width + 1024 * (width + 1), 3 * width + 1, 3 * width + 1]


def test_layouts_at_real_size():
    stage_1, stage_2 = (on_meta(model_class) for model_class in BOTH)
    with torch.device("meta"):
        frames = torch.empty(1, 784, 768)
        states = stage_1.model.encoder(frames, torch.empty(1, 24, 768), aligns=True).last_hidden_state
        features, codes = stage_1.model.vision_tower.encode(torch.empty(1, 4, 3, 224, 224))
        pair = stage_2.get_image_features(torch.empty(1, 2, 3, 224, 224), output_hidden_states=True)
    assert states.shape == (1, 811, 768)
    assert features.shape == (1, 4, 196, 256)
    assert codes.shape == (1, 784)
    assert pair.hidden_states[-1].shape == (1, 810, 768)
    assert pair.last_hidden_state.shape == (1, 784, 768)
    assert pair.memory.shape == (1, 784, 512)
    encoder = stage_1.model.encoder
    named = {name: (at.start, at.stop) for name, at in encoder.segments(aligns=True).items()}
    assert named == {
        "align": (0, 1),
        "text": (1, 25),
        "start": (25, 26),
        "consistency": (26, 27),
        "frames": (27, 811),
    }
    assert encoder.segments(aligns=False)["frames"] == slice(26, 810)


def test_the_consistency_token_sees_no_caption():
    encoder = tiny(ProCapForPreTraining).model.encoder
    for aligns, first in ((True, 9), (False, 8)):
        blocked = encoder.attention_mask(aligns, torch.zeros(1))[0, 0] < 0
        rows = blocked.any(1).nonzero().flatten().tolist()
        assert rows == [first, first + 1]
        assert [blocked[row].nonzero().flatten().tolist() for row in rows] == [[*range(row)] for row in rows]
    shifted = tiny(ProCapForConditionalGeneration, shifted_attention_mask=True).model.encoder
    blocked = shifted.attention_mask(False, torch.zeros(1))[0, 0] < 0
    # [CSY] and the first patch, one row too late.
    assert blocked.any(1).nonzero().flatten().tolist() == [9, 10]


def test_a_layer_brings_captions_to_all_but_the_start_and_consistency_tokens():
    model = tiny(ProCapForPreTraining, vision_config=SIZES["vision_config"] | {"num_hidden_layers": 1})
    (ids, mask), other = captions(), captions()[0]
    other[:, 1] = 30
    states = [model(text, clips(), mask).last_hidden_state for text in (ids, other)]
    moved = (states[0] - states[1]).abs().amax(2).max(0).values > 1e-4
    assert (~moved).nonzero().flatten().tolist() == [9, 10]


def test_positions_are_the_sum_of_three_axes():
    encoder = tiny(ProCapForPreTraining).model.encoder
    placed = encoder.place(torch.zeros(1, 4, 16, 32)).view(4, 4, 4, 32)
    expected = encoder.frame_embeddings[2, 0, 0] + encoder.row_embeddings[1, 0] + encoder.column_embeddings[3]
    torch.testing.assert_close(placed[2, 1, 3], expected)


def test_captions_are_read_from_the_first_place_on():
    model = tiny(ProCapForPreTraining).model
    ids, mask = captions()
    words, is_word = model.captions(ids, mask)
    assert words.shape == (4, 8)
    assert words[1].tolist() == [11, 12, 13, 14, 0, 0, 0, 0]
    assert is_word[1].tolist() == [True] * 4 + [False] * 4
    left = torch.tensor([[0, 0, START, 11, 12, 13, 14, END]])
    assert torch.equal(model.captions(left, (left != 0).long())[0], words[1:2])
    long = torch.arange(10, 30).unsqueeze(0)
    assert model.captions(long)[0].tolist() == [[*range(10, 18)]]
    # A padding token that is the end token, as CLIP's.
    assert torch.equal(model.captions(ids.masked_fill(ids == 0, END), mask)[0], words)


def test_empty_places_have_padding_of_their_own():
    model = tiny(ProCapForPreTraining)
    text = model.model.encoder.text
    words, is_word = model.model.captions(*captions())
    embeds = text(words, is_word)
    torch.testing.assert_close(embeds[1, 6], text.padding_embeddings[6] + text.position_embeddings[6])
    torch.testing.assert_close(embeds[1, 2], text.token_embeddings.weight[13] + text.position_embeddings[2])
    torch.testing.assert_close(text()[0], text.padding_embeddings + text.position_embeddings)


def run_stage_1(model, batch=4, **options):
    ids, mask = captions(batch)
    masks = draw_masks(model.config, batch, torch.Generator().manual_seed(5))
    masks[1] = True
    options = {"patch_mask": masks, "corrupted_pixel_values": clips(batch).flip(1)} | options
    return model(ids, clips(batch), mask, return_loss=True, **options)


def bce(true, false):
    return F.binary_cross_entropy_with_logits(true, torch.ones_like(true)) + F.binary_cross_entropy_with_logits(
        false, torch.zeros_like(false)
    )


def test_losses_are_those_of_the_paper():
    model = tiny(ProCapForPreTraining)
    outputs = run_stage_1(model)
    hidden = outputs.patch_mask.bool()
    msm = F.cross_entropy(outputs.logits[hidden], outputs.codes[hidden])
    kept = torch.tensor([0, 2, 3])  # the second clip is hidden altogether
    align = bce(outputs.align_logits[kept], outputs.other_align_logits[kept])
    csy = bce(outputs.csy_logits[kept], outputs.corrupted_csy_logits[kept])
    parts = outputs.loss_parts
    torch.testing.assert_close(parts["msm"], 7.0 * msm, **CLOSE)
    torch.testing.assert_close(parts["align"], 0.5 * align, **CLOSE)
    torch.testing.assert_close(parts["csy"], 0.5 * csy, **CLOSE)
    torch.testing.assert_close(outputs.loss, sum(parts.values()))
    # Every clip gets the caption of the other half of the batch.
    ids, mask = captions()
    swapped = model(ids[[2, 3, 0, 1]], clips(), mask[[2, 3, 0, 1]], patch_mask=hidden)
    torch.testing.assert_close(swapped.align_logits, outputs.other_align_logits, **CLOSE)
    corrupted = model(ids, clips().flip(1), mask, patch_mask=hidden)
    torch.testing.assert_close(corrupted.csy_logits, outputs.corrupted_csy_logits, **CLOSE)


def test_the_released_consistency_loss_counts_all_clips():
    outputs = run_stage_1(tiny(ProCapForPreTraining, csy_counts_fully_masked=True))
    scores = outputs.csy_logits, outputs.corrupted_csy_logits
    torch.testing.assert_close(outputs.loss_parts["csy"], 0.5 * bce(*scores) * 4 / 3, **CLOSE)


@pytest.mark.parametrize("skips", [True, False])
def test_a_caption_that_says_the_same_is_no_negative(skips):
    model = tiny(ProCapForPreTraining, skip_equal_captions=skips)
    ids, mask = captions()
    ids[2], mask[2] = ids[0], mask[0]
    masks = draw_masks(tiny_config(mask_strategy_weights=[1.0, 0.0, 0.0, 0.0]), 4, torch.Generator().manual_seed(5))
    outputs = model(ids, clips(), mask, patch_mask=masks, return_loss=True)
    others = outputs.other_align_logits[[1, 3] if skips else [0, 1, 2, 3]]
    expected = F.softplus(-outputs.align_logits).mean() + F.softplus(others).mean()
    torch.testing.assert_close(outputs.loss_parts["align"], 0.5 * expected, **CLOSE)


def test_nothing_that_counts_is_no_loss():
    zeros = torch.zeros(3)
    assert true_or_false(zeros, zeros, zeros, zeros) == 0
    model = tiny(ProCapForPreTraining)
    parts = run_stage_1(model, patch_mask=torch.ones(4, 64, dtype=torch.bool)).loss_parts
    assert parts["align"] == parts["csy"] == 0
    assert run_stage_1(model, patch_mask=torch.zeros(4, 64, dtype=torch.bool)).loss_parts["msm"] == 0


def test_a_weight_of_zero_leaves_a_loss_out():
    outputs = run_stage_1(tiny(ProCapForPreTraining, align_weight=0.0, csy_weight=0.0))
    assert outputs.loss_parts.keys() == {"msm"}
    assert outputs.other_align_logits is None
    assert outputs.corrupted_csy_logits is None


def test_what_is_hidden_does_not_matter_and_what_is_shown_does():
    model = tiny(ProCapForPreTraining)
    masks = torch.zeros(4, 64, dtype=torch.bool)
    masks[:, 16:48] = True
    features = model.model.vision_tower(clips()).last_hidden_state
    hidden, shown = features.clone(), features.clone()
    hidden[:, 1:3] += 1
    shown[:, 3, 2] += torch.arange(16)
    frames = [model.model.embed_frames(one, masks) for one in (features, hidden, shown)]
    assert torch.equal(frames[0], frames[1])
    assert not torch.equal(frames[0], frames[2])


def test_frames_that_only_move_are_not_encoded_again():
    model = tiny(ProCapForPreTraining)
    generator = torch.Generator().manual_seed(model.config.mask_seed)
    masks = draw_masks(model.config, 4, generator)
    corruption = draw_corruptions(model.config, clips(), generator)
    assert 0 < len(corruption.frames) < 4
    given = run_stage_1(model, patch_mask=masks, corrupted_pixel_values=corruption.apply(clips(), corruption.frames))
    drawn = run_stage_1(model, patch_mask=None, corrupted_pixel_values=None)
    torch.testing.assert_close(drawn.corrupted_csy_logits, given.corrupted_csy_logits, **CLOSE)
    torch.testing.assert_close(drawn.loss, given.loss, **CLOSE)


def test_evaluation_repeats_and_training_follows_torch():
    model = tiny(ProCapForPreTraining)
    ids, mask = captions()
    first, again = (model(ids, clips(), mask, labels=ids) for _ in range(2))
    assert torch.equal(first.loss, again.loss)
    model.train()
    masks = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        masks.append(model(ids, clips(), mask, labels=ids).patch_mask)
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])
    assert not torch.equal(model(ids, clips(), mask, labels=ids).patch_mask, masks[2])


def test_an_odd_batch_is_refused_in_training():
    model = tiny(ProCapForPreTraining)
    ids, mask = captions(3)
    assert model.swapped_rows(3).tolist() == [1, 2, 0]
    assert model(ids, clips(3), mask, labels=ids).loss.isfinite()
    # A clip alone has no other caption.
    alone = model(ids[:1], clips(1), mask[:1], labels=ids[:1])
    assert alone.loss_parts["align"].item() == pytest.approx(0.5 * F.softplus(-alone.align_logits).item(), rel=1e-4)
    model.train()
    with pytest.raises(ValueError, match=r"3 clips cannot be halved.*per_device_train_batch_size"):
        model(ids, clips(3), mask, labels=ids)


def test_nothing_is_hidden_where_no_loss_is_wanted():
    model = tiny(ProCapForPreTraining)
    outputs = model(captions()[0], clips(), captions()[1])
    assert outputs.loss is None
    assert outputs.patch_mask is None
    with pytest.raises(ValueError, match="captions_per_pair"):
        model(captions()[0], clips(), torch.zeros(4, 1, 7, 7))
    with pytest.raises(ValueError, match="clips of 4 frames"):
        model(captions()[0], pairs(), captions()[1])
    with pytest.raises(ValueError, match=r"grid of \(2, 2\) codes"):
        model(captions()[0], clips()[..., :16, :16], captions()[1])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_the_caption_loss_is_a_divergence_from_smoothed_words(smoothing, reduction):
    logits = torch.randn(3, 6, 11, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(0, 11, (3, 6), generator=torch.Generator().manual_seed(1))
    labels[1, 3:] = -100
    targets, kept = labels[:, 1:], labels[:, 1:] != -100
    smoothed = torch.full((int(kept.sum()), 11), smoothing / 10)
    smoothed.scatter_(1, targets[kept].unsqueeze(1), 1 - smoothing)
    expected = F.kl_div(logits[:, :-1][kept].log_softmax(-1), smoothed, reduction="sum")
    options = {"label_smoothing": smoothing, "reduction": reduction}
    expected = expected / (kept.sum() if reduction == "mean" else 1)
    torch.testing.assert_close(smoothed_divergence(logits, labels, **options), expected)
    shifted = F.pad(targets, (0, 1), value=-100)
    torch.testing.assert_close(smoothed_divergence(logits, None, shift_labels=shifted, **options), expected)
    if reduction == "mean":
        halved = smoothed_divergence(logits, labels, num_items_in_batch=2 * kept.sum(), **options)
        torch.testing.assert_close(2 * halved, expected)


def test_stage_2_starts_as_the_function_that_stage_1_has_learned(tmp_path):
    """With an empty caption, both frames between the images hidden, and nobody looking at [ALI]."""
    stage_1 = tiny(ProCapForPreTraining)
    torch.nn.init.normal_(stage_1.model.encoder.mask_embedding)
    stage_1.save_pretrained(tmp_path)
    encoder = stage_1.model.encoder
    features = stage_1.model.vision_tower(clips()).last_hidden_state
    masks = torch.zeros(4, 4, 16, dtype=torch.bool)
    masks[:, 1:3] = True
    frames = stage_1.model.embed_frames(features, masks.flatten(1))
    special = encoder.special_embeddings.expand(4, -1, -1)
    text = (encoder.text.padding_embeddings + encoder.text.position_embeddings).expand(4, -1, -1)
    sequence = torch.cat([special[:, :1], text, special[:, 1:], frames], 1)
    blind = encoder.attention_mask(True, sequence).clone()
    blind[..., 1:, 0] = torch.finfo(torch.float32).min
    expected = encoder.transformer(sequence, blind).last_hidden_state[:, -64:]
    for options in ({}, {"shared_queries": True}):
        model, report = ProCapForConditionalGeneration.from_pretrained(tmp_path, output_loading_info=True, **options)
        assert not report["unexpected_keys"]
        new = ("model.decoder.", "model.memory.", "model.query_embeddings", "lm_head.")
        assert all(name.startswith(new) for name in report["missing_keys"])
        states = model.get_image_features(pairs()).last_hidden_state
        torch.testing.assert_close(states, expected, **CLOSE)
    # The released slips make another function of the same weights.
    for slip in ({"text_slots": "first_words"}, {"shifted_attention_mask": True}, {"rescale_vq_input": False}):
        model = ProCapForConditionalGeneration.from_pretrained(tmp_path, **slip)
        states = model.get_image_features(pairs()).last_hidden_state
        assert (states - expected).abs().max() > 1e-3, slip


def test_every_place_between_the_images_learns_a_query_of_its_own():
    model = tiny(ProCapForConditionalGeneration).train()
    ids, mask = captions()
    model(ids, pairs(), mask, labels=ids).loss.backward()
    gradients = model.model.query_embeddings.grad.flatten(0, 1)
    assert gradients.shape == (32, 32)
    assert len({tuple(row) for row in gradients.tolist()}) == 32
    torch.testing.assert_close(gradients.sum(0), model.model.encoder.mask_embedding.grad, **CLOSE)
    assert tiny(ProCapForConditionalGeneration, shared_queries=True).model.query_embeddings is None


def test_scores_are_divided_by_the_width_of_a_head():
    for option, divisor in (({}, 8), ({"scale_by_hidden_size": True}, 32)):
        layer = tiny(ProCapForConditionalGeneration, **option).model.decoder.layers[1]
        for attention in (layer.self_attn, layer.encoder_attn):
            assert attention.scaling == pytest.approx(divisor**-0.5)
            assert attention.q_proj.bias is None
            assert attention.out_proj.bias is None


def test_the_image_tokenizer_never_learns(tmp_path):
    tiny(ProCapForConditionalGeneration).save_pretrained(tmp_path)
    model = ProCapForConditionalGeneration.from_pretrained(tmp_path).train()
    ids, mask = captions()
    model(ids, pairs(), mask, labels=ids).loss.backward()
    tower = model.get_vision_encoder()
    assert not tower.tokenizer.training
    assert all(parameter.grad is None for parameter in tower.parameters())
    rest = [name for name, one in model.named_parameters() if "vision_tower" not in name and one.grad is None]
    assert rest == []


def test_codes_are_the_nearest_entries_of_pixels_between_minus_1_and_1():
    for rescales in (True, False):
        model = tiny(ProCapForPreTraining, rescale_vq_input=rescales)
        tower = model.model.vision_tower
        features, codes = tower.encode(clips())
        pixels = clips().flatten(0, 1)
        latents = tower.tokenizer.quant_conv(tower.tokenizer.encoder(pixels)).flatten(2).transpose(1, 2)
        distances = torch.cdist(latents, tower.tokenizer.quantize.embedding.weight)
        assert torch.equal(codes.view(16, 16), distances.argmin(-1))
        read = pixels if rescales else (pixels + 1) / 2
        expected = tower.tokenizer.encoder(read).flatten(2).transpose(1, 2)
        torch.testing.assert_close(features.flatten(0, 1), expected, atol=1e-4, rtol=1e-4)


def test_features_computed_before_take_the_images_place():
    model = tiny(ProCapForConditionalGeneration)
    ids, mask = captions()
    features = model.get_vision_encoder()(pairs()).last_hidden_state
    assert features.shape == (4, 2, 16, 16)
    logits = model(ids, pairs(), mask).logits
    torch.testing.assert_close(model(ids, attention_mask=mask, vision_features=features).logits, logits)
    written = [
        model.generate(input_ids=ids[:, :1], max_new_tokens=6, num_beams=3, **images)
        for images in ({"pixel_values": pairs()}, {"vision_features": features})
    ]
    assert torch.equal(*written)
    with pytest.raises(ValueError, match="either"):
        model(ids, pairs(), vision_features=features)
    with pytest.raises(ValueError, match="pairs"):
        model(ids, clips())


def test_cached_steps_are_those_of_the_whole_text():
    model = tiny(ProCapForConditionalGeneration)
    ids = captions()[0][:1, :7]
    whole = model(ids, pairs(1)).logits
    first = model(ids[:, :3], pairs(1), use_cache=True)
    cache = first.get("cache", first.get("past_key_values"))
    rest = model(ids[:, 3:], mm_encoder_outputs={"image": model.get_image_features(pairs(1))}, cache=cache)
    torch.testing.assert_close(torch.cat([first.logits, rest.logits], 1), whole, **CLOSE)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"text_slots": "none"}, "text_slots"),
        ({"loss_reduction": "max"}, "loss_reduction"),
        ({"num_frames": 2}, "num_frames"),
        ({"hidden_size": 30}, "hidden_size"),
        ({"mask_strategy_weights": [1.0]}, "mask_strategy_weights"),
        ({"corruption_weights": [0.0, 0.0, 0.0, 0.0]}, "corruption_weights"),
        ({"vq_config": {"resolution": 100}}, "resolution"),
    ],
)
def test_values_that_make_no_model_are_refused(fields, named):
    with pytest.raises(Exception, match=named):
        tiny_config(**fields)


def steps(model, number, run):
    """Train, and return the losses of the first and the last step."""
    optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=3e-3)
    model.train()
    losses = []
    for step in range(number):
        loss = run(step)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    model.eval()
    return losses[0], losses[-1]


def test_stage_2_learns_what_it_is_told():
    model = tiny(ProCapForConditionalGeneration, dropout=0.0, attention_dropout=0.0)
    ids, mask = captions()
    labels = ids.masked_fill(mask == 0, -100)
    features = model.get_vision_encoder()(pairs()).last_hidden_state
    steps(model, 160, lambda _: model(ids, None, mask, labels=labels, vision_features=features).loss)
    written = model.generate(
        input_ids=ids[:, :1], pixel_values=pairs(), max_new_tokens=6, eos_token_id=END, pad_token_id=0
    )
    assert torch.equal(written, ids)


def test_stage_1_learns_what_it_hides():
    model = tiny(ProCapForPreTraining, mask_strategy_weights=[1.0, 0.0, 0.0, 0.0], align_weight=0.0, csy_weight=0.0)
    ids, mask = captions(2)

    def run(step):
        torch.manual_seed(step % 2)
        return model(ids, clips(2), mask, labels=ids).loss

    first, last = steps(model, 80, run)
    assert last < first / 3


@pytest.mark.parametrize("model_class", BOTH)
def test_half_precision_gives_numbers(model_class):
    model = tiny(model_class).train()
    ids, mask = captions()
    images = clips() if model_class is ProCapForPreTraining else pairs()
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(ids, images, mask, labels=ids).loss
    loss.backward()
    assert loss.isfinite()
    assert all(one.grad.isfinite().all() for one in model.parameters() if one.grad is not None)
    low = tiny(model_class).to(torch.bfloat16)
    assert low(ids, images.to(torch.bfloat16), mask, labels=ids).loss.isfinite()
