# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Reader of your own pairs: two folders and a table of captions, or a folder made for `imagefolder` of `datasets`."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..checks import inner_file, parse_json
from ..findings import Findings
from ..reading import Pair, Source, build_splits, clean_captions, place_of, take


if TYPE_CHECKING:
    from datasets import DatasetDict


TABLES = ("captions.jsonl", "captions.csv", "metadata.jsonl", "metadata.csv")
SPLIT_NAMES = {"train": "train", "validation": "validation", "val": "validation", "dev": "validation", "test": "test"}
FIELDS = {
    "pair_id",
    "captions",
    "caption",
    "split",
    "change_type",
    "scene_id",
    "before_file_name",
    "after_file_name",
}


def _records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Place and content of each row of a JSON Lines or CSV file."""
    if path.suffix == ".jsonl":
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            if line.strip():
                yield f"{path}, line {number}", parse_json(line, f"{path}, line {number}")
        return
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text: {error}") from error
    for number, row in enumerate(csv.DictReader(text.splitlines(keepends=True)), 2):
        if None in row or None in row.values():
            raise ValueError(f"{path}, line {number}: another number of fields than in the first line")
        yield f"{path}, line {number}", {name: value for name, value in row.items() if value}


def _tables(folder: Path) -> list[tuple[Path, str]]:
    """Tables of the folder, or of folders named like splits, with the split that they stand for."""
    found = [(folder / name, "train") for name in TABLES if (folder / name).is_file()]
    if len(found) > 1:
        raise ValueError(f"{folder} holds {' and '.join(path.name for path, _ in found)}; keep one of them")
    inner = [
        (folder / part / name, split)
        for part, split in SPLIT_NAMES.items()
        for name in TABLES
        if (folder / part / name).is_file()
    ]
    if not found and not inner:
        raise FileNotFoundError(f"{folder} holds none of {', '.join(TABLES)}, nor do folders train, validation, test")
    return [(inner_file(folder, str(path.relative_to(folder))), split) for path, split in found or inner]


def _captions(record: dict[str, Any], where: str) -> list[str]:
    given = [name for name in ("captions", "caption") if name in record]
    if len(given) != 1:
        raise ValueError(f"{where}: give `captions`, a list, or `caption`; found {', '.join(map(repr, record))}")
    value = record[given[0]]
    # A list has no place in a CSV file but as JSON.
    if given[0] == "captions" and isinstance(value, str) and value.lstrip().startswith("["):
        return parse_json(value.encode(), where)
    return [value] if isinstance(value, str) else value


class _Names:
    """Finds the picture of a pair by its name without the suffix."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.listed: dict[Path, dict[str, str]] = {}

    def __call__(self, base: Path, side: str, pair_id: str) -> str:
        folder = base / side
        if folder not in self.listed:
            names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
            self.listed[folder] = {Path(name).stem: name for name in names} | {name: name for name in names}
        name = self.listed[folder].get(pair_id, pair_id)
        return (folder / name).relative_to(self.folder).as_posix()


def _pair(record: Any, base: Path, split: str, where: str, names: _Names, findings: Findings) -> tuple[str, Pair]:
    if not isinstance(record, dict) or not set(record) <= FIELDS:
        found = sorted(set(record) - FIELDS) if isinstance(record, dict) else record
        raise ValueError(f"{where}: unknown {found!r:.80}; the fields are {', '.join(sorted(FIELDS))}")
    told = record.get("split", split)
    if told not in SPLIT_NAMES:
        raise ValueError(f"{where}: the split must be one of {', '.join(SPLIT_NAMES)}, not {told!r}")
    split = SPLIT_NAMES[told]
    files = [record.get(f"{side}_file_name") for side in ("before", "after")]
    pair_id = str(record["pair_id"]) if "pair_id" in record else None
    if pair_id is None:
        pair_id = Path(take(record, "before_file_name", str, where)).stem
    before, after = (
        (base / take(record, f"{side}_file_name", str, where)).relative_to(names.folder).as_posix()
        if given is not None
        else names(base, side, pair_id)
        for side, given in zip(("before", "after"), files, strict=True)
    )
    captions = clean_captions(_captions(record, where), where, findings, place_of(split, pair_id))
    scene = str(record.get("scene_id", pair_id))
    return split, Pair(pair_id, scene, before, after, captions, record.get("change_type"))


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
    names = _Names(folder)
    pairs: dict[str, dict[str, Pair]] = {}
    for path, split in _tables(folder):
        for where, record in _records(path):
            told, pair = _pair(record, path.parent, split, where, names, findings)
            known = pairs.setdefault(told, {}).setdefault(pair.pair_id, pair)
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
)
