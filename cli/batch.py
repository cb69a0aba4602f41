# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Captions of a table of pairs: as many at a time as fit in a batch, and no broken image stops the rest."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm.auto import tqdm

from ..data.pair_table import SIDES, FileFinder, is_inline, is_url, read_table, told
from ..image_utils_ssgpa import load_image
from ..pipeline_ssgpa import ChangeCaptioningPipeline, is_out_of_memory
from .log import CaptionLog
from .process_group import FirstProcessError, ProcessGroup


# The bar moves rarely if its output goes to a log file.
BAR_SECONDS = {True: 0.1, False: 10.0}
SHOWN_ERRORS = 10


@dataclass(frozen=True)
class PairRow:
    """One row of a table of pairs.

    Attributes:
        row (`int`): Its number, from 1 on; the line with the columns' names is not counted.
        before (`str`): The first image, as the table tells it.
        after (`str`): The second image.
        pair_id (`str`, *optional*): Its name, where the table has such a column.
        problem (`str`, *optional*): Why the row cannot be read; None for most.
    """

    row: int
    before: str
    after: str
    pair_id: str | None = None
    problem: str | None = None

    def record(self, **outcome: Any) -> dict[str, Any]:
        """Return what is written about the row, with the caption or the error; for an image within it, the digest."""
        name = {} if self.pair_id is None else {"pair_id": self.pair_id}
        return {"row": self.row, **name, "before": told(self.before), "after": told(self.after), **outcome}


@dataclass
class BatchResult:
    """What became of the rows.

    Attributes:
        captioned (`int`, *optional*, defaults to `0`): Rows that were captioned now.
        known (`int`, *optional*, defaults to `0`): Rows that an earlier run had captioned.
        failed (`int`, *optional*, defaults to `0`): Rows without a caption.
        errors (`list[str]`, *optional*, defaults to `[]`): The first of their errors.
        otherwise (`int`, *optional*, defaults to `0`): Files that were found by another spelling than the table's.
        notes (`list[str]`, *optional*, defaults to `[]`): What else a user should know, a line each.
    """

    captioned: int = 0
    known: int = 0
    failed: int = 0
    otherwise: int = 0
    errors: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass
class Share:
    """What one process made of the rows that it was dealt.

    Attributes:
        records (`list[dict[str, Any]]`, *optional*, defaults to `[]`): What is to be written about them.
        errors (`list[str]`, *optional*, defaults to `[]`): Those of the rows without a caption.
        otherwise (`list[tuple[int, str, str]]`, *optional*, defaults to `[]`): Names of files that were found
            otherwise than they were written, with the row and the file's name.
        batch_size (`int`, *optional*): Pairs that fit into this process's memory, where a batch did not; None
            elsewhere.
        fatal (`Exception`, *optional*): Why the run must end; None where it goes on.
    """

    records: list[dict[str, Any]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    otherwise: list[tuple[int, str, str]] = field(default_factory=list)
    batch_size: int | None = None
    fatal: Exception | None = None


def read_pairs(path: Path) -> Iterator[PairRow]:
    """Read a table of pairs row by row.

    Args:
        path (`Path`): A table that `data.pair_table.read_table` reads, with the columns `before` and `after`, or the
            names that stand for them, and, if wanted, `pair_id`; others are not looked at.

    Yields:
        `PairRow`: The rows. A cell that is missing is empty; a row that cannot be read has a `problem`.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is no such table; the error names the file, and the line where there is one.
    """
    for row in read_table(path, required=SIDES):
        cells, problem = {}, row.problem
        for name in (*SIDES, "pair_id"):
            try:
                cells[name] = row.text(name)
            except ValueError as error:
                problem = problem or str(error)
        yield PairRow(row.number, cells.get("before") or "", cells.get("after") or "", cells.get("pair_id"), problem)


def load_row(
    row: PairRow, find: FileFinder, load: Callable[[str | Path, str], Image.Image] = load_image
) -> tuple[Image.Image, Image.Image]:
    """Decode the images of a row.

    Args:
        row (`PairRow`): The row.
        find (`FileFinder`): Finds the files that it names.
        load (`Callable[[str | Path, str], Image.Image]`, *optional*, defaults to `load_image`): Decodes an image,
            whose column is its second argument.

    Returns:
        `tuple[Image.Image, Image.Image]`: Before and after.

    Raises:
        OSError: An image is not there or may not be read.
        ValueError: The row cannot be read, a cell is empty, or an image is broken; the error names it.
    """
    if row.problem:
        raise ValueError(row.problem)
    images = []
    for name in SIDES:
        source = getattr(row, name)
        if not source:
            raise ValueError(f"the column {name} is empty.")
        images.append(load(source if is_inline(source) or is_url(source) else find(source), name))
    return tuple(images)


class BatchCaptioner:
    """Captions rows in batches and writes each batch down.

    Of several processes, the first one reads the table, deals the rows out, and writes; each captions its share.

    Args:
        pipe (`ChangeCaptioningPipeline`): The pipeline.
        folder (`Path`): What relative paths in the table start from.
        batch_size (`int`): Pairs that go through the model together, in each process.
        stop (`bool`): Raise the first row's error.
        decoding (`Mapping[str, Any]`): Arguments of the pipeline.
        group (`ProcessGroup`, *optional*): The processes; one alone by default.
        reading (`Mapping[str, Any]`, *optional*): How values become colors: `value_range`, `nodata`, `bands`.
    """

    def __init__(
        self,
        pipe: ChangeCaptioningPipeline,
        folder: Path,
        batch_size: int,
        stop: bool,
        decoding: Mapping[str, Any],
        group: ProcessGroup | None = None,
        reading: Mapping[str, Any] | None = None,
    ) -> None:
        self.pipe, self.find = pipe, FileFinder(folder)
        self.batch_size, self.stop, self.decoding = batch_size, stop, dict(decoding)
        self.group = group or ProcessGroup()
        self.result = BatchResult()
        self._fitting = batch_size
        self._first_otherwise: tuple[int, str, str] | None = None
        # At the size that is needed: whole images of a batch could fill the memory. Tiles are cut from whole ones.
        self.tiled = "tiles" in decoding
        self.load = partial(pipe.processor.load_image, whole=self.tiled, **(reading or {}))

    def run(self, rows: Iterable[PairRow], total: int, log: CaptionLog, progress: bool = True) -> BatchResult:
        """Caption the rows that have no caption yet, in the first process.

        Args:
            rows (`Iterable[PairRow]`): The rows.
            total (`int`): How many there are.
            log (`CaptionLog`): Where captions and errors go.
            progress (`bool`, *optional*, defaults to `True`): Show a bar on stderr.

        Returns:
            `BatchResult`: What became of them.

        Raises:
            OSError: The captions cannot be written, or with `stop` an image cannot be read.
            ValueError: With `stop`, an image is broken.
            FloatingPointError: The model's scores are not finite; the error names the rows.
            RuntimeError: Another process has ended.
        """
        seconds = BAR_SECONDS[sys.stderr.isatty()]
        with tqdm(total=total, disable=not progress, unit="pair", mininterval=seconds, file=sys.stderr) as bar:
            for taken, batch in self._batches(rows, log):
                # Parts of nearly the same size, one a process, in the order of the rows.
                edges = [len(batch) * part // self.group.count for part in range(self.group.count + 1)]
                parts = [batch[start:end] for start, end in pairwise(edges)]
                shares = self.group.collect(self._caption(self.group.deal(parts)))
                # First all that was captioned, also where one process must end the run.
                log.add(record for share in shares for record in share.records)
                for share in shares:
                    self._count(share, bar)
                bar.set_postfix(failed=self.result.failed, refresh=False)
                bar.update(taken)
        self.group.deal([None] * self.group.count)
        log.sort()
        if self._first_otherwise:
            row, name, found = self._first_otherwise
            self.result.notes.append(
                f"{self.result.otherwise} files are spelled otherwise in the table, the first in row {row}: {name} is "
                f"{found}"
            )
        return self.result

    def serve(self) -> None:
        """Caption the shares that the first process deals, until it has no more.

        Raises:
            FirstProcessError: It has ended before.
        """
        while (rows := self.group.deal()) is not None:
            share = self._caption(rows)
            # Not every kind of error can be sent.
            share.fatal = share.fatal and RuntimeError(str(share.fatal))
            self.group.collect(share)
            if share.fatal:
                raise FirstProcessError

    def _batches(self, rows: Iterable[PairRow], log: CaptionLog) -> Iterator[tuple[int, list[PairRow]]]:
        """Yield rows to caption, a batch for each process, and how many rows were looked at for them."""
        batch, taken = [], 0
        for row in rows:
            taken += 1
            if log.holds(row.row, told(row.before), told(row.after)):
                self.result.known += 1
            else:
                batch.append(row)
            if len(batch) == self.batch_size * self.group.count:
                yield taken, batch
                batch, taken = [], 0
        if taken:
            yield taken, batch

    def _caption(self, rows: list[PairRow]) -> Share:
        """Return what is to be written about the rows."""
        share, outcomes = Share(), {}
        # Whole images are large; a batch is then one of tiles.
        groups = [[row] for row in rows] if self.tiled else [rows]
        try:
            for group in groups:
                outcomes |= self._caption_rows(share, group)
            share.records = [row.record(**outcomes[row]) for row in rows]
            share.errors = [f"row {row.row}: {outcomes[row]['error']}" for row in rows if "error" in outcomes[row]]
            share.batch_size = self.pipe.fitting_batch_size
        except (OSError, ValueError, RuntimeError, ArithmeticError) as error:
            share.fatal = error
        return share

    def _caption_rows(self, share: Share, rows: list[PairRow]) -> dict[PairRow, dict[str, Any]]:
        pairs, outcomes = {}, {}
        for row in rows:
            try:
                pairs[row] = load_row(row, self.find, self.load)
            # A decoder may raise anything over a broken file, and an image may be too large for memory.
            except Exception as error:
                outcomes[row] = self._blame(row, error)
            share.otherwise += [(row.row, *found) for found in self.find.otherwise.items()]
            self.find.otherwise.clear()
        return outcomes | self._caption_pairs(pairs)

    def _caption_pairs(self, pairs: Mapping[PairRow, Any]) -> dict[PairRow, dict[str, Any]]:
        """Caption pairs together, or one by one where one of them alone is too large for memory."""
        try:
            # What is too small for its tiles costs its row.
            on_error = "return" if self.tiled and not self.stop else "raise"
            outputs = self.pipe(list(pairs.values()), batch_size=self.batch_size, on_error=on_error, **self.decoding)
        except FloatingPointError as error:
            raise FloatingPointError(f"rows {', '.join(str(row.row) for row in pairs)}: {error}") from error
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if len(pairs) == 1:
                return {row: self._blame(row, MemoryError("too large for the memory.")) for row in pairs}
        else:
            return {row: _outcome(output[0]) for row, output in zip(pairs, outputs, strict=True)}
        return {row: outcome for row in pairs for row, outcome in self._caption_pairs({row: pairs[row]}).items()}

    def _blame(self, row: PairRow, error: Exception) -> dict[str, str]:
        message = " ".join(str(error).split()) or type(error).__name__
        if self.stop:
            raise ValueError(f"row {row.row}: {message}") from error
        return {"error": message}

    def _count(self, share: Share, bar: tqdm) -> None:
        result = self.result
        result.captioned += len(share.records) - len(share.errors)
        result.failed += len(share.errors)
        result.errors += share.errors[: SHOWN_ERRORS - len(result.errors)]
        result.otherwise += len(share.otherwise)
        self._first_otherwise = self._first_otherwise or next(iter(share.otherwise), None)
        if share.batch_size is not None and share.batch_size < self._fitting:
            self._fitting = share.batch_size
            note = f"a batch was too large for the memory; going on with {share.batch_size} pairs at a time"
            bar.write(f"ssgpa: {note}.", file=sys.stderr)
        if share.fatal:
            raise share.fatal


def trust_in(output: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the pipeline told of how far a caption can be trusted, as JSON takes it.

    Args:
        output (`Mapping[str, Any]`): One dict of the pipeline.

    Returns:
        `dict[str, Any]`: `identical`, `confidence`, `familiar`, and of unfamiliar images `difference`, `note` and
        `model_caption`, the model's own sentence; what was not told is left out.
    """
    told = {name: output[name] for name in ("identical", "confidence", "familiar", "note") if name in output}
    if "difference" in output:
        told["difference"] = output["difference"].as_dict()
    if "model_text" in output:
        told["model_caption"] = output["model_text"]
    return told


def _outcome(output: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is written about a captioned pair; of tiles, those that have changed."""
    if "error" in output:
        return {"error": output["error"]}
    outcome = {"caption": output["generated_text"], **trust_in(output)}
    if "tiles" in output:
        kept = ("row", "column", "box_before", "box_after", "change_score", "confidence", "familiar")
        outcome["tiles"] = [
            {name: tile[name] for name in kept if name in tile} | {"caption": tile["generated_text"]}
            for tile in output["tiles"]
            if tile["changed"]
        ]
    return outcome
