# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Where maps point, against boxes and numbers worked out by hand."""

import json

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ssgpa.benchmarks import measure_localization
from ssgpa.benchmarks.localization import (
    area_under_curve,
    cells_in_box,
    mean_with_interval,
    raw_maps,
    visible_sides,
)
from ssgpa.data.clevr_renderer.dataset.truth import TruePair

from ..ssgpa_cases import random_pixels, tiny_model
from ..tiny_systems import tiny_image_processor, tiny_ssgpa


def test_the_cues_make_the_change_map():
    """Worked out from the plan again, their largest is the map that the alignment gives."""
    model, _ = tiny_model("resnet")
    maps, motion = raw_maps(model, random_pixels(3))
    largest = torch.stack([maps[name] for name in ("content", "motion_cue")]).amax(0)
    torch.testing.assert_close(maps["change_map"], largest.clamp(0, 1), atol=1e-5, rtol=0)
    assert motion["object_motion"].shape == (3, 2, 16, 2)
    assert motion["camera_shift"].shape == (3, 2)


def test_the_controls_are_what_they_are_called():
    model, _ = tiny_model("resnet")
    pixels = random_pixels(2)
    maps, _ = raw_maps(model, pixels)
    with torch.no_grad():
        tower = model.model.vision_tower(pixels).last_hidden_state[:, :, 1:]
        fused = model.model.change_fusion_adapter(model.model.vision_tower(pixels).last_hidden_state)[0]
        features = model.model.get_image_features(pixels)
    distance = (tower[:, 0] - tower[:, 1]).norm(dim=-1)
    torch.testing.assert_close(maps["same_cell"], torch.stack([distance, distance], 1))
    z = features.matching.features
    transported = F.scaled_dot_product_attention(
        z[:, 0] / model.config.transport_epsilon, z[:, 1], fused[:, 1, 1:], scale=1.0
    )
    expected = (fused[:, 0, 1:] - transported).norm(dim=-1)
    torch.testing.assert_close(maps["softmax_attention"][:, 0], expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(maps["residual"], features.evidence.residual.norm(dim=-1))


def test_identical_images_show_nothing_in_any_map():
    model, _ = tiny_model("resnet")
    pixels = random_pixels(1)
    maps, _ = raw_maps(model, pixels[:, :1].expand(-1, 2, -1, -1, -1))
    assert maps["same_cell"].max() == 0
    torch.testing.assert_close(maps["residual"][:, 0], maps["residual"][:, 1])


def test_cells_in_a_box():
    # Cells of 10 x 10 pixels; the box covers x 12 to 28, y 4 to 8: centers at x 15 and 25, y 5.
    inside = cells_in_box((12, 4, 16, 4), (40, 20), (2, 4)).reshape(2, 4)
    np.testing.assert_array_equal(inside, [[0, 1, 1, 0], [0, 0, 0, 0]])
    # A box between centers holds none; grown by half a cell it holds those of the cells that it touches.
    small = (21, 11, 3, 3)
    assert not cells_in_box(small, (40, 20), (2, 4)).any()
    touched = cells_in_box(small, (40, 20), (2, 4), margin=0.5).reshape(2, 4)
    np.testing.assert_array_equal(touched, [[0, 0, 0, 0], [0, 0, 1, 0]])


def test_chance_is_the_boxes_share_of_the_image():
    """Over all places of a box in its cell, the cells' share is the area's."""
    places = [(x, y) for x in range(40, 60) for y in range(40, 60)]
    shares = [cells_in_box((x, y, 27, 13), (240, 160), (8, 12)).mean() for x, y in places]
    assert np.mean(shares) == pytest.approx(27 * 13 / (240 * 160))


def test_area_under_curve_counts_ties_by_half():
    scores, positives = np.array([0.9, 0.5, 0.5, 0.1]), np.array([True, True, False, False])
    assert area_under_curve(scores, positives) == pytest.approx((1 + 1 + 0.5 + 1) / 4)


def test_intervals_are_those_of_a_normal_mean():
    values = np.random.default_rng(0).normal(3, 2, 400)
    found = mean_with_interval(values, 0)
    half = 1.96 * values.std() / 20
    assert found["mean"] == pytest.approx(values.mean())
    assert found["pairs"] == 400
    np.testing.assert_allclose(found["interval"], [values.mean() - half, values.mean() + half], atol=0.05)
    assert mean_with_interval(values, 0) == found


def pair_with(change_type, boxes):
    masks = []
    for box in boxes:
        mask = np.zeros((20, 40), dtype=bool)
        if box:
            mask[box[1] : box[1] + box[3], box[0] : box[0] + box[2]] = True
        masks.append(mask)
    return TruePair("0.png", change_type, (), (40, 20), boxes, tuple(masks), np.zeros((1, 2)), np.array([5.0, 10.0]))


LEFT, RIGHT = (0, 0, 10, 10), (30, 10, 10, 10)
PEAKS = {"left": [[1, 0, 0, 0, 0, 0, 0, 0]] * 2, "right": [[0, 0, 0, 0, 0, 0, 0, 1]] * 2}


@pytest.mark.parametrize(
    ("change_type", "boxes", "left", "right"),
    [("drop", (LEFT, None), 1, 0), ("add", (None, RIGHT), 0, 1), ("move", (LEFT, RIGHT), 0.5, 0.5)],
)
def test_a_map_is_read_where_the_object_shows(change_type, boxes, left, right):
    maps = {name: np.array(values, dtype=float) for name, values in PEAKS.items()}
    scores = measure_localization.score_maps(pair_with(change_type, boxes), maps, (2, 4))
    assert (scores["pointing"]["left"], scores["pointing"]["right"]) == (left, right)
    assert scores["pointing"]["chance"] == pytest.approx(1 / 8)
    assert scores["pointing"]["reachable"] == 1
    assert scores["auc"]["left"] == pytest.approx(np.mean([1 if box == LEFT else 3 / 7 for box in boxes if box]))


def test_visible_sides():
    assert [visible_sides(kind) for kind in ("drop", "add", "color", "move")] == [(0,), (1,), (0, 1), (0, 1)]


def test_motion_is_compared_with_the_truth():
    pair = pair_with("move", (LEFT, RIGHT))
    motion = {"object_motion": np.zeros((2, 8, 2)), "camera_shift": np.array([0.0, 0.3])}
    motion["object_motion"][0, 0] = (0.5, 1.0)  # 5 rows and 10 columns of pixels, in cells of 10
    figures = measure_localization.measure_motion([pair], [motion], (2, 4))
    assert figures["object_motion"]["median_error"] == pytest.approx(0)
    assert figures["object_motion"]["error_of_zero"] == pytest.approx(np.hypot(0.5, 1))
    assert figures["object_motion"]["within_45_degrees"] == 1
    assert figures["camera_shift"]["median_error"] == pytest.approx(0.3)


@pytest.fixture
def saved(tmp_path):
    model, processor = tiny_ssgpa(vision="resnet", patch_grid=[4, 6], sinkhorn_iterations=5)
    processor.image_processor = tiny_image_processor(32, 48)
    for part in (model, processor):
        part.save_pretrained(tmp_path / "model")
    return str(tmp_path / "model")


def test_the_figures_of_a_set(saved, rendered, tmp_path, capsys):
    output = tmp_path / "new" / "out.json"
    words = ["--model", saved, "--scenes", str(rendered), "--split", "train", "--output", str(output)]
    assert measure_localization.main([*words, "--batch_size", "3"]) == 0
    figures = json.loads(output.read_text("utf-8"))
    assert figures["pairs"] == {"changed": 4, "unchanged": 4}
    kinds = figures["pointing"]["change_map"]
    assert sum(row["pairs"] for name, row in kinds.items() if name != "all") == kinds["all"]["pairs"] == 4
    assert set(figures["auc"]) >= {"change_map", "residual", "same_cell", "softmax_attention"}
    difference = figures["differences"]["pointing"]["change_map - same_cell"]["mean"]
    means = {name: row["all"]["mean"] for name, row in figures["pointing"].items()}
    assert difference == pytest.approx(means["change_map"] - means["same_cell"])
    assert figures["motion"]["camera_shift"]["pairs"] == 8
    assert str(output) in capsys.readouterr().out


def test_the_batch_size_changes_nothing(saved, rendered, tmp_path):
    found = []
    for size in ("1", "5"):
        output = tmp_path / f"{size}.json"
        words = ["--model", saved, "--scenes", str(rendered), "--output", str(output), "--batch_size", size]
        assert measure_localization.main(words) == 0
        found.append(json.loads(output.read_text("utf-8"))["pointing"])
    assert found[0] == found[1]


def test_errors_take_one_line(saved, rendered, tmp_path, capsys):
    cases = [
        (["--model", saved, "--scenes", str(tmp_path)], "has no scenes.jsonl"),
        (["--model", str(tmp_path / "none"), "--scenes", str(rendered)], "none"),
    ]
    for words, message in cases:
        assert measure_localization.main([*words, "--output", str(tmp_path / "o.json")]) == 2
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1
        assert message in lines[0]
    assert not (tmp_path / "o.json").exists()
