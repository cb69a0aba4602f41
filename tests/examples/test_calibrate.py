# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The program that calibrates a checkpoint, on prepared pairs of its own."""

import numpy as np
import pytest
from PIL import Image

from ssgpa.pipeline_ssgpa import ChangeCaptioningPipeline
from ssgpa.trust_ssgpa import Trust
from ssgpa.utils.loading import load_system

from ..scripts import load_script
from ..tiny_systems import tiny_ssgpa


PAIRS = 40


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Prepared pairs; what the tiny model says of every second one is its reference."""
    folder = tmp_path_factory.mktemp("pairs")
    rng, rows = np.random.default_rng(0), []
    model, processor = tiny_ssgpa()
    model.save_pretrained(folder / "model")
    processor.save_pretrained(folder / "model")
    pipe = ChangeCaptioningPipeline(model, processor=processor, task="change-captioning")
    for side in ("before", "after"):
        (folder / "source" / side).mkdir(parents=True)
    for number in range(PAIRS):
        pair = [Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)) for _ in range(2)]
        for side, image in zip(("before", "after"), pair, strict=True):
            image.save(folder / "source" / side / f"p{number}.png")
        said = pipe(tuple(pair), num_beams=2, max_new_tokens=40)[0]["generated_text"]
        caption = said if number % 2 and said else "something else entirely"
        rows.append(f'{{"pair_id": "p{number}", "captions": ["{caption}"], "split": "validation"}}')
    (folder / "source" / "captions.jsonl").write_text("\n".join(rows), encoding="utf-8")
    arguments = ["--dataset", "custom", "--source", folder / "source", "--output_dir", folder / "data"]
    assert load_script("prepare_data").main([str(word) for word in arguments]) in (0, None)
    return folder


def run(prepared, *more):
    arguments = [prepared / "model", "--data_dir", prepared / "data", "--trained_on", "noise", "--num_beams", 2, *more]
    return load_script("calibrate").main([str(word) for word in arguments])


def test_it_writes_what_the_pipeline_reads(prepared, capsys):
    assert run(prepared) == 0
    printed = capsys.readouterr().out
    assert "CIDEr-D of 1 or more" in printed
    assert "trust.json" in printed
    trust = Trust.load(prepared / "model" / "trust.json")
    assert (trust.trained_on, trust.measured["data"], trust.measured["split"]) == ("noise", "data", "validation")
    assert trust.measured["cross_validated"]["captions"] == PAIRS
    assert {"log_probability", "beams", "changed", "swapped", "map"} <= trust.confidence.evidence.keys()
    model, processor = load_system(str(prepared / "model"))
    pipe = ChangeCaptioningPipeline(model, processor=processor, task="change-captioning")
    pair = tuple(str(prepared / "source" / side / "p1.png") for side in ("before", "after"))
    result = pipe(pair, num_beams=2)[0]
    assert 0 < result["confidence"] < 1
    assert result["familiar"] is True
    # It does not replace a calibration unasked.
    assert run(prepared) == 2
    assert "pass --overwrite" in capsys.readouterr().err
    assert run(prepared, "--overwrite") == 0


def test_too_few_pairs_and_missing_data_are_one_line(prepared, capsys):
    assert run(prepared, "--overwrite", "--limit", 8) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 or "Familiarity needs 32 pairs" in error
    assert run(prepared, "--overwrite", "--split", "test") == 2
    assert "empty" in capsys.readouterr().err
