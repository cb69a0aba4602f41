# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The output of batch captioning: one JSON line a pair, that an interrupted run leaves fit to go on from."""

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from .data.files import replacing, write_json


class CaptionLog:
    """Captions and errors as JSON lines, in the order of the rows once a run has ended.

    Each line holds `row` (from 1), `pair_id` where the table has one, `before` and `after` as the table tells them,
    and `caption` or `error`. What the captions depend on lies beside it, in `NAME.settings.json`.

    Args:
        path: The file; its folder exists.
        settings: What the captions depend on, as JSON.
        overwrite: Begin anew where the file exists.

    Raises:
        FileExistsError: The file was not written by such a run, or by one with other settings.
        ValueError: A line of the file cannot be read.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], overwrite: bool = False) -> None:
        self.path = path
        self.settings_path = path.with_suffix(".settings.json")
        # Row to a hash of its two pictures' names: enough to notice that the table has changed.
        self.done: dict[int, int] = {}
        settings = json.loads(json.dumps(settings))
        if path.exists() and not overwrite:
            self._check_settings(settings)
            self._take_up()
        else:
            path.unlink(missing_ok=True)
            write_json(self.settings_path, settings, indent=2)
            path.touch()

    def add(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Append lines and hand them to the operating system."""
        lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in records]
        with self.path.open("a", encoding="utf-8") as file:
            file.write("".join(lines))

    def holds(self, row: int, before: str, after: str) -> bool:
        """Whether a row has its caption already.

        Raises:
            FileExistsError: It has, and the table names other pictures there now.
        """
        if row not in self.done:
            return False
        if self.done[row] != hash((before, after)):
            raise FileExistsError(
                f"{self.path}: row {row} was captioned for other pictures; the table has changed. Pass --overwrite to "
                "begin anew, or choose another name."
            )
        return True

    def sort(self) -> None:
        """Put the lines into the order of their rows, where an earlier run's errors were tried again."""
        rows = (record["row"] for record, _, _ in self._records())
        if any(after < before for before, after in pairwise(rows)):
            self._keep(sorted((record["row"], start, size) for record, start, size in self._records()))

    def _check_settings(self, settings: Mapping[str, Any]) -> None:
        try:
            theirs = json.loads(self.settings_path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise FileExistsError(f"{self.path}: exists; pass --overwrite to replace it.") from None
        changed = [key for key in {**theirs, **settings} if theirs.get(key) != settings.get(key)]
        if changed:
            raise FileExistsError(
                f"{self.path}: holds captions of another run (different: {', '.join(changed)}); pass --overwrite to "
                "begin anew, or choose another name."
            )

    def _take_up(self) -> None:
        """Note the captions and drop the errors, which are tried again, and a last line that was cut off."""
        kept = []
        for record, start, size in self._records():
            if "caption" in record:
                kept.append((record["row"], start, size))
                self.done[record["row"]] = hash((record["before"], record["after"]))
        if sum(size for _, _, size in kept) < self.path.stat().st_size:
            self._keep(kept)

    def _keep(self, lines: Iterable[tuple[int, int, int]]) -> None:
        """Rewrite the file with these lines, each told as (row, first byte, bytes)."""
        with replacing(self.path) as temporary, temporary.open("wb") as target, self.path.open("rb") as source:
            for _, start, size in lines:
                source.seek(start)
                target.write(source.read(size))

    def _records(self) -> Iterator[tuple[dict[str, Any], int, int]]:
        """Each whole line as (record, first byte, bytes)."""
        start = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.endswith(b"\n"):
                    yield self._parse(line, number), start, len(line)
                start += len(line)

    def _parse(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if not isinstance(record, dict) or not {"row", "before", "after"} <= record.keys():
            raise ValueError(f"{self.path}: line {number} is not one of batch captioning; pass --overwrite.")
        return record
