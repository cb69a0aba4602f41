# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Captions by Ray Data: two workers on this machine, one of them killed, and every pair captioned once."""

import io
import os
import runpy
import signal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from transformers import pipeline

from ..tiny_systems import TINY_SYSTEMS


EXAMPLE = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "caption_with_ray.py"), run_name="example")
FAST = {"num_beams": 1, "max_new_tokens": 5}
PAIRS = 40


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    for part in TINY_SYSTEMS["ssgpa"]():
        part.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def ray():
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.data")
    os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
    ray.init(num_cpus=3, num_gpus=0, include_dashboard=False, object_store_memory=100 * 2**20, log_to_driver=False)
    yield ray
    ray.shutdown()


def pictures(count, seed=0):
    rng = np.random.default_rng(seed)
    return [Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)) for _ in range(count)]


def encoded(picture):
    data = io.BytesIO()
    picture.save(data, "PNG")
    return data.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    for side, seed in (("before", 0), ("after", 1)):
        (folder / side).mkdir()
        for number, drawn in enumerate(pictures(PAIRS, seed)):
            drawn.save(folder / side / f"{number:03d}.png")
    return folder


def expected_captions(model, folder):
    pipe = pipeline("change-captioning", model=str(model), device="cpu")
    names = [path.name for path in sorted((folder / "before").iterdir())]
    results = pipe([(folder / "before" / name, folder / "after" / name) for name in names], batch_size=8, **FAST)
    return {Path(name).stem: result[0]["generated_text"] for name, result in zip(names, results, strict=True)}


class Mortal(EXAMPLE["Captioner"]):
    """A captioner of which one is killed with its first batch half done, as by a machine that goes away."""

    def __init__(self, model, revision, decoding, marker):
        super().__init__(model, revision, decoding)
        self.marker = marker

    def __call__(self, batch):
        captions = super().__call__(batch)
        try:
            os.close(os.open(self.marker, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return captions
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_no_pair(ray, model, folder, tmp_path):
    expected = expected_captions(model, folder)
    arguments = (str(model), None, FAST, str(tmp_path / "killed"))
    counts = EXAMPLE["caption"](folder, tmp_path / "out", arguments, 2, 4, Mortal)
    assert (tmp_path / "killed").exists()
    assert counts == {"captioned": PAIRS, "known": 0, "failed": 0}
    rows = pq.read_table(tmp_path / "out").to_pylist()
    assert sorted(row["pair_id"] for row in rows) == sorted(expected)
    assert {row["pair_id"]: row["caption"] for row in rows} == expected


@pytest.mark.slow
def test_a_run_goes_on_and_tries_errors_again(ray, model, folder, tmp_path):
    """Parquet with images inside; one is broken, and what a killed run left lies in the output."""
    rows = [
        {"ID": number, "before": {"bytes": encoded(one), "path": None}, "after": {"bytes": encoded(two), "path": None}}
        for number, (one, two) in enumerate(zip(pictures(6), pictures(6, 1), strict=True))
    ]
    whole = rows[2]["before"]["bytes"]
    rows[2]["before"]["bytes"] = whole[:40]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "pairs.parquet")
    arguments = (str(model), None, FAST)
    run = EXAMPLE["caption"]
    assert run(tmp_path / "pairs.parquet", tmp_path / "out", arguments, 2, 2) == {
        "captioned": 5,
        "known": 0,
        "failed": 1,
    }
    (failed,) = [row for row in pq.read_table(tmp_path / "out").to_pylist() if row["error"]]
    assert failed["pair_id"] == "2"
    assert "before: " in failed["error"]
    rows[2]["before"]["bytes"] = whole
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "pairs.parquet")
    (tmp_path / "out" / "cut.parquet").write_bytes(b"PAR1half")
    assert run(tmp_path / "pairs.parquet", tmp_path / "out", arguments, 2, 2) == {
        "captioned": 1,
        "known": 5,
        "failed": 0,
    }
    table = pq.read_table(tmp_path / "out").to_pylist()
    assert sorted(row["pair_id"] for row in table) == [str(number) for number in range(6)]
    pipe = pipeline("change-captioning", model=str(model), device="cpu")
    for row in table:
        pair = rows[int(row["pair_id"])]
        assert row["caption"] == pipe((pair["before"]["bytes"], pair["after"]["bytes"]), **FAST)[0]["generated_text"]


def test_folders_whose_files_do_not_pair_are_refused(tmp_path):
    pairs_of_folder = EXAMPLE["pairs_of_folder"]
    for side in ("before", "after"):
        (tmp_path / side).mkdir()
        (tmp_path / side / "a.png").touch()
    assert [pair["pair_id"] for pair in pairs_of_folder(tmp_path)] == ["a"]
    (tmp_path / "before" / "b.png").touch()
    with pytest.raises(ValueError, match="b is in one of before/ and after/ only"):
        pairs_of_folder(tmp_path)
    (tmp_path / "after" / "b.png").touch()
    (tmp_path / "after" / "b.jpg").touch()
    with pytest.raises(ValueError, match=r"b\.jpg: another file of after/ is called so too"):
        pairs_of_folder(tmp_path)
