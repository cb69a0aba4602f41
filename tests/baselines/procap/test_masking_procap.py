# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""What ProCap's first stage hides and corrupts: shares, shapes, and that it can be repeated."""

import pytest
import torch

from ssgpa.baselines.procap.masking_procap import draw_blocks, draw_corruptions, draw_masks, draw_order

from .cases import clips, tiny_config


PATCHES, EVERYTHING, INSIDE, OUTSIDE = range(4)


def only(kind):
    """Weights of one kind out of four."""
    return [float(kind == number) for number in range(4)]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def real_config(**fields):
    """14 x 14 patches, as published."""
    return tiny_config(vq_config={"resolution": 224}, **fields)


def test_random_patches_are_hidden_at_the_published_rate():
    masks = draw_masks(real_config(mask_strategy_weights=only(PATCHES)), 50, generator())
    assert masks.shape == (50, 784)
    assert masks.float().mean().item() == pytest.approx(0.8, abs=0.01)


def test_a_whole_clip_is_hidden():
    assert draw_masks(real_config(mask_strategy_weights=only(EVERYTHING)), 3, generator()).all()


def test_rectangles_are_the_same_in_all_frames_and_of_the_published_sizes():
    config = real_config(mask_strategy_weights=only(INSIDE))
    masks = draw_masks(config, 300, generator()).view(300, 4, 14, 14)
    assert (masks == masks[:, :1]).all()
    areas, aspects = [], []
    for mask in masks[:, 0]:
        rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
        height, width = (int(side.max() - side.min()) + 1 for side in (rows, columns))
        assert mask.sum() == height * width
        assert max(height, width) < 14
        areas.append(height * width / 196)
        aspects.append(height / width)
    # Sides are whole numbers of patches.
    assert 0.15 < min(areas) < 0.25
    assert 0.6 < max(areas) < 0.88
    assert 0.4 < min(aspects) < 0.6
    assert 1.7 < max(aspects) < 2.5
    outside = draw_masks(real_config(mask_strategy_weights=only(OUTSIDE)), 300, generator()).view(300, 4, 14, 14)
    assert torch.equal(outside, ~masks)


def test_a_rectangle_fits_into_the_smallest_grid():
    config = tiny_config(vq_config={"channel_multiplier": [1, 1], "resolution": 2})
    assert draw_blocks(config, 3, generator()).all()


def test_strategies_are_drawn_at_their_weights():
    masks = draw_masks(real_config(), 2_000, generator()).view(2_000, 4, 196)
    everything = masks.all(2).all(1)
    rectangle = (masks == masks[:, :1]).all(2).all(1) & ~everything
    assert everything.float().mean().item() == pytest.approx(0.1, abs=0.02)
    assert rectangle.float().mean().item() == pytest.approx(0.2, abs=0.03)


def test_draws_follow_the_generator():
    config = tiny_config()
    first, again, other = (draw_masks(config, 8, generator(seed)) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    first, again, other = (draw_corruptions(config, clips(8), generator(seed)) for seed in (3, 3, 4))
    assert torch.equal(first.sources, again.sources)
    assert torch.equal(first.frames, again.frames)
    assert not torch.equal(first.sources, other.sources)


def corrupted(kind, pixels, **fields):
    corruption = draw_corruptions(tiny_config(corruption_weights=only(kind), **fields), pixels, generator())
    return corruption, corruption.apply(pixels, corruption.frames)


def changed_frames(before, after):
    return (before != after).flatten(2).any(2)


def test_one_frame_comes_from_another_clip():
    pixels = clips(8)
    corruption, result = corrupted(0, pixels)
    assert len(corruption.frames) == 0
    assert (changed_frames(pixels, result).sum(1) == 1).all()
    for row, place in changed_frames(pixels, result).nonzero().tolist():
        sources = [other for other in range(8) if (pixels[other] == result[row, place]).flatten(1).all(1).any()]
        assert len(sources) == 1
        assert sources != [row]


def test_frames_in_another_order_are_never_in_their_own():
    pixels = clips(8)
    _, result = corrupted(1, pixels)
    assert (changed_frames(pixels, result).sum(1) >= 2).all()
    for before, after in zip(pixels, result, strict=True):
        assert sorted(before.sum((1, 2, 3)).tolist()) == sorted(after.sum((1, 2, 3)).tolist())
    orders = {tuple(draw_order(3, generator(seed)).tolist()) for seed in range(200)}
    assert len(orders) == 5
    assert (0, 1, 2) not in orders


def test_one_frame_changes_its_color():
    pixels = clips(40) / 2  # so that nothing is cut at the ends
    corruption, result = corrupted(2, pixels)
    assert len(corruption.frames) == 40
    assert (changed_frames(pixels, result).sum(1) == 1).all()
    channels = set()
    for row, place in changed_frames(pixels, result).nonzero().tolist():
        shift = result[row, place] - pixels[row, place]
        inside = result[row, place].abs() < 1
        moved = tuple(channel for channel in range(3) if shift[channel].abs().max() > 1e-6)
        channels.add(moved)
        values = torch.cat([shift[channel][inside[channel]] for channel in moved])
        torch.testing.assert_close(values, values[:1].expand_as(values), atol=1e-6, rtol=0)
    assert channels == {(0,), (1,), (2,), (0, 1, 2)}
    assert result.abs().max() <= 1


def test_one_frame_is_warped():
    pixels = clips(6)
    _, result = corrupted(3, pixels)
    assert (changed_frames(pixels, result).sum(1) == 1).all()
    # An even picture stays what it is, as its edges are reflected.
    even = torch.full_like(pixels, 0.25)
    torch.testing.assert_close(corrupted(3, even)[1], even)


def test_a_clip_alone_gets_no_frame_of_another():
    pixels = clips(1)
    _, result = corrupted(0, pixels)
    assert changed_frames(pixels, result).sum() >= 2


def test_what_is_known_of_frames_moves_with_them():
    pixels = clips(8)
    corruption = draw_corruptions(tiny_config(), pixels, generator(1))
    assert len(corruption.frames)
    expected = corruption.apply(pixels, corruption.frames).mean((3, 4))
    found = corruption.apply(pixels.mean((3, 4)), corruption.frames.mean((2, 3)))
    torch.testing.assert_close(found, expected)
