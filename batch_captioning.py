# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Captions of a table of pairs: as many at a time as fit in a batch, and no broken picture stops the rest."""

import csv
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm.auto import tqdm

from .caption_log import CaptionLog
from .pictures_ssgpa import load_picture
from .pipeline_ssgpa import ChangeCaptioningPipeline


COLUMNS = ("before", "after")
URLS = ("http://", "https://", "data:")
# The bar moves seldom where nobody watches it and a log file takes it down.
BAR_SECONDS = {True: 0.1, False: 10.0}
SHOWN_ERRORS = 10


@dataclass(frozen=True)
class PairRow:
    """One row of a table of pairs.

    Attributes:
        row: Its number, from 1 on; the line with the columns' names is not counted.
        before: The first picture, as the table tells it.
        after: The second picture.
        pair_id: Its name, where the table has such a column.
    """

    row: int
    before: str
    after: str
    pair_id: str | None = None

    def record(self, **outcome: str) -> dict[str, Any]:
        """What is written about the row, beside the caption or the error."""
        name = {} if self.pair_id is None else {"pair_id": self.pair_id}
        return {"row": self.row, **name, "before": self.before, "after": self.after, **outcome}


@dataclass
class BatchResult:
    """What became of the rows.

    Attributes:
        captioned: Rows that were captioned now.
        known: Rows that an earlier run had captioned.
        failed: Rows without a caption.
        errors: The first of their errors.
    """

    captioned: int
    known: int
    failed: int
    errors: list[str]


def read_pairs(path: Path) -> Iterator[PairRow]:
    """Read a table of pairs row by row.

    Args:
        path: CSV in UTF-8 whose first line names the columns: `before`, `after` and, if wanted, `pair_id`; others are
            not looked at.

    Yields:
        The rows. A cell that is missing is empty.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is no such table; the error names the file, and the line where there is one.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, restval="")
        try:
            columns = reader.fieldnames or []
            missing = [name for name in COLUMNS if name not in columns]
            if missing:
                raise ValueError(f"the first line must name the columns before and after; it has no {missing[0]}.")
            for row, cells in enumerate(reader, start=1):
                yield PairRow(row, cells["before"], cells["after"], cells.get("pair_id"))
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: is not UTF-8 text ({error.reason}).") from error
        except (csv.Error, ValueError) as error:
            raise ValueError(f"{path}: line {reader.line_num}: {error}") from error


def load_row(
    row: PairRow, folder: Path, load: Callable[[str | Path, str], Image.Image] = load_picture
) -> tuple[Image.Image, Image.Image]:
    """Decode the pictures of a row.

    Args:
        row: The row.
        folder: What its relative paths start from.
        load: Decodes a picture, whose column is its second argument.

    Returns:
        Before and after.

    Raises:
        OSError: A picture is not there or may not be read.
        ValueError: A cell is empty, or a picture is broken; the error names it.
    """
    pictures = []
    for name in COLUMNS:
        source = getattr(row, name).strip()
        if not source:
            raise ValueError(f"the column {name} is empty.")
        pictures.append(load(source if source.startswith(URLS) else folder / source, name))
    return tuple(pictures)


class BatchCaptioner:
    """Captions rows in batches and writes each batch down.

    Args:
        pipe: The pipeline.
        log: Where captions and errors go.
        folder: What relative paths in the table start from.
        batch_size: Pairs that go through the model together.
        stop: Raise the first row's error.
        decoding: Arguments of `generate`.
        reading: How values become colors: `value_range`, `nodata`, `bands`.
    """

    def __init__(
        self,
        pipe: ChangeCaptioningPipeline,
        log: CaptionLog,
        folder: Path,
        batch_size: int,
        stop: bool,
        decoding: Mapping[str, Any],
        reading: Mapping[str, Any] | None = None,
    ) -> None:
        self.pipe, self.log, self.folder = pipe, log, folder
        self.batch_size, self.stop, self.decoding = batch_size, stop, dict(decoding)
        # At the size that is needed: whole pictures of a batch could fill the memory.
        self.load = partial(pipe.processor.load_image, **(reading or {}))
        self.result = BatchResult(0, 0, 0, [])

    def run(self, rows: Iterable[PairRow], total: int, progress: bool = True) -> BatchResult:
        """Caption the rows that have no caption yet.

        Args:
            rows: The rows.
            total: How many there are.
            progress: Show a bar on stderr.

        Returns:
            What became of them.

        Raises:
            OSError: The captions cannot be written, or with `stop` a picture cannot be read.
            ValueError: With `stop`, a picture is broken.
            FloatingPointError: The model's scores are not finite; the error names the rows.
        """
        seconds = BAR_SECONDS[sys.stderr.isatty()]
        source = iter(rows)
        with tqdm(total=total, disable=not progress, unit="pair", mininterval=seconds, file=sys.stderr) as bar:
            while batch := list(islice(source, self.batch_size)):
                open_rows = [row for row in batch if not self.log.holds(row.row, row.before, row.after)]
                self.result.known += len(batch) - len(open_rows)
                self.log.add(self._caption(open_rows))
                bar.set_postfix(failed=self.result.failed, refresh=False)
                bar.update(len(batch))
        self.log.sort()
        return self.result

    def _caption(self, rows: list[PairRow]) -> list[dict[str, Any]]:
        """What is to be written about the rows."""
        pairs, errors = {}, {}
        for row in rows:
            try:
                pairs[row] = load_row(row, self.folder, self.load)
            except (OSError, ValueError) as error:
                if self.stop:
                    raise ValueError(f"row {row.row}: {error}") from error
                errors[row] = self._note(row, error)
        try:
            outputs = self.pipe(list(pairs.values()), batch_size=self.batch_size, **self.decoding)
        except FloatingPointError as error:
            raise FloatingPointError(f"rows {', '.join(str(row.row) for row in pairs)}: {error}") from error
        captions = {row: output[0]["generated_text"] for row, output in zip(pairs, outputs, strict=True)}
        self.result.captioned += len(captions)
        return [
            row.record(caption=captions[row]) if row in captions else row.record(error=errors[row]) for row in rows
        ]

    def _note(self, row: PairRow, error: Exception) -> str:
        message = " ".join(str(error).split()) or type(error).__name__
        self.result.failed += 1
        if len(self.result.errors) < SHOWN_ERRORS:
            self.result.errors.append(f"row {row.row}: {message}")
        return message
