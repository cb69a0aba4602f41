# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Every reader on its own fixture, and one clear error for each way in which a copy of it can be broken."""

import re

import numpy as np
import pytest

from ssgpa.data.findings import Findings
from ssgpa.data.schema import check_pairs, pair_features

from .reader_cases import CASES, png


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


@pytest.fixture
def folder(case, tmp_path):
    (tmp_path / "outside.png").write_bytes(png(200))
    case.make(tmp_path / "source")
    return tmp_path / "source"


def damaged_cell(path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = pq.read_table(path).to_pylist()
    column = "source_img" if "source_img" in rows[0] else "image"
    rows[0][column]["bytes"] = rows[0][column]["bytes"][:-20]
    pq.write_table(pa.Table.from_pylist(rows), path)


def count(dataset):
    return tuple(len(dataset[name]) for name in ("train", "validation", "test"))


def test_rows(case, folder):
    findings = Findings()
    dataset = case.source.load(folder, findings)
    assert count(dataset) == case.rows
    for split in dataset.values():
        assert split.features == pair_features()
        for row in split:
            assert np.asarray(row["before"]).shape == np.asarray(row["after"]).shape == (16, 24, 3)
            assert (np.asarray(row["before"]) != np.asarray(row["after"])).any()
    check_pairs(dataset, "the set")
    assert findings.faulty == {}
    assert findings.equal == findings.leaks == []
    assert case.pair == f"train, pair {dataset['train'][0]['pair_id']!r}"


def break_table(case, folder):
    path = folder / case.table
    path.write_bytes(path.read_bytes()[:-30] + b"[")


def break_image(case, folder):
    if case.image is None:
        damaged_cell(folder / case.table)
    else:
        path = folder / case.image
        path.write_bytes(path.read_bytes()[:-20])


def lose_image(case, folder):
    if case.image is None:
        case.escape(folder)
    else:
        (folder / case.image).unlink()


def link_image(case, folder):
    path = folder / (case.image or case.table)
    path.rename(folder.parent / "moved")
    path.symlink_to(folder.parent / "moved")


def link_table(case, folder):
    path = folder / case.table
    path.rename(folder.parent / "moved")
    path.symlink_to(folder.parent / "moved")


BROKEN = {
    "bad JSON": (break_table, r"is not valid JSON|is not a readable parquet file"),
    "cc for caption": (
        lambda case, folder: case.rename(folder),
        r"'cc'|is missing, found .*cc|columns \['\w+'\] are missing, found .*cc",
    ),
    "table missing": (lambda case, folder: (folder / case.table).unlink(), r"is missing|holds none of"),
    # In a table with images inside, a path instead of the bytes is a missing image: it is never followed.
    "path out": (
        lambda case, folder: case.escape(folder),
        r"leads out of|is not the number of a pair|expected a list of scene numbers|_?im(g|age) is missing",
    ),
    "image is a link out": (link_image, r"leads out of"),
    "table is a link out": (link_table, r"leads out of"),
}


@pytest.mark.parametrize("way", BROKEN)
def test_broken_copies(case, folder, way):
    break_it, message = BROKEN[way]
    break_it(case, folder)
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        case.source.load(folder)
    assert "\n" not in str(error.value)
    assert str(folder) in str(error.value)
    assert re.search(message, str(error.value).replace(str(folder), ""))


FAULTY = {
    "missing": (lose_image, "is missing"),
    "damaged": (break_image, "is not a readable image"),
    "no caption": (lambda case, folder: case.empty(folder), "captions empty"),
}


@pytest.mark.parametrize("way", FAULTY)
def test_faulty_pairs(case, folder, way):
    """They are an error that names the pair, or are left out by name on request."""
    break_it, message = FAULTY[way]
    break_it(case, folder)
    findings = Findings(skip_faulty=True)
    dataset = case.source.load(folder, findings)
    assert case.pair not in {f"train, pair {name!r}" for name in dataset["train"]["pair_id"]}
    assert count(dataset)[1:] == case.rows[1:]
    assert len(dataset["train"]) < case.rows[0] == findings.read["train"]
    if way == "no caption" and "Spot" in case.source.title:
        # The release has such: a note, no fault.
        assert case.pair in findings.omitted
        assert len(case.source.load(folder)["train"]) == len(dataset["train"])
        return
    assert message in findings.faulty[case.pair]
    with pytest.raises(ValueError, match=re.escape(case.pair) + ".*--skip_faulty") as error:
        case.source.load(folder)
    assert "\n" not in str(error.value)
