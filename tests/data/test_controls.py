# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Controls are one image under alterations too mild to be told: how far values, hues and places move."""

import colorsys
import io
import math
from dataclasses import fields, replace

import numpy as np
import pytest
from PIL import Image

from ssgpa.data.controls import HarmlessChanges


NAMES = [item.name for item in fields(HarmlessChanges)]
NONE = HarmlessChanges(**dict.fromkeys(NAMES, 0.0))
ALWAYS = HarmlessChanges(**dict.fromkeys(NAMES, 1.0))
SEEDS = range(60)
# Named colors of objects, among them such whose name depends on brightness (brown, gray).
COLORS = ((173, 35, 35), (29, 105, 20), (42, 75, 215), (129, 74, 25), (41, 208, 208), (255, 238, 51), (129, 38, 192))


@pytest.fixture(scope="module")
def image():
    """A smooth image of 96 x 144 with a small sharp object, (3, height, width)."""
    coarse = np.random.default_rng(0).integers(20, 230, (6, 9, 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((144, 96), Image.Resampling.BICUBIC)
    image = np.ascontiguousarray(np.asarray(smooth).transpose(2, 0, 1))
    image[:, 20:28, 20:28] = np.array(COLORS[0])[:, None, None]
    return image


def made(image, seed=0, changes=None, **probabilities):
    return (changes or replace(NONE, **probabilities))((image, image), np.random.default_rng(seed))


def psnr(one, other):
    """Peak signal-to-noise ratio, in dB."""
    error = np.square(one.astype(float) - other).mean()
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def test_without_alterations_the_two_are_the_image(image):
    for seed in SEEDS:
        assert all(np.array_equal(found, image) for found in made(image, seed))


@pytest.mark.parametrize("shape", [(3, 96, 144), (3, 33, 20), (3, 8, 8)])
def test_shape_and_dtype_stay_and_the_image_is_left_alone(shape):
    image = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    original = image.copy()
    image.setflags(write=False)
    for seed in SEEDS:
        for found in made(image, seed, ALWAYS):
            assert (found.shape, found.dtype) == (shape, np.uint8)
            assert found.flags.c_contiguous
    assert np.array_equal(image, original)


def test_the_generator_decides_everything(image):
    pairs = [made(image, seed, HarmlessChanges()) for seed in SEEDS]
    for seed, pair in zip(SEEDS, pairs, strict=True):
        assert all(np.array_equal(*both) for both in zip(pair, made(image, seed, HarmlessChanges()), strict=True))
    assert len({np.stack(pair).tobytes() for pair in pairs}) > 0.9 * len(SEEDS)


def test_one_or_both_are_altered(image):
    altered = [tuple(not np.array_equal(found, image) for found in made(image, seed, ALWAYS)) for seed in range(300)]
    for which in ((True, False), (False, True), (True, True)):
        # A third each; six standard deviations.
        assert abs(altered.count(which) - 100) < 50
    assert altered.count((False, False)) == 0


# Lower bounds in dB: an error of 8 % everywhere is 22 dB, one of 3 levels 38.6.
@pytest.mark.parametrize(
    ("names", "bound"), [(["exposure"], 20), (["blur"], 35), (["jpeg"], 33), (["noise"], 38), (NAMES[:-1], 20)]
)
def test_both_stay_near_the_image(image, names, bound):
    ratios = []
    for seed in SEEDS:
        for found in made(image, seed, **dict.fromkeys(names, 1.0)):
            ratios.append(psnr(found, image))
            assert ratios[-1] > bound
    assert min(ratios) < math.inf


def test_another_image_is_farther_off_than_a_control(image):
    """The bounds above can be missed."""
    other = np.roll(image, 40, axis=2)
    assert psnr(other, image) < 15
    changed = image.copy()
    changed[:, 30:60, 50:80] = 0
    assert psnr(changed, image) < 20


@pytest.mark.parametrize("color", COLORS)
def test_a_flat_object_keeps_its_hue_and_nearly_its_brightness(color):
    image = np.full((3, 96, 144), 120, dtype=np.uint8)
    image[:, 24:72, 40:100] = np.array(color)[:, None, None]
    hue, saturation, value = colorsys.rgb_to_hsv(*(part / 255 for part in color))
    for seed in SEEDS:
        for found in made(image, seed, ALWAYS):
            # Inside of what blur and motion reach.
            mean = found[:, 34:62, 50:90].mean(axis=(1, 2)) / 255
            own_hue, own_saturation, own_value = colorsys.rgb_to_hsv(*mean)
            turned = abs(own_hue - hue)
            assert min(turned, 1 - turned) * 360 < 2
            assert abs(own_saturation - saturation) < 0.03
            assert abs(own_value - value) < 0.13
            # The gray around stays gray.
            around = found[:, :12].mean(axis=(1, 2))
            assert np.ptp(around) < 2


def test_exposure_keeps_hue_and_saturation_of_every_pixel_and_their_order(image):
    for seed in SEEDS:
        for found in made(image, seed, exposure=1.0):
            before, after = image.max(0).astype(int), found.max(0).astype(int)
            levels = sorted({*zip(before.ravel().tolist(), after.ravel().tolist(), strict=True)})
            # One curve for all pixels, which never falls.
            assert len(levels) == len({level for level, _ in levels})
            assert all(np.diff([level for _, level in levels]) >= 0)
            # In proportion, up to rounding.
            wanted = image * (after / np.maximum(before, 1))
            assert np.abs(wanted - found).max() < 1.01
    black, white = np.zeros((3, 8, 8), np.uint8), np.full((3, 8, 8), 255, np.uint8)
    for seed in SEEDS:
        for dark, light in zip(made(black, seed, exposure=1.0), made(white, seed, exposure=1.0), strict=True):
            assert dark.max() == 0
            assert light.min() >= 0.92 * 255 - 1


def test_the_camera_moves_little(image):
    """Squares near the corners are where they were, but for a few percent."""
    height, width = 200, 300
    centers = [(20, 30), (20, 270), (180, 30), (180, 270), (100, 150)]
    scene = np.zeros((3, height, width), dtype=np.uint8)
    for y, x in centers:
        scene[:, y - 5 : y + 5, x - 5 : x + 5] = 255
    moved = []
    for seed in SEEDS:
        for found in made(scene, seed, motion=1.0):
            for y, x in centers:
                window = found[0, max(y - 20, 0) : y + 20, max(x - 20, 0) : x + 20].astype(float)
                rows, columns = np.indices(window.shape)
                # Pixels' centers lie half a pixel behind their numbers.
                place = np.array([(rows * window).sum(), (columns * window).sum()]) / window.sum() + 0.5
                start = np.array([max(y - 20, 0), max(x - 20, 0)])
                moved.append(start + place - (y, x))
    moved = np.abs(moved) / (height, width)
    # Shift and zoom by 2 % each of the half side, and a turn by 1 degree, which moves what is far off more.
    assert (moved.max(axis=0) < (0.02 + 0.01 + 0.03, 0.02 + 0.01 + 0.02)).all()
    assert (moved.max(axis=0) > 0.015).all()
    # What comes in at the edges is drawn out: there is no black frame.
    plain = np.full((3, 64, 96), 130, dtype=np.uint8)
    assert all((found == 130).all() for seed in SEEDS for found in made(plain, seed, motion=1.0))


def test_compression_is_that_of_pillow_at_qualities_of_60_to_95(image):
    found = next(one for one in made(image, 3, jpeg=1.0) if not np.array_equal(one, image))
    matches = 0
    for quality in range(60, 96):
        file = io.BytesIO()
        Image.fromarray(image.transpose(1, 2, 0)).save(file, format="JPEG", quality=quality, subsampling=0)
        matches += np.array_equal(np.asarray(Image.open(file)).transpose(2, 0, 1), found)
    assert matches >= 1


def test_noise_has_the_strength_that_is_told():
    image = np.full((3, 96, 144), 128, dtype=np.uint8)
    strengths = [found.std() for seed in SEEDS for found in made(image, seed, noise=1.0) if found is not image]
    # Rounding adds the variance of a level, 1 / 12.
    assert min(strengths) > 0.5
    assert max(strengths) < math.hypot(3.0, math.sqrt(1 / 12)) * 1.02
    assert max(strengths) - min(strengths) > 1.5


def test_probabilities_are_kept_and_checked(image):
    touched = sum(not np.array_equal(made(image, seed, noise=0.3)[0], image) for seed in range(300))
    # Two thirds of the images before are altered, of which 30 %.
    assert 35 < touched < 85
    for name in NAMES:
        for wrong in (-0.1, 1.1, math.nan):
            with pytest.raises(ValueError, match=f"probability of {name} must be 0 to 1"):
                HarmlessChanges(**{name: wrong})
