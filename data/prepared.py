# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Prepared folders: the parquet files that training and evaluation read, pictures inside."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .checks import read_json_object
from .extras import require_datasets
from .files import write_json
from .schema import SPLITS, check_features, check_pairs


if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict


MARKER = "prepared.json"
FORMAT = 1
ROWS_PER_SHARD = 1024
EMBED_BATCH = 64


def _shard_name(split: str, number: int, count: int) -> str:
    return f"data/{split}-{number:05d}-of-{count:05d}.parquet"


def _write_split(split: str, dataset: Dataset, folder: Path) -> list[str]:
    """Write one split as shards with the pictures' bytes inside, and return their names; none for an empty split."""
    from datasets.table import embed_table_storage

    count = -(-len(dataset) // ROWS_PER_SHARD)
    names = [_shard_name(split, number, count) for number in range(count)]
    for number, name in enumerate(names):
        start = number * ROWS_PER_SHARD
        shard = dataset.select(range(start, min(start + ROWS_PER_SHARD, len(dataset))))
        shard = shard.with_format("arrow").map(
            embed_table_storage, batched=True, batch_size=EMBED_BATCH, keep_in_memory=True
        )
        shard.with_format(None).to_parquet(folder / name)
    return names


def is_prepared(folder: Path) -> bool:
    """Whether `write_prepared` made this folder."""
    return (folder / MARKER).is_file()


def check_target(folder: Path, overwrite: bool) -> None:
    """Refuse an output folder that exists, unless `overwrite` and it is a prepared or an empty one.

    Raises:
        FileExistsError: Naming the folder and what to do.
    """
    if not folder.exists():
        return
    if not overwrite:
        raise FileExistsError(f"{folder} exists; pass --overwrite to replace it")
    if not folder.is_dir() or (any(folder.iterdir()) and not is_prepared(folder)):
        raise FileExistsError(f"{folder} is not a prepared folder, so it is not overwritten; remove it yourself")


def _replace_folder(new: Path, folder: Path) -> None:
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.replace(old)
    new.replace(folder)
    shutil.rmtree(old, ignore_errors=True)


def write_prepared(
    dataset: DatasetDict, folder: str | Path, facts: dict[str, Any] | None = None, overwrite: bool = False
) -> Path:
    """Write a checked data set of pairs as a prepared folder, whole or not at all.

    Args:
        dataset: Splits train, validation, test with the columns of `schema.pair_features`.
        folder: Gets `data/SPLIT-00000-of-0000N.parquet` and `prepared.json`.
        facts: What else `prepared.json` keeps, such as the data set's name.
        overwrite: Whether a prepared folder of the same name is replaced.

    Returns:
        The folder.

    Raises:
        FileExistsError: See `check_target`.
        ValueError: If the rows break the schema.
    """
    folder = Path(folder).absolute()
    check_target(folder, overwrite)
    check_pairs(dataset, str(folder))
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    (temporary / "data").mkdir(parents=True)
    try:
        shards = {split: _write_split(split, dataset[split], temporary) for split in SPLITS}
        rows = {split: len(dataset[split]) for split in SPLITS}
        write_json(temporary / MARKER, {"format": FORMAT, **(facts or {}), "rows": rows, "shards": shards}, indent=2)
        _replace_folder(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _shards(folder: Path) -> dict[str, list[str]]:
    if not is_prepared(folder):
        raise FileNotFoundError(
            f"{folder} is not a prepared folder (no {MARKER}); make one with examples/prepare_data.py"
        )
    shards = read_json_object(folder / MARKER).get("shards")
    if not isinstance(shards, dict) or sorted(shards) != sorted(SPLITS):
        raise ValueError(f"{folder / MARKER} does not list the shards of {', '.join(SPLITS)}; prepare the data again")
    if not any(shards.values()):
        raise ValueError(f"{folder} holds no pairs; prepare the data again")
    missing = [name for names in shards.values() for name in names if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(f"{folder} lacks {', '.join(missing)}; prepare the data again")
    return {split: [str(folder / name) for name in shards[split]] for split in SPLITS}


def load_prepared(folder: str | Path) -> DatasetDict:
    """Load a prepared folder.

    Args:
        folder: What `examples/prepare_data.py` wrote.

    Returns:
        Splits train, validation, test with the columns of `schema.pair_features`; pictures are decoded on access.

    Raises:
        FileNotFoundError: If the folder was not prepared or lacks a file.
        ValueError: If a file has other columns.
    """
    hf = require_datasets()
    shards = _shards(Path(folder))
    loaded = hf.load_dataset("parquet", data_files={split: names for split, names in shards.items() if names})
    features = next(iter(loaded.values())).features
    for split in SPLITS:
        if split not in loaded:
            loaded[split] = hf.Dataset.from_dict({name: [] for name in features}, features=features)
        check_features(loaded[split], f"{folder}, {split}")
    return hf.DatasetDict({split: loaded[split] for split in SPLITS})


def render_settings(folder: str | Path) -> dict[str, Any] | None:
    """How the scenes of a prepared folder were rendered, seed included; None where that is not known.

    Args:
        folder: What `examples/prepare_data.py` wrote.

    Raises:
        FileNotFoundError: If the folder was not prepared.
        ValueError: If `prepared.json` is damaged.
    """
    return read_json_object(Path(folder) / MARKER).get("render_settings")
