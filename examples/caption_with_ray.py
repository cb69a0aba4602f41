# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
# /// script
# requires-python = ">=3.11"
# dependencies = ["ssgpa[ray]"]
# ///
"""Captions parquet files or an image folder with Ray Data: a copy of the model on each GPU of a machine or a cluster.

From parquet with the columns `pair_id`, `before` and `after` (images inside, paths or URLs), such as prepared data:

    python examples/caption_with_ray.py --source prepared/mine/data --output captions --num_workers 4

From a folder with images in `before/` and `after/` that are called alike; with two CPU workers:

    python examples/caption_with_ray.py --source my_pairs --output captions --num_workers 2

A worker that dies is started again, and its pairs are captioned once. The same command continues a stopped run.
The output is a folder of its own: one that holds anything else, or captions of other settings, is refused as it is.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from ssgpa.cli.commands import EMBEDDED
from ssgpa.data.pair_table import NAMES, SIDES, column_name
from ssgpa.utils.console import ERRORS, OneLineParser, be_quiet, positive, report_error
from ssgpa.utils.files import replacing, write_json
from ssgpa.utils.results import folder_state
from ssgpa_command.arguments import add_reading_options, grid, reading_options


COLUMNS = ("pair_id", *SIDES)
# Columns of the output by the pipeline's names.
OUTCOMES = {"caption": "generated_text", "error": "error"}
# What the program calls its files: nothing else is read, rewritten or deleted. Readers of parquet folders pass over
# names that begin with "_" or ".".
PREFIX = "ssgpa_captions_"
SETTINGS_FILE = "_ssgpa_captions.settings.json"
LOCK_FILE = ".ssgpa_captions.lock"


class Captioner:
    """One copy of the model, in a process of its own.

    Args:
        model (`str`): Folder of a saved system, or its id on the Hub.
        revision (`str`, *optional*): Commit, for an id.
        decoding (`Mapping[str, Any]`): Arguments of `generate`, and `tiles`.
        reading (`Mapping[str, Any]`, *optional*): How values become colors: `value_range`, `nodata`, `bands`.
    """

    def __init__(
        self, model: str, revision: str | None, decoding: Mapping[str, Any], reading: Mapping[str, Any] | None = None
    ) -> None:
        import torch

        from ssgpa.pipeline_ssgpa import ChangeCaptioningPipeline
        from ssgpa.utils.loading import load_system

        be_quiet()
        system, processor = load_system(model, revision)
        # Ray shows each worker its own GPU only.
        device = "cuda:0" if torch.cuda.is_available() else "cpu"
        self.options = {**decoding, **(reading or {})}
        self.pipe = ChangeCaptioningPipeline(system, processor=processor, task="change-captioning", device=device)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, Any]:
        """Caption a batch.

        Args:
            batch (`dict[str, np.ndarray]`): `pair_id`, `before` and `after`, one row per pair.

        Returns:
            `pair_id`, and `caption` or `error`; the other is null.
        """
        pairs = [(image(before), image(after)) for before, after in zip(*map(batch.get, SIDES), strict=True)]
        results = self.pipe(pairs, batch_size=len(pairs), on_error="return", **self.options)
        told = {
            name: pa.array([found[0].get(key) for found in results], pa.string()) for name, key in OUTCOMES.items()
        }
        return pa.table({"pair_id": pa.array([str(name) for name in batch["pair_id"]], pa.string()), **told})


def image(cell: Any) -> Any:
    """A cell of a parquet file as the pipeline takes it: bytes, a path, or `datasets`' dict of both."""
    return dict(cell) if isinstance(cell, dict) else cell


def read_source(source: Path) -> Any:
    """The pairs as a Ray dataset with the columns `pair_id`, `before` and `after`.

    Args:
        source (`Path`): A parquet file, a folder of them, or a folder with `before/` and `after/`.

    Raises:
        FileNotFoundError: It is none of these.
        ValueError: A column is missing, or an image has no counterpart; the error names it.
    """
    import ray.data

    if all((source / side).is_dir() for side in SIDES):
        return ray.data.from_items(pairs_of_folder(source))
    files = [source] if source.is_file() else sorted(source.glob("*.parquet"))
    if not files:
        raise FileNotFoundError(
            f"{source}: is no parquet file, and holds neither some nor the folders before and after."
        )
    found = {column_name(name): name for name in pq.read_schema(files[0]).names}
    chosen = {column: next((found[name] for name in NAMES[column] if name in found), None) for column in COLUMNS}
    for column, name in chosen.items():
        if name is None:
            raise ValueError(f"{files[0]}: has no column {' or '.join(NAMES[column])}, found {', '.join(found)}.")
    dataset = ray.data.read_parquet([str(path) for path in files]).select_columns(list(chosen.values()))
    return dataset.rename_columns({name: column for column, name in chosen.items() if name != column})


def pairs_of_folder(folder: Path) -> list[dict[str, str]]:
    """The pairs of `before/` and `after/`, whose files are called alike but for the suffix.

    Raises:
        ValueError: A file has no counterpart, or two; the error names it.
    """
    listed = {}
    for side in SIDES:
        names = [path for path in sorted((folder / side).iterdir()) if path.is_file() and path.name[0] != "."]
        listed[side] = {path.stem: str(path.absolute()) for path in names}
        if len(listed[side]) < len(names):
            twice = next(path for path in names if listed[side][path.stem] != str(path.absolute()))
            raise ValueError(f"{twice}: another file of {side}/ is called so too, but for the suffix.")
    lone = sorted(set(listed["before"]) ^ set(listed["after"]))
    if lone:
        raise ValueError(f"{folder}: {lone[0]} is in one of before/ and after/ only.")
    return [{"pair_id": name, **{side: listed[side][name] for side in SIDES}} for name in listed["before"]]


def settings_of(
    model: str, revision: str | None, decoding: Mapping[str, Any], reading: Mapping[str, Any] | None = None, *_: Any
) -> dict[str, Any]:
    """What the captions depend on, as JSON; the arguments are those of `Captioner`."""
    settings = {
        "model": model,
        "revision": revision,
        "model_files": folder_state(model),
        "decoding": dict(decoding),
        "reading": dict(reading or {}) or None,
    }
    return json.loads(json.dumps(settings))


def own_files(output: Path) -> list[Path]:
    """The parquet files of captions in a folder, by their names."""
    return sorted(output.glob(f"{PREFIX}*.parquet"))


def check_output(source: Path, output: Path) -> None:
    """Refuse a folder that is not this program's; nothing in it is touched.

    Args:
        source (`Path`): Where the pairs are.
        output (`Path`): The folder; it may be missing, or be what an earlier run left.

    Raises:
        ValueError: It is the source, or within it.
        NotADirectoryError: It is a file.
        FileExistsError: It holds other files, or captions without their settings.
    """
    if output.resolve().is_relative_to(source.resolve()):
        raise ValueError(f"{output}: is the source {source} or within it; choose another folder.")
    if not output.exists():
        return
    if not output.is_dir():
        raise NotADirectoryError(f"{output}: is a file; a folder is needed.")
    ours = {SETTINGS_FILE, *(path.name for path in own_files(output))}
    # Hidden names are passed over: file managers leave some, and the lock and unfinished files are ours.
    others = sorted(path.name for path in output.iterdir() if path.name not in ours and path.name[0] != ".")
    if others:
        raise FileExistsError(
            f"{output}: holds {others[0]}, which this program did not write; choose a new or an empty folder."
        )
    if own_files(output) and not (output / SETTINGS_FILE).is_file():
        raise FileExistsError(
            f"{output}: holds captions, but not their settings, {SETTINGS_FILE}; choose a new or an empty folder."
        )


@contextmanager
def open_output(source: Path, output: Path, settings: Mapping[str, Any]) -> Iterator[None]:
    """Hold the folder for one run, and keep in it what its captions depend on.

    Args:
        source (`Path`): Where the pairs are.
        output (`Path`): The folder; made if it is missing.
        settings (`Mapping[str, Any]`): See `settings_of`.

    Raises:
        OSError: See `check_output`; or another run writes to the folder, or it holds captions of other settings.
        ValueError: See `check_output`; or the settings cannot be read.
    """
    check_output(source, output)
    output.mkdir(parents=True, exist_ok=True)
    lock = FileLock(output / LOCK_FILE, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise FileExistsError(
            f"{output}: another run is writing to it; wait until it has ended, or choose another folder."
        ) from None
    try:
        # Once more: another run may have ended between the look and the lock.
        check_output(source, output)
        check_settings(output, settings)
        yield
    finally:
        lock.release()


def check_settings(output: Path, settings: Mapping[str, Any]) -> None:
    """Compare the settings with those of the captions in the folder, or write them if there are none yet.

    Raises:
        FileExistsError: They differ; the error names what does.
        ValueError: Those in the folder are not JSON.
    """
    path = output / SETTINGS_FILE
    # A run that ended before its first caption, for example over a mistyped model, binds no later one.
    if not own_files(output):
        write_json(path, settings, indent=2)
        return
    try:
        theirs = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, RecursionError, TypeError) as error:
        raise ValueError(f"{path}: is not JSON of this program ({error}); choose another folder.") from error
    changed = [key for key in {**theirs, **settings} if theirs.get(key) != settings.get(key)]
    if changed:
        raise FileExistsError(
            f"{output}: holds captions of another run (different: {', '.join(changed)}); choose another folder."
        )


def take_up(output: Path) -> pa.Array:
    """The ids of the pairs that earlier runs captioned; drops their errors, and what a killed run left unfinished.

    Args:
        output (`Path`): The folder, held by `open_output`.

    Returns:
        `pa.Array`: The ids, text.

    Raises:
        OSError: A file cannot be read or written.
        ValueError: A file has a footer, but no captions that can be read; the error names it, and it stays.
    """
    for unfinished in output.glob(f".{PREFIX}*.parquet.tmp"):
        unfinished.unlink()
    done = []
    for path in own_files(output):
        if not has_footer(path):
            path.unlink()
            continue
        try:
            table = pq.ParquetFile(path).read(columns=["pair_id", *OUTCOMES])
            kept = table.filter(pc.is_valid(table["caption"]))
            done += kept["pair_id"].cast(pa.string()).chunks
        except (pa.ArrowException, OSError, KeyError) as error:
            raise ValueError(f"{path}: its captions cannot be read ({error}); move it away.") from error
        if len(kept) < len(table):
            with replacing(path) as temporary:
                pq.write_table(kept, temporary)
    return pa.chunked_array(done, pa.string()).combine_chunks()


def has_footer(path: Path) -> bool:
    """Whether a parquet file was written to its end, where its footer is.

    Raises:
        OSError: It cannot be opened, which says nothing about what it holds.
    """
    with path.open("rb") as file:
        try:
            pq.read_metadata(file)
        except pa.ArrowInvalid:
            return False
    return True


def own_names() -> Any:
    """What gives Ray the names of the files it writes: a task that is tried again writes the same one."""
    from ray.data.datasource import FilenameProvider

    class OwnNames(FilenameProvider):
        def get_filename_for_task(self, write_uuid: str, task_index: int) -> str:
            return f"{PREFIX}{write_uuid}_{task_index:06}.parquet"

        # What Ray up to 2.5x calls in its place.
        def get_filename_for_block(self, block: Any, write_uuid: str, task_index: int, block_index: int) -> str:
            return self.get_filename_for_task(write_uuid, task_index)

    return OwnNames()


def caption(
    source: Path,
    output: Path,
    arguments: Sequence[Any],
    num_workers: int,
    batch_size: int,
    captioner: type[Captioner] = Captioner,
) -> dict[str, int]:
    """Caption all pairs that have no caption in the output yet.

    Args:
        source (`Path`): See `read_source`.
        output (`Path`): Folder of parquet files with `pair_id`, `caption` and `error`; see `open_output`.
        arguments (`Sequence[Any]`): For `captioner`; the first four are those of `Captioner`.
        num_workers (`int`): Copies of the model.
        batch_size (`int`): Pairs that go through the model together.
        captioner (`type[Captioner]`, *optional*, defaults to `Captioner`): What captions a batch.

    Returns:
        `dict[str, int]`: How many pairs were captioned, known and failed.

    Raises:
        OSError: See `open_output`, `take_up` and `read_source`.
        ValueError: See there.
    """
    check_output(source, output)
    dataset = read_source(source)
    with open_output(source, output, settings_of(*arguments)):
        return caption_open(dataset, output, arguments, num_workers, batch_size, captioner)


def caption_open(
    dataset: Any,
    output: Path,
    arguments: Sequence[Any],
    num_workers: int,
    batch_size: int,
    captioner: type[Captioner],
) -> dict[str, int]:
    """As `caption`, of a Ray dataset, into a folder that is held."""
    import ray.data

    done = take_up(output)
    if len(done):
        known = ray.put(done)

        def is_open(table: pa.Table) -> pa.Table:
            return table.filter(pc.invert(pc.is_in(table["pair_id"].cast(pa.string()), value_set=ray.get(known))))

        dataset = dataset.map_batches(is_open, batch_format="pyarrow")
    gpus = {"num_gpus": 1} if ray.cluster_resources().get("GPU") else {}
    captions = dataset.map_batches(
        captioner,
        fn_constructor_args=tuple(arguments),
        batch_size=batch_size,
        compute=ray.data.ActorPoolStrategy(size=num_workers),
        **gpus,
    )
    # Workers have folders of their own to start from.
    captions.write_parquet(str(output.absolute()), mode="append", filename_provider=own_names())
    written = own_files(output)
    total = pq.read_table(written, columns=["caption"])["caption"] if written else pa.array([], pa.string())
    return {"captioned": len(total) - total.null_count - len(done), "known": len(done), "failed": total.null_count}


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line as a namespace."""
    parser = OneLineParser(prog="caption_with_ray.py", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--source", required=True, type=Path, help="parquet, or a folder with before/ and after/")
    parser.add_argument("--output", required=True, type=Path, help="folder for parquet files with the captions")
    parser.add_argument("--model", default=str(EMBEDDED), help="folder of a saved system, or its id on the Hub")
    parser.add_argument("--revision", metavar="SHA", help="the commit to take, if the model is an id on the Hub")
    parser.add_argument(
        "--num_workers", type=positive, default=1, help="copies of the model; one per GPU if there are"
    )
    parser.add_argument("--batch_size", type=positive, default=8, help="pairs at a time in each copy")
    parser.add_argument("--num_beams", type=positive, help="by default the model's own")
    parser.add_argument("--max_new_tokens", type=positive, help="by default the model's own")
    parser.add_argument(
        "--tiles",
        type=grid,
        metavar="ROWSxCOLUMNS",
        help="caption large images tile by tile, one line a changed tile; auto: no tile is shrunk by more than 2",
    )
    add_reading_options(parser.add_argument_group("sensor data"))
    parser.add_argument("--address", help="the cluster to join, `auto` for the one that runs here; by default none")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Caption; returns 0, 1 where pairs failed, and 2 after one line on stderr for what concerns the whole run."""
    options = parse_arguments(argv)
    try:
        check_output(options.source, options.output)
        import ray

        ray.init(address=options.address, ignore_reinit_error=True, log_to_driver=False)
        asked = {name: getattr(options, name) for name in ("num_beams", "max_new_tokens", "tiles")}
        decoding = {name: value for name, value in asked.items() if value is not None}
        model = str(Path(options.model).absolute()) if Path(options.model).exists() else options.model
        arguments = (model, options.revision, decoding, reading_options(options))
        counts = caption(options.source, options.output, arguments, options.num_workers, options.batch_size)
    except ModuleNotFoundError as error:
        return report_error("caption_with_ray.py", ImportError(f'{error.name} is missing: pip install "ssgpa[ray]".'))
    except ERRORS as error:
        return report_error("caption_with_ray.py", error)
    known = f", {counts['known']} were there already" if counts["known"] else ""
    print(f"{options.output}: {counts['captioned']} pairs captioned{known}, {counts['failed']} failed.")
    return int(bool(counts["failed"]))


if __name__ == "__main__":
    sys.exit(main())
