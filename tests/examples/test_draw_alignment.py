# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The figure holds what the evidence says, is an image, and errors take one line."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from ..scripts import load_script
from ..ssgpa_cases import wake
from ..tiny_systems import tiny_ssgpa


pytest.importorskip("matplotlib")
pytestmark = pytest.mark.usefixtures("restored_logging")
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "draw_alignment.py"
GRID = (4, 4)


@pytest.fixture
def example():
    return load_script(EXAMPLE)


@pytest.fixture
def images(tmp_path, monkeypatch):
    """Two images of different sizes and a saved system in the working directory."""
    monkeypatch.chdir(tmp_path)
    model, processor = tiny_ssgpa(vision="resnet")
    wake(model).save_pretrained("model")
    processor.save_pretrained("model")
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 256, (40, width, 3), dtype=np.uint8)) for width in (48, 64)]
    for image, name in zip(images, ("before", "after"), strict=True):
        image.save(f"{name}.png")
    return images


def evidence_of(images):
    model, processor = (auto.from_pretrained("model") for auto in (AutoModelForImageTextToText, AutoProcessor))
    inputs = processor(images=images, return_tensors="pt")
    with torch.no_grad():
        evidence = model.get_image_features(inputs["pixel_values"]).evidence
    names = ("transport", "object_motion", "camera_shift", "change_map")
    return {name: evidence[name][0].numpy() for name in names}


@pytest.mark.parametrize("min_share", [0.02, 0.1, 0.9])
def test_lines_are_the_strong_matches(example, images, min_share, capsys):
    words = ["before.png", "after.png", "--model", "./model", "--output", "figure.png", "--min_share", str(min_share)]
    assert example.main(words) == 0
    drawn = Image.open("figure.png")
    drawn.load()
    assert drawn.format == "PNG"
    assert min(drawn.size) > 500
    evidence = evidence_of(images)
    plan = torch.tensor(evidence["transport"])
    strongest = plan[:-1, :-1].amax(1) / plan[:-1].sum(1)
    count = int((strongest >= min_share).sum())
    assert f"({count} lines)" in capsys.readouterr().out
    figure = example.draw_figure(images, evidence, "caption", min_share)
    segments = [segment for lines in figure.axes[0].collections for segment in lines.get_segments()]
    assert len(segments) == count


def test_sensor_data_is_read_as_the_checkpoint_tells(example, images, capsys):
    """As floats up to 3060, the same images give the same figure."""
    for name, image in zip(("before", "after"), images, strict=True):
        gray = image.convert("L")
        gray.save(f"{name}.png")
        Image.fromarray(np.asarray(gray).astype(np.float32) * 12).save(f"{name}.tif")
    assert example.main(["before.png", "after.png", "--model", "./model", "--output", "plain.png"]) == 0
    said = capsys.readouterr().out
    processor = AutoProcessor.from_pretrained("model")
    processor.value_range = (0, 3060)
    processor.save_pretrained("model")
    assert example.main(["before.tif", "after.tif", "--model", "./model", "--output", "sensor.png"]) == 0
    assert capsys.readouterr().out == said
    np.testing.assert_array_equal(*(np.asarray(Image.open(f"{name}.png")) for name in ("plain", "sensor")))


def test_the_cases_of_lines_differ(example, images):
    transport = evidence_of(images)["transport"]
    counts = [len(example.strongest_matches(transport, share)) for share in (0.02, 0.1, 0.9)]
    assert counts[0] > counts[1] > counts[2]


def plan_of(order, dustbin):
    """A plan that sends patch i to order[i], less what goes to the dustbin."""
    patches = len(order)
    plan = np.zeros((patches + 1, patches + 1))
    plan[np.arange(patches), order] = (1 - np.array(dustbin)) / patches / 2
    plan[:-1, -1] = np.array(dustbin) / patches / 2
    plan[-1, :-1] = 0.5 / patches - plan[:-1, :-1].sum(0)
    plan[-1, -1] = plan[:-1, :-1].sum()
    return plan


def test_a_line_joins_the_middles_of_its_cells(example):
    images = [Image.new("RGB", (40, 20)), Image.new("RGB", (80, 40))]
    order = np.arange(16)
    order[[1, 6]] = order[[6, 1]]
    dustbin = np.zeros(16)
    dustbin[0] = 0.75
    evidence = {
        "transport": plan_of(order, dustbin),
        "object_motion": np.zeros((2, 16, 2)),
        "camera_shift": np.zeros(2),
        "change_map": np.zeros((2, *GRID)),
    }
    matches = example.strongest_matches(evidence["transport"], 0.5)
    assert [(m.before, m.after) for m in matches] == [(i, order[i]) for i in range(1, 16)]
    assert [m.before for m, far in zip(matches, example.strays(matches, GRID, np.zeros(2)), strict=True) if far] == [
        1,
        6,
    ]
    evidence["object_motion"][0, 1] = (1, 1)
    figure = example.draw_figure(images, evidence, "caption", 0.5)
    usual, far = (lines.get_segments() for lines in figure.axes[0].collections)
    assert (len(usual), len(far)) == (13, 2)
    offset = np.array([40 * 1.03, example.LOWER * 20])
    np.testing.assert_allclose(far[0], [(15, 2.5), offset + np.array([50, 15])])
    shading = next(axes.images[1] for axes in figure.axes if len(axes.images) == 2 and "dustbin" in axes.get_title())
    np.testing.assert_allclose(shading.get_alpha().ravel()[:2], [0.85 * 0.75, 0], atol=1e-9)
    arrows = [axes.collections for axes in figure.axes if "dustbin" in axes.get_title()]
    assert [len(quiver.U) for side in arrows for quiver in side] == [1, 1, 0, 1]
    np.testing.assert_allclose((arrows[0][0].U[0], arrows[0][0].V[0]), (10, 5))


def without_matplotlib(example, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)


CASES = {
    "existing output": (lambda *_: Path("figure.png").write_bytes(b"mine"), [], "figure.png: exists"),
    "no image": (lambda *_: Path("after.png").write_text("text", encoding="utf-8"), [], "after.png: "),
    "no model": (lambda *_: None, ["--model", "./nowhere"], "model ./nowhere: "),
    "no such share": (lambda *_: None, ["--min_share", "2"], "--min_share"),
    "no matplotlib": (without_matplotlib, [], 'pip install "ssgpa[figures]"'),
}


@pytest.mark.parametrize("case", CASES)
def test_errors_take_one_line_and_write_nothing(example, images, capsys, monkeypatch, case):
    prepare, words, message = CASES[case]
    prepare(example, monkeypatch)
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    capsys.readouterr()
    try:
        code = example.main(["before.png", "after.png", "--model", "./model", "--output", "figure.png", *words])
    except SystemExit as stop:
        code = stop.code
    printed = capsys.readouterr()
    assert (code, printed.out) == (2, "")
    assert printed.err.startswith("draw_alignment.py: error: ")
    assert printed.err.count("\n") == 1
    assert message in printed.err
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before
