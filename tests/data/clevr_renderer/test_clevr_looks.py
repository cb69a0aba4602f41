# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Random looks: repeatable, apart from scenes and captions, within their ranges, with colors that can be told."""

import colorsys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from ssgpa.data.clevr_renderer import render_dataset
from ssgpa.data.clevr_renderer.caster.looks import (
    BLUR,
    CONTRAST,
    FLOOR,
    FLOOR_TINT,
    NOISE,
    NOMINAL,
    SURFACE_RANGES,
    Film,
    Look,
    Surfaces,
    random_look,
)
from ssgpa.data.clevr_renderer.caster.ray_caster import object_ids, render
from ssgpa.data.clevr_renderer.dataset.rendering import look_of
from ssgpa.data.clevr_renderer.dataset.triples import draw_triple
from ssgpa.data.clevr_renderer.scene.geometry import CAMERA, COLORS, LIGHTS
from ssgpa.data.clevr_renderer.scene.scenes import Scene, SceneObject, sample_scene


SIZE = (96, 64)


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_images_differ_and_nothing_else_does(rendered, small_settings, tmp_path):
    settings = replace(small_settings, random_look=1.0)
    looks = contents(render_dataset(tmp_path / "looks", settings, progress=False))
    plain = contents(rendered)
    assert looks.keys() == plain.keys()
    different = {name for name in looks if looks[name] != plain[name]}
    images = {name for name in looks if name.endswith(".png") and not name.startswith("object_masks")}
    assert different == {*images, "render_settings.json"}
    again = render_dataset(tmp_path / "again", settings, workers=2, progress=False)
    assert contents(again) == looks
    with pytest.raises(ValueError, match=r"random_look 1\.0 there, None here"):
        render_dataset(tmp_path / "looks", small_settings, progress=False)


def test_a_scene_has_one_look_and_another_scene_another(small_settings):
    settings = replace(small_settings, random_look=1.0)
    assert look_of(settings, 3) == look_of(settings, 3)
    assert look_of(settings, 3) != look_of(settings, 4)
    assert look_of(settings, 3) != look_of(replace(settings, seed=8), 3)
    assert look_of(small_settings, 3) == NOMINAL
    # The floor at the middle of two views of one scene agrees better than in two scenes of other looks.
    scene = draw_triple(7, 0, SIZE).scenes[0]
    floors = [
        np.median(render(replace(scene, objects=(), camera=camera), SIZE, look=replace(look, film=Film())), (0, 1))
        for look in (look_of(settings, 0), look_of(settings, 1))
        for camera in (CAMERA, scene.camera)
    ]
    within = max(np.abs(floors[0] - floors[1]).max(), np.abs(floors[2] - floors[3]).max())
    assert within < np.abs(floors[0] - floors[2]).max()


def test_looks_lie_in_their_ranges_around_ours():
    looks = [random_look(np.random.default_rng([2, index])) for index in range(300)]
    for name, (low, high) in SURFACE_RANGES.items():
        drawn = [getattr(look.surfaces, name) for look in looks]
        assert low <= min(drawn) < getattr(Surfaces(), name) < max(drawn) <= high
    reds = [look.surfaces.floor_red for look in looks]
    assert FLOOR[0] * (1 - FLOOR_TINT) <= min(reds) < 0.8 < max(reds) <= FLOOR[1] * (1 + FLOOR_TINT)
    films = [look.film for look in looks]
    assert BLUR[0] <= min(film.blur for film in films) < 0 < max(film.blur for film in films) <= BLUR[1]
    assert (
        CONTRAST[0] <= min(film.contrast for film in films) < 0 < max(film.contrast for film in films) <= CONTRAST[1]
    )
    assert 0.4 < np.mean([film.noise == 0 for film in films]) < 0.6
    assert max(film.noise for film in films) <= NOISE
    assert all(look.lamps.keys() == LIGHTS.keys() for look in looks)


def test_backends_agree_in_every_look():
    pytest.importorskip("numba")
    for index in range(3):
        scene = sample_scene(np.random.default_rng([1, index]), 1.5)
        look = replace(random_look(np.random.default_rng([2, index])), film=Film())
        fast, slow = (render(scene, SIZE, backend, look).astype(int) for backend in ("numba", "numpy"))
        difference = np.abs(fast - slow)
        assert difference.mean() < 0.2
        assert (difference > 3).mean() < 2e-3


def hue(color):
    return colorsys.rgb_to_hsv(*(channel / 255 for channel in color))[0]


def linear(image):
    encoded = image / 255
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


@pytest.mark.parametrize("material", ["rubber", "metal"])
def test_colors_can_be_told(material):
    """The middle hue of an object is nearest to that of its own name's color, and gray stays the grayest."""
    named = {name: hue(color) for name, color in COLORS.items() if name != "gray"}
    lights = {name: light[0] for name, light in LIGHTS.items()}
    for index in range(6):
        look = random_look(np.random.default_rng([4, index]))
        saturation = {}
        for name in COLORS:
            thing = SceneObject(0, "sphere", "large", name, material, (0.0, 0.0), 0.0)
            scene = Scene((thing,), lights, CAMERA)
            image = render(scene, SIZE, look=look, grain=np.random.default_rng(index))
            seen = np.median(linear(image[object_ids(scene, SIZE) == 0]), axis=0)
            found, saturation[name], _ = colorsys.rgb_to_hsv(*seen)
            if name != "gray":
                apart = {other: abs((found - value + 0.5) % 1 - 0.5) for other, value in named.items()}
                assert min(apart, key=apart.get) == name, (index, name, seen)
        assert min(saturation, key=saturation.get) == "gray"


def test_film():
    scene = sample_scene(np.random.default_rng([1, 0]), 1.5)
    plain = render(scene, SIZE).astype(int)
    assert np.array_equal(render(scene, SIZE, look=Look()), plain)
    blurred = render(scene, SIZE, look=Look(film=Film(blur=0.2))).astype(int)
    assert np.abs(np.diff(blurred, axis=1)).mean() < 0.95 * np.abs(np.diff(plain, axis=1)).mean()
    assert abs(blurred.mean() - plain.mean()) < 1
    noisy = [
        render(scene, SIZE, look=Look(film=Film(noise=2.0)), grain=np.random.default_rng(seed)).astype(int)
        for seed in (1, 1, 2)
    ]
    assert np.array_equal(noisy[0], noisy[1])
    assert not np.array_equal(noisy[0], noisy[2])
    assert 1.0 < (noisy[0] - plain).std() < 3.5
    with pytest.raises(ValueError, match="grain"):
        render(scene, SIZE, look=Look(film=Film(noise=2.0)))
    warm = render(scene, SIZE, look=Look(film=Film(balance=(1.1, 1.0, 0.9)))).astype(int)
    assert warm[..., 0].mean() > plain[..., 0].mean()
    assert warm[..., 2].mean() < plain[..., 2].mean()


def test_images_are_images(small_settings, tmp_path):
    folder = render_dataset(tmp_path / "set", replace(small_settings, scenes=1, random_look=1.0), progress=False)
    for path in (folder / "images").iterdir():
        with Image.open(path) as image:
            assert (image.mode, image.size) == ("RGB", small_settings.size)
