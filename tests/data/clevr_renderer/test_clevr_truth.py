# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The truth is what the renderer drew: masks, boxes and moves agree with its own files and with the images."""

import json

import numpy as np
import pytest
from PIL import Image

from ssgpa.data.clevr_renderer.caster.ray_caster import object_ids
from ssgpa.data.clevr_renderer.dataset.cells import CHANGED_BIT
from ssgpa.data.clevr_renderer.dataset.layout import mask_name
from ssgpa.data.clevr_renderer.dataset.triples import bounding_box
from ssgpa.data.clevr_renderer.dataset.truth import covered_share, object_cells, project, read_true_pairs
from ssgpa.data.clevr_renderer.scene.scenes import Scene, SceneObject
from ssgpa.data.prepared import load_prepared
from ssgpa.data.readers.clevr_change import load_clevr_change


EMPTY = '{"train": [], "val": [], "test": []}'


@pytest.fixture(scope="module")
def pairs(rendered):
    return [pair for split in ("train", "validation", "test") for pair in read_true_pairs(rendered, split)]


@pytest.fixture(scope="module")
def records(rendered):
    lines = (rendered / "scenes.jsonl").read_text("utf-8").splitlines()
    return {record["index"]: record for record in map(json.loads, lines)}


def test_pairs_are_those_of_the_reader(pairs, rendered):
    read = load_clevr_change(rendered)
    for split in read:
        own = list(read_true_pairs(rendered, split))
        assert [pair.pair_id for pair in own] == read[split]["pair_id"]
        assert [pair.change_type for pair in own] == read[split]["change_type"]


def test_masks_are_the_renderers_and_fill_their_boxes(pairs, records, rendered):
    changed = [pair for pair in pairs if pair.change_type != "none"]
    assert {pair.change_type for pair in changed} == {"color", "material", "add", "drop", "move"}
    for pair in changed:
        record = records[int(pair.pair_id[:6])]
        for side, view in enumerate(("default", "semantic")):
            with Image.open(rendered / mask_name(view, record["index"])) as stored:
                expected = np.asarray(stored) == record["changed_object"]
            np.testing.assert_array_equal(pair.masks[side], expected)
            assert pair.boxes[side] == bounding_box(expected, True)
        assert (pair.boxes[0] is None) == (pair.change_type == "add")
        assert (pair.boxes[1] is None) == (pair.change_type == "drop")


def test_distractors_have_no_changed_object(pairs):
    for pair in pairs:
        if pair.change_type == "none":
            assert pair.boxes == (None, None)
            assert not any(mask.any() for mask in pair.masks)
            assert pair.own_move is None


def test_cells_are_those_of_the_targets(pairs, records, rendered, prepared_dir):
    rows = {row["pair_id"]: row for split in load_prepared(prepared_dir).values() for row in split}
    for pair in pairs:
        for side, name in enumerate(("before_cells", "after_cells")):
            targeted = np.array(rows[pair.pair_id][name]) >> CHANGED_BIT & 1
            np.testing.assert_array_equal(object_cells(pair.masks[side], (4, 6)).ravel(), targeted)


def test_covered_share_of_a_mask():
    mask = np.zeros((4, 6), dtype=bool)
    mask[:2, :3] = mask[2, 3] = True
    np.testing.assert_allclose(covered_share(mask, (2, 2)), [[1, 0], [0, 1 / 6]])
    np.testing.assert_array_equal(object_cells(mask, (2, 2)), [[True, False], [False, True]])


def test_a_lone_sphere_is_drawn_where_it_is_projected(records):
    """The ray caster and the projection are two programs."""
    for camera in ((7.5, -6.5, 5.3), (6.2, -7.9, 6.6)):
        for place in ((0.0, 0.0), (-2.0, 1.5), (2.5, -1.0)):
            thing = SceneObject(0, "sphere", "small", "red", "rubber", place, 0.0)
            scene = Scene((thing,), records[0]["lights"], camera)
            drawn = np.argwhere(object_ids(scene, (240, 160)) == 0).mean(0) + 0.5
            np.testing.assert_allclose(project(scene, thing, (240, 160)), drawn, atol=0.5)


def test_moves_tell_the_moved_object_from_the_camera(pairs):
    for pair in pairs:
        if pair.change_type in ("color", "material"):
            np.testing.assert_allclose(pair.own_move, 0, atol=1e-9)
        elif pair.change_type == "move":
            # One scene unit or more, some 6 pixels of 96 at this distance.
            assert np.linalg.norm(pair.own_move) > 2
            middles = [np.array([y + h / 2, x + w / 2]) for x, y, w, h in pair.boxes]
            np.testing.assert_allclose(
                middles[1] - middles[0] - pair.own_move, np.median(pair.object_shifts, 0), atol=8
            )


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda folder: (folder / "scenes.jsonl").unlink(), FileNotFoundError, "has no scenes.jsonl"),
        (lambda folder: (folder / "scenes.jsonl").write_text('{"index": 0}\n', "utf-8"), ValueError, "changed object"),
        (
            lambda folder: (folder / "splits.json").write_text('{"train": [], "val": [], "test": []}', "utf-8"),
            ValueError,
            "test holds no scenes",
        ),
    ],
)
def test_errors_name_what_is_missing(rendered, tmp_path, change, error, message):
    for name in ("scenes.jsonl", "splits.json"):
        (tmp_path / name).write_bytes((rendered / name).read_bytes())
    change(tmp_path)
    with pytest.raises(error, match=message):
        list(read_true_pairs(tmp_path, "test"))
