# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The ray caster against pinhole geometry, against the lamps' photometry, and one backend against the other."""

import math
import subprocess
import sys
import time

import numpy as np
import pytest

from ssgpa.data.clevr_renderer.caster.ray_caster import object_ids, render
from ssgpa.data.clevr_renderer.dataset.triples import draw_triple, min_visible_pixels, visible_ids
from ssgpa.data.clevr_renderer.scene.cameras import Views
from ssgpa.data.clevr_renderer.scene.geometry import CAMERA, LIGHTS
from ssgpa.data.clevr_renderer.scene.scenes import Scene, SceneObject, sample_scene


SIZE = (96, 64)
NOMINAL = {name: light[0] for name, light in LIGHTS.items()}


def scene_of(*objects):
    return Scene(tuple(objects), NOMINAL, CAMERA)


def thing(object_id=0, shape="sphere", size="large", position=(0.0, 0.0), rotation=0.6):
    return SceneObject(object_id, shape, size, "cyan", "rubber", position, rotation)


def project(points):
    """Pixels of world points (N, 3) in an image of SIZE, by a pinhole of 35 mm on a 32 mm sensor."""
    camera = np.array(CAMERA)
    forward = -camera / np.linalg.norm(camera)
    right = np.cross(forward, [0, 0, 1])
    right /= np.linalg.norm(right)
    offset = points - camera
    focal = 35 / 32 * SIZE[0]
    depth = offset @ forward
    return np.stack(
        [
            SIZE[0] / 2 + focal * (offset @ right) / depth,
            SIZE[1] / 2 - focal * (offset @ np.cross(right, forward)) / depth,
        ],
        axis=1,
    )


def outline(shape, radius, position, rotation):
    """World points whose convex hull is the object."""
    if shape == "cube":
        corners = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=float)
    else:
        angle = np.linspace(0, 2 * math.pi, 200, endpoint=False)
        ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        corners = np.concatenate([np.insert(ring, 2, z, axis=1) for z in (-1.0, 1.0)])
    turn = np.array(
        [[math.cos(rotation), -math.sin(rotation), 0], [math.sin(rotation), math.cos(rotation), 0], [0, 0, 1]]
    )
    return radius * corners @ turn.T + np.array([*position, radius])


def hull_mask(points):
    """Pixels whose centers lie in the convex hull of `points`: the extreme of every direction bounds it."""
    y, x = np.mgrid[: SIZE[1], : SIZE[0]] + 0.5
    inside = np.ones_like(x, dtype=bool)
    for angle in np.linspace(0, 2 * math.pi, 720, endpoint=False):
        normal = np.array([math.cos(angle), math.sin(angle)])
        inside &= x * normal[0] + y * normal[1] <= (points @ normal).max() + 1e-9
    return inside


@pytest.mark.parametrize("shape", ["cube", "cylinder"])
@pytest.mark.parametrize(("size", "radius"), [("large", 0.7), ("small", 0.35)])
def test_outline_of_cubes_and_cylinders(shape, size, radius):
    position, rotation = (0.8, -0.5), 0.6
    ids = object_ids(scene_of(thing(3, shape, size, position, rotation)), SIZE)
    expected = hull_mask(project(outline(shape, radius, position, rotation)))
    assert expected.sum() > 40
    assert ((ids == 3) != expected).sum() <= 2
    assert set(np.unique(ids)) == {3, 255}


def test_outline_of_spheres():
    position = np.array([-1.0, 1.2, 0.7])
    ids = object_ids(scene_of(thing(position=(-1.0, 1.2))), SIZE)
    y, x = np.mgrid[: SIZE[1], : SIZE[0]] + 0.5
    camera = np.array(CAMERA)
    forward = -camera / np.linalg.norm(camera)
    right = np.cross(forward, [0, 0, 1]) / np.linalg.norm(np.cross(forward, [0, 0, 1]))
    focal = 35 / 32 * SIZE[0]
    u, v = (x - SIZE[0] / 2) / focal, (SIZE[1] / 2 - y) / focal
    rays = forward + u[..., None] * right + v[..., None] * np.cross(right, forward)
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    toward = position - camera
    cosine = rays @ toward / np.linalg.norm(toward)
    expected = cosine > math.cos(math.asin(0.7 / np.linalg.norm(toward)))
    assert ((ids == 0) != expected).sum() <= 1


def test_empty_floor_is_lit_as_the_lamps_say():
    image = render(scene_of(), SIZE).astype(float)
    # The middle of the image, between four pixels, looks at the origin.
    total = np.full(3, 0.16)
    for place, _, power, color in LIGHTS.values():
        distance = np.linalg.norm(place)
        total += np.array(color) * power / math.pi * (place[2] / distance) / distance**2
    sun = np.array([0.405, -0.230, 0.885])
    total += 0.45 * sun[2] / np.linalg.norm(sun)
    linear = 1.05 * 0.8 / math.pi * total
    expected = 255 * (1.055 * linear ** (1 / 2.4) - 0.055)
    middle = image[31:33, 47:49].mean(axis=(0, 1))
    np.testing.assert_allclose(middle, expected, atol=2)


def test_shadow_and_material_show():
    bare = render(scene_of(), SIZE).astype(float)
    matte = render(scene_of(thing()), SIZE).astype(float)
    floor = object_ids(scene_of(thing()), SIZE) == 255
    # Pixels on the outline mix floor and object.
    clear = np.logical_and.reduce([np.roll(floor, (y, x), (0, 1)) for y in (-1, 0, 1) for x in (-1, 0, 1)])
    assert (bare - matte)[clear].min() >= 0
    assert ((bare - matte)[clear].mean(axis=1) > 15).sum() > 20
    shiny = scene_of(SceneObject(0, "sphere", "large", "cyan", "metal", (0.0, 0.0), 0.6))
    assert render(shiny, SIZE)[~floor].max() > 240 > matte[~floor].max()


def test_backends_agree():
    pytest.importorskip("numba")
    for index in range(3):
        scene = sample_scene(np.random.default_rng([1, index]), 1.5)
        fast, slow = (render(scene, SIZE, backend).astype(int) for backend in ("numba", "numpy"))
        difference = np.abs(fast - slow)
        assert difference.mean() < 0.05
        assert (difference > 3).sum() <= 6
        assert (object_ids(scene, SIZE, "numba") != object_ids(scene, SIZE, "numpy")).sum() <= 1


@pytest.mark.parametrize("size", [(96, 64), (192, 128)])
def test_culling_and_sparing_rays_hardly_show(size):
    """The compiled caster against all rays of all pixels, in scenes with many objects and cameras of every kind."""
    pytest.importorskip("numba")
    differences = []
    for index in range(8):
        views = Views("anywhere", 0.5, 0.5) if index % 2 else Views()
        for scene in draw_triple(11, index, size, views=views).scenes[:2]:
            fast, slow = (render(scene, size, backend).astype(int) for backend in ("numba", "numpy"))
            differences.append(np.abs(fast - slow))
            assert np.array_equal(object_ids(scene, size, "numba"), object_ids(scene, size, "numpy"))
    share = [(np.stack(differences) > levels).mean() for levels in (0, 1, 5)]
    assert share[0] < 0.06
    assert share[1] < 1e-3
    assert share[2] < 1e-4


def test_too_many_objects_are_refused():
    crowd = [thing(i, "sphere", "small", (0.9 * (i % 8) - 3, 0.9 * (i // 8) - 3)) for i in range(63)]
    assert set(np.unique(object_ids(scene_of(*crowd[:62]), SIZE))) >= {0, 61}
    with pytest.raises(ValueError, match="at most 62 objects, not 63"):
        render(scene_of(*crowd), SIZE)


def test_renders_without_numba(tmp_path):
    code = """
import sys
sys.modules["numba"] = None
import numpy as np
from ssgpa.data.clevr_renderer.caster.ray_caster import default_backend, render
from ssgpa.data.clevr_renderer.scene.scenes import sample_scene
assert default_backend() == "numpy"
np.save(sys.argv[1], render(sample_scene(np.random.default_rng([1, 0]), 1.5), (96, 64)))
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "image.npy")], check=True)
    expected = render(sample_scene(np.random.default_rng([1, 0]), 1.5), SIZE)
    assert np.abs(np.load(tmp_path / "image.npy").astype(int) - expected).mean() < 0.05


@pytest.mark.slow
def test_an_image_takes_a_tenth_of_a_second():
    """The limit that makes sets of ten thousand scenes cheap: 0.1 CPU-seconds at 240 x 160, all threads together."""
    pytest.importorskip("numba")
    scenes = [sample_scene(np.random.default_rng([3, index]), 1.5) for index in range(6)]
    render(scenes[0], (240, 160), "numba")
    start = time.process_time()
    for scene in scenes:
        render(scene, (240, 160), "numba")
    assert (time.process_time() - start) / len(scenes) <= 0.1


def test_unknown_backend_is_named():
    with pytest.raises(ValueError, match="'cuda'"):
        render(scene_of(), SIZE, backend="cuda")


def test_visibility_rule():
    assert min_visible_pixels((480, 320)) == 200
    assert min_visible_pixels((240, 160)) == 50
    assert min_visible_pixels((96, 64)) == 8
    assert visible_ids([scene_of(thing())], SIZE) is not None
    toward = np.array(CAMERA[:2]) / np.linalg.norm(CAMERA[:2])
    hidden = scene_of(thing(0, "cube", position=tuple(1.5 * toward)), thing(1, "sphere", "small"))
    assert visible_ids([scene_of(thing()), hidden], SIZE) is None


RECORDED_MEANS = [[134.5, 132.7, 132.7], [133.9, 133.0, 133.2], [134.8, 133.1, 133.0]]


def test_recorded_means():
    """Images of one index stay what they were, within a level."""
    triple = draw_triple(7, 0, SIZE)
    means = [render(scene, SIZE).mean(axis=(0, 1)) for scene in triple.scenes]
    np.testing.assert_allclose(means, RECORDED_MEANS, atol=1.0)
