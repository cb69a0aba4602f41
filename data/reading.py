# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The contract of the readers, and checked splits made of a reader's pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..utils.extras import require_datasets
from .checks import check_image_bytes, inner_file
from .findings import Findings
from .schema import COLUMNS, SPLITS, check_pairs, pair_features


if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict


@dataclass(frozen=True)
class Source:
    """A data set as it was published, and how to read it.

    Args:
        title (`str`): Its name in print.
        load (`Callable[..., DatasetDict]`): The reader, `load(folder, findings=None, verify_images=True)`, which gives
            a `DatasetDict` of train, validation and test with the columns of `schema.pair_features`.
        layout (`str`): What the folder must hold, in one line.
        counts (`Mapping[str, int]`, *optional*): Pairs of each split as published, or as counted in the release; None
            where there is no release.
        total (`int`, *optional*): Pairs altogether as published, where the splits' counts were not.
        license (`str`, *optional*, defaults to `'unknown'`): Identifier as the Hub knows it; "unknown" where the
            release names none.
        url (`str`, *optional*, defaults to `''`): Where the release is described.
        citation (`str`, *optional*, defaults to `''`): BibTeX, or "".
        about (`str`, *optional*, defaults to `''`): What the pairs and captions are.
        language (`str`, *optional*, defaults to `'en'`): Of the captions, a code such as "en" or "zh"; None where
            unknown.
    """

    title: str
    load: Callable[..., DatasetDict]
    layout: str
    counts: Mapping[str, int] | None = None
    total: int | None = None
    license: str = "unknown"
    url: str = ""
    citation: str = ""
    about: str = ""
    language: str | None = "en"


@dataclass
class Pair:
    """One pair, with its images as names in the source folder.

    Args:
        pair_id (`str`): Unique in the set.
        scene_id (`str`): The same for pairs that show one scene; such pairs may not lie in two splits.
        before (`str`): Name of the earlier image, relative to the folder.
        after (`str`): Name of the later image.
        captions (`list[str]`): References.
        change_type (`str`, *optional*): "none" where nothing changed, None where unknown.
    """

    pair_id: str
    scene_id: str
    before: str
    after: str
    captions: list[str]
    change_type: str | None = None


def place_of(split: str, pair_id: str) -> str:
    """How findings and errors name a pair."""
    return f"{split}, pair {pair_id!r}"


def strip_captions(captions: Any, where: str) -> list[str]:
    """Strip captions and leave out those without a letter or digit.

    Raises:
        ValueError: If it is no list of strings, naming `where`.
    """
    if not isinstance(captions, list) or not all(isinstance(caption, str) for caption in captions):
        raise ValueError(f"{where}: expected a list of captions, found {captions!r:.80}")
    for caption in captions:
        _check_text(caption, where)
    return [caption.strip() for caption in captions if any(map(str.isalnum, caption))]


def clean_captions(captions: Any, where: str, findings: Findings, place: str) -> list[str]:
    """Strip captions; empty ones, or none at all, are a fault of the pair.

    Args:
        captions (`Any`): What the file holds.
        where (`str`): File and entry, for errors.
        findings (`Findings`): Gets the fault.
        place (`str`): Split and pair, for `findings`.

    Raises:
        ValueError: If it is no list of strings.
    """
    kept, short = strip_captions(captions, where), where.rpartition("/")[2]
    if not captions:
        findings.blame(place, f"{short}: there is no caption")
    elif len(kept) < len(captions):
        findings.blame(place, f"{short}: {len(captions) - len(kept)} of {len(captions)} captions empty")
    return kept


def take(record: Any, key: str, kind: type | tuple[type, ...], where: str) -> Any:
    """The value of a record's field.

    Raises:
        ValueError: If the record is no object, or the field is missing or of another type.
    """
    if not isinstance(record, dict):
        raise ValueError(f"{where}: expected an object, found {record!r:.80}")
    if key not in record:
        raise ValueError(f"{where}: the field {key!r} is missing, found {', '.join(map(repr, record))}")
    if not isinstance(record[key], kind) or isinstance(record[key], bool):
        raise ValueError(f"{where}: the field {key!r} is of the wrong type: {record[key]!r:.80}")
    if isinstance(record[key], str):
        _check_text(record[key], f"{where}: the field {key!r}")
    return record[key]


def _check_text(text: str, where: str) -> None:
    """Refuse a lone surrogate, which JSON may hold and no file can."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{where}: {text!r:.80} holds half a character (a lone surrogate)") from error


class ImageCheck:
    """Checks the images of a folder, each once.

    Args:
        folder (`Path`): Where the names start.
        findings (`Findings`): Records missing, damaged and equal images.
        verify (`bool`): Whether images are opened; otherwise only their presence is checked.
        shared (`bool`): Whether the set is known to use images in several splits, which is then noted.
    """

    def __init__(self, folder: Path, findings: Findings, verify: bool, shared: bool) -> None:
        self.folder = folder
        self.findings = findings
        self.verify = verify
        self.shared = shared
        self.split_of: dict[str, str] = {}
        self.faults: dict[str, str | None] = {}
        self.digests: dict[str, bytes] = {}

    def __call__(self, pair: Pair, split: str) -> dict[str, dict[str, Any]]:
        """The cells of the image columns; a fault is recorded for the pair.

        Raises:
            ValueError: If the name leads out of the folder, or another split uses the image.
        """
        names, place = {"before": pair.before, "after": pair.after}, place_of(split, pair.pair_id)
        for name in names.values():
            if self.split_of.setdefault(name, split) != split:
                if not self.shared:
                    raise ValueError(f"{self.folder}: {name} is used in {self.split_of[name]} and in {place}")
                if [name] not in self.findings.leaks:
                    self.findings.leaks.append([name])
            if name not in self.faults:
                self.faults[name] = self._fault(name, pair.scene_id, split, place)
            if self.faults[name]:
                self.findings.blame(place, self.faults[name])
        self.findings.compare(place, map(self.digests.get, names.values()), pair.change_type)
        return {side: {"path": str(self.folder / name), "bytes": None} for side, name in names.items()}

    def _fault(self, name: str, scene_id: str, split: str, place: str) -> str | None:
        try:
            path = inner_file(self.folder, name)
        except FileNotFoundError:
            return f"{name} is missing"
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from error
        if not self.verify:
            return None
        content = path.read_bytes()
        self.digests[name] = self.findings.see(content, name, scene_id, split)
        try:
            check_image_bytes(content, name, self.findings.reading)
        except ValueError as error:
            return str(error)
        return None


def build_splits(
    folder: Path,
    pairs: Mapping[str, Sequence[Pair]],
    findings: Findings | None,
    verify_images: bool,
    shared_images: bool = False,
) -> DatasetDict:
    """Check the pairs of each split and make a data set of them; its images stay files.

    Args:
        folder (`Path`): The source folder.
        pairs (`Mapping[str, Sequence[Pair]]`): Pairs by split; a split that is left out is empty.
        findings (`Findings`, *optional*): Gets all that is noticed; by default faults are errors.
        verify_images (`bool`): Whether every image is read and decoded once.
        shared_images (`bool`, *optional*, defaults to `False`): Whether the set is known to use images in several
            splits.

    Raises:
        ValueError: If an image lies outside of the folder; if a pair, a scene or, unless `shared_images`, an image
            is in two splits; or if a pair is faulty and not to be skipped.
    """
    findings = Findings() if findings is None else findings
    check = ImageCheck(folder, findings, verify_images, shared_images)
    rows: dict[str, list[dict[str, Any]]] = {}
    for split in SPLITS:
        found = pairs.get(split, ())
        findings.read[split] = len(found)
        checked = [(pair, check(pair, split)) for pair in found]
        rows[split] = [
            {**vars(pair), **images} for pair, images in checked if not findings.is_out(place_of(split, pair.pair_id))
        ]
    findings.finish(str(folder))
    dataset = require_datasets().DatasetDict({split: table_of(found) for split, found in rows.items()})
    check_pairs(dataset, str(folder))
    return dataset


def table_of(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = COLUMNS) -> Dataset:
    """Rows as a data set with these columns of `schema.pair_features`."""
    hf = require_datasets()
    features = hf.Features({name: feature for name, feature in pair_features().items() if name in columns})
    return hf.Dataset.from_dict({name: [row[name] for row in rows] for name in features}, features=features)
