"""The example says what the pipeline says and draws what the pipeline draws."""

import runpy
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from transformers import pipeline

from ..tiny_systems import TINY_SYSTEMS


EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "caption_pair.py"


def test_caption_and_overlay_are_those_of_the_pipeline(tmp_path, monkeypatch, capsys):
    model, processor = TINY_SYSTEMS["ssgpa"]()
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(rng.integers(0, 256, (40, width, 3), dtype=np.uint8)) for width in (48, 64)]
    for picture, name in zip(pictures, ("before", "after"), strict=True):
        picture.save(tmp_path / f"{name}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["caption_pair.py", "before.png", "after.png", "--model", "model"])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    expected = pipeline("change-captioning", model="model", device="cpu")(tuple(pictures), return_change_map=True)[0]
    assert capsys.readouterr().out.splitlines()[0] == expected["generated_text"]
    drawn = np.asarray(Image.open("overlay.png"))
    both = np.concatenate([np.asarray(expected["overlay_before"]), np.asarray(expected["overlay"])], axis=1)
    np.testing.assert_array_equal(drawn, both)
