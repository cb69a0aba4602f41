# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The example says what the pipeline says, draws what the pipeline draws, and refuses what the command refuses."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoProcessor, pipeline

from ..scripts import load_script
from ..tiny_systems import TINY_SYSTEMS


pytestmark = pytest.mark.usefixtures("restored_logging")
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "caption_pair.py"


@pytest.fixture
def main():
    return load_script(EXAMPLE).main


@pytest.fixture
def images(tmp_path, monkeypatch):
    """Two images and a saved system in the working directory."""
    monkeypatch.chdir(tmp_path)
    for part in TINY_SYSTEMS["ssgpa"]():
        part.save_pretrained("model")
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 256, (40, width, 3), dtype=np.uint8)) for width in (48, 64)]
    for image, name in zip(images, ("before", "after"), strict=True):
        image.save(f"{name}.png")
    return images


def test_caption_and_overlay_are_those_of_the_pipeline(main, images, capsys):
    assert main(["before.png", "after.png", "--model", "./model"]) == 0
    printed = capsys.readouterr()
    pipe = pipeline("change-captioning", model="model", device="cpu")
    expected = pipe(tuple(images), return_change_map=True, num_beams=1)[0]
    assert (printed.out, printed.err) == (expected["generated_text"] + "\n", "")
    drawn = np.asarray(Image.open("overlay.png"))
    both = np.concatenate([np.asarray(expected["overlay_before"]), np.asarray(expected["overlay"])], axis=1)
    np.testing.assert_array_equal(drawn, both)


def test_sensor_data_is_read_as_the_checkpoint_tells(main, images, capsys):
    """As floats up to 3060, the same images give the same sentence and the same evidence on the whole images."""
    for name, image in zip(("before", "after"), images, strict=True):
        gray = image.convert("L")
        gray.save(f"{name}.png")
        Image.fromarray(np.asarray(gray).astype(np.float32) * 12).save(f"{name}.tif")
    assert main(["before.png", "after.png", "--model", "./model", "--output", "plain.png"]) == 0
    said = capsys.readouterr().out
    processor = AutoProcessor.from_pretrained("model")
    processor.value_range = (0, 3060)
    processor.save_pretrained("model")
    assert main(["before.tif", "after.tif", "--model", "./model", "--output", "sensor.png"]) == 0
    assert capsys.readouterr().out == said
    np.testing.assert_array_equal(*(np.asarray(Image.open(f"{name}.png")) for name in ("plain", "sensor")))


def change_weights(change):
    path = Path("model/model.safetensors")
    weights = load_file(path)
    change(weights)
    save_file(weights, path, metadata={"format": "pt"})


CASES = {
    "existing output": (lambda: Path("overlay.png").write_bytes(b"mine"), [], "overlay.png: exists; choose another"),
    "no folder": (lambda: None, ["--output", "none/o.png"], "none/o.png: there is no folder none"),
    "input as output": (lambda: None, ["--output", "after.png"], "after.png: exists; choose another"),
    "no image": (lambda: Path("after.png").write_text("text", encoding="utf-8"), [], "after.png: "),
    "no model": (lambda: None, ["--model", "./nowhere"], "./nowhere"),
    "missing weight": (
        lambda: change_weights(lambda weights: weights.pop("lm_head.weight")),
        [],
        "./model lacks weights, lm_head.weight among them",
    ),
    "no numbers": (
        lambda: change_weights(lambda weights: weights["lm_head.weight"].fill_(float("nan"))),
        [],
        "scores are not finite",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_errors_take_one_line_and_write_nothing(main, images, capsys, case):
    prepare, words, message = CASES[case]
    prepare()
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    capsys.readouterr()
    assert main(["before.png", "after.png", "--model", "./model", *words]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("caption_pair.py: error: ")
    assert printed.err.count("\n") == 1
    assert message in printed.err
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before


def test_the_example_stays_short():
    assert len(EXAMPLE.read_text(encoding="utf-8").splitlines()) < 60
