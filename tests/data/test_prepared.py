# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Prepared folders: the way of a set through `examples/prepare_data.py` and back."""

import json
import shutil
from pathlib import Path

import datasets
import numpy as np
import pytest
from datasets import load_dataset

from ssgpa.data import load_prepared, prepared
from ssgpa.data.clevr_renderer.dataset.cells import add_cell_targets
from ssgpa.data.prepared import render_settings, scenes_of, write_prepared
from ssgpa.data.readers.clevr_change import load_clevr_change
from ssgpa.data.schema import check_pairs, pair_features

from ..scripts import load_script


ROOT = Path(__file__).parents[2]


@pytest.fixture
def main():
    return load_script("prepare_data").main


def run(main, source, output, *more):
    return main(["--dataset", "clevr_change", "--source", str(source), "--output_dir", str(output), *more])


def same_rows(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert a.keys() == b.keys()
        for key in a:
            if key in ("before", "after"):
                np.testing.assert_array_equal(np.asarray(a[key]), np.asarray(b[key]))
            else:
                assert a[key] == b[key]


def test_round_trip(rendered, copied, tmp_path, main):
    output = tmp_path / "out" / "prepared"
    assert run(main, copied, output) == 0
    shutil.rmtree(copied)
    source = load_clevr_change(rendered)
    back = load_prepared(output)
    assert list(back) == ["train", "validation", "test"]
    for name, split in source.items():
        assert back[name].features == pair_features()
        same_rows(back[name], split)
    files = {"train": str(output / "data" / "train-00000-of-00001.parquet")}
    same_rows(load_dataset("parquet", data_files=files)["train"], source["train"])
    assert [path.name for path in output.parent.iterdir()] == ["prepared"]


def test_shards_and_aux_heads(rendered, tmp_path, main, monkeypatch):
    monkeypatch.setattr(prepared, "ROWS_PER_SHARD", 3)
    assert run(main, rendered, tmp_path / "out", "--aux_grid", "4", "6") == 0
    names = sorted(path.name for path in (tmp_path / "out" / "data").glob("train-*"))
    assert names == [f"train-0000{i}-of-00003.parquet" for i in range(3)]
    expected = add_cell_targets(load_clevr_change(rendered), rendered, (4, 6))
    back = load_prepared(tmp_path / "out")
    assert back["test"].features == pair_features(with_cells=True, with_objects=True)
    assert len(back["train"][0]["before_cells"]) == 24
    for name in expected:
        same_rows(back[name], expected[name])


def test_streaming_copies_nothing(rendered, tmp_path, main, monkeypatch):
    monkeypatch.setattr(prepared, "ROWS_PER_SHARD", 3)
    assert run(main, rendered, tmp_path / "out") == 0
    cache = Path(datasets.config.HF_DATASETS_CACHE)
    shutil.rmtree(cache)
    stream = load_prepared(tmp_path / "out", streaming=True)
    for name, split in load_clevr_change(rendered).items():
        same_rows(split, list(stream[name]))
    assert sum(path.stat().st_size for path in cache.rglob("*") if path.is_file()) == 0
    texts = load_prepared(tmp_path / "out", streaming=True, columns=["captions"], splits=["test"])
    assert list(texts) == ["test"]
    assert texts["test"].column_names == ["captions"]


def test_addresses_on_the_hub(rendered, tmp_path, main, monkeypatch):
    assert run(main, rendered, tmp_path / "out") == 0
    asked = []

    def marker(*words, **options):
        asked.append((words, options["repo_type"], options["revision"]))
        return str(tmp_path / "out" / "prepared.json")

    monkeypatch.setattr(prepared, "hf_hub_download", marker)
    monkeypatch.setattr(prepared, "can_ask_hub", lambda *_: True)
    files = prepared._files("hf://datasets/org/pairs@v1")
    assert files["test"] == ["hf://datasets/org/pairs@v1/data/test-00000-of-00001.parquet"]
    assert render_settings("hf://datasets/org/pairs")["seed"] == 7
    assert asked == [
        (("org/pairs", "prepared.json"), "dataset", "v1"),
        (("org/pairs", "prepared.json"), "dataset", None),
    ]


def test_render_settings_come_along(rendered, copied, tmp_path, main):
    assert run(main, rendered, tmp_path / "with") == 0
    assert render_settings(tmp_path / "with") == json.loads((rendered / "render_settings.json").read_text("utf-8"))
    assert render_settings(tmp_path / "with")["seed"] == 7
    (copied / "render_settings.json").unlink()
    assert run(main, copied, tmp_path / "without") == 0
    assert render_settings(tmp_path / "without") is None


def test_scenes_come_along(rendered, copied, tmp_path, main, capsys):
    assert run(main, rendered, tmp_path / "with") == 0
    path = scenes_of(tmp_path / "with")
    assert path == tmp_path / "with" / "scenes.jsonl"
    assert path.read_bytes() == (rendered / "scenes.jsonl").read_bytes()
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"with lacks scenes\.jsonl; prepare the data again"):
        scenes_of(tmp_path / "with")
    (copied / "scenes.jsonl").unlink()
    assert run(main, copied, tmp_path / "without") == 0
    assert scenes_of(tmp_path / "without") is None
    # Scenes of another set.
    (copied / "scenes.jsonl").write_text("", encoding="utf-8")
    assert run(main, copied, tmp_path / "wrong") == 2
    assert "holds other scenes than the data" in one_error(capsys)
    assert not (tmp_path / "wrong").exists()


def test_empty_split_survives(copied, tmp_path, main):
    (copied / "splits.json").write_text('{"train": [0, 1], "val": [], "test": [2]}', encoding="utf-8")
    assert run(main, copied, tmp_path / "out") == 0
    expected = {"train": 4, "validation": 0, "test": 2}
    assert {name: len(split) for name, split in load_prepared(tmp_path / "out").items()} == expected
    streams = load_prepared(tmp_path / "out", streaming=True)
    assert {name: len(list(split)) for name, split in streams.items()} == expected
    (alone,) = load_prepared(tmp_path / "out", splits=["validation"]).values()
    assert len(alone) == 0
    assert alone.features == pair_features()


def one_error(capsys):
    error = capsys.readouterr().err.splitlines()
    lines = [line for line in error if line.startswith("prepare_data.py: error: ")]
    assert len(lines) == 1
    return lines[0]


def test_existing_folders(rendered, tmp_path, main, capsys):
    output = tmp_path / "out"
    assert run(main, rendered, output) == 0
    assert run(main, rendered, output) == 2
    assert "--overwrite" in one_error(capsys)
    assert run(main, rendered, output, "--overwrite", "--aux_grid", "2", "2") == 0
    assert load_prepared(output)["train"].features == pair_features(with_cells=True, with_objects=True)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("mine", encoding="utf-8")
    assert run(main, rendered, foreign, "--overwrite") == 2
    assert "not a prepared folder" in one_error(capsys)
    assert (foreign / "thesis.txt").read_text(encoding="utf-8") == "mine"


def test_errors_are_one_line_and_leave_nothing(copied, tmp_path, main, capsys):
    shutil.rmtree(copied / "object_masks")
    assert run(main, copied, tmp_path / "out", "--aux_grid", "2", "2") == 2
    assert "--object_masks" in one_error(capsys)
    (copied / "images" / "CLEVR_default_000000.png").write_bytes(b"")
    assert run(main, copied, tmp_path / "out") == 2
    assert "CLEVR_default_000000.png" in one_error(capsys)
    assert run(main, tmp_path / "none", tmp_path / "out") == 2
    assert "splits.json" in one_error(capsys)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copied"]


def test_failed_overwrite_keeps_the_old_folder(rendered, tmp_path, monkeypatch):
    dataset = load_clevr_change(rendered)
    write_prepared(dataset, tmp_path / "out")
    before = (tmp_path / "out" / "prepared.json").read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(prepared, "_write_split", fail)
    with pytest.raises(OSError, match="disk full"):
        write_prepared(dataset, tmp_path / "out", overwrite=True)
    assert (tmp_path / "out" / "prepared.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_load_prepared_names_what_is_wrong(rendered, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"is not a prepared folder .*prepare_data\.py"):
        load_prepared(rendered)
    write_prepared(load_clevr_change(rendered), tmp_path / "out")
    (tmp_path / "out" / "data" / "test-00000-of-00001.parquet").unlink()
    with pytest.raises(FileNotFoundError, match="lacks data/test-00000-of-00001"):
        load_prepared(tmp_path / "out")
    (tmp_path / "out" / "prepared.json").write_text(json.dumps({"shards": {}}), encoding="utf-8")
    with pytest.raises(ValueError, match="does not list the shards"):
        load_prepared(tmp_path / "out")


def test_check_pairs(rendered):
    dataset = load_clevr_change(rendered)
    broken = dataset.copy()
    broken["test"] = dataset["train"]
    with pytest.raises(ValueError, match=r"the set, test, pair '\d+\.png': the pair occurs twice"):
        check_pairs(broken, "the set")
    broken["test"] = dataset["train"].select([0]).map(lambda row: {"pair_id": "other"})
    with pytest.raises(ValueError, match=r"scene '\d+' occurs in train and test"):
        check_pairs(broken, "the set")
    broken["test"] = dataset["test"].map(lambda row: {"captions": [""]})
    with pytest.raises(ValueError, match="caption 0 must be a non-empty string"):
        check_pairs(broken, "the set")
    broken["test"] = dataset["test"].remove_columns("before")
    with pytest.raises(ValueError, match=r"columns missing or of another type: \['before'\]"):
        check_pairs(broken, "the set")
    del broken["test"]
    with pytest.raises(ValueError, match="the splits must be"):
        check_pairs(broken, "the set")
