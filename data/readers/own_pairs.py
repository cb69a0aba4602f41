# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Reader of your own pairs: two folders and a table of captions, or a folder made for `imagefolder` of `datasets`."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from ..checks import inner_file, parse_json
from ..findings import Findings
from ..reading import Pair, Source, build_splits, clean_captions, place_of, take


if TYPE_CHECKING:
    from datasets import DatasetDict


TABLES = ("captions.jsonl", "captions.csv", "metadata.jsonl", "metadata.csv")
SPLIT_NAMES = {"train": "train", "validation": "validation", "val": "validation", "dev": "validation", "test": "test"}
SIDES = ("before", "after")
CAPTION_FIELDS = ("captions", "caption")
FIELDS = {"pair_id", "split", "change_type", "scene_id", "before_file_name", "after_file_name", *CAPTION_FIELDS}


def _csv_records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text: {error}") from error
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            if None in row or None in row.values():
                raise ValueError(f"{where}: another number of fields than in the first line")
            # A blank cell is a field that was left out, but for a caption, which is then empty.
            yield where, {name: value for name, value in row.items() if value or name in CAPTION_FIELDS}
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num} is not valid CSV: {error}") from error


def _json_records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if line.strip():
            where = f"{path}, line {number}"
            record = parse_json(line, where)
            if not isinstance(record, dict):
                raise ValueError(f"{where}: expected an object, found {record!r:.80}")
            yield where, {name: value for name, value in record.items() if value is not None}


def _records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Place and content of each row of a JSON Lines or CSV file, without fields that are null or blank."""
    return _json_records(path) if path.suffix == ".jsonl" else _csv_records(path)


def _tables(folder: Path) -> list[tuple[Path, str]]:
    """Tables of the folder, or of folders named like splits, with the split that they stand for."""
    places = [(folder, "train"), *((folder / part, split) for part, split in SPLIT_NAMES.items())]
    found = [[(place / name, split) for name in TABLES if (place / name).is_file()] for place, split in places]
    names = [str(path.relative_to(folder)) for tables in found for path, _ in tables]
    if not names:
        raise FileNotFoundError(f"{folder} holds none of {', '.join(TABLES)}, nor do folders train, validation, test")
    if any(len(tables) > 1 for tables in found) or (found[0] and len(names) > 1):
        raise ValueError(f"{folder} holds {' and '.join(names)}; keep one of them, or one in each split's folder")
    return [(inner_file(folder, str(path.relative_to(folder))), split) for tables in found for path, split in tables]


def _captions(record: dict[str, Any], where: str) -> Any:
    given = [name for name in CAPTION_FIELDS if name in record]
    if len(given) != 1:
        raise ValueError(f"{where}: give `captions`, a list, or `caption`; found {', '.join(map(repr, record))}")
    value = record[given[0]]
    # A list has no place in a CSV file but as JSON.
    if given[0] == "captions" and isinstance(value, str) and value.lstrip().startswith("["):
        return parse_json(value.encode(), where)
    return [value] if isinstance(value, str) else value


def _text(record: dict[str, Any], name: str, where: str) -> str | None:
    """A field that may be left out; a number counts as text."""
    if name not in record:
        return None
    return str(take(record, name, (str, int), where))


class _Names:
    """Finds the picture of a pair by its name, with the suffix or without.

    Args:
        folder: The source folder.
        part: Folder in it where the table lies.
    """

    def __init__(self, folder: Path, part: PurePath) -> None:
        self.part = part
        self.listed = {side: self._listed(folder / part / side) for side in SIDES}

    @staticmethod
    def _listed(folder: Path) -> dict[str, list[str]]:
        listed: dict[str, list[str]] = {}
        for name in sorted(path.name for path in folder.iterdir()) if folder.is_dir() else ():
            for key in {name, PurePath(name).stem}:
                listed.setdefault(key, []).append(name)
        return listed

    def __call__(self, side: str, pair_id: str, where: str) -> str:
        found = self.listed[side].get(pair_id, [pair_id])
        if len(found) > 1:
            raise ValueError(f"{where}: {' and '.join(found)} in {side}/ fit; name one in `{side}_file_name`")
        return (self.part / side / found[0]).as_posix()


def _split_of(record: dict[str, Any], split: str, where: str) -> str:
    told = _text(record, "split", where) or split
    if told not in SPLIT_NAMES:
        raise ValueError(f"{where}: the split must be one of {', '.join(SPLIT_NAMES)}, not {told!r}")
    return SPLIT_NAMES[told]


def _pair(record: dict[str, Any], split: str, where: str, names: _Names, findings: Findings) -> Pair:
    unknown = sorted(set(record) - FIELDS)
    if unknown:
        raise ValueError(f"{where}: unknown {unknown!r:.80}; the fields are {', '.join(sorted(FIELDS))}")
    files = {side: _text(record, f"{side}_file_name", where) for side in SIDES}
    pair_id = _text(record, "pair_id", where)
    if pair_id is None:
        pair_id = PurePath(take(record, "before_file_name", str, where)).stem
    before, after = (
        names(side, pair_id, where) if given is None else (names.part / given).as_posix()
        for side, given in files.items()
    )
    captions = clean_captions(_captions(record, where), where, findings, place_of(split, pair_id))
    scene_id = _text(record, "scene_id", where) or pair_id
    return Pair(pair_id, scene_id, before, after, captions, _text(record, "change_type", where))


def load_own_pairs(folder: str | Path, findings: Findings | None = None, verify_pictures: bool = True) -> DatasetDict:
    """Read pairs of your own.

    Args:
        folder: Holds a table, `captions.jsonl` or `captions.csv`, with a row a pair: `pair_id`, `captions` (a list; in
            CSV a list in JSON) or `caption`, and if wanted `split` (train by default), `change_type`, `scene_id`. The
            pictures are `before/PAIR_ID.*` and `after/PAIR_ID.*`, or the files that `before_file_name` and
            `after_file_name` name. `metadata.jsonl` and `metadata.csv`, also in folders `train`, `validation` and
            `test`, are read alike, so that a folder for `imagefolder` of `datasets` fits. Rows of a CSV file with the
            same `pair_id` are one pair.
        findings: Gets what is noticed; by default faults are errors.
        verify_pictures: Whether every picture is read and decoded once.

    Returns:
        Splits as `reading.Source` describes.

    Raises:
        FileNotFoundError: If there is no table.
        ValueError: If a table is malformed, naming it and the line.
    """
    folder, findings = Path(folder), Findings() if findings is None else findings
    pairs: dict[str, dict[str, Pair]] = {}
    for path, default in _tables(folder):
        names = _Names(folder, path.parent.relative_to(folder))
        for where, record in _records(path):
            split = _split_of(record, default, where)
            pair = _pair(record, split, where, names, findings)
            known = pairs.setdefault(split, {}).setdefault(pair.pair_id, pair)
            if known is not pair:
                _merge(known, pair, path, where)
    return build_splits(
        folder, {split: list(found.values()) for split, found in pairs.items()}, findings, verify_pictures
    )


def _merge(known: Pair, pair: Pair, path: Path, where: str) -> None:
    """Add the captions of a further CSV row to its pair."""
    if path.suffix != ".csv" or {**vars(pair), "captions": known.captions} != vars(known):
        raise ValueError(f"{where}: the pair {pair.pair_id!r} occurs twice")
    known.captions.extend(pair.captions)


OWN_PAIRS = Source(
    title="Own pairs",
    load=load_own_pairs,
    layout="before/, after/ and captions.jsonl or captions.csv; or an imagefolder with metadata.jsonl or metadata.csv",
    about="Pairs of pictures with captions.",
    language=None,
)
