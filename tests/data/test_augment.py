# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Augmentation leaves the answer as it is: what is refused, and what becomes of both images."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from ssgpa.data.augment import REFUSED, PairAugmentation


@pytest.fixture(scope="module")
def pair():
    """Two different images of 48 x 72 with a colored block in each corner."""
    generator = np.random.default_rng(0)
    images = []
    for _ in range(2):
        coarse = Image.fromarray(generator.integers(90, 160, (6, 9, 3), dtype=np.uint8))
        image = np.asarray(coarse.resize((72, 48), Image.Resampling.BICUBIC)).copy()
        image[:6, :6], image[:6, -6:], image[-6:, :6], image[-6:, -6:] = CORNERS
        images.append(image.transpose(2, 0, 1))
    return tuple(images)


CORNERS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0))


def altered(pair, seed=0, **probabilities):
    return PairAugmentation(**probabilities)(pair, np.random.default_rng(seed))


def is_same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def near(image, color):
    """Where an image has about this color."""
    return np.abs(image.astype(int) - np.array(color)[:, None, None]).max(axis=0) < 60


def test_nothing_asked_for_changes_nothing(pair):
    assert is_same(altered(pair), pair)


def test_the_same_generator_gives_the_same_images(pair):
    everything = {"blur": 0.5, "jpeg": 0.5, "warp": 0.5, "flip": 0.5}
    originals = tuple(image.copy() for image in pair)
    results = [altered(pair, seed, **everything) for seed in range(12)]
    assert all(is_same(altered(pair, seed, **everything), results[seed]) for seed in range(12))
    assert sum(not is_same(results[0], other) for other in results) >= 10
    assert is_same(pair, originals)
    assert all(image.shape == (3, 48, 72) and image.dtype == np.uint8 for found in results for image in found)


def test_both_images_get_the_same_warp(pair):
    for seed in range(8):
        one, other = altered((pair[0], pair[0]), seed, warp=1.0)
        assert np.array_equal(one, other)
        assert not np.array_equal(one, pair[0])
        # The second image does not decide about the first.
        assert np.array_equal(altered(pair, seed, warp=1.0)[0], one)
        assert np.array_equal(altered(pair[::-1], seed, warp=1.0)[1], one)


def test_a_warp_cuts_nothing_off_and_moves_little(pair):
    width, height = 72, 48
    places = [(0, 0), (width, 0), (0, height), (width, height)]
    for seed in range(20):
        for image in altered(pair, seed, warp=1.0):
            for color, (x, y) in zip(CORNERS, places, strict=True):
                rows, columns = np.nonzero(near(image, color))
                # Six pixels at the corner, drawn out to the edge, or moved inwards by 8 % at most.
                assert rows.size >= 16
                assert np.abs(columns - x).min() <= 1
                assert np.abs(rows - y).min() <= 1
                assert np.abs(columns - x).max() <= 6 + 0.1 * width
                assert np.abs(rows - y).max() <= 6 + 0.1 * height


def test_a_flip_mirrors_both(pair):
    assert is_same(altered(pair, flip=1.0), tuple(image[:, :, ::-1] for image in pair))


def test_blur_and_compression_draw_for_each_image_alone(pair):
    def step(image):
        return np.abs(np.diff(image.astype(int), axis=2)).sum()

    touched = set()
    for seed in range(40):
        for name in ("blur", "jpeg"):
            found = altered(pair, seed, **{name: 0.5})
            touched.add((name, *(not np.array_equal(a, b) for a, b in zip(found, pair, strict=True))))
            for before, after in zip(pair, found, strict=True):
                assert np.abs(before.mean(axis=(1, 2)) - after.mean(axis=(1, 2))).max() < 2.5
                assert name == "jpeg" or step(after) <= step(before)
    assert len(touched) == 8


def test_compression_is_that_of_pillow(pair):
    found = altered(pair, 3, jpeg=1.0)[0]
    matches = []
    for quality in range(40, 96):
        file = io.BytesIO()
        Image.fromarray(pair[0].transpose(1, 2, 0)).save(file, format="JPEG", quality=quality)
        matches.append(np.array_equal(np.asarray(Image.open(file)).transpose(2, 0, 1), found))
    assert sum(matches) >= 1


def test_probabilities_are_kept(pair):
    flips = sum(not np.array_equal(altered(pair, seed, flip=0.3)[0], pair[0]) for seed in range(300))
    assert 60 < flips < 120


def test_what_would_change_the_answer_is_refused_with_the_reason():
    assert PairAugmentation.parse(["blur=0.3", "warp=1"]) == PairAugmentation(blur=0.3, warp=1.0)
    for name, reason in REFUSED.items():
        with pytest.raises(ValueError, match=f"{name} would change the answer: {reason[:20]}"):
            PairAugmentation.parse(["blur=0.3", f"{name}=0.5"])
    assert {"crop", "color_jitter", "rotate", "flip_vertical"} == set(REFUSED)


@pytest.mark.parametrize("items", [["noise=0.1"], ["blur=0.1", "blur=0.2"], ["blur"], ["blur=often"], ["blur=1.5"]])
def test_bad_entries_are_named(items):
    with pytest.raises(ValueError, match=r"^augment: .*(noise|blur)"):
        PairAugmentation.parse(items)


@pytest.mark.parametrize("word", ["left", "Right", "leftmost", "right-hand", "east", "Clockwise", "text", "written"])
def test_a_flip_is_refused_where_a_caption_names_a_side(word):
    captions = [
        ("000000.png", ["the cube moved", "nothing"]),
        ("000001.png", ["a ball is gone", f"the {word} one moved"]),
    ]
    with pytest.raises(ValueError, match=rf"'000001.png' has 'the {word} one moved'"):
        PairAugmentation(flip=0.5).check_captions(captions)
    PairAugmentation(flip=0.5).check_captions(captions[:1])
    PairAugmentation(warp=0.5, blur=1.0).check_captions(captions)
    PairAugmentation(flip=0.5).check_captions([("0", ["the bright white ball behind the cube is gone"])])


def test_a_slight_blur_is_the_gaussian_of_three_pixels_on_both_images(pair):
    """Against a convolution by torch, whose standard deviation is found in the published range."""
    blurred = altered(pair, seed=1, slight_blur=1.0)
    draws = np.random.default_rng(1)
    # Whether there is a warp, a flip and this blur.
    draws.random(3)
    sigma = draws.uniform(0.1, 0.5)
    line = torch.exp(-0.5 * (torch.tensor([-1.0, 0.0, 1.0]) / sigma) ** 2)
    kernel = torch.outer(line, line) / line.sum() ** 2
    for image, found in zip(pair, blurred, strict=True):
        values = torch.nn.functional.pad(torch.from_numpy(image).float()[:, None], (1, 1, 1, 1), mode="reflect")
        wanted = torch.nn.functional.conv2d(values, kernel[None, None])[:, 0]
        assert np.abs(found - wanted.numpy()).max() <= 0.5 + 1e-3
        assert not np.array_equal(found, image)
    assert is_same(altered(pair, slight_blur=0.0, jpeg=1.0), altered(pair, jpeg=1.0))
