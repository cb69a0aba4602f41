# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Two images make a pair, however they are given."""

import numpy as np
import pytest
import torch
from PIL import Image

from ssgpa.image_utils_ssgpa import concatenate, pair_up


PIXELS = np.random.default_rng(0).integers(0, 256, (12, 17, 3), dtype=np.uint8)


def test_pairs_come_alone_in_lists_and_flat():
    names = ["a.png", "b.png", "c.png", "d.png"]
    pairs = [("a.png", "b.png"), ("c.png", "d.png")]
    assert pair_up(names[:2]) == pair_up(tuple(names[:2])) == pairs[:1]
    assert pair_up(names) == pair_up(pairs) == pair_up([list(pair) for pair in pairs]) == pairs
    assert pair_up([[pairs[0]], [pairs[1]]]) == pair_up([pairs, [pairs[0]]])[:2] == pairs
    arrays = np.stack([PIXELS] * 6).reshape(3, 2, *PIXELS.shape)
    assert len(pair_up(arrays)) == len(pair_up(list(arrays))) == len(pair_up(torch.from_numpy(arrays))) == 3
    assert len(pair_up(arrays[0])) == 1


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        ("a.png", "One image was given"),
        (PIXELS, "One image was given"),
        (None, "One image was given"),
        ([], "No images were given"),
        (["a.png"], r"1 image\(s\) were given"),
        (["a.png", "b.png", "c.png"], r"3 image\(s\) were given"),
        ([["a.png", "b.png"], ["c.png"]], r"Pair 1 has 1 image"),
        ([["a.png", "b.png"], ["a.png", "b.png", "c.png"]], r"Pair 1 has 3 image"),
        ([["a.png", "b.png"], "c.png"], r"Pair 1 has 1 image"),
        ([["a.png", "b.png"], []], r"Pair 1 has 0 image"),
    ],
)
def test_incomplete_pairs_are_refused_by_number(images, reason):
    with pytest.raises(ValueError, match=reason):
        pair_up(images)


@pytest.mark.parametrize("layout", ["vertical", "horizontal"])
def test_concatenation_resizes_the_second_to_the_first(layout):
    before, after = Image.fromarray(PIXELS), Image.new("RGB", (40, 30), "navy")
    joined = np.asarray(concatenate(before, after, layout))
    axis = 0 if layout == "vertical" else 1
    first, second = np.split(joined, 2, axis)
    np.testing.assert_array_equal(first, PIXELS)
    assert (second == (0, 0, 128)).all()
    both = np.asarray(concatenate(before, before, layout))
    np.testing.assert_array_equal(both, np.concatenate([PIXELS, PIXELS], axis))
