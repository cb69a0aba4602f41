# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Data, tables and settings that somebody else wrote: nothing leads out of them, runs, or fills the memory."""

import json
import time
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ssgpa.cli import commands as cli
from ssgpa.data import load_prepared
from ssgpa.data.checks import inner_file, parse_json
from ssgpa.data.prepared import write_prepared
from ssgpa.data.readers.clevr_change import load_clevr_change
from ssgpa.hub.publish import read_facts
from ssgpa.training.arguments import parse_arguments
from ssgpa.training.streams import PairIterableDataset
from ssgpa.utils.yaml_files import load_yaml

from ..tiny_systems import tiny_ssgpa
from .bad_files import TRACE, deep_json, evil_yaml, laughs, noise_image, write


@pytest.fixture
def folder(rendered, tmp_path, own_cache):
    return write_prepared(load_clevr_change(rendered), tmp_path / "prepared")


@pytest.mark.parametrize("name", ["../outside.parquet", "/etc/outside.parquet", "data/../../x.parquet", 3, ["data"]])
def test_a_list_of_shards_leads_nowhere_else(folder, name):
    marker = folder / "prepared.json"
    content = json.loads(marker.read_text("utf-8"))
    content["shards"]["train"] = [name]
    marker.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match=r"which is no shard; prepare the data again"):
        load_prepared(folder)


def rename_image(folder, source):
    """Lets the first row of the training pairs name an image instead of holding it."""
    path = folder / "data" / "train-00000-of-00001.parquet"
    table = pq.read_table(path)
    rows = table["before"].to_pylist()
    rows[0] = {"bytes": None, "path": source}
    column = pa.array(rows, type=table.schema.field("before").type)
    table = table.set_column(table.schema.get_field_index("before"), table.schema.field("before"), column)
    pq.write_table(table, path)


@pytest.mark.parametrize(
    "source", ["/etc/hostname", "http://169.254.169.254/latest/meta-data", "file:///etc/hostname"]
)
def test_rows_that_name_a_file_are_refused(folder, source):
    """A set from the Hub could else read this machine's files, or ask addresses from within its network."""
    rename_image(folder, source)
    with pytest.raises(ValueError, match="`before` names a file and does not hold it"):
        load_prepared(folder)


def test_streamed_rows_that_name_a_file_are_refused(folder):
    write(folder.parent / "secret.png", noise_image(96))
    rename_image(folder, str(folder.parent / "secret.png"))
    _, processor = tiny_ssgpa()
    rows = PairIterableDataset(load_prepared(folder, streaming=True)["train"], processor, 1, 1, 0)
    with pytest.raises(ValueError, match="names a file and does not hold it"):
        list(rows)


def test_links_do_not_lead_out(tmp_path):
    write(tmp_path / "outside.png", noise_image())
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "link.png").symlink_to(tmp_path / "outside.png")
    (tmp_path / "set" / "up").symlink_to(tmp_path)
    for name in ("link.png", "up/outside.png", "../outside.png", str(tmp_path / "outside.png")):
        with pytest.raises(ValueError, match="leads out of"):
            inner_file(tmp_path / "set", name)


def test_yaml_runs_nothing(tmp_path):
    path = write(tmp_path / "run.yaml", evil_yaml(tmp_path / TRACE))
    for read in (load_yaml, read_facts, lambda path: parse_arguments([str(path)])):
        with pytest.raises(ValueError, match=r"run\.yaml is not YAML"):
            read(path)
    assert not (tmp_path / TRACE).exists()


@pytest.mark.parametrize("text", [laughs(), "a: &a [*a]", "- x\n" * 12_000], ids=lambda text: text[:9])
def test_yaml_does_not_grow(tmp_path, text):
    path = write(tmp_path / "run.yaml", text)
    tracemalloc.start()
    start = time.process_time()
    try:
        for read in (read_facts, lambda path: parse_arguments([str(path)])):
            with pytest.raises(ValueError, match=r"run\.yaml"):
                read(path)
        assert tracemalloc.get_traced_memory()[1] < 200 * 2**20
    finally:
        tracemalloc.stop()
    assert time.process_time() - start < 20


def test_deep_yaml_is_one_error(tmp_path):
    with pytest.raises(ValueError, match=r"run\.yaml is not YAML"):
        load_yaml(write(tmp_path / "run.yaml", "[" * 1000))


def test_deep_json_is_one_error():
    with pytest.raises(ValueError, match="file is not valid JSON"):
        parse_json(deep_json().encode(), "file")


@pytest.mark.parametrize("name", ["out.csv", "out.TSV", "out.xlsx"])
def test_captions_are_not_written_as_a_sheet(tmp_path, capsys, restored_logging, name):
    """Captions are JSON Lines, which a spreadsheet would cut at their commas: a part with "=" would be a formula."""
    write(tmp_path / "pairs.csv", "before,after\na.png,b.png\n")
    words = ["caption", "--pairs", str(tmp_path / "pairs.csv"), "--output", str(tmp_path / name)]
    assert cli.main(words) == 2
    assert "captions are written as JSON Lines; choose a name that ends in .jsonl" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.csv"]
