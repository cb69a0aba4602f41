# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Confidence, familiarity and equal images in the pipeline, with every system."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from ssgpa.difference_ssgpa import ImageDifference
from ssgpa.publishing_ssgpa import save_repository
from ssgpa.trust_ssgpa import TRUST_FILE, Trust
from ssgpa.utils.loading import load_system

from .tiny_systems import TINY_SYSTEMS, tiny_ssgpa
from .trust_cases import SAID, SHORT, calibrated, noise_pairs, pipeline_of


STRANGE = tuple(Image.new("RGB", (60, 40), (value,) * 3) for value in (20, 21))


@pytest.fixture(scope="module")
def pipe():
    return calibrated(pipeline_of(tiny_ssgpa()))


@pytest.mark.parametrize("name", TINY_SYSTEMS)
def test_every_system_has_confidence_and_says_what_it_said_before(name):
    pipe, pairs = pipeline_of(TINY_SYSTEMS[name]()), noise_pairs(3)
    plain = [result[0] for result in pipe(pairs, batch_size=2, **SHORT)]
    assert all(result.keys() == {"generated_text"} for result in plain)
    found = [result[0] for result in calibrated(pipe)(pairs, batch_size=2, **SHORT)]
    assert [result["generated_text"] for result in found] == [result["generated_text"] for result in plain]
    assert all(0 < result["confidence"] < 1 and result["familiar"] is True for result in found)
    # One at a time, and in a batch.
    alone = [pipe(pair, **SHORT)[0]["confidence"] for pair in pairs]
    assert alone == pytest.approx([result["confidence"] for result in found], abs=2e-3)


@pytest.mark.parametrize("name", TINY_SYSTEMS)
def test_strange_images_get_no_made_up_sentence(name):
    pipe = calibrated(pipeline_of(TINY_SYSTEMS[name]()))
    (result,) = pipe(STRANGE, **SHORT)
    assert result["familiar"] is False
    assert isinstance(result["difference"], ImageDifference)
    assert result["generated_text"] == result["difference"].sentence == "Nothing differs visibly."
    assert result["note"].startswith("unlike what this checkpoint was trained on: noise. For photographs")
    asked = pipe(STRANGE, always_ask=True, **SHORT)[0]
    assert asked["generated_text"] == asked["model_text"] == result["model_text"]
    assert (asked["familiar"], asked["note"]) == (False, result["note"])


def test_equal_images_are_answered_without_the_model(pipe, monkeypatch):
    pair = noise_pairs(1)[0]
    asked = []
    monkeypatch.setattr(pipe.model, "generate", lambda *args, **kwargs: asked.append(1))
    same = (pair[0], pair[0].copy())
    assert pipe(same) == [{"generated_text": SAID, "identical": True, "confidence": 1.0, "familiar": None}]
    assert pipe([same, same], batch_size=2) == [pipe(same), pipe(same)]
    (drawn,) = pipe(same, return_change_map=True)
    assert drawn["change_map"].getextrema() == drawn["change_map_before"].getextrema() == (0, 0)
    assert asked == []


def test_without_a_calibration_equal_images_have_plain_words():
    pipe = pipeline_of(tiny_ssgpa())
    pair = noise_pairs(1)[0]
    assert pipe((pair[0], pair[0])) == [{"generated_text": "nothing has changed", "identical": True}]
    asked = pipe((pair[0], pair[0]), always_ask=True, **SHORT)[0]
    assert asked.keys() == {"generated_text"}
    assert asked["generated_text"] != "nothing has changed"


def test_equality_is_of_decoded_images(tmp_path):
    pipe = pipeline_of(tiny_ssgpa())
    image = noise_pairs(1)[0][0]
    image.save(tmp_path / "a.png")
    turned = image.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    # Shown turned back.
    exif[0x0112] = 6
    turned.save(tmp_path / "b.png", exif=exif)
    assert "identical" in pipe((str(tmp_path / "a.png"), str(tmp_path / "b.png")))[0]


def test_equal_strange_and_broken_pairs_in_one_batch(pipe):
    pair = noise_pairs(1)[0]
    rows = [pair, (pair[0], pair[0]), STRANGE, ("missing.png", "missing.png"), pair]
    expected = [pipe(row, on_error="return", **SHORT)[0] for row in rows]
    found = [result[0] for result in pipe(rows, batch_size=5, on_error="return", **SHORT)]
    assert [sorted(result) for result in found] == [sorted(result) for result in expected]
    texts = [result.get("generated_text") for result in found]
    assert texts == [result.get("generated_text") for result in expected]
    assert texts[1] == SAID
    assert found[3] == {"error": "missing.png: no such file."}
    assert found[0] == found[4]


def test_several_sequences_and_a_greedy_search(pipe):
    pair = noise_pairs(1)[0]
    several = pipe(pair, num_return_sequences=2, **SHORT)
    assert [result["confidence"] is None for result in several] == [False, True]
    assert several[0]["generated_text"] == pipe(pair, **SHORT)[0]["generated_text"]
    greedy = pipe(pair, num_beams=1, max_new_tokens=6)[0]
    assert 0 < greedy["confidence"] < 1
    config = pipe.model.generation_config
    assert len(pipe(pair, generation_config=type(config)(num_beams=3, max_new_tokens=6, pad_token_id=0))) == 1


def test_it_can_be_left_out(pipe):
    pair = noise_pairs(1)[0]
    plain = pipe(pair, confidence=False, **SHORT)
    assert plain == [{"generated_text": pipe(pair, **SHORT)[0]["generated_text"]}]
    assert pipe(STRANGE, confidence=False, **SHORT)[0].keys() == {"generated_text"}
    assert "confidence" in pipe(pair, confidence=True, **SHORT)[0]


def test_a_batch_in_parts_has_the_same_confidence(pipe):
    pairs = noise_pairs(4)
    whole = pipe(pairs, batch_size=4, **SHORT)
    pipe.fitting_batch_size = 2
    try:
        parts = pipe(pairs, batch_size=4, **SHORT)
    finally:
        pipe.fitting_batch_size = None
    for one, other in zip(whole, parts, strict=True):
        assert one[0]["generated_text"] == other[0]["generated_text"]
        assert one[0]["confidence"] == pytest.approx(other[0]["confidence"], abs=2e-3)


def test_tiles_tell_too(pipe):
    (before, after) = noise_pairs(1)[0]
    result = pipe((before, after), tiles=(1, 2), **SHORT)[0]
    assert result["familiar"] is all(tile["familiar"] for tile in result["tiles"])
    assert all(0 < tile["confidence"] < 1 for tile in result["tiles"])
    strange = pipe(STRANGE, tiles=(1, 2), **SHORT)[0]
    assert (strange["familiar"], strange["generated_text"]) == (False, "Nothing differs visibly.")
    half = before.copy()
    half.paste(after.crop((34, 0, 60, 40)), (34, 0))
    tiles = pipe((before, half), tiles=(1, 2), tile_overlap=0.0, **SHORT)[0]["tiles"]
    assert (tiles[0]["generated_text"], tiles[0]["change_score"], tiles[0]["confidence"]) == (SAID, 0.0, 1.0)


def test_the_calibration_goes_along_where_the_weights_do(pipe, tmp_path):
    pipe.save_pretrained(tmp_path / "saved")
    assert Trust.load(tmp_path / "saved" / TRUST_FILE).trained_on == "noise"
    model, processor = load_system(str(tmp_path / "saved"))
    again = pipeline_of((model, processor))
    pair = noise_pairs(1)[0]
    assert again(pair, **SHORT)[0]["confidence"] == pytest.approx(pipe(pair, **SHORT)[0]["confidence"], abs=1e-3)
    # A published repository has it too, and one of other weights has not.
    save_repository(model, processor, tmp_path / "published")
    assert (tmp_path / "published" / TRUST_FILE).is_file()
    assert {"trust_ssgpa.py", "evidence_ssgpa.py", "difference_ssgpa.py", "registration_ssgpa.py"} <= {
        path.name for path in (tmp_path / "published").iterdir()
    }
    with torch.no_grad():
        for value in model.parameters():
            value.mul_(1.5)
    save_repository(model, processor, tmp_path / "further")
    assert not (tmp_path / "further" / TRUST_FILE).exists()


REMOTE = """
import sys
sys.path.insert(0, {tests!r})
from remote_steps import Blocker
sys.meta_path.insert(0, Blocker())
from transformers import pipeline
pipe = pipeline("change-captioning", model={folder!r}, trust_remote_code=True)
for pair in (("before.png", "after.png"), ("dark.png", "darker.png"), ("dark.png", "dark.png")):
    result = pipe(pair, max_new_tokens=6, num_beams=3)[0]
    print(result["confidence"], result["familiar"], result["generated_text"], sep="|")
assert "ssgpa" not in sys.modules
"""


def test_a_repository_tells_where_the_package_is_not_installed(pipe, tmp_path):
    pair = noise_pairs(1)[0]
    names = ("before.png", "after.png", "dark.png", "darker.png")
    for name, image in zip(names, (*pair, *STRANGE), strict=True):
        image.save(tmp_path / name)
    pipe.save_pretrained(tmp_path / "saved")
    save_repository(*load_system(str(tmp_path / "saved")), tmp_path / "published")
    code = REMOTE.format(tests=str(Path(__file__).parent), folder=str(tmp_path / "published"))
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home"), "PYTHONPATH": ""}
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    familiar, strange, same = (line.split("|") for line in ran.stdout.splitlines()[-3:])
    expected = pipe(pair, **SHORT)[0]
    assert float(familiar[0]) == pytest.approx(expected["confidence"], abs=2e-3)
    assert familiar[1:] == ["True", expected["generated_text"]]
    assert strange[1:] == ["False", "Nothing differs visibly."]
    assert same == ["1.0", "None", SAID]
