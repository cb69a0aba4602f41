# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Sets that are released as parquet files with the images inside, which are never all held in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...utils.extras import require_datasets
from ..checks import check_image_bytes, inner_file
from ..findings import Findings
from ..reading import Pair, place_of, table_of
from ..schema import COLUMNS, SIDES, SPLITS, check_pairs


if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

    from ...image_utils_ssgpa import Reading


TEXT_COLUMNS = [name for name in COLUMNS if name not in SIDES]


def load_table(folder: Path, prefix: str, columns: Sequence[str]) -> Dataset:
    """The rows of `data/PREFIX-*.parquet`, with these columns; images stay as they are stored.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a file leads out of the folder, is damaged, or lacks a column.
    """
    import pyarrow.parquet

    names = sorted(path.name for path in (folder / "data").glob(f"{prefix}-*.parquet"))
    if not names:
        raise FileNotFoundError(f"{folder / 'data' / prefix}-*.parquet is missing")
    files = [inner_file(folder, f"data/{name}") for name in names]
    for path in files:
        try:
            found = pyarrow.parquet.read_schema(path).names
        except (OSError, ValueError) as error:
            raise ValueError(f"{path} is not a readable parquet file: {error}") from error
        lacking = [name for name in columns if name not in found]
        if lacking:
            raise ValueError(f"{path}: the columns {lacking} are missing, found {', '.join(found)}")
    hf, paths = require_datasets(), [str(path) for path in files]
    try:
        return hf.load_dataset("parquet", data_files=paths, split="train", columns=list(columns))
    except hf.exceptions.DatasetGenerationError as error:
        cause = error.__cause__ or error
        raise ValueError(f"{folder / 'data' / prefix}-*.parquet cannot be read: {cause}") from error


def _fault(cell: dict[str, Any] | None, name: str, verify: bool, reading: Reading | None) -> str | None:
    # A path in the file is never followed.
    if not cell or not cell.get("bytes"):
        return f"{name} is missing"
    try:
        if verify:
            check_image_bytes(cell["bytes"], name, reading)
    except ValueError as error:
        return str(error)
    return None


def _look(row: dict[str, Any], pair: Pair, split: str, number: int, findings: Findings, verify: bool) -> None:
    """Record faults of a row's images in `findings`; without `verify`, missing ones alone."""
    place, digests = place_of(split, pair.pair_id), []
    for column, cell in row.items():
        name = f"{split}, row {number}, {column}"
        fault = _fault(cell, name, verify, findings.reading)
        if fault:
            findings.blame(place, fault)
        elif verify:
            digests.append(findings.see(cell["bytes"], name, pair.scene_id, split))
    if len(digests) == len(row):
        findings.compare(place, digests, pair.change_type)


def pairs_of_table(
    table: Dataset,
    names: tuple[str, str],
    describe: Callable[[dict[str, Any], str], Pair],
    split: str,
    findings: Findings,
    verify_images: bool,
) -> Dataset:
    """Check the rows of a table and give them the columns of the schema.

    Args:
        table (`Dataset`): What `load_table` gave.
        names (`tuple[str, str]`): Its columns with the images before and after.
        describe (`Callable[[dict[str, Any], str], Pair]`): Makes a pair of the other columns; its second argument is
            the row's place.
        split (`str`): Split that the rows belong to.
        findings (`Findings`): Records missing, damaged and equal images; `combine_tables` sums them up.
        verify_images (`bool`): Whether every image is decoded once.

    Returns:
        `Dataset`: The rows of the pairs that are not left out.
    """
    hf = require_datasets()
    described = table.remove_columns(list(names))
    pairs = [describe(row, f"{split}, row {number}") for number, row in enumerate(described)]
    images = table.select_columns(list(names))
    for name in names:
        images = images.cast_column(name, hf.Image(decode=False))
    for number, (pair, row) in enumerate(zip(pairs, images, strict=True)):
        _look(row, pair, split, number, findings, verify_images)
    findings.read[split] = len(pairs)
    kept = [number for number, pair in enumerate(pairs) if not findings.is_out(place_of(split, pair.pair_id))]
    if not kept:
        return table_of([])
    images = images.rename_columns(dict(zip(names, SIDES, strict=True))).select(kept)
    texts = table_of([vars(pairs[number]) for number in kept], TEXT_COLUMNS)
    joined = hf.concatenate_datasets([images, texts], axis=1).select_columns(list(COLUMNS))
    return joined.cast_column("before", hf.Image()).cast_column("after", hf.Image())


def combine_tables(splits: Mapping[str, Dataset], findings: Findings, where: str) -> DatasetDict:
    """The checked splits as one data set; a split that is left out is empty.

    Raises:
        ValueError: If pairs are faulty and not to be skipped, or a pair or scene is in two splits.
    """
    findings.finish(where)
    dataset = require_datasets().DatasetDict(
        {name: splits[name] if name in splits else table_of([]) for name in SPLITS}
    )
    check_pairs(dataset, where)
    return dataset
