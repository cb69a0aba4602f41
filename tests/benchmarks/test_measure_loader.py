# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The figures of the loader: what they are made of and how they are told, not how large they are."""

import io
import json
import statistics

import numpy as np
import pytest
import torch
from PIL import Image

from ssgpa.benchmarks import measure_loader
from ssgpa.benchmarks.readme_table import NO_FIGURES, read_block
from ssgpa.benchmarks.tables.loader_table import format_loader
from ssgpa.data.prepared import load_prepared

from ..tiny_systems import tiny_ssgpa


pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(autouse=True)
def _same_threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def model_dir(tmp_path):
    for part in tiny_ssgpa():
        part.save_pretrained(tmp_path / "model")
    return str(tmp_path / "model")


def words(model_dir, output, *more):
    return ["--model", model_dir, "--output", str(output), "--pairs", "8", "--batch_size", "2", "--side", "32", *more]


def test_figures_and_their_table(model_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(measure_loader, "MADE_SIZE", (48, 40))
    output = tmp_path / "loader.json"
    assert measure_loader.main(words(model_dir, output, "--workers", "1", "2", "--turns", "3")) == 0
    report = json.loads(output.read_text(encoding="utf-8"))
    assert list(report["figures"]) == ["workers_1", "workers_2"]
    for found in report["figures"].values():
        turns = found["turns"]
        assert {len(rates) for rates in turns.values()} == {3}
        for name in ("any_row", "streamed", "normalized"):
            paired = [own / bare for own, bare in zip(turns[name], turns["bare_pil"], strict=True)]
            assert found["ratios"][name]["ratio"] == pytest.approx(statistics.median(paired))
            assert found["ratios"][name]["ratio_low"] <= found["ratios"][name]["ratio_high"]
            assert found["pairs_per_second"][name] == pytest.approx(statistics.median(turns[name]))
    assert report["images"]["size"] == [48, 40]
    assert "workers_2" in capsys.readouterr().out
    found = report["figures"]["workers_1"]
    found["pairs_per_second"] = {"bare_pil": 100, "any_row": 91.4, "streamed": 88, "normalized": 80}
    shares = {"any_row": 0.914, "streamed": 0.88, "normalized": 0.8}
    found["ratios"] = {
        name: {"ratio": share, "ratio_low": share - 0.1, "ratio_high": share} for name, share in shares.items()
    }
    text = format_loader(report, "x.json")
    assert "| 1 worker | 100 | 91 (91 %, 81 to 91) | 88 (88 %, 78 to 88) | 80 (80 %, 70 to 80) |" in text
    assert "8 pairs, 48 x 40 PNG" in text
    assert read_block(tmp_path / "loader.json", format_loader).endswith("`benchmarks/results/loader.json`.")
    assert read_block(tmp_path / "none.json", format_loader) == NO_FIGURES


def test_bare_images_are_decoded_and_resized(prepared_dir):
    rows = load_prepared(prepared_dir)["test"]
    pair = measure_loader.BareImages(rows, 20)[1]
    for made, side in zip(pair, ("before", "after"), strict=True):
        expected = rows[1][side].convert("RGB").resize((20, 20), Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(made, np.asarray(expected))


def test_made_images_lie_in_two_files(tmp_path, monkeypatch):
    monkeypatch.setattr(measure_loader, "MADE_SIZE", (48, 40))
    folder = measure_loader.make_pairs(tmp_path, 5, seed=0)
    assert len(list((folder / "data").glob("train-*.parquet"))) == 2
    files = measure_loader.BareImages(load_prepared(folder)["train"], 20).files
    assert len({bytes(file) for side in files for file in side}) == 10
    assert Image.open(io.BytesIO(files[0][0])).size == (48, 40)


def test_too_few_pairs_are_refused(model_dir, prepared_dir, tmp_path, capsys):
    more = ["--data", str(prepared_dir), "--batch_size", "8"]
    assert measure_loader.main(words(model_dir, tmp_path / "x.json", *more)) == 2
    assert "8 pairs are no more than one batch" in capsys.readouterr().err
    assert not (tmp_path / "x.json").exists()
