# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Sensor data from preparing to training, by one decoder; errors of it name the pair and the file."""

import json
import logging
from itertools import islice

import numpy as np
import pytest
from datasets import Dataset

from ssgpa.data.decoding import adopt_reading, describe_sources, load_pair, undecoded
from ssgpa.data.prepared import load_prepared, reading_of
from ssgpa.data.reading import table_of
from ssgpa.image_utils_ssgpa import load_image
from ssgpa.training.dataset import PairDataset
from ssgpa.training.generation import caption_rows
from ssgpa.training.samples import make_samples
from ssgpa.training.streams import PairIterableDataset

from ..image_cases import encoded, scene, tiff
from ..processing_cases import build
from ..scripts import load_script


SENSOR = [tiff(scene(40, 32, seed)[..., 0].astype(np.float32) * 12, nodata=-9999) for seed in range(4)]


def rows_of(contents, name="scan.tif"):
    """A prepared split of such files, two a pair."""
    rows = [
        {
            "pair_id": f"site {number}",
            "scene_id": f"site {number}",
            "before": {"bytes": before, "path": name},
            "after": {"bytes": after, "path": name},
            "captions": ["the red cube is gone"],
            "change_type": None,
        }
        for number, (before, after) in enumerate(zip(contents[::2], contents[1::2], strict=True))
    ]
    return table_of(rows)


@pytest.fixture
def custom_pairs(tmp_path):
    """A folder of two pairs of sensor data."""
    for side, first in (("before", 0), ("after", 1)):
        (tmp_path / "mine" / side).mkdir(parents=True)
        for number in range(2):
            (tmp_path / "mine" / side / f"site{number}.tif").write_bytes(SENSOR[2 * number + first])
    lines = [
        {"pair_id": f"site{number}", "captions": ["the red cube is gone"], "split": split}
        for number, split in enumerate(("train", "validation"))
    ]
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    (tmp_path / "mine" / "captions.jsonl").write_text(text, encoding="utf-8")
    return tmp_path


def prepare(folder, *options):
    words = ["--dataset", "custom", "--source", str(folder / "mine"), "--output_dir", str(folder / "out")]
    return load_script("prepare_data").main([*words, *options])


def test_preparing_refuses_what_training_could_not_read(custom_pairs, capsys):
    assert prepare(custom_pairs) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "train, pair 'site0': before/site0.tif is not a readable image: " in line
    assert "value_range=(low, high)" in line
    (custom_pairs / "mine" / "before" / "site0.tif").write_bytes(encoded("PNG", scene(4, 4)))
    assert prepare(custom_pairs, "--value_range", "0,3060") == 2
    assert "site0.tif is not a readable image: an image of 4x4 pixels is too small" in capsys.readouterr().err


def test_a_range_travels_from_preparing_to_the_trained_processor(custom_pairs, capsys, own_cache):
    assert prepare(custom_pairs, "--value_range", "0,3060", "--nodata", "-1", "--bands", "1") == 0
    reading = reading_of(custom_pairs / "out")
    assert reading == {"value_range": (0.0, 3060.0), "nodata": -1.0, "bands": (1,)}
    rows = load_prepared(custom_pairs / "out")["train"]
    processor = build()
    describe_sources(processor, rows, reading)
    assert processor.trained_size == {"height": 32, "width": 40}
    (told,) = [json.loads(json.dumps(processor.to_dict()[name])) for name in ("value_range",)]
    assert told == [0, 3060]
    found = PairDataset(rows, processor)[0]["images"]
    expected = [np.repeat(scene(40, 32, seed)[..., :1], 3, -1) for seed in range(2)]
    resized = build()(images=expected, do_rescale=False, do_normalize=False, return_tensors="np")["pixel_values"][0]
    np.testing.assert_array_equal(found, resized)
    stream = load_prepared(custom_pairs / "out", streaming=True)["train"]
    np.testing.assert_array_equal(next(iter(PairIterableDataset(stream, processor)))["images"], resized)
    describe_sources(processor, stream, reading)
    assert processor.trained_size == {"height": 32, "width": 40}


def test_a_damaged_note_of_the_reading_is_told(custom_pairs, capsys):
    assert prepare(custom_pairs, "--value_range", "0,3060") == 0
    path = custom_pairs / "out" / "prepared.json"
    told = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(told | {"reading": {"value_range": "all"}}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"`reading` is damaged .*prepare the data again"):
        reading_of(custom_pairs / "out")
    path.write_text(json.dumps({name: told[name] for name in told if name != "reading"}), encoding="utf-8")
    assert reading_of(custom_pairs / "out") == {}


BROKEN = {
    "range": (SENSOR[0], "value_range"),
    "cut": (SENSOR[0][:2000], "cannot be read as an image"),
    "small": (encoded("PNG", scene(4, 4)), "4x4 pixels is too small"),
}


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.parametrize("reader", ["at access", "cached", "streamed", "captions", "samples", "described"])
def test_errors_name_pair_and_file_and_never_a_number_in_a_batch(case, reader):
    content, reason = BROKEN[case]
    whole = encoded("PNG")
    rows = rows_of([whole, whole, whole, content])
    processor = build()
    readers = {
        "at access": lambda: PairDataset(rows, processor)[1],
        "cached": lambda: PairDataset(rows, processor, cache=True),
        "streamed": lambda: list(
            islice(PairIterableDataset(rows.to_iterable_dataset(), processor, shuffle_buffer=0), 2)
        ),
        "captions": lambda: caption_rows(_Model(), processor, rows),
        "samples": lambda: make_samples(_Model(), processor, rows, dict.fromkeys(rows["pair_id"][:], "x"), 2),
        "described": lambda: describe_sources(processor, rows, {}),
    }
    with pytest.raises(ValueError, match=rf"^pair 'site 1', after: scan\.tif: .*{reason}") as error:
        readers[reader]()
    assert "batch" not in str(error.value)


class _Model:
    """Never reached: images are decoded first."""

    device, dtype = "cpu", None


def test_the_size_of_a_mixed_set_is_that_of_its_large_images():
    contents = [encoded("PNG", scene(width, 24)) for width in (24, 24, 24, 32, 32, 32, 40, 40, 48, 96)]
    processor = build(trained_size={"height": 8, "width": 8})
    describe_sources(processor, rows_of(contents), {})
    assert processor.trained_size == {"height": 24, "width": 96}
    describe_sources(processor, rows_of(contents[:8] + contents[:8] + contents[8:10] + contents[:2]), {})
    assert processor.trained_size == {"height": 24, "width": 48}
    assert isinstance(rows_of(contents), Dataset)


OWN = {"value_range": (0.0, 3060.0), "nodata": -9999.0, "bands": (1,)}


def test_the_reading_of_the_data_replaces_all_of_a_bases(caplog):
    """Ordinary images through a base of sensor data came out near-black."""
    rows = rows_of([encoded("PNG", scene(40, 32, seed)) for seed in range(2)])
    processor, plain = build(**OWN), build()
    assert PairDataset(rows, processor)[0]["images"][0].max() < 32
    with caplog.at_level(logging.WARNING):
        describe_sources(processor, rows, {})
    (line,) = [record.getMessage() for record in caplog.records if "base" in record.getMessage()]
    assert "with value_range=None, nodata=None, bands=None, and no longer" in line
    assert "value_range=(0.0, 3060.0), nodata=-9999.0, bands=(1,)" in line
    assert processor.reading() == dict.fromkeys(OWN)
    assert not OWN.keys() & processor.to_dict().keys()
    np.testing.assert_array_equal(PairDataset(rows, processor)[0]["images"], PairDataset(rows, plain)[0]["images"])


@pytest.mark.parametrize(("own", "told"), [({}, OWN), (OWN, OWN), ({}, {})])
def test_a_reading_that_replaces_none_is_not_worth_a_line(own, told, caplog):
    processor = build(**own)
    with caplog.at_level(logging.WARNING):
        describe_sources(processor, rows_of(SENSOR), told or {"value_range": (0.0, 3060.0)})
    replaced = [record for record in caplog.records if "base" in record.getMessage()]
    assert not replaced
    assert processor.value_range == (0.0, 3060.0)


@pytest.mark.parametrize(("count", "expected"), [(3, 3), (64, 64), (65, 64), (127, 64), (200, 64)])
@pytest.mark.parametrize("streamed", [False, True])
def test_up_to_64_pairs_tell_how_large_the_images_are(count, expected, streamed):
    content = encoded("PNG", scene(40, 32))
    rows, seen = rows_of([content] * (2 * count)), []
    processor = build()
    load, processor.load_image = processor.load_image, lambda *asked, **options: seen.append(asked[1]) or load(*asked)
    describe_sources(processor, rows.to_iterable_dataset() if streamed else rows, {})
    assert len(seen) == len(set(seen)) == 2 * expected
    assert processor.trained_size == {"height": 32, "width": 40}


@pytest.mark.parametrize("own", [{}, {"value_range": (0, 3060)}, OWN])
def test_a_trained_system_reads_data_as_it_was_prepared(own):
    processor = build(**own)
    adopt_reading(processor, OWN, "out")
    assert processor.reading() == OWN


@pytest.mark.parametrize("told", [{}, {"value_range": (0, 255)}, {"value_range": "percentile", "nodata": 0}])
def test_a_trained_system_with_another_reading_is_refused(told):
    processor = build(value_range=(0, 3060))
    with pytest.raises(ValueError, match=r"^out was prepared with value_range=.*\(0\.0, 3060\.0\).*Prepare") as error:
        adopt_reading(processor, told, "out")
    assert "nodata" not in str(error.value)
    assert processor.reading() == {"value_range": (0, 3060), "nodata": None, "bands": None}


def test_a_processor_of_another_kind_reads_plain_data_alone():
    adopt_reading(object(), {}, "out")
    with pytest.raises(ValueError, match=r"out was prepared with value_range=\(0\.0, 3060\.0\).*a object cannot"):
        adopt_reading(object(), OWN, "out")


def test_whole_images_keep_their_size_and_are_scaled_once():
    (row,) = undecoded(rows_of(SENSOR[:2]))
    processor = build(value_range=(0, 3060))
    expected = [scene(40, 32, seed)[..., :1].repeat(3, -1) for seed in range(2)]
    for pair in (load_pair(row, processor, whole=True), load_pair(row, value_range=(0, 3060))):
        np.testing.assert_array_equal(np.stack(pair), expected)
    assert [image.size for image in load_pair(row, processor)] == [(32, 32)] * 2
    # What was read in a way of its own holds colors.
    read = {side: load_image(row[side], value_range=(0, 6120)) for side in ("before", "after")}
    for found, source in zip(load_pair(row | read, processor, whole=True), read.values(), strict=True):
        np.testing.assert_array_equal(np.asarray(found), np.asarray(source))
