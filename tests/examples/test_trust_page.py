# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""What the page says below a caption: how far to trust it, and what it says in place of one."""

import pytest

from ..scripts import load_script
from ..test_trust_pipeline import STRANGE
from ..tiny_systems import TINY_SYSTEMS
from ..trust_cases import SAID, calibrated, noise_pairs, pipeline_of


app = load_script("app")


@pytest.fixture(scope="module", params=["ssgpa", "clip4idc"])
def system(request):
    """One with a change map, and one without."""
    pipe = calibrated(pipeline_of(TINY_SYSTEMS[request.param]()))
    pipe.model.trust = pipe.trust
    return pipe


def describe(pipe, pair):
    return app.describe(pipe.model, pipe.processor, pair, 3)


def test_a_familiar_pair_has_its_confidence_below_the_caption(system):
    pair = noise_pairs(1)[0]
    answer = describe(system, pair)
    expected = system(pair, num_beams=3)[0]
    assert answer.caption == answer.beams[0][0] == expected["generated_text"]
    assert answer.told["confidence"] == pytest.approx(expected["confidence"], abs=2e-3)
    assert answer.remark == f"Confidence: {100 * answer.told['confidence']:.0f} %."
    told = app.as_json(answer, "a.png", "b.png", "tiny")
    assert (told["familiar"], told["caption"]) == (True, answer.caption)


def test_a_strange_pair_gets_where_it_differs(system):
    answer = describe(system, STRANGE)
    assert answer.caption == "Nothing differs visibly."
    assert answer.remark.startswith("These images are unlike what this checkpoint was trained on: noise.")
    told = app.as_json(answer, "a.png", "b.png", "tiny")
    assert told["model_caption"] == answer.beams[0][0]
    assert told["difference"]["kind"] == "nothing"
    assert app.show(answer, "a.png", "b.png", "tiny", True)[0] == answer.caption


def test_equal_images_are_said_to_be_equal(system, monkeypatch):
    image = noise_pairs(1)[0][0]
    monkeypatch.setattr(system.model, "generate", None)
    answer = describe(system, (image, image.copy()))
    assert (answer.caption, answer.remark) == (SAID, "Both images are exactly equal.")
    assert (answer.maps is not None) == system.has_change_map
    assert app.as_json(answer, "a.png", "b.png", "tiny")["identical"] is True


def test_without_a_calibration_nothing_is_remarked():
    model, processor = TINY_SYSTEMS["ssgpa"]()
    answer = app.describe(model, processor, noise_pairs(1)[0], 2)
    assert (answer.told, answer.remark) == ({}, None)
