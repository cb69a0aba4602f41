# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""`changeflag` of LEVIR-CC and sets like it, and how one that contradicts the captions is resolved."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..findings import Findings
from ..reading import Pair, build_splits, place_of, take
from ..schema import NO_CHANGE


if TYPE_CHECKING:
    from datasets import DatasetDict


class FlaggedPair(NamedTuple):
    """The split of a record, its pair, and its `changeflag`; None where the record has none."""

    split: str
    pair: Pair
    flag: int | None


# What the release says of its unchanged pairs, without signs.
SAME = frozenset(
    (
        "the scene is the same as before",
        "there is no difference",
        "the two scenes seem identical",
        "no change has occurred",
        "almost nothing has changed",
    )
)


def take_flag(record: Any, where: str) -> int:
    """Return the record's `changeflag`.

    Raises:
        ValueError: If it is missing, or neither 0 nor 1.
    """
    flag = take(record, "changeflag", int, where)
    if flag not in (0, 1):
        raise ValueError(f"{where}: changeflag must be 0 or 1, not {flag}")
    return flag


def set_change_types(records: Sequence[FlaggedPair], findings: Findings) -> None:
    """Set the change type of each pair. The captions decide, since they are what is learned and scored.

    A pair is unchanged where every caption says so, whatever its flag. A caption says so if it is one of the release's
    five sentences, or if several pairs have it, all of them with flag 0. Where a pair with flag 0 has another caption,
    the type is unknown. 1 says that something changed, not what. Where there is no flag, nothing is known.

    Args:
        records (`Sequence[FlaggedPair]`): All records.
        findings (`Findings`): Gets the number of contradictions, and the pairs.
    """
    records = [record for record in records if record.flag is not None]
    said = [{" ".join(re.findall(r"\w+", text.lower())) for text in pair.captions} for _, pair, _ in records]
    counts = Counter(caption for captions in said for caption in captions)
    changed = {caption for captions, (_, _, flag) in zip(said, records, strict=True) if flag for caption in captions}
    same = SAME | {caption for caption, count in counts.items() if count > 1 and caption not in changed}
    contradictions: dict[int, list[str]] = {0: [], 1: []}
    for captions, (split, pair, flag) in zip(said, records, strict=True):
        if captions and captions <= same:
            pair.change_type = NO_CHANGE
        if captions and bool(flag) == (captions <= same):
            contradictions[flag].append(place_of(split, pair.pair_id))
    if contradictions[0]:
        note = f"{len(contradictions[0]):,} pairs have changeflag 0, but captions that describe a change; type unknown"
        findings.note(note, contradictions[0])
    if contradictions[1]:
        note = f'{len(contradictions[1]):,} pairs have changeflag 1, but every caption says "no change"; type "none"'
        findings.note(note, contradictions[1])


def build_flagged(
    folder: Path,
    records: Sequence[FlaggedPair],
    findings: Findings,
    verify_images: bool,
    splits: Sequence[str] = (),
) -> DatasetDict:
    """Set the change types and build the splits.

    Args:
        folder (`Path`): Of the set.
        records (`Sequence[FlaggedPair]`): All records.
        findings (`Findings`): Gets what is noticed.
        verify_images (`bool`): Whether every image is read and decoded once.
        splits (`Sequence[str]`, *optional*, defaults to `()`): Those that are there even if no record names them.

    Returns:
        `DatasetDict`: The splits.
    """
    set_change_types(records, findings)
    pairs: dict[str, list[Pair]] = {split: [] for split in splits}
    for split, pair, _ in records:
        pairs.setdefault(split, []).append(pair)
    return build_splits(folder, pairs, findings, verify_images)
