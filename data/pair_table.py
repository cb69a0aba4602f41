# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Tables of pairs as people write them: one reader, for captioning and for preparing.

CSV with any delimiter, JSON Lines, a JSON list, and the records of LLaVA. What a table means does not depend on the
case of its headers, blanks, a byte order mark, line ends, or which of two usual names a column has.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any, TextIO

from ..image_sources_ssgpa import is_inline, is_url
from .checks import parse_json, unique_keys
from .schema import SIDES


__all__ = [
    "CSV_SUFFIXES",
    "FIELDS",
    "NAMES",
    "SIDES",
    "FileFinder",
    "TableRow",
    "column_name",
    "encoding_name",
    "is_inline",
    "is_url",
    "read_table",
    "text_encoding",
    "told",
]

# Columns that say one thing; a table names one of each.
NAMES = {
    "pair_id": ("pair_id", "id"),
    "before": ("before", "before_file_name"),
    "after": ("after", "after_file_name"),
    "captions": ("captions", "caption", "sentences"),
}
# LLaVA's records: a list of two images, and a human's question with the model's answer.
IMAGE_LISTS = ("image", "images")
CONVERSATIONS = "conversations"
TEXTS = ("split", "change_type", "scene_id")
FIELDS = frozenset((*chain(*NAMES.values()), *IMAGE_LISTS, CONVERSATIONS, *TEXTS))
JSON_SUFFIXES = (".json", ".jsonl", ".ndjson")
CSV_SUFFIXES = (".csv", ".tsv")
# Tried first to last; then every other mark of the header, then blanks.
DELIMITERS = ",;\t|"
UTF_8 = "utf-8-sig"
ENCODINGS = ((b"\xff\xfe\x00\x00", "utf-32"), (b"\x00\x00\xfe\xff", "utf-32"), (b"\xff\xfe", "utf-16"))
ENCODINGS += ((b"\xfe\xff", "utf-16"),)
OTHER_KINDS = (
    (b"PAR1", "a parquet file; examples/caption_with_ray.py captions it, all else needs CSV or JSON Lines"),
    (b"PK\x03\x04", "a spreadsheet or an archive; save it as CSV in UTF-8"),
)
# No text is that long: an open quote has swallowed the lines behind it. Images within the table may be longer.
MAX_TEXT = 131_072
# What C's long holds everywhere.
MAX_CELL = 2**31 - 1


@dataclass
class TableRow:
    """One row of a table.

    Attributes:
        number (`int`): From 1 on; a line with the columns' names is not counted.
        where (`str`): File and line, for errors.
        cells (`dict[str, Any]`, *optional*, defaults to `{}`): What it holds, by the columns' names in lower case;
            cells that are blank or null are left out.
        blank (`dict[str, Any]`, *optional*, defaults to `{}`): What was left out, "" or None, by the columns' names.
        problem (`str`, *optional*): What is wrong with this row alone; None for most.
        short (`bool`, *optional*, defaults to `False`): Whether a CSV row has fewer cells than there are columns.
        counts (`tuple[int, int]`, *optional*): Cells of a CSV row and columns of the first line, where they differ by
            more than blanks at the end.
    """

    number: int
    where: str
    cells: dict[str, Any] = field(default_factory=dict)
    blank: dict[str, Any] = field(default_factory=dict)
    problem: str | None = None
    short: bool = False
    counts: tuple[int, int] | None = None

    def get(self, name: str) -> Any:
        """The value under one of the names of a column; None where there is none.

        Raises:
            ValueError: Two columns give it; the error names the row.
        """
        found = [alias for alias in NAMES.get(name, (name,)) if alias in self.cells]
        if name in SIDES:
            found += [alias for alias in IMAGE_LISTS if alias in self.cells]
        if len(found) > 1:
            raise ValueError(f"{self.where}: {' and '.join(found)} say the same; give one of them")
        if not found:
            return None
        value = self.cells[found[0]]
        if found[0] not in IMAGE_LISTS:
            return value
        if not isinstance(value, list) or len(value) != 2:
            raise ValueError(
                f"{self.where}: `{found[0]}` must be a list of two, before and after; found {value!r:.80}"
            )
        return value[SIDES.index(name)]

    def text(self, name: str) -> str | None:
        """A text under one of the names of a column; a whole number counts as text.

        Raises:
            ValueError: It is of another type, or no text that can be written; the error names the row.
        """
        value = self.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise ValueError(f"{self.where}: the field {name!r} is of the wrong type: {value!r:.80}")
        text = str(value)
        if not text.isascii() and text != text.encode("utf-8", "replace").decode("utf-8"):
            raise ValueError(f"{self.where}: the field {name!r} holds half of a surrogate pair")
        return text.strip()

    def answer(self) -> str | None:
        """What the model answers in a conversation; None where there is none.

        Raises:
            ValueError: It is no conversation, or has several answers; the error names the row.
        """
        if CONVERSATIONS not in self.cells:
            return None
        turns = self.cells[CONVERSATIONS]
        if not isinstance(turns, list) or not all(isinstance(turn, Mapping) for turn in turns):
            raise ValueError(f"{self.where}: `{CONVERSATIONS}` must be a list of turns, found {turns!r:.80}")
        answers = [
            turn.get("value", turn.get("content"))
            for turn in turns
            if turn.get("from", turn.get("role")) in ("gpt", "assistant")
        ]
        if len(answers) != 1 or not isinstance(answers[0], str):
            raise ValueError(f"{self.where}: `{CONVERSATIONS}` must hold one answer, found {len(answers)}")
        return answers[0]


def column_name(header: Any) -> str:
    """A column's name as the reader knows it: lower case, without blanks around it, `_` for blanks and hyphens."""
    return re.sub(r"[\s-]+", "_", str(header).strip("\ufeff \t\r\n")).casefold()


def text_encoding(path: Path) -> str:
    """The encoding of a table, as its byte order mark says; UTF-8 without one.

    Args:
        path (`Path`): The file.

    Returns:
        `str`: A name that `open` takes; a mark of UTF-8 is no part of the text.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is no text, but a file of another kind; the error names both.
    """
    with path.open("rb") as file:
        start = file.read(4)
    for magic, kind in OTHER_KINDS:
        if start.startswith(magic):
            raise ValueError(f"{path}: is {kind}.")
    return next((name for mark, name in ENCODINGS if start.startswith(mark)), UTF_8)


def encoding_name(encoding: str) -> str:
    """What errors call an encoding of `text_encoding`."""
    return "UTF-8" if encoding == UTF_8 else encoding.upper()


def read_table(
    path: Path,
    required: Sequence[str] = (),
    known: Collection[str] = FIELDS,
    check: Callable[[Sequence[str], str], None] | None = None,
) -> Iterator[TableRow]:
    """Read a table row by row. Nothing but a JSON list is held in memory as a whole.

    Args:
        path (`Path`): CSV or JSON, by its suffix or, without a known one, its first character; UTF-8, or what its byte
            order mark says.
        required (`Sequence[str]`, *optional*, defaults to `()`): Columns, by the keys of `NAMES`, that a CSV file must
            have and that each JSON record should have.
        known (`Collection[str]`, *optional*, defaults to `FIELDS`): Names of columns, by which the delimiter of a CSV
            file is found.
        check (`Callable[[Sequence[str], str], None]`, *optional*): Given the names of a CSV file's columns, and file
            and line for its error; in place of the check that no two of them say the same of a pair.

    Yields:
        `TableRow`: The rows that are not blank. One that is wrong in itself has a `problem`.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is no such table; the error names the file, and the line where there is one.
    """
    encoding = text_encoding(path)
    with path.open(encoding=encoding, newline="") as file:
        try:
            first = _first_mark(file)
            suffix = path.suffix.lower()
            is_json = suffix in JSON_SUFFIXES or (suffix not in CSV_SUFFIXES and first in ("[", "{"))
            if not is_json:
                yield from _delimited(file, path, known, check or partial(_check_columns, required=required))
            elif first == "[":
                yield from _check_records(_list_of(file.read(), path), required)
            else:
                yield from _check_records(_json_lines(file, path), required)
        except UnicodeError as error:
            reason = getattr(error, "reason", error)
            raise ValueError(f"{path}: is not {encoding_name(encoding)} text ({reason}).") from error


def _first_mark(file: TextIO) -> str:
    """The first character that is not blank; the file is at its start again."""
    mark = " "
    while mark and (mark.isspace() or mark == "\ufeff"):
        mark = file.read(1)
    file.seek(0)
    return mark


def _delimiter_of(header: str, names: Collection[str]) -> str:
    """The delimiter that finds most known names in the first line."""
    marks = [mark for mark in header if not (mark.isalnum() or mark in "_\"'-. \r\n\ufeff")]

    def known(mark: str) -> int:
        cells = next(csv.reader([header], **_dialect(mark)), ())
        return len({column_name(cell) for cell in cells}.intersection(names))

    return max(dict.fromkeys([*DELIMITERS, *marks, " "]), key=known)


def _dialect(delimiter: str) -> dict[str, Any]:
    return {"delimiter": delimiter, "skipinitialspace": delimiter != " "}


def _csv_rows(lines: Iterable[str], delimiter: str, skipped: int, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line and cells of each row; cells may have any length, for images that lie within."""
    reader = csv.reader(lines, strict=True, **_dialect(delimiter))
    while True:
        # The limit is the process's, and others may rely on theirs.
        limit = csv.field_size_limit(MAX_CELL)
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise ValueError(f"{path}, line {skipped + reader.line_num} is not valid CSV: {error}") from error
        finally:
            csv.field_size_limit(limit)
        if cells is None:
            return
        yield skipped + reader.line_num, cells


def _delimited(
    file: TextIO, path: Path, known: Collection[str], check: Callable[[Sequence[str], str], None]
) -> Iterator[TableRow]:
    lines, skipped, delimiter = iter(file), 0, None
    header = next(lines, "")
    # Spreadsheets may name the delimiter in a line of its own.
    while header and (not header.strip("\ufeff \t\r\n") or (named := re.fullmatch(r"\ufeff?sep=(.)\s*", header))):
        delimiter = named[1] if header.strip("\ufeff \t\r\n") else delimiter
        header, skipped = next(lines, ""), skipped + 1
    header = header.lstrip("\ufeff")
    rows = _csv_rows(chain([header], lines), delimiter or _delimiter_of(header, known), skipped, path)
    columns = [column_name(cell) for _, cells in [next(rows, (0, []))] for cell in cells]
    check(columns, f"{path}: line {skipped + 1}")
    for number, (line, cells) in enumerate((row for row in rows if row[1]), start=1):
        row = _csv_row(number, f"{path}, line {line}", columns, [cell.strip() for cell in cells])
        if any(cells):
            yield row


def _check_columns(columns: Sequence[str], where: str, required: Sequence[str]) -> None:
    for name in NAMES:
        found = [column for column in columns if column in NAMES[name]]
        if len(found) > 1:
            raise ValueError(f"{where}: the columns {' and '.join(found)} say the same; keep one of them.")
        if name in required and not found:
            listed = " and ".join(required)
            raise ValueError(f"{where}: the first line must name the columns {listed}; it has no {name}.")


def _csv_row(number: int, where: str, columns: Sequence[str], cells: Sequence[str]) -> TableRow:
    row = TableRow(number, where, short=len(cells) < len(columns))
    for column, cell in zip(columns, cells, strict=False):
        # A blank cell is a field that was left out, but for a caption, which is then empty.
        kept = row.cells if cell or column in NAMES["captions"] else row.blank
        kept[column] = cell
    if row.short or any(cells[len(columns) :]):
        row.counts = len(cells), len(columns)
    if any(cells[len(columns) :]):
        row.problem = f"{where}: another number of fields than in the first line ({len(cells)}, not {len(columns)})"
    for column, cell in row.cells.items():
        if column in (*NAMES["before"], *NAMES["after"]):
            if not is_inline(cell) and len(cell.splitlines()) > 1:
                row.problem = f"{where}: the cell {column!r} has several lines; is a quote not closed?"
        elif len(cell) > MAX_TEXT:
            # Not the row's own fault: the lines that it swallowed are rows.
            raise ValueError(f"{where} is not valid CSV: the field {column!r} is larger than {MAX_TEXT} characters")
    return row


def _json_lines(file: TextIO, path: Path) -> Iterator[TableRow]:
    number = 0
    # The file ends a line at CR too; JSON holds no bare line end within a string.
    for line, text in enumerate(file, start=1):
        text = text.strip("\ufeff \t\r\n")
        if not text:
            continue
        number += 1
        where = f"{path}, line {line}"
        try:
            yield _record(number, where, parse_json(text.encode(), where))
        except ValueError as error:
            yield TableRow(number, where, problem=str(error))


def _list_of(text: str, path: Path) -> Iterator[TableRow]:
    """The entries of a JSON list, one decoded at a time."""
    decoder = json.JSONDecoder(object_pairs_hook=unique_keys)
    blank = re.compile(r"[\ufeff \t\r\n]*")
    place, line, seen, number = text.index("[") + 1, 1, 0, 0
    try:
        while True:
            place = blank.match(text, place).end()
            if text[place : place + 1] == "]" and number == 0:
                break
            line, seen = line + text.count("\n", seen, place), place
            value, place = decoder.raw_decode(text, place)
            number += 1
            yield _record(number, f"{path}, line {line}", value)
            place = blank.match(text, place).end()
            if text[place : place + 1] != ",":
                break
            place += 1
        if text[place : place + 1] != "]" or text[place + 1 :].strip():
            raise ValueError(f"expected , or ] behind entry {number}")
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}, line {line} is not valid JSON: {error}") from error


def _record(number: int, where: str, value: Any) -> TableRow:
    row = TableRow(number, where)
    if not isinstance(value, dict):
        row.problem = f"{where}: expected an object, found {value!r:.80}"
        return row
    for key, cell in value.items():
        name = column_name(key)
        if name in row.cells:
            row.problem = f"{where}: the key {name!r} occurs twice"
        kept = row.blank if cell is None else row.cells
        kept[name] = cell
    return row


def _check_records(rows: Iterable[TableRow], required: Sequence[str]) -> Iterator[TableRow]:
    """Let a record that lacks a column have a problem."""
    for row in rows:
        try:
            lacking = [] if row.problem else [name for name in required if row.get(name) is None]
            if lacking:
                found = ", ".join(map(repr, row.cells))
                row.problem = f"{row.where}: the field {lacking[0]!r} is missing, found {found:.200}"
        except ValueError as error:
            row.problem = str(error)
        yield row


def told(source: str) -> str:
    """How an output names an image of a table: by its cell, or by the digest of an image within the table.

    Args:
        source (`str`): The cell.

    Returns:
        `str`: The cell, or `sha256:` and the digest of its text.
    """
    return f"sha256:{hashlib.sha256(source.encode()).hexdigest()}" if is_inline(source) else source


class FileFinder:
    r"""Finds the files that a table names, where need be by `\` for `/` and by another case.

    Args:
        folder (`Path`): Where relative names start.

    Attributes:
        otherwise: The names whose file is spelled differently, each with the file's own spelling.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.otherwise: dict[str, str] = {}
        self._listed: dict[Path, dict[str, list[str]]] = {}

    def __call__(self, name: str) -> Path:
        """The file of this name, or where it should be.

        Args:
            name (`str`): As the table has it.

        Returns:
            `Path`: Its path; that of the name itself where no file fits.

        Raises:
            ValueError: Several files fit; the error names them.
        """
        path = self.folder / name
        if _exists(path) or not name:
            return path
        found = self._walk(PurePosixPath(name.replace("\\", "/")))
        if found is None:
            return path
        self.otherwise[name] = str(found.relative_to(self.folder)) if found.is_relative_to(self.folder) else str(found)
        return found

    def _walk(self, wanted: PurePosixPath) -> Path | None:
        place = Path(wanted.anchor) if wanted.is_absolute() else self.folder
        for part in wanted.relative_to(wanted.anchor).parts:
            if not _exists(place / part):
                fitting = self._names(place).get(self._key(part), [])
                if len(fitting) > 1:
                    raise ValueError(f"{wanted}: {' and '.join(fitting)} in {place} fit; write the name as it is")
                if not fitting:
                    return None
                part = fitting[0]
            place /= part
        return place

    @staticmethod
    def _key(name: str) -> str:
        # Some file systems take accents apart.
        return unicodedata.normalize("NFC", name).casefold()

    def _names(self, folder: Path) -> dict[str, list[str]]:
        if folder not in self._listed:
            names: dict[str, list[str]] = {}
            try:
                entries = sorted(path.name for path in folder.iterdir())
            except OSError:
                entries = []
            for name in entries:
                names.setdefault(self._key(name), []).append(name)
            self._listed[folder] = names
        return self._listed[folder]


def _exists(path: Path) -> bool:
    # A name that no file system takes is the name of no file.
    try:
        return path.exists()
    except (OSError, ValueError):
        return False
