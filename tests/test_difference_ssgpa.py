# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The difference without a model: what was changed is found wherever the camera went, and nothing else."""

from pathlib import Path

import gradio
import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageEnhance

from ssgpa.difference_ssgpa import NOTHING, PLACE, TOO_MUCH, ImageDifference, difference, same_pixels
from ssgpa.registration_ssgpa import corners_moved, register, warp


PHOTOGRAPHS = {
    "cheetah": Path(gradio.__file__).parent / "media_assets/images/cheetah.jpg",
    "portrait": Path(matplotlib.__file__).parent / "mpl-data/sample_data/grace_hopper.jpg",
    "tower": Path(gradio.__file__).parent / "media_assets/images/tower.jpg",
}
SIZE = (320, 240)


@pytest.fixture(params=list(PHOTOGRAPHS))
def photograph(request):
    """A photograph with a margin for cameras, a tenth of the view on every side."""
    with Image.open(PHOTOGRAPHS[request.param]) as image:
        return image.convert("RGB").resize((384, 288), Image.Resampling.BICUBIC)


def seen(image, left=32, top=24, turn=0.0, size=SIZE):
    """The view of a camera."""
    turned = image.rotate(turn, Image.Resampling.BICUBIC)
    return turned.crop((left, top, left + size[0], top + size[1]))


def with_spot(image, center, radius=24, color=(220, 30, 200)):
    changed = image.copy()
    x, y = center[0] * SIZE[0] + 32, center[1] * SIZE[1] + 24
    ImageDraw.Draw(changed).ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)
    return changed


def test_equal_images_are_told_from_nearly_equal_ones(photograph):
    again = photograph.copy()
    assert same_pixels(photograph, again)
    assert difference(photograph, again).identical
    again.putpixel((5, 5), tuple(255 - value for value in again.getpixel((5, 5))))
    assert not same_pixels(photograph, again)
    found = difference(photograph, again)
    assert (found.kind, found.identical) == (NOTHING, False)
    assert not same_pixels(photograph, photograph.resize((100, 75)))


@pytest.mark.parametrize(("left", "top", "turn"), [(32, 24, 0.0), (38, 20, 0.0), (26, 30, 1.5), (20, 24, -2.0)])
def test_nothing_differs_where_only_the_camera_and_the_light_did(photograph, left, top, turn):
    after = ImageEnhance.Brightness(seen(photograph, left, top, turn)).enhance(0.8)
    found = difference(seen(photograph), after)
    assert found.kind == NOTHING
    assert found.brightness == pytest.approx(0.8, abs=0.05)
    assert "darker" in found.sentence
    assert found.view_changed == ((left, top, turn) != (32, 24, 0.0))


@pytest.mark.parametrize(("center", "cell"), [((0.15, 0.2), (0, 0)), ((0.5, 0.5), (1, 1)), ((0.85, 0.75), (2, 2))])
@pytest.mark.parametrize("turn", [0.0, 1.5])
def test_a_spot_is_found_where_it_is(photograph, center, cell, turn):
    before, after = seen(photograph), seen(with_spot(photograph, center), 36, 22, turn)
    found = difference(before, after)
    assert (found.kind, found.cell) == (PLACE, cell)
    # The radius of 24 pixels, and the cells' borders.
    expected = [center[0] * 320 - 24, center[1] * 240 - 24, center[0] * 320 + 24, center[1] * 240 + 24]
    assert np.abs(np.array(found.box_before) - expected).max() <= 12
    assert found.share == pytest.approx(np.pi * 24**2 / (320 * 240), rel=0.4)
    # In the image after, the box is where the camera shows the spot.
    pixels = np.array(after).astype(int)
    rows, columns = np.nonzero(np.abs(pixels - (220, 30, 200)).max(-1) < 12)
    assert np.abs(np.array(found.box_after) - [columns.min(), rows.min(), columns.max(), rows.max()]).max() <= 12


def test_the_words_of_a_place(photograph):
    found = difference(seen(photograph), seen(with_spot(photograph, (0.15, 0.2))))
    assert (found.where, found.size) == ("top left", "medium-sized")
    assert found.sentence == "Something medium-sized differs at the top left of the image, about 3 % of it."
    assert found.as_dict()["sentence"] == found.sentence


def test_two_places_are_two():
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(60, 200, (24, 32, 3), dtype=np.uint8)).resize((384, 288))
    after = with_spot(with_spot(image, (0.2, 0.2), 30), (0.8, 0.8), 20)
    found = difference(seen(image), seen(after))
    # The larger one is told.
    assert (found.places, found.cell) == (2, (0, 0))
    assert "at 1 more place" in found.sentence


def test_another_scene_is_too_much():
    images = [Image.open(path).convert("RGB").resize(SIZE) for path in PHOTOGRAPHS.values()]
    for before, after in zip(images, images[1:] + images[:1], strict=True):
        found = difference(before, after)
        assert (found.kind, found.cell, found.box_before) == (TOO_MUCH, None, None)
        assert found.sentence.startswith("Too much differs to say where")


def test_images_of_other_sizes_and_colors_are_compared(photograph):
    before = seen(photograph)
    found = difference(before, seen(with_spot(photograph, (0.15, 0.2))).resize((200, 150), Image.Resampling.LANCZOS))
    assert (found.kind, found.cell) == (PLACE, (0, 0))
    assert max(found.box_after) <= 200


@pytest.mark.parametrize("color", [0, 128, 255])
def test_images_of_one_color_are_no_trouble(color):
    plain = Image.new("RGB", (64, 48), (color,) * 3)
    assert difference(plain, plain.copy()).identical
    other = plain.copy()
    ImageDraw.Draw(other).rectangle((20, 16, 40, 30), fill=(255 - color, 40, 90))
    found = difference(plain, other)
    assert (found.kind, found.cell) == (PLACE, (1, 1))


def test_the_view_is_the_one_that_was_applied(photograph):
    pixels = torch.from_numpy(np.array(photograph.resize((256, 192)))).permute(2, 0, 1).float() / 255
    truth = torch.tensor([[1.03, -0.02, 0.05], [0.025, 1.02, -0.04], [0.01, -0.02, 1.0]])
    shown, _ = warp(pixels, truth)
    found = register(shown, pixels)
    # In pixels, at the corners.
    corners = torch.tensor([[x, y, 1.0] for x in (-0.9, 0.9) for y in (-0.9, 0.9)])
    theirs, ours = (places[:, :2] / places[:, 2:] for places in (corners @ truth.T, corners @ found.view.T))
    assert ((theirs - ours).norm(dim=1) * 128).max() < 1.5
    assert corners_moved(truth) > 0.02


def test_a_place_has_words_for_every_cell():
    words = set()
    for row in range(3):
        for column in range(3):
            found = ImageDifference(PLACE, (row, column), (0, 0, 1, 1), (0, 0, 1, 1), 0.3, 1, False, 1.0)
            assert found.size == "large"
            words.add(found.where)
    assert len(words) == 9
    assert {"center", "top left", "middle right"} <= words
