# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The output of batch captioning: one JSON line a pair, that an interrupted run leaves fit to go on from."""

import hashlib
import json
from array import array
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..data.checks import read_json_object
from ..data.pair_table import told
from ..utils.files import append_lines, lock_output, replacing, write_json


class CaptionLog:
    """Captions and errors as JSON lines, in the order of the rows once a run has ended.

    Each line holds `row` (from 1), `pair_id` where the table has one, `before` and `after` as the table tells them
    (of an image within the table, the SHA-256 digest of its text), and `caption` or `error`. What the captions depend
    on lies beside it, in `NAME.settings.json`. One run at a time writes to it: `.NAME.lock` is locked until `close`.

    Args:
        path (`Path`): The file; its folder exists.
        settings (`Mapping[str, Any]`): What the captions depend on, as JSON.
        rows (`int`): How many rows the table has.
        overwrite (`bool`, *optional*, defaults to `False`): Start over if the file exists.

    Raises:
        FileExistsError: The file was not written by such a run, by one with other settings, or is being written to.
        ValueError: A line of the file cannot be read.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], rows: int, overwrite: bool = False) -> None:
        self.path = path
        self.settings_path = path.with_suffix(".settings.json")
        # By row, a digest of its two images' names, 0 where it has no caption: enough to notice that the table has
        # changed, in 8 bytes a row.
        self._done = array("Q", bytes(8 * (rows + 1)))
        self._lock = lock_output(path)
        try:
            if path.exists() and not overwrite:
                self._check_settings(json.loads(json.dumps(settings)))
                self._take_up()
            else:
                path.unlink(missing_ok=True)
                write_json(self.settings_path, settings, indent=2)
                path.touch()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "CaptionLog":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let other runs write to the file."""
        self._lock.release()

    def add(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Append lines and hand them to the operating system."""
        append_lines(self.path, [json.dumps(record, ensure_ascii=False) + "\n" for record in records])

    def holds(self, row: int, before: str, after: str) -> bool:
        """Return whether a row has its caption already.

        Raises:
            FileExistsError: It has, and the table names other images there now.
        """
        if not self._done[row]:
            return False
        if self._done[row] != _digest(before, after):
            raise FileExistsError(
                f"{self.path}: row {row} was captioned for other images; the table has changed. Pass --overwrite to "
                "start over, or choose another name."
            )
        return True

    def sort(self) -> None:
        """Put the lines into the order of their rows, where an earlier run's errors were tried again."""
        rows, starts, sizes = array("Q"), array("Q"), array("Q")
        for record, start, size in self._records():
            rows.append(record["row"])
            starts.append(start)
            sizes.append(size)
        numbers = np.frombuffer(rows, dtype=np.uint64) if rows else np.empty(0, dtype=np.uint64)
        if (numbers[1:] < numbers[:-1]).any():
            order = np.argsort(numbers, kind="stable")
            self._keep((starts[index], sizes[index]) for index in order.tolist())

    def _check_settings(self, settings: Mapping[str, Any]) -> None:
        try:
            theirs = read_json_object(self.settings_path)
        except FileNotFoundError:
            raise FileExistsError(f"{self.path}: exists; pass --overwrite to replace it.") from None
        changed = [key for key in {**theirs, **settings} if theirs.get(key) != settings.get(key)]
        if changed:
            raise FileExistsError(
                f"{self.path}: holds captions of another run (different: {', '.join(changed)}); pass --overwrite to "
                "start over, or choose another name."
            )

    def _take_up(self) -> None:
        """Note the captions and drop the errors, which are tried again, and a last line that was cut off."""
        kept = sum(size for record, _, size in self._records() if self._note(record))
        if kept < self.path.stat().st_size:
            self._done = array("Q", bytes(8 * len(self._done)))
            self._keep((start, size) for record, start, size in self._records() if self._note(record))

    def _note(self, record: Mapping[str, Any]) -> bool:
        """Note a caption; False for an error, and for a second caption of a row."""
        row = record["row"]
        if "caption" not in record:
            return False
        # Rows that the table has no longer stay as they are.
        if row < len(self._done):
            if self._done[row]:
                return False
            self._done[row] = _digest(record["before"], record["after"])
        return True

    def _keep(self, lines: Iterable[tuple[int, int]]) -> None:
        """Rewrite the file with these lines, each told as (first byte, bytes)."""
        with replacing(self.path) as temporary, temporary.open("wb") as target, self.path.open("rb") as source:
            for start, size in lines:
                source.seek(start)
                target.write(source.read(size))

    def _records(self) -> Iterator[tuple[dict[str, Any], int, int]]:
        """Yield each whole line as (record, first byte, bytes)."""
        start = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.endswith(b"\n"):
                    yield self._parse(line, number), start, len(line)
                start += len(line)

    def _parse(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            record = json.loads(line)
            kinds = [type(record[name]) for name in ("row", "before", "after")]
            known = kinds == [int, str, str] and 0 < record["row"] < 2**63
        except (ValueError, TypeError, KeyError, RecursionError):
            known = False
        if not known:
            raise ValueError(f"{self.path}: line {number} was not written by batch captioning; pass --overwrite.")
        return record


def _digest(before: str, after: str) -> int:
    """Hash two names to a number from 1 on."""
    names = json.dumps([told(before), told(after)]).encode()
    return int.from_bytes(hashlib.blake2b(names, digest_size=8).digest(), "little") or 1
