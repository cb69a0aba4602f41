# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The stored figures reach what they are to reach, and the programs count what they say."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssgpa.benchmarks import measure_difference as difference
from ssgpa.benchmarks.tables.trust_table import format_difference, format_trust
from ssgpa.difference_ssgpa import NOTHING, PLACE, ImageDifference


RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"


def stored(name):
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def test_confidence_is_calibrated_and_strangers_are_told():
    found = stored("trust")
    # 0.05 is the aim; of 80 captions a tenth, a true confidence has 0.03 by chance.
    assert found["confidence"]["ece"] <= 0.06
    assert found["confidence"]["auroc"] >= 0.8
    assert found["confidence"]["familiar"] >= 0.98
    assert {"photographs", "screenshots and drawings", "noise", "satellite"} <= found["unfamiliar"].keys()
    assert all(kind["auroc"] >= 0.95 for kind in found["unfamiliar"].values())


def test_places_are_right_and_false_alarms_few():
    found = stored("difference")
    for name in ("still camera", "moved camera"):
        assert found[name]["place_right"] >= 0.95
        assert found[name]["false_alarms"] <= 0.05


def test_the_tables_hold_the_figures():
    text = format_trust(stored("trust"), "x.json")
    assert f"calibration error {stored('trust')['confidence']['ece']:.3f}" in text
    assert text.count("\n|") >= 7
    text = format_difference(stored("difference"), "x.json")
    assert f"{100 * stored('difference')['moved camera']['place_right']:.1f}" in text


def test_photographs_are_found_without_further_packages():
    names = {path.name for path in difference.photographs()}
    assert {"cheetah.jpg", "tower.jpg", "grace_hopper.jpg"} <= names


def found_at(cell):
    return ImageDifference(PLACE, cell, (100, 80, 140, 120), (0, 0, 1, 1), 0.1, 1, False, 1.0)


@pytest.mark.parametrize(
    ("cell", "center", "near"), [((0, 0), (0.5, 0.5), True), ((0, 0), (0.9, 0.1), False), ((2, 1), (0.5, 0.1), False)]
)
def test_a_neighboring_cell_is_right(cell, center, near):
    assert difference.right_place(found_at(cell), center) is near
    nothing = ImageDifference(NOTHING, None, None, None, 0.0, 0, False, 1.0)
    assert not difference.right_place(nothing, center)


def test_the_box_holds_the_center():
    assert difference.exact_place(found_at((1, 1)), (120 / 320, 100 / 240))
    assert not difference.exact_place(found_at((1, 1)), (0.9, 0.9))


def test_every_second_pair_is_edited_visibly():
    files = [path for path in difference.photographs() if path.name in ("cheetah.jpg", "tower.jpg")]
    made = list(difference.cases(files, 12, 0, 0.0, 0.0))
    assert [case["edit"] for case in made[::2]] == [None, "paste", None, "recolor", None, "remove"] or len(made) == 12
    for case in made:
        gap = np.abs(np.array(case["before"]).astype(int) - np.array(case["after"])).max(-1)
        assert ((gap > 60).sum() > 100) == (case["edit"] is not None)
        assert isinstance(case["before"], Image.Image)
