# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Prepared folders: the parquet files that training and evaluation read, images inside."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import hf_hub_download

from ..utils.extras import require_datasets
from ..utils.files import holding_output, old_folder, recover_folder, replacing_folder, write_json, write_text
from ..utils.hub_access import can_ask_hub
from .checks import read_json_object
from .clevr_renderer.dataset.layout import SCENES
from .schema import SIDES, SPLITS, check_features, check_pairs


if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict, IterableDatasetDict


MARKER = "prepared.json"
CARD = "README.md"
HUB_PREFIX = "hf://datasets/"
FORMAT = 1
ROWS_PER_SHARD = 1024
EMBED_BATCH = 64
SHARD = re.compile(r"data/[a-z]+-\d{5,}-of-\d{5,}\.parquet")


def _write_split(split: str, dataset: Dataset, folder: Path, rows_per_shard: int) -> list[str]:
    """Write one split as shards with the images' bytes inside, and return their names; none for an empty split."""
    from datasets.table import embed_table_storage

    count = -(-len(dataset) // rows_per_shard)
    names = [f"data/{split}-{number:05d}-of-{count:05d}.parquet" for number in range(count)]
    for number, name in enumerate(names):
        start = number * rows_per_shard
        shard = dataset.select(range(start, min(start + rows_per_shard, len(dataset))))
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


@contextmanager
def held_target(folder: Path, overwrite: bool) -> Iterator[None]:
    """Keep other runs from an output folder, and refuse one as `check_target` does.

    What a killed run had moved away is put back first.

    Raises:
        FileExistsError: As `check_target`, or another run writes to the folder.
    """
    folder = folder.absolute()
    with holding_output(folder):
        recover_folder(folder)
        check_target(folder, overwrite)
        yield


def write_prepared(
    dataset: DatasetDict,
    folder: str | Path,
    facts: dict[str, Any] | None = None,
    overwrite: bool = False,
    card: str | None = None,
    rows_per_shard: int | None = None,
    scenes: str | Path | None = None,
) -> Path:
    """Write a checked data set of pairs as a prepared folder, completely or not at all.

    Args:
        dataset (`DatasetDict`): Splits train, validation, test with the columns of `schema.pair_features`.
        folder (`str` or `Path`): Gets `data/SPLIT-00000-of-0000N.parquet` and `prepared.json`.
        facts (`dict[str, Any]`, *optional*): What else `prepared.json` keeps, such as the data set's name.
        overwrite (`bool`, *optional*, defaults to `False`): Whether a prepared folder of the same name is replaced.
        card (`str`, *optional*): Text of a `README.md`.
        rows_per_shard (`int`, *optional*): Rows of a file, 1,024 by default; a worker that streams reads whole files.
        scenes (`str` or `Path`, *optional*): The renderer's `scenes.jsonl`, which is kept beside the pairs: evaluation
            judges captions by it.

    Returns:
        `Path`: The folder.

    Raises:
        FileExistsError: See `check_target`.
        ValueError: If the rows break the schema.
    """
    folder = Path(folder).absolute()
    with held_target(folder, overwrite):
        check_pairs(dataset, str(folder))
        with replacing_folder(folder) as temporary:
            (temporary / "data").mkdir()
            size = rows_per_shard or ROWS_PER_SHARD
            shards = {split: _write_split(split, dataset[split], temporary, size) for split in SPLITS}
            rows = {split: len(dataset[split]) for split in SPLITS}
            if card is not None:
                write_text(temporary / CARD, card)
            kept = dict(facts or {})
            if scenes is not None:
                shutil.copyfile(scenes, temporary / SCENES)
                kept["scenes"] = SCENES
            write_json(temporary / MARKER, {"format": FORMAT, **kept, "rows": rows, "shards": shards}, indent=2)
    return folder


def _listed_shards(marker: Path, where: str) -> dict[str, list[str]]:
    shards = read_json_object(marker).get("shards")
    if not isinstance(shards, dict) or sorted(shards) != sorted(SPLITS):
        raise ValueError(f"{where}/{MARKER} does not list the shards of {', '.join(SPLITS)}; prepare the data again")
    if not any(shards.values()):
        raise ValueError(f"{where} holds no pairs; prepare the data again")
    names = [name for listed in shards.values() for name in (listed if isinstance(listed, list) else [listed])]
    strange = [name for name in names if not isinstance(name, str) or not SHARD.fullmatch(name)]
    if strange:
        # A list that somebody else wrote could lead anywhere.
        raise ValueError(f"{where}/{MARKER} lists {strange[0]!r:.80}, which is no shard; prepare the data again")
    return shards


def check_prepared(folder: str | Path) -> dict[str, list[str]]:
    """Names of the shards of each split.

    Raises:
        FileNotFoundError: If the folder was not prepared or lacks a file.
        ValueError: If `prepared.json` is damaged.
    """
    folder = Path(folder)
    if not is_prepared(folder):
        left = old_folder(folder.absolute())
        hint = f"; a run that was stopped has left the former one in {left}" if is_prepared(left) else ""
        raise FileNotFoundError(
            f"{folder} is not a prepared folder (no {MARKER}); make one with examples/prepare_data.py{hint}"
        )
    shards = _listed_shards(folder / MARKER, str(folder))
    missing = [name for names in shards.values() for name in names if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(f"{folder} lacks {', '.join(missing)}; prepare the data again")
    return shards


def _files(source: str) -> dict[str, list[str]]:
    """Addresses of the shards of each split, in a folder or on the Hub."""
    on_hub = source.startswith(HUB_PREFIX)
    shards = _listed_shards(_marker(source), source) if on_hub else check_prepared(source)
    return {split: [f"{source.rstrip('/')}/{name}" for name in names] for split, names in shards.items()}


def _marker(source: str) -> Path:
    """The file `prepared.json` of a folder, or of a data set on the Hub."""
    return _file(source, MARKER)


def _file(source: str, name: str) -> Path:
    """A file of a folder, or of a data set on the Hub."""
    if not source.startswith(HUB_PREFIX):
        return Path(source) / name
    repo_id, _, revision = source.removeprefix(HUB_PREFIX).strip("/").partition("@")
    online = can_ask_hub(repo_id, name, revision or None, "dataset")
    options = {"repo_type": "dataset", "revision": revision or None, "local_files_only": not online}
    return Path(hf_hub_download(repo_id, name, **options))


def load_prepared(
    folder: str | Path,
    streaming: bool = False,
    columns: list[str] | None = None,
    splits: Sequence[str] = SPLITS,
) -> DatasetDict | IterableDatasetDict:
    """Load a prepared folder.

    Args:
        folder (`str` or `Path`): What `examples/prepare_data.py` wrote; or `hf://datasets/ORG/NAME[@REVISION]`, where
            it was pushed to.
        streaming (`bool`, *optional*, defaults to `False`): Read the rows one after the other from the parquet files,
            wherever they lie, and keep nothing. Otherwise they are copied once to the cache on disk, from where any
            row can be read.
        columns (`list[str]`, *optional*): Read these only.
        splits (`Sequence[str]`, *optional*, defaults to `SPLITS`): Read these only.

    Returns:
        `DatasetDict` or `IterableDatasetDict`: Splits train, validation, test, or those asked for, with the columns of
        `schema.pair_features`; images are decoded on access. With `streaming`, an `IterableDatasetDict`.

    Raises:
        FileNotFoundError: If the folder was not prepared or lacks a file.
        ValueError: If a file has other columns.
    """
    hf = require_datasets()
    files = {split: names for split, names in _files(str(folder)).items() if names}
    # An empty split has no file, and takes its columns from another.
    wanted = {split: names for split, names in files.items() if split in splits} or dict([next(iter(files.items()))])
    loaded = hf.load_dataset("parquet", data_files=wanted, streaming=streaming, columns=columns)
    full = next(iter(loaded.values()))
    for split in splits:
        if split not in loaded:
            loaded[split] = full.take(0)
        if columns is None:
            check_features(loaded[split], f"{folder}, {split}")
        if not streaming:
            _check_inside(loaded[split], f"{folder}, {split}")
    return type(loaded)({split: loaded[split] for split in splits})


def _check_inside(rows: Dataset, where: str) -> None:
    """Refuse images that a row only names: whoever wrote the row would choose a file of this machine, or an address.

    Raises:
        ValueError: Naming the column.
    """
    for side in set(SIDES) & set(rows.column_names):
        for part in rows.data.column(side).chunks:
            # Of a split whose images are yet to be made, the whole cell is null. No image is read for this.
            held = part.field("bytes").is_valid().to_numpy(zero_copy_only=False)
            if (part.is_valid().to_numpy(zero_copy_only=False) & ~held).any():
                raise ValueError(f"{where}: `{side}` names a file and does not hold it; prepare the data again")


def render_settings(folder: str | Path) -> dict[str, Any] | None:
    """How the scenes of a prepared folder were rendered, seed included; None where that is not known.

    Args:
        folder (`str` or `Path`): As for `load_prepared`.

    Raises:
        FileNotFoundError: If the folder was not prepared.
        ValueError: If `prepared.json` is damaged.
    """
    return read_json_object(_marker(str(folder))).get("render_settings")


def aux_grid_of(folder: str | Path) -> tuple[int, int] | None:
    """Rows and columns of a prepared folder's auxiliary targets; None where it has none.

    Args:
        folder (`str` or `Path`): As for `load_prepared`.

    Raises:
        FileNotFoundError: If the folder was not prepared.
        ValueError: If `prepared.json` is damaged.
    """
    grid = read_json_object(_marker(str(folder))).get("aux_grid")
    return None if grid is None else tuple(grid)


def scenes_of(folder: str | Path) -> Path | None:
    """The renderer's scenes of a prepared folder's pairs, by which captions are judged.

    Args:
        folder (`str` or `Path`): As for `load_prepared`.

    Returns:
        `Path`: The file `scenes.jsonl`; None where the folder was prepared without.

    Raises:
        FileNotFoundError: If the folder was not prepared, or has lost the file.
        ValueError: If `prepared.json` is damaged.
    """
    source = str(folder)
    if read_json_object(_marker(source)).get("scenes") is None:
        return None
    path = _file(source, SCENES)
    if not path.is_file():
        raise FileNotFoundError(f"{folder} lacks {SCENES}; prepare the data again")
    return path


def language_of(folder: str | Path) -> str | None:
    """The language of a prepared folder's captions, a code such as "en" or "zh"; None where it is not known.

    Args:
        folder (`str` or `Path`): As for `load_prepared`.

    Returns:
        `str`: Such a code.

    Raises:
        FileNotFoundError: If the folder was not prepared.
        ValueError: If `prepared.json` is damaged.
    """
    language = read_json_object(_marker(str(folder))).get("language")
    if language is not None and not isinstance(language, str):
        raise ValueError(f"{folder}/{MARKER}: `language` is not text: {language!r:.80}; prepare the data again")
    return language


def reading_of(folder: str | Path) -> dict[str, Any]:
    """How values of a prepared folder's images become colors.

    Args:
        folder (`str` or `Path`): As for `load_prepared`.

    Returns:
        `dict[str, Any]`: Those of `value_range`, `nodata` and `bands` that the folder was prepared with.

    Raises:
        FileNotFoundError: If the folder was not prepared.
        ValueError: If `prepared.json` is damaged, or holds them in another form.
    """
    from ..image_utils_ssgpa import Reading

    options = read_json_object(_marker(str(folder))).get("reading") or {}
    try:
        return {name: value for name, value in vars(Reading(**options)).items() if value is not None}
    except (TypeError, ValueError) as error:
        raise ValueError(f"{folder}/{MARKER}: `reading` is damaged ({error}); prepare the data again") from error
