# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Reader of your own pairs: two folders and a table of captions, or a folder made for `imagefolder` of `datasets`."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from ..checks import inner_file, parse_json
from ..findings import Findings
from ..pair_table import CSV_SUFFIXES, FIELDS, NAMES, SIDES, FileFinder, TableRow, is_inline, is_url, read_table
from ..reading import Pair, Source, build_splits, clean_captions, place_of


if TYPE_CHECKING:
    from datasets import DatasetDict


TABLES = tuple(f"{name}.{kind}" for name in ("captions", "metadata") for kind in ("jsonl", "csv", "json", "tsv"))
SPLIT_NAMES = {"train": "train", "validation": "validation", "val": "validation", "dev": "validation", "test": "test"}


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


def _captions(row: TableRow) -> Any:
    answer = row.answer()
    given = [name for name in NAMES["captions"] if name in row.cells]
    if len(given) + (answer is not None) != 1:
        found = ", ".join(map(repr, row.cells))
        raise ValueError(f"{row.where}: give `captions`, a list, or `caption`; found {found}")
    value = answer if answer is not None else row.cells[given[0]]
    # A list has no place in a CSV file but as JSON.
    if given and given[0] != "caption" and isinstance(value, str) and value.lstrip().startswith("["):
        value = parse_json(value.encode(), row.where)
    value = [value] if isinstance(value, str) else value
    # `sentences` of other sets hold each text with its tokens.
    if isinstance(value, list) and all(isinstance(item, dict) and "raw" in item for item in value):
        return [item["raw"] for item in value]
    return value


class _Names:
    """Finds the image of a pair by its name, with the suffix or without.

    Args:
        folder (`Path`): The source folder.
        part (`PurePath`): Folder in it where the table lies.
    """

    def __init__(self, folder: Path, part: PurePath) -> None:
        self.part = part
        self.find = FileFinder(folder / part)
        self.listed = {side: self._listed(folder / part / side) for side in SIDES}

    @staticmethod
    def _listed(folder: Path) -> dict[str, list[str]]:
        listed: dict[str, list[str]] = {}
        for name in sorted(path.name for path in folder.iterdir()) if folder.is_dir() else ():
            for key in {name, PurePath(name).stem}:
                listed.setdefault(key, []).append(name)
        return listed

    def of_pair(self, side: str, pair_id: str, where: str) -> str:
        """The name in the source folder of an image that is called like its pair."""
        found = self.listed[side].get(pair_id, [pair_id])
        if len(found) > 1:
            raise ValueError(f"{where}: {' and '.join(found)} in {side}/ fit; name one in `{side}_file_name`")
        return (self.part / side / found[0]).as_posix()

    def of_file(self, name: str, where: str) -> str:
        """The name in the source folder of an image that the table names."""
        if is_inline(name) or is_url(name):
            raise ValueError(f"{where}: {name[:40]!r} is no file of the folder; write the image to one")
        # What leads out of the folder is not looked for, but refused later.
        if PurePath(name).is_absolute() or ".." in name.replace("\\", "/").split("/"):
            return (self.part / name).as_posix()
        try:
            return (self.part / self.find(name).relative_to(self.find.folder)).as_posix()
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error


def _check_row(row: TableRow) -> None:
    if row.problem:
        raise ValueError(row.problem)
    if row.short:
        raise ValueError(f"{row.where}: another number of fields than in the first line")
    unknown = sorted(set(row.cells) - FIELDS)
    if unknown:
        raise ValueError(f"{row.where}: unknown {unknown!r:.80}; the fields are {', '.join(sorted(FIELDS))}")


def _pair(row: TableRow, split: str, names: _Names, findings: Findings) -> Pair:
    files, pair_id = {side: row.text(side) for side in SIDES}, row.text("pair_id")
    if pair_id is None and files["before"] is None:
        found = ", ".join(map(repr, row.cells))
        raise ValueError(f"{row.where}: give `pair_id`, or `before_file_name` and `after_file_name`; found {found}")
    if pair_id is None:
        pair_id = PurePath(files["before"].replace("\\", "/")).stem
    before, after = (
        names.of_pair(side, pair_id, row.where) if given is None else names.of_file(given, row.where)
        for side, given in files.items()
    )
    captions = clean_captions(_captions(row), row.where, findings, place_of(split, pair_id))
    return Pair(pair_id, row.text("scene_id") or pair_id, before, after, captions, row.text("change_type"))


def load_custom_pairs(folder: str | Path, findings: Findings | None = None, verify_images: bool = True) -> DatasetDict:
    """Read pairs of your own.

    Args:
        folder (`str` or `Path`): Holds a table, `captions` or `metadata` with the suffix `.jsonl`, `.json`, `.csv` or
            `.tsv`, that `pair_table.read_table` reads, with a row a pair: `pair_id`, `captions` (a list; in CSV a list
            in JSON) or `caption`, and if wanted `split` (train by default), `change_type`, `scene_id`. The images are
            `before/PAIR_ID.*` and `after/PAIR_ID.*`, or the files that `before_file_name` and `after_file_name`, or
            `before` and `after`, name. LLaVA's records are read too, with a list of two files in `image` and one
            answer in `conversations`. `metadata.*`, also in folders `train`, `validation` and `test`, fits folders
            for `imagefolder` of `datasets`. Rows of a CSV file with the same `pair_id` are one pair.
        findings (`Findings`, *optional*): Gets what is noticed; by default faults are errors.
        verify_images (`bool`, *optional*, defaults to `True`): Whether every image is read and decoded once.

    Returns:
        `DatasetDict`: Splits as `reading.Source` describes.

    Raises:
        FileNotFoundError: If there is no table.
        ValueError: If a table is malformed, naming it and the line.
    """
    folder, findings = Path(folder), Findings() if findings is None else findings
    pairs: dict[str, dict[str, Pair]] = {}
    for path, default in _tables(folder):
        names = _Names(folder, path.parent.relative_to(folder))
        for row in read_table(path):
            _check_row(row)
            named = row.text("split") or default
            if named.lower() not in SPLIT_NAMES:
                raise ValueError(f"{row.where}: the split must be one of {', '.join(SPLIT_NAMES)}, not {named!r}")
            split = SPLIT_NAMES[named.lower()]
            pair = _pair(row, split, names, findings)
            known = pairs.setdefault(split, {}).setdefault(pair.pair_id, pair)
            if known is pair:
                continue
            # Further rows of a CSV file hold further captions of the same pair.
            if path.suffix.lower() not in CSV_SUFFIXES or {**vars(pair), "captions": known.captions} != vars(known):
                raise ValueError(f"{row.where}: the pair {pair.pair_id!r} occurs twice")
            known.captions.extend(pair.captions)
        if names.find.otherwise:
            spelled = (f"{name!r} is {found}" for name, found in names.find.otherwise.items())
            findings.note("files found by another spelling than the table's", spelled)
    return build_splits(
        folder, {split: list(found.values()) for split, found in pairs.items()}, findings, verify_images
    )


CUSTOM_PAIRS = Source(
    title="Own pairs",
    load=load_custom_pairs,
    layout="before/, after/ and captions.jsonl or captions.csv; or an imagefolder with metadata.jsonl or metadata.csv",
    about="Pairs of images with captions.",
    language=None,
)
