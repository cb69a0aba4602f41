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

A worker that dies is started again, and its pairs are captioned once. The same command goes on where a run stopped.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ssgpa.cli import EMBEDDED
from ssgpa.command_line import ERRORS, OneLineParser, be_quiet, positive, report_error
from ssgpa.data.files import replacing
from ssgpa.data.pair_table import NAMES, SIDES, column_name


COLUMNS = ("pair_id", *SIDES)
# Columns of the output by the pipeline's names.
OUTCOMES = {"caption": "generated_text", "error": "error"}


class Captioner:
    """One copy of the model, in a process of its own.

    Args:
        model: Folder of a saved system, or its id on the Hub.
        revision: Commit, for an id.
        decoding: Arguments of `generate`.
    """

    def __init__(self, model: str, revision: str | None, decoding: dict[str, Any]) -> None:
        import torch

        from ssgpa.loading import load_system
        from ssgpa.pipeline_ssgpa import ChangeCaptioningPipeline

        be_quiet()
        system, processor = load_system(model, revision)
        # Ray shows each worker its own GPU only.
        device = "cuda:0" if torch.cuda.is_available() else "cpu"
        self.decoding = decoding
        self.pipe = ChangeCaptioningPipeline(system, processor=processor, task="change-captioning", device=device)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, Any]:
        """Caption a batch.

        Args:
            batch: `pair_id`, `before` and `after`, a row a pair.

        Returns:
            `pair_id`, and `caption` or `error`; the other is null.
        """
        pairs = [(picture(before), picture(after)) for before, after in zip(*map(batch.get, SIDES), strict=True)]
        results = self.pipe(pairs, batch_size=len(pairs), on_error="return", **self.decoding)
        told = {
            name: pa.array([found[0].get(key) for found in results], pa.string()) for name, key in OUTCOMES.items()
        }
        return pa.table({"pair_id": pa.array([str(name) for name in batch["pair_id"]], pa.string()), **told})


OUTCOMES = {"caption": "generated_text", "error": "error"}


def picture(cell: Any) -> Any:
    """A cell of a parquet file as the pipeline takes it: bytes, a path, or `datasets`' dict of both."""
    return dict(cell) if isinstance(cell, dict) else cell


def read_source(source: Path) -> Any:
    """The pairs as a Ray dataset with the columns `pair_id`, `before` and `after`.

    Args:
        source: A parquet file, a folder of them, or a folder with `before/` and `after/`.

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


def take_up(output: Path) -> pa.Array:
    """The ids of the pairs that earlier runs captioned; drops their errors, and a file that a killed run left.

    Args:
        output: The folder; made where it is missing.

    Returns:
        The ids, text.
    """
    output.mkdir(parents=True, exist_ok=True)
    done = []
    for path in sorted(output.glob("*.parquet")):
        try:
            table = pq.read_table(path, columns=["pair_id", *OUTCOMES])
        except (pa.ArrowInvalid, OSError):
            path.unlink()
            continue
        kept = table.filter(pc.is_valid(table["caption"]))
        if len(kept) < len(table):
            with replacing(path) as temporary:
                pq.write_table(kept, temporary)
        done += kept["pair_id"].chunks
    return pa.chunked_array(done, pa.string()).combine_chunks()


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
        source: See `read_source`.
        output: Folder of parquet files with `pair_id`, `caption` and `error`.
        arguments: For `captioner`.
        num_workers: Copies of the model.
        batch_size: Pairs that go through the model together.
        captioner: What captions a batch.

    Returns:
        How many pairs were captioned, known and failed.
    """
    import ray.data

    done = take_up(output)
    dataset = read_source(source)
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
    captions.write_parquet(str(output), mode="append")
    written = any(output.glob("*.parquet"))
    total = pq.read_table(output, columns=["caption"])["caption"] if written else pa.array([], pa.string())
    return {"captioned": len(total) - total.null_count - len(done), "known": len(done), "failed": total.null_count}


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line as a namespace."""
    parser = OneLineParser(prog="caption_with_ray.py", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--source", required=True, type=Path, help="parquet, or a folder with before/ and after/")
    parser.add_argument("--output", required=True, type=Path, help="folder for parquet files with the captions")
    parser.add_argument("--model", default=str(EMBEDDED), help="folder of a saved system, or its id on the Hub")
    parser.add_argument("--revision", metavar="SHA", help="the commit to take, where the model is an id on the Hub")
    parser.add_argument(
        "--num_workers", type=positive, default=1, help="copies of the model; one a GPU where there are"
    )
    parser.add_argument("--batch_size", type=positive, default=8, help="pairs at a time in each copy")
    parser.add_argument("--num_beams", type=positive, help="by default the model's own")
    parser.add_argument("--max_new_tokens", type=positive, help="by default the model's own")
    parser.add_argument("--address", help="the cluster to join, `auto` for the one that runs here; by default none")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Caption; returns 0, 1 where pairs failed, and 2 after one line on stderr for what concerns the whole run."""
    options = parse_arguments(argv)
    try:
        import ray

        ray.init(address=options.address, ignore_reinit_error=True, log_to_driver=False)
        asked = {name: getattr(options, name) for name in ("num_beams", "max_new_tokens")}
        decoding = {name: value for name, value in asked.items() if value is not None}
        model = str(Path(options.model).absolute()) if Path(options.model).exists() else options.model
        arguments = (model, options.revision, decoding)
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
