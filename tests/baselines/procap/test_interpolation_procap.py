# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Frames between two images, by a cross-fade or by what a run names."""

import numpy as np
import pytest
import torch

from ssgpa.baselines.procap.interpolation import CROSS_FADE, cross_fade, inner_frames, load_interpolator


HERE = __name__


def images(seed=0, size=(3, 4, 5)):
    rng = np.random.default_rng(seed)
    return tuple(rng.integers(0, 256, size, dtype=np.uint8) for _ in range(2))


def middle(before, after, count):
    """The frame in the middle alone, as networks give it."""
    return (before + after) / 2


class Brighter:
    """Has options and weights."""

    fingerprint = "abc"

    def __init__(self, by=0.0):
        self.by = by

    def __call__(self, before, after, count):
        return (cross_fade(before, after, count) + self.by).clamp(max=1)


NO_FUNCTION = 3


def test_a_cross_fade_goes_in_equal_steps():
    before, after = images()
    frames = inner_frames(cross_fade, before, after)
    assert frames.shape == (7, 3, 4, 5)
    assert frames.dtype == np.uint8
    for number, frame in enumerate(frames, 1):
        exact = ((8 - number) * before.astype(int) + number * after.astype(int)) / 8
        # Rounded once; a tie goes to the even level.
        assert np.abs(frame - exact).max() <= 0.5


def test_equal_images_stay_as_they_are():
    image = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    assert (inner_frames(cross_fade, image, image) == image).all()


def test_middle_frames_are_filled_in_from_one_to_three_to_seven():
    before, after = images(1)
    # A mean of means is the cross-fade.
    found, wanted = (inner_frames(one, before, after, 7).astype(int) for one in (middle, cross_fade))
    # Ties may go either way.
    assert np.abs(found - wanted).max() <= 1
    asked = []

    def recording(first, last, count):
        asked.append((first[0, 0, 0].item(), last[0, 0, 0].item(), count))
        return middle(first, last, count)

    inner_frames(recording, np.zeros((3, 1, 1), np.uint8), np.full((3, 1, 1), 255, np.uint8), 7)
    assert asked == [(0, 1, 7), (0, 0.5, 3), (0, 0.25, 1), (0.25, 0.5, 1), (0.5, 1, 3), (0.5, 0.75, 1), (0.75, 1, 1)]


@pytest.mark.parametrize(
    ("interpolator", "count", "named"),
    [
        (middle, 5, "1, 3, 7"),
        (lambda before, after, count: before[:1], 7, "the one in the middle"),
        (lambda before, after, count: before + 1.5, 1, r"outside \[0, 1\]"),
        (lambda before, after, count: before * float("nan"), 1, r"outside \[0, 1\]"),
        (cross_fade, 0, "1 frame"),
    ],
)
def test_what_gives_no_frames_is_refused(interpolator, count, named):
    with pytest.raises(ValueError, match=named):
        inner_frames(interpolator, *images(), count)


def test_images_of_two_sizes_do_not_fade():
    with pytest.raises(ValueError, match="shapes"):
        cross_fade(torch.zeros(3, 4, 5), torch.zeros(3, 5, 4))


def test_interpolators_are_named_by_class_path_options_and_weights():
    assert load_interpolator() == (cross_fade, CROSS_FADE)
    found, name = load_interpolator(f"{HERE}.Brighter", {"by": 0.25})
    assert name == f'{HERE}.Brighter {{"by": 0.25}} abc'
    black = np.zeros((3, 1, 1), np.uint8)
    assert (inner_frames(found, black, black, 2) == 64).all()
    assert load_interpolator(f"{HERE}.middle")[0] is middle


@pytest.mark.parametrize(
    ("path", "options", "named"),
    [
        ("no_such_module.Name", None, "no_such_module"),
        (f"{HERE}.nothing", None, "nothing"),
        ("short", None, "short"),
        (f"{HERE}.Brighter", {"darker": 1}, "darker"),
        (f"{HERE}.middle", {"by": 1}, "no options"),
        (f"{HERE}.NO_FUNCTION", None, "cannot be called"),
    ],
)
def test_what_is_no_interpolator_is_refused(path, options, named):
    with pytest.raises(ValueError, match=named):
        load_interpolator(path, options)
