# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""What a reader finds in a folder: faults, equal images, and how the counts differ from the published ones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .schema import NO_CHANGE


if TYPE_CHECKING:
    from ..image_utils_ssgpa import Reading


NAMED = 5


def name_some(names: Iterable[str]) -> str:
    """The first five names, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - NAMED:,} more" if len(listed) > NAMED else ""
    return ", ".join(listed[:NAMED]) + more


@dataclass
class Findings:
    """A reader's notes on a folder.

    Args:
        skip_faulty (`bool`, *optional*, defaults to `False`): Leave out pairs with missing or damaged images or
            without captions; otherwise they are an error.
        reading (`Reading`, *optional*): How values of images become colors, with which they are checked; by default as
            their dtype says.
        notes (`list[str]`, *optional*, defaults to `[]`): Known faults of a release, and what was done about them.
        faulty (`dict[str, str]`, *optional*, defaults to `{}`): Pairs that cannot be used, and why.
        omitted (`set[str]`, *optional*): Pairs that are left out as a known fault of the release.
        read (`dict[str, int]`, *optional*, defaults to `{}`): Pairs found in each split, before any was left out.
        equal (`list[list[str]]`, *optional*, defaults to `[]`): Groups of images of different scenes with the same
            bytes, by name.
        leaks (`list[list[str]]`, *optional*, defaults to `[]`): Those groups that lie in more than one split, and
            single images that several splits use.
        still (`list[str]`, *optional*, defaults to `[]`): Pairs with the same image twice, though no type says that
            nothing changed.
    """

    skip_faulty: bool = False
    reading: Reading | None = None
    notes: list[str] = field(default_factory=list)
    faulty: dict[str, str] = field(default_factory=dict)
    omitted: set[str] = field(default_factory=set)
    read: dict[str, int] = field(default_factory=dict)
    equal: list[list[str]] = field(default_factory=list)
    leaks: list[list[str]] = field(default_factory=list)
    still: list[str] = field(default_factory=list)
    _seen: dict[bytes, dict[str, tuple[str, str]]] = field(default_factory=dict, repr=False)

    def note(self, what: str, names: Iterable[str] = ()) -> None:
        """Remember a known fault, with the entries that it is about."""
        listed = list(names)
        self.notes.append(f"{what}: {name_some(listed)}" if listed else what)

    def blame(self, place: str, reason: str) -> None:
        """Remember that the pair at `place` cannot be used."""
        known = self.faulty.setdefault(place, reason)
        if reason not in known:
            self.faulty[place] = f"{known}; {reason}"

    def is_out(self, place: str) -> bool:
        """Whether the pair at `place` is left out."""
        return place in self.faulty or place in self.omitted

    def see(self, content: bytes, name: str, scene_id: str, split: str) -> bytes:
        """Remember an image's content, to find equal ones, and return its digest."""
        digest = hashlib.sha256(content).digest()
        self._seen.setdefault(digest, {})[name] = (scene_id, split)
        return digest

    def compare(self, place: str, digests: Iterable[bytes | None], change_type: str | None) -> None:
        """Remember the pair at `place` if its two images are equal and should not be; None is an image not seen."""
        before, after = digests
        if before is not None and before == after and change_type != NO_CHANGE:
            self.still.append(place)

    def finish(self, where: str) -> None:
        """Sort the images seen into equal ones and leaks; the reader calls it at the end.

        Raises:
            ValueError: If pairs are faulty and are not to be skipped.
        """
        if self.faulty and not self.skip_faulty:
            listed = name_some(f"{place}: {reason}" for place, reason in self.faulty.items())
            raise ValueError(
                f"{where}: {len(self.faulty):,} faulty pairs ({listed}); repair the folder, or leave them out with "
                "--skip_faulty"
            )
        groups = [group for group in self._seen.values() if len({scene for scene, _ in group.values()}) > 1]
        self.equal = [sorted(group) for group in groups]
        self.leaks += [sorted(group) for group in groups if len({split for _, split in group.values()}) > 1]
        self._seen = {}

    def as_dict(self) -> dict[str, Any]:
        """All of it, for `prepared.json`."""
        return {name: getattr(self, name) for name in ("notes", "faulty", "read", "equal", "leaks", "still")}

    def lines(self) -> list[str]:
        """Lines of text about all that is worth a look."""
        lines = list(self.notes)
        if self.faulty:
            listed = name_some(f"{place}: {reason}" for place, reason in self.faulty.items())
            lines.append(f"{len(self.faulty):,} faulty pairs left out: {listed}")
        for what, groups in (("of different scenes are equal", self.equal), ("cross splits", self.leaks)):
            if groups:
                listed = name_some(" = ".join(group[:NAMED]) for group in groups)
                lines.append(f"{len(groups):,} groups of images {what}: {listed}")
        if self.still:
            lines.append(f"{len(self.still):,} pairs show the same image twice: {name_some(self.still)}")
        return lines


def count_table(
    rows: Mapping[str, int], findings: Findings, published: Mapping[str, int] | None, total: int | None = None
) -> list[str]:
    """A Markdown table of the counts, with a note on every split that differs from the published one.

    Args:
        rows (`Mapping[str, int]`): Pairs kept in each split.
        findings (`Findings`): What was read.
        published (`Mapping[str, int]`, *optional*): Pairs of each split as published; None where nothing was.
        total (`int`, *optional*): Pairs altogether as published, which adds a row; None where that was not, or adds
            nothing.
    """
    lines = ["| split | published | found | kept | |", "|---|---|---|---|---|"]
    found = {split: findings.read.get(split, kept) for split, kept in rows.items()}
    for split, kept in rows.items():
        lines.append(_count_row(split, (published or {}).get(split), found[split], kept))
    if total is not None:
        lines.append(_count_row("together", total, sum(found.values()), sum(rows.values())))
    return lines


def _count_row(name: str, expected: int | None, found: int, kept: int) -> str:
    remark = "" if expected in (None, found) else f"differs by {found - expected:+,}"
    published = "-" if expected is None else f"{expected:,}"
    return f"| {name} | {published} | {found:,} | {kept:,} | {remark} |"
