# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""docs/data.md tells the truth: its counts are the readers', its commands parse, its own pairs can be read."""

import re
import shlex
from pathlib import Path

import pytest
from PIL import Image

from ssgpa.data.findings import Findings, count_table
from ssgpa.data.readers.custom_pairs import FIELDS, load_custom_pairs
from ssgpa.data.schema import SPLITS

from ..scripts import load_script


ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^python examples/prepare_data\.py (.+)$", PAGE, re.MULTILINE)


@pytest.fixture(scope="module")
def script():
    return load_script("prepare_data")


def cells(first):
    line = next(line for line in PAGE.splitlines() if line.startswith(f"| `{first}`"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_counts_and_layouts_are_the_readers(script):
    for name, source in script.READERS.items():
        told = cells(name)[2]
        if source.total:
            assert told == f"{source.total:,} together"
        elif source.counts and len(source.counts) < len(SPLITS):
            assert told == " / ".join(f"{source.counts[name]:,}" if name in source.counts else "-" for name in SPLITS)
        else:
            assert told == (" / ".join(f"{count:,}" for count in source.counts.values()) if source.counts else "-")
        if name not in ("custom", "spot_the_diff_multi"):
            files = re.findall(r"[\w{},]+\.jsonl?|[\w{},/]+/", source.layout)
            assert [part for part in files if part not in cells(name)[1]] == []


def test_every_set_has_a_command(script):
    parsed = [script.parse_arguments(shlex.split(command)) for command in COMMANDS]
    assert {options.dataset for options in parsed} == set(script.READERS)


def test_the_summary_shown_is_the_one_printed(script):
    findings = Findings(read={"validation": 3_589, "test": 2_022})
    kept = {"train": 0, "validation": 3_589, "test": 2_022}
    assert "\n".join(count_table(kept, findings, script.READERS["emu_edit"].counts)) in PAGE


def test_every_field_of_custom_pairs_is_told():
    assert set(re.findall(r"`(\w+)`", PAGE.split("| field | what |")[1].split("\n\n")[0])) >= FIELDS


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_custom_pairs_of_the_page_are_read(kind, tmp_path):
    table = re.search(rf"<!-- own:{kind} -->\n```\w+\n(.*?)```", PAGE, re.DOTALL)[1]
    (tmp_path / f"captions.{kind}").write_text(table, encoding="utf-8")
    for number, name in enumerate(re.findall(r"(?:before|after)/\w+\.\w+", PAGE.split("my_pairs/\n")[1][:200])):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (16, 16), (60 * number, 0, 0)).save(tmp_path / name)
    dataset = load_custom_pairs(tmp_path)
    assert dataset["train"]["captions"] == [["the kettle is gone", "someone took the kettle away"]]
    assert dataset["test"]["change_type"] == ["none"]
