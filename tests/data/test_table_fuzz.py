# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Tables that were written in any way give the same pairs, and damaged ones give one clear error or lose one row."""

import csv
import io
import json

import numpy as np
import pytest

from ssgpa.cli.batch import load_row, read_pairs
from ssgpa.data.findings import Findings
from ssgpa.data.pair_table import FileFinder
from ssgpa.data.readers.custom_pairs import load_custom_pairs

from .readers.reader_cases import png


NAMES = {
    "pair_id": ("pair_id", "id", "Pair ID", "ID"),
    "before": ("before", "before_file_name", "Before", " before ", "BEFORE-FILE-NAME"),
    "after": ("after", "after_file_name", "After", "after "),
    "captions": ("caption", "captions", "sentences", "Caption"),
}
TEXTS = ("a cup; moved", 'the "red" one, gone', "nichts geändert", "变化", "a\ttab | bar", "it's ^ here", "no")
BLOCKS = ('"', ",", ";", "\n", "\r", "\0", "\ufeff", "\\", "{", "}", "[", "]", ":", "null", "NaN", "1e999", "\\ud800")
BLOCKS += ("before", "captions", "data:image/png;base64,AA", "x" * 400, "../../../etc/passwd", "/etc/hostname")


class Choices:
    """Seeded choices."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def choice(self, items):
        return items[self.below(len(items))]

    def below(self, end):
        return int(self.rng.integers(end))

    def often(self, share):
        return self.rng.random() < share

    def shuffled(self, items):
        return [items[index] for index in self.rng.permutation(len(items))]


def make_pairs(random):
    """Ids, names of images that exist, and captions."""
    count = 1 + random.below(6)
    return [(str(number), f"b/{number}.png", f"a/{number}.png", random.choice(TEXTS)) for number in range(count)]


def write_csv(random, pairs):
    """In any dialect that can be told: bytes and suffix."""
    mark, end = random.choice(",;\t|^~"), random.choice(("\n", "\r\n", "\r"))
    target = io.StringIO()
    quoting = random.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC))
    writer = csv.writer(target, delimiter=mark, lineterminator=end, quoting=quoting)
    # The columns in any order, and one more that says nothing.
    columns = random.shuffled([(random.choice(NAMES[name]), index) for index, name in enumerate(NAMES)])
    writer.writerow([name for name, _ in columns])
    for pair in pairs:
        writer.writerow([pair[index] for _, index in columns])
        if random.often(0.1):
            target.write(end)
    text = random.choice(("", "\ufeff", f"sep={mark}{end}", end)) + target.getvalue()
    return text.encode(random.choice(("utf-8", "utf-8", "utf-16"))), random.choice(("csv", "tsv"))


def write_json(random, pairs):
    """As lines or a list, of plain records or LLaVA's: bytes and suffix."""
    records = []
    for name, before, after, caption in pairs:
        if random.often(0.5):
            record = {random.choice(NAMES["before"]): before, random.choice(NAMES["after"]): after}
            record[random.choice(("captions", "sentences"))] = [caption]
        else:
            turns = [{"from": "human", "value": "<image>\n<image>"}, {"from": "gpt", "value": caption}]
            record = {random.choice(("image", "images")): [before, after], "conversations": turns}
        record[random.choice(NAMES["pair_id"])] = random.choice((name, int(name)))
        records.append(dict(random.shuffled([*record.items(), ("split", None)])))
    ascii = random.often(0.5)
    if random.often(0.5):
        text = json.dumps(records, ensure_ascii=ascii, indent=random.choice((None, 2)))
    else:
        end = random.choice(("\n", "\r\n", "\n\n"))
        text = "".join(json.dumps(record, ensure_ascii=ascii) + end for record in records)
    return (random.choice(("", "\ufeff")) + text).encode(), random.choice(("json", "jsonl"))


def damage(random, content):
    """Cut, flip, repeat, and put in what breaks parsers."""
    for _ in range(1 + random.below(4)):
        place = random.below(len(content) + 1)
        end = min(len(content), place + 1 + random.below(30))
        content = random.choice(
            (
                content[:place],
                content[place:],
                content[:place] + content[end:],
                content[:place] + bytes(random.below(256) for _ in range(end - place)) + content[end:],
                content[:end] + content[place:],
                content[:place] + random.choice(BLOCKS).encode("utf-8", "surrogatepass") + content[place:],
            )
        )
    return content


def read_for_captioning(path):
    """Every row as captioning takes it: the pair, or why there is none."""
    rows, find = [], FileFinder(path.parent)
    for row in read_pairs(path):
        try:
            load_row(row, find)
            rows.append((row.pair_id, row.before, row.after))
        except (OSError, ValueError):
            rows.append(None)
        # What is written about it can be written.
        json.dumps(row.record(), ensure_ascii=False).encode()
    return rows


def check_error(error, path):
    """One line that names the table or its folder, and is no bare message of a library."""
    assert type(error) in (ValueError, FileNotFoundError), repr(error)
    assert str(path.parent) in str(error), repr(error)
    assert "\n" not in str(error).replace(str(path), "")


def look_at(random, folder):
    pairs = make_pairs(random)
    content, suffix = random.choice((write_csv, write_json))(random, pairs)
    path = folder / f"captions.{suffix}"
    path.write_bytes(content)
    try:
        assert read_for_captioning(path) == [pair[:3] for pair in pairs], content
        dataset = load_custom_pairs(folder, verify_images=False)["train"]
        found = zip(dataset["pair_id"], dataset["captions"], strict=True)
        assert list(found) == [(pair[0], [pair[3]]) for pair in pairs], content
        path.write_bytes(damage(random, content))
        try:
            read_for_captioning(path)
        except (OSError, ValueError) as error:
            check_error(error, path)
        try:
            load_custom_pairs(folder, Findings(skip_faulty=True), verify_images=False)
        except (OSError, ValueError) as error:
            check_error(error, path)
    finally:
        path.unlink()


@pytest.fixture
def folder(tmp_path):
    for side in "ab":
        (tmp_path / side).mkdir()
        for number in range(6):
            (tmp_path / side / f"{number}.png").write_bytes(png(number * 2 + (side == "a")))
    return tmp_path


def test_tables_in_any_writing_and_damaged_ones(folder):
    for seed in range(100):
        look_at(Choices(seed), folder)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_ten_thousand_tables(part, folder):
    for seed in range(1000 * part, 1000 * (part + 1)):
        look_at(Choices(seed), folder)
