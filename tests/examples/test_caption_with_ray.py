# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Captions by Ray Data: two workers on this machine, one of them killed, and every pair captioned once."""

import io
import os
import runpy
import signal
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from filelock import FileLock
from PIL import Image
from transformers import pipeline

from ..tiny_systems import save_tiny


EXAMPLE = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "caption_with_ray.py"), run_name="example")
FAST = {"num_beams": 1, "max_new_tokens": 5}
PAIRS = 40


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def ray():
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.data")
    os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
    # Workers know this file by no name: a checkout's folder may be part of it.
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    ray.init(num_cpus=3, num_gpus=0, include_dashboard=False, object_store_memory=100 * 2**20, log_to_driver=False)
    yield ray
    ray.shutdown()


def images(count, seed=0):
    rng = np.random.default_rng(seed)
    return [Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)) for _ in range(count)]


def encoded(image):
    data = io.BytesIO()
    image.save(data, "PNG")
    return data.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    for side, seed in (("before", 0), ("after", 1)):
        (folder / side).mkdir()
        for number, drawn in enumerate(images(PAIRS, seed)):
            drawn.save(folder / side / f"{number:03d}.png")
    return folder


def expected_captions(model, folder):
    pipe = pipeline("change-captioning", model=str(model), device="cpu")
    names = [path.name for path in sorted((folder / "before").iterdir())]
    results = pipe([(folder / "before" / name, folder / "after" / name) for name in names], batch_size=8, **FAST)
    return {Path(name).stem: result[0]["generated_text"] for name, result in zip(names, results, strict=True)}


class Mortal(EXAMPLE["Captioner"]):
    """A captioner of which one is killed with its first batch half done, as by a machine that goes away."""

    def __init__(self, model, revision, decoding, reading, marker):
        super().__init__(model, revision, decoding, reading)
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
    arguments = (str(model), None, FAST, {}, str(tmp_path / "killed"))
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
        for number, (one, two) in enumerate(zip(images(6), images(6, 1), strict=True))
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
    (tmp_path / "out" / "ssgpa_captions_cut.parquet").write_bytes(b"PAR1half")
    assert run(tmp_path / "pairs.parquet", tmp_path / "out", arguments, 2, 2) == {
        "captioned": 1,
        "known": 5,
        "failed": 0,
    }
    assert all(path.name.startswith("ssgpa_captions_") for path in (tmp_path / "out").glob("*.parquet"))
    with pytest.raises(FileExistsError, match=r"another run \(different: decoding\)"):
        run(tmp_path / "pairs.parquet", tmp_path / "out", (str(model), None, {**FAST, "num_beams": 2}), 2, 2)
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


SETTINGS = {"model": "owner/name", "revision": None, "model_files": None, "decoding": {}, "reading": None}


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def write_captions(path, **columns):
    columns = columns or {"pair_id": ["1", "2"], "caption": ["a car is new", None], "error": [None, "before: broken"]}
    pq.write_table(pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()}), path)


@pytest.fixture
def begun(folder, tmp_path):
    """The output of a run with `SETTINGS` that captioned pair 1 and failed over pair 2."""
    output = tmp_path / "out"
    with EXAMPLE["open_output"](folder, output, SETTINGS):
        write_captions(output / "ssgpa_captions_one.parquet")
    return output


def test_a_data_set_as_output_is_refused_and_kept(folder, tmp_path, capsys):
    """By the command line: parquet of other columns, broken parquet of another name, and any other file."""
    output = tmp_path / "data"
    for name, write in (
        ("train-00000.parquet", lambda path: write_captions(path, pair_id=["1"], before=["a.png"], after=["b.png"])),
        ("cut.parquet", lambda path: path.write_bytes(b"PAR1half")),
        ("captions.parquet", write_captions),
        ("notes.txt", lambda path: path.write_text("mine")),
        ("images", lambda path: path.mkdir()),
    ):
        output.mkdir()
        write(output / name)
        before = contents(output)
        assert EXAMPLE["main"](["--source", str(folder), "--output", str(output)]) == 2
        assert f"{output}: holds {name}, which this program did not write" in capsys.readouterr().err
        assert contents(output) == before
        output.rename(tmp_path / f"{name}.seen")


def test_a_foreign_file_beside_captions_is_refused_and_kept(folder, begun):
    write_captions(begun / "mine.parquet", text=["mine"])
    before = contents(begun)
    with pytest.raises(FileExistsError, match=r"holds mine\.parquet"), EXAMPLE["open_output"](folder, begun, SETTINGS):
        pass
    assert contents(begun) == before


@pytest.mark.parametrize("inside", ["", "captions", "before/captions"])
def test_an_output_that_is_the_source_or_within_it_is_refused(folder, inside, capsys, monkeypatch):
    before = contents(folder)
    # Told in another way than the source.
    monkeypatch.chdir(folder)
    assert EXAMPLE["main"](["--source", str(folder), "--output", inside or "."]) == 2
    assert "is the source" in capsys.readouterr().err
    assert contents(folder) == before
    assert not (folder / "captions").exists()


def test_an_output_that_is_a_file_is_refused(folder, tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(NotADirectoryError, match="is a file; a folder is needed"):
        EXAMPLE["check_output"](folder, tmp_path / "out")


def test_errors_and_unfinished_files_are_dropped_and_captions_stay(folder, begun):
    (begun / "ssgpa_captions_cut.parquet").write_bytes(b"PAR1half")
    (begun / "ssgpa_captions_empty.parquet").touch()
    (begun / ".ssgpa_captions_one.parquet.tmp").write_bytes(b"PAR1")
    with EXAMPLE["open_output"](folder, begun, SETTINGS):
        assert EXAMPLE["take_up"](begun).to_pylist() == ["1"]
    assert sorted(path.name for path in begun.glob("*.parquet")) == ["ssgpa_captions_one.parquet"]
    assert not list(begun.glob(".*.tmp"))
    assert pq.read_table(begun).to_pylist() == [{"pair_id": "1", "caption": "a car is new", "error": None}]


def test_a_file_with_a_footer_is_never_deleted(begun):
    """Nor one that cannot be opened: that says nothing about what it holds."""
    strange = begun / "ssgpa_captions_two.parquet"
    write_captions(strange, pair_id=["3"], text=["mine"])
    before = contents(begun)
    with pytest.raises(ValueError, match=r"ssgpa_captions_two\.parquet: its captions cannot be read"):
        EXAMPLE["take_up"](begun)
    assert contents(begun)["ssgpa_captions_two.parquet"] == before["ssgpa_captions_two.parquet"]
    strange.unlink()
    strange.mkdir()
    with pytest.raises(IsADirectoryError):
        EXAMPLE["take_up"](begun)
    assert strange.is_dir()


@pytest.mark.parametrize(
    "changed",
    [
        {"model": "owner/other"},
        {"revision": "abc"},
        {"model_files": [["config.json", 1, 2]]},
        {"decoding": {"tiles": [2, 2]}},
        {"reading": {"nodata": 0.0}},
    ],
)
def test_a_run_with_other_settings_is_refused(folder, begun, changed):
    before = contents(begun)
    with (
        pytest.raises(FileExistsError, match=rf"captions of another run \(different: {next(iter(changed))}\)"),
        EXAMPLE["open_output"](folder, begun, {**SETTINGS, **changed}),
    ):
        pass
    assert contents(begun) == before
    # A run without a single caption binds no later one.
    (begun / "ssgpa_captions_one.parquet").unlink()
    with EXAMPLE["open_output"](folder, begun, {**SETTINGS, **changed}):
        write_captions(begun / "ssgpa_captions_one.parquet")
    with EXAMPLE["open_output"](folder, begun, {**SETTINGS, **changed}):
        assert len(EXAMPLE["take_up"](begun)) == 1


@pytest.mark.parametrize(("broken", "told"), [("{", "is not JSON"), (None, "but not their settings")])
def test_captions_without_their_settings_are_refused(folder, begun, broken, told):
    settings = begun / "_ssgpa_captions.settings.json"
    settings.unlink() if broken is None else settings.write_text(broken)
    before = contents(begun)
    with pytest.raises((ValueError, FileExistsError), match=told), EXAMPLE["open_output"](folder, begun, SETTINGS):
        pass
    assert contents(begun) == before


def test_settings_tell_what_captions_depend_on(model):
    settings = EXAMPLE["settings_of"](str(model), None, {"tiles": (2, 3)}, {"value_range": (0.0, 9.0)}, "the rest")
    assert {name for name, *_ in settings.pop("model_files")} >= {"config.json", "model.safetensors"}
    assert settings == {
        "model": str(model),
        "revision": None,
        "decoding": {"tiles": [2, 3]},
        "reading": {"value_range": [0.0, 9.0]},
    }


def test_two_runs_on_one_output_exclude_each_other(folder, begun):
    before = contents(begun)
    with FileLock(begun / ".ssgpa_captions.lock"):
        with (
            pytest.raises(FileExistsError, match="another run is writing to it"),
            EXAMPLE["open_output"](folder, begun, SETTINGS),
        ):
            pass
        assert contents(begun) == before
    with (
        EXAMPLE["open_output"](folder, begun, SETTINGS),
        pytest.raises(FileExistsError, match="another run is writing to it"),
        EXAMPLE["open_output"](folder, begun, SETTINGS),
    ):
        pass
    with EXAMPLE["open_output"](folder, begun, SETTINGS):
        assert len(EXAMPLE["take_up"](begun)) == 1


def test_reading_and_tiles_reach_the_pipeline(model, tmp_path):
    """16-bit data of which the range covers a part, in two tiles: captions as of the pipeline, which both change."""
    rng = np.random.default_rng(0)
    for name in ("before", "after"):
        Image.fromarray(rng.integers(0, 3000, (64, 64), dtype=np.uint16)).save(tmp_path / f"{name}.tif")
    pair = (str(tmp_path / "before.tif"), str(tmp_path / "after.tif"))
    words = ["--value-range", "0,100", "--nodata", "7", "--bands", "1", "--tiles", "1x2", "--num_beams", "1"]
    options = EXAMPLE["parse_arguments"](["--source", "s", "--output", "o", *words])
    reading, tiles = EXAMPLE["reading_options"](options), options.tiles
    assert (reading, tiles) == ({"value_range": (0.0, 100.0), "nodata": 7.0, "bands": (1,)}, (1, 2))
    captioner = EXAMPLE["Captioner"](str(model), None, {**FAST, "tiles": tiles}, reading)
    seen = []
    call = captioner.pipe.__class__.__call__

    class Watched(captioner.pipe.__class__):
        def __call__(self, inputs, **kwargs):
            seen.append(kwargs)
            return call(self, inputs, **kwargs)

    captioner.pipe.__class__ = Watched
    batch = {"pair_id": np.array(["1"]), "before": np.array([pair[0]]), "after": np.array([pair[1]])}
    (row,) = captioner(batch).to_pylist()
    assert {**FAST, "tiles": (1, 2), **reading}.items() <= seen[0].items()
    expected = pipeline("change-captioning", model=str(model), device="cpu")(pair, tiles=tiles, **FAST, **reading)
    assert row == {"pair_id": "1", "caption": expected[0]["generated_text"], "error": None}
