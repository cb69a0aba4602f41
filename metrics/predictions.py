# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Captions of any system, and references, from files: COCO JSON, JSON Lines, CSV.

Tables are read as all tables of the package, see `data.pair_table`.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from ..data.checks import parse_json
from ..data.pair_table import CSV_SUFFIXES, column_name, encoding_name, read_table, text_encoding
from ..utils.pair_ids import check_ids
from .bounds import Row
from .change_captioning.scripts import guess_language


ID_FIELDS = ("pair_id", "image_id", "id")
CAPTION_FIELDS = ("caption", "prediction", "generated_text", "text")
REFERENCE_FIELDS = ("captions", "references", "caption")
TYPE_FIELD = "change_type"
SETTINGS_FIELD = "settings"
ERROR_FIELD = "error"
MISSING = ("error", "empty", "skip")
LINE_ENDINGS = (".jsonl", ".ndjson")
SHAPES = (
    "COCO results ([{image_id, caption}]), an object {id: caption}, JSON Lines or CSV with pair_id (or image_id, id) "
    "and caption (or prediction)"
)

Record = dict[str, Any]


def read_captions(path: Path) -> dict[str, str | None]:
    """Read one caption a pair from the file of any system.

    Args:
        path (`Path`): COCO results in JSON, an object of captions by id, JSON Lines (those of `examples/evaluate.py`
            and of `ssgpa caption --pairs` among them) or CSV.

    Returns:
        `dict[str, str | None]`: Captions by pair id; None where the file has an error, or nothing, instead of a
        caption.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it holds no captions, or two for one pair; the error names the file and the place.
    """
    found: dict[str, str | None] = {}
    places: dict[str, str] = {}
    for where, record in _records(path):
        if SETTINGS_FIELD in record and not any(name in record for name in ID_FIELDS):
            continue
        name = _id_of(record, where)
        if name in found:
            raise ValueError(f"{where}: the pair {name!r} has a caption already, in {places[name]}; keep one of them.")
        found[name], places[name] = _caption_of(record, where), where.removeprefix(str(path)).lstrip(":, ")
    if not found:
        raise ValueError(f"{path} holds no captions. It should hold {SHAPES}.")
    return found


def read_references(path: Path) -> list[Row]:
    """Read the references of each pair.

    Args:
        path (`Path`): COCO annotations in JSON, an object of lists by id, JSON Lines or CSV with an id and `captions`
            (in CSV a list in JSON), `references` or `caption`, and `change_type` if it is known. Rows of one id are
            one pair.

    Returns:
        `list[Row]`: Records with `pair_id`, `captions` and `change_type`, in the order of the file.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it holds no references, or a pair has two change types; the error names the file and the place.
    """
    rows: dict[str, dict[str, Any]] = {}
    for where, record in _records(path, references=True):
        name = _id_of(record, where)
        kind = record.get(TYPE_FIELD) or None
        if kind is not None and not isinstance(kind, str):
            raise ValueError(f"{where}: change_type {kind!r:.80} is not a string.")
        row = rows.setdefault(name, {"pair_id": name, "captions": [], "change_type": kind})
        if row["change_type"] != kind:
            raise ValueError(
                f"{where}: the pair {name!r} is of change_type {row['change_type']!r} above, here {kind!r}."
            )
        row["captions"] += _references_of(record, where)
    if not rows:
        raise ValueError(f"{path} holds no references.")
    empty = [name for name, row in rows.items() if not row["captions"]]
    if empty:
        raise ValueError(f"{path}: the pair {empty[0]!r} has no reference; every pair needs at least one.")
    return list(rows.values())


class LoadedCaptions(NamedTuple):
    """A system's captions beside the pairs.

    Attributes:
        rows (`list[Row]`): The records that are scored.
        captions (`dict[str, str]`): One caption for each record, by pair id.
        notes (`list[str]`): What was done to match both.
    """

    rows: list[Row]
    captions: dict[str, str]
    notes: list[str]


def load_captions(path: Path, rows: Sequence[Row], missing: str = "error") -> LoadedCaptions:
    """Read a system's captions and match them with the pairs.

    Args:
        path (`Path`): A file for `read_captions`.
        rows (`Sequence[Row]`): Records of the pairs.
        missing (`str`, *optional*, defaults to `'error'`): How to treat pairs without a caption: "error"; "empty",
            where they count as an empty caption; or "skip", where they are left out, as COCO's evaluation does.

    Returns:
        `LoadedCaptions`: The records that are scored, their captions, and notes.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it holds no captions, captions of unknown pairs, or, with "error", lacks some.
    """
    if missing not in MISSING:
        raise ValueError(f"missing must be one of {', '.join(MISSING)}, not {missing!r}.")
    names = [row["pair_id"] for row in rows]
    found, note = match_ids(read_captions(path), names)
    notes = [note] if note else []
    captions = {name: text for name, text in found.items() if text is not None}
    lacking = [name for name in names if name not in captions]
    if lacking and missing == "empty":
        notes.append(f"{len(lacking)} of {len(names)} pairs have no caption and count as empty ones.")
        captions |= dict.fromkeys(lacking, "")
    elif lacking and missing == "skip":
        notes.append(f"{len(lacking)} of {len(names)} pairs have no caption and are left out.")
        rows = [row for row in rows if row["pair_id"] in captions]
        if not rows:
            raise ValueError(
                f"{path}: none of its ids is one of a pair; it has {next(iter(found))!r}, not {names[0]!r}."
            )
    try:
        check_ids(dict.fromkeys(row["pair_id"] for row in rows), captions)
    except ValueError as error:
        raise ValueError(
            f"{path}: {error} The references name {names[0]!r} first, the captions {next(iter(found))!r}. "
            "--missing says what to do about pairs without a caption."
        ) from error
    return LoadedCaptions(list(rows), {row["pair_id"]: captions[row["pair_id"]] for row in rows}, notes)


def match_ids(captions: Mapping[str, Any], names: Sequence[str]) -> tuple[dict[str, Any], str | None]:
    """Match the ids of captions with those of the pairs, up to file endings or leading zeros.

    Args:
        captions (`Mapping[str, Any]`): Anything by the ids of a file.
        names (`Sequence[str]`): Ids of the pairs.

    Returns:
        `tuple[dict[str, Any], str | None]`: The same by the ids of the pairs where every one finds its pair, else
        unchanged; and a note on what was done.
    """
    if not captions.keys().isdisjoint(names):
        return dict(captions), None
    for what, key in (("without their file endings", _stem), ("as numbers", _number)):
        known: dict[Any, list[str]] = {}
        for name in names:
            known.setdefault(key(name), []).append(name)
        found = [known.get(key(name), []) for name in captions]
        if all(len(places) == 1 for places in found) and len({places[0] for places in found}) == len(captions):
            pairs = {places[0]: value for places, value in zip(found, captions.values(), strict=True)}
            return pairs, f"The ids of captions and references are the same when read {what}."
    return dict(captions), None


def language_for(told: str | None, rows: Sequence[Row], tokenizer: str) -> str | None:
    """Return the language to score in.

    Args:
        told (`str`, *optional*): What the user or the data says.
        rows (`Sequence[Row]`): Records with `captions`.
        tokenizer (`str`): The tokenizer that was asked for.

    Returns:
        `str`: The language; guessed with "auto" where it is not told and the captions' script has no blanks, else
        None.
    """
    if told is not None or tokenizer != "auto":
        return told
    return guess_language(text for row in rows for text in row["captions"])


def _stem(name: str) -> str:
    return PurePath(name).stem


def _number(name: str) -> str:
    stem = _stem(name)
    return stem.lstrip("0") or "0" if stem.isdecimal() else name


def _id_of(record: Record, where: str) -> str:
    names = [name for name in ID_FIELDS if record.get(name) not in (None, "")]
    if not names:
        raise ValueError(f"{where}: an id is missing (pair_id, image_id or id); found {_listed(record)}.")
    value = record[names[0]]
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise ValueError(f"{where}: the id {value!r:.80} is neither text nor a whole number.")
    return _text(str(value).strip(), where)


def _caption_of(record: Record, where: str) -> str | None:
    names = [name for name in CAPTION_FIELDS if name in record]
    if not names:
        if ERROR_FIELD in record:
            return None
        raise ValueError(f"{where}: a caption is missing (caption or prediction); found {_listed(record)}.")
    value = record[names[0]]
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError(f"{where}: the caption {value!r:.80} is not one string.")
    return _text(value, where)


def _references_of(record: Record, where: str) -> list[str]:
    names = [name for name in REFERENCE_FIELDS if name in record]
    if not names:
        raise ValueError(
            f"{where}: references are missing (captions, references or caption); found {_listed(record)}."
        )
    value = record[names[0]]
    if isinstance(value, str) and names[0] != "caption" and value.lstrip().startswith("["):
        value = parse_json(value.encode(errors="surrogatepass"), where)
    value = [value] if isinstance(value, str) else value
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ValueError(f"{where}: the references {value!r:.80} are not a list of strings.")
    return [_text(text, where) for text in value]


def _text(text: str, where: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{where}: {text!r:.80} holds half a character (a lone surrogate).") from error
    return text


def _listed(record: Record) -> str:
    return f"{', '.join(map(repr, record)) or 'nothing':.120}"


def _records(path: Path, references: bool = False) -> Iterator[tuple[str, Record]]:
    """Yield place and content of each record of a file of any kind."""
    encoding = text_encoding(path)
    try:
        text = path.read_bytes().decode(encoding)
    except UnicodeDecodeError as error:
        name = encoding_name(encoding)
        raise ValueError(f"{path} is not {name} text ({error.reason} at byte {error.start}).") from error
    ending = path.suffix.lower()
    is_json = ending not in CSV_SUFFIXES and text.lstrip("\ufeff \t\r\n")[:1] in ("[", "{")
    if is_json and ending not in LINE_ENDINGS and not _has_lines(text):
        yield from _json_records(path, parse_json(text.encode(), str(path)), references)
        return
    known = {*ID_FIELDS, *CAPTION_FIELDS, *REFERENCE_FIELDS, TYPE_FIELD}
    for row in read_table(path, known=known, check=_check_columns):
        if row.counts:
            raise ValueError(f"{row.where}: {row.counts[0]} fields, but the first line names {row.counts[1]}.")
        if row.problem:
            raise ValueError(f"{row.problem}.")
        yield row.where, {**row.blank, **row.cells}


def _has_lines(text: str) -> bool:
    """Return whether the text is JSON Lines under another name: several lines, the first of which is JSON."""
    # Other signs that Unicode calls line breaks may stand inside a caption.
    first, *rest = re.split(r"[\r\n]+", text.strip("\ufeff \t\r\n"), maxsplit=1)
    if not rest or not first.startswith("{"):
        return False
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        return False
    return True


def _json_records(path: Path, value: Any, references: bool) -> Iterator[tuple[str, Record]]:
    if isinstance(value, dict) and isinstance(value.get("annotations"), list):
        value = value["annotations"]
    elif isinstance(value, dict):
        fields = "captions" if references else "caption"
        value = [
            {**item, "pair_id": name} if isinstance(item, dict) else {"pair_id": name, fields: item}
            for name, item in value.items()
        ]
    for number, record in enumerate(value):
        where = f"{path}: record {number + 1}"
        if not isinstance(record, dict):
            raise ValueError(f"{where}: expected an object with an id and a caption, found {record!r:.80}.")
        found = {column_name(key): value for key, value in record.items()}
        if len(found) < len(record):
            raise ValueError(
                f"{where}: a field occurs twice, among {_listed(record)}; case and blanks of names do not count."
            )
        yield where, found


def _check_columns(columns: Sequence[str], where: str) -> None:
    known = {*ID_FIELDS, *CAPTION_FIELDS, *REFERENCE_FIELDS}
    if columns and (not known.intersection(columns) or len(set(columns)) < len(columns)):
        raise ValueError(
            f"{where}: the first line must name the columns, each once; found {', '.join(map(repr, columns)):.120}. "
            f"It should hold {SHAPES}."
        )
