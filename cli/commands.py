# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The command `ssgpa`: captions what changed between two images, or between those of every pair of a table."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ssgpa_command.arguments import parse_arguments, reading_options

from ..pipeline_ssgpa import ChangeCaptioningPipeline
from ..utils.console import ERRORS, be_quiet, check_output, report_error, write_output
from ..utils.loading import load_system
from ..utils.results import folder_state
from .batch import BatchCaptioner, BatchResult, read_pairs, trust_in
from .log import CaptionLog
from .process_group import FirstProcessError, ProcessGroup


# Files that a click opens in a spreadsheet.
SHEETS = (".csv", ".tsv", ".tab", ".xls", ".xlsx", ".ods")
EMBEDDED = Path(__file__).parents[1] / "checkpoints" / "ssgpa-clevr-tiny"


def check_outputs(options: argparse.Namespace) -> None:
    """Refuse files that could not be written, or should not be, before any work is done.

    Raises:
        OSError: The folder is missing, or the file exists and `--overwrite` is not given.
        ValueError: The name is not one of a PNG file, or is taken by an input or another output.
    """
    taken = {Path(options.before).resolve(), Path(options.after).resolve()}
    for path in options.outputs.values():
        check_output(path, taken, options.overwrite)
        taken.add(path.resolve())


def load_pipeline(options: argparse.Namespace, device: str | None = None) -> ChangeCaptioningPipeline:
    """Load the pipeline of the chosen system."""
    system, processor = load_system(options.model or str(EMBEDDED), options.revision)
    return ChangeCaptioningPipeline(system, processor=processor, task="change-captioning", device=device)


def decoding_of(options: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of `generate` that were given, the tiles, and whether to ask the model in any case."""
    asked = {name: getattr(options, name) for name in ("num_beams", "max_new_tokens", "tiles")}
    asked["always_ask"] = options.always_ask or None
    asked["confidence"] = False if options.no_confidence else None
    return {name: value for name, value in asked.items() if value is not None}


def caption(options: argparse.Namespace) -> dict[str, Any]:
    """Caption the pair and write the images that were asked for.

    Args:
        options (`argparse.Namespace`): The command line.

    Returns:
        `dict[str, Any]`: What `--json` prints. `scores` holds the largest values of the two change maps, null where
        the system has none. What `trust_in` tells stands beside the caption.
    """
    check_outputs(options)
    pipe, reading = load_pipeline(options), reading_options(options)
    wants_maps = bool(options.outputs) or (options.json and pipe.has_change_map)
    pair = (options.before, options.after)
    result = pipe(pair, return_change_map=wants_maps, **decoding_of(options), **reading)[0]
    for name, path in options.outputs.items():
        write_output(path, result[name])
    maps = {"change_before": result.get("change_map_before"), "change_after": result.get("change_map")}
    tiles = {"tiles": result["tiles"]} if options.tiles else {}
    return {
        "caption": result["generated_text"],
        **trust_in(result),
        **tiles,
        "before": options.before,
        "after": options.after,
        "model": options.model or EMBEDDED.name,
        "revision": options.revision,
        "scores": {name: None if drawn is None else drawn.getextrema()[1] / 255 for name, drawn in maps.items()},
        "files": {name: str(path) for name, path in options.outputs.items()},
    }


def check_table(options: argparse.Namespace) -> int:
    """Read the table once through, so that what is wrong with it shows before any work is done.

    Returns:
        `int`: Its number of pairs.

    Raises:
        OSError: It cannot be read, or the captions could not be written.
        ValueError: It is no table of pairs, or holds none.
    """
    pairs = sum(1 for _ in read_pairs(options.pairs))
    if not pairs:
        raise ValueError(f"{options.pairs}: holds no pairs.")
    if options.output.resolve() == options.pairs.resolve():
        raise ValueError(f"{options.output}: is the table of pairs; choose another name.")
    if not options.output.parent.is_dir():
        raise FileNotFoundError(f"{options.output}: there is no folder {options.output.parent} to write to.")
    if options.output.is_dir():
        raise IsADirectoryError(f"{options.output}: is a folder.")
    if options.output.suffix.lower() in SHEETS:
        # A spreadsheet would cut the lines at their commas, and take a part that begins with "=" for a formula.
        raise ValueError(f"{options.output}: captions are written as JSON Lines; choose a name that ends in .jsonl.")
    return pairs


def caption_table(options: argparse.Namespace) -> BatchResult:
    """Caption every pair of the table that has no caption in the output yet.

    Args:
        options (`argparse.Namespace`): The command line.

    Returns:
        `BatchResult`: What became of the rows.
    """
    with ProcessGroup() as group:
        total = group.first(lambda: check_table(options))
        pipe, decoding = load_pipeline(options, group.device), decoding_of(options)
        reading = reading_options(options)
        stop = options.on_error == "stop"
        captioner = BatchCaptioner(pipe, options.pairs.parent, options.batch_size, stop, decoding, group, reading)
        log = group.first(lambda: open_log(options, total))
        if log is None:
            captioner.serve()
            return BatchResult()
        with log:
            return captioner.run(read_pairs(options.pairs), total, log, progress=not options.quiet)


def open_log(options: argparse.Namespace, rows: int) -> CaptionLog:
    """Open the output, with what it holds from an earlier run."""
    settings = {
        "model": options.model or EMBEDDED.name,
        "revision": options.revision,
        "model_files": folder_state(options.model or EMBEDDED),
        "decoding": decoding_of(options),
        "reading": reading_options(options) or None,
    }
    return CaptionLog(options.output, settings, rows, options.overwrite)


def report_table(options: argparse.Namespace, result: BatchResult) -> int:
    """Report what became of the rows, with the first errors on stderr; return the exit code."""
    if options.json:
        counts = {"captioned": result.captioned, "known": result.known, "failed": result.failed}
        print(json.dumps({**counts, "output": str(options.output)}))
    else:
        known = f", {result.known} were there already" if result.known else ""
        print(f"{options.output}: {result.captioned} pairs captioned{known}, {result.failed} failed.")
    more = result.failed - len(result.errors)
    lines = result.notes + result.errors + ([f"{more} more, all of them in {options.output}"] if more else [])
    sys.stderr.write("".join(f"ssgpa: {line}\n" for line in lines))
    return int(bool(result.failed) and options.on_error == "report")


def run(options: argparse.Namespace) -> int:
    """Do what the command line asks for.

    Args:
        options (`argparse.Namespace`): The command line, read by `ssgpa_command.parse_arguments`.

    Returns:
        `int`: The exit code: 0, or 2 after one line on stderr that names the file and the reason. With a table, 1 if
        some of its pairs failed, and 130 if the run was interrupted.
    """
    be_quiet()
    try:
        if options.command == "score":
            # Needs the libraries of the extra `eval`.
            from .score import run as score

            return score(options)
        if options.pairs is not None:
            result = caption_table(options)
            return report_table(options, result) if ProcessGroup().is_first else 0
        result = caption(options)
    except FirstProcessError:
        return 2
    except ERRORS as error:
        return report_error("ssgpa", error)
    except KeyboardInterrupt:
        sys.stderr.write("ssgpa: interrupted; with --pairs, the same command goes on where it stopped.\n")
        return 130
    print(json.dumps(result) if options.json else result["caption"])
    if "note" in result and not options.json:
        sys.stderr.write(f"ssgpa: {result['note']}\n")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the installed command `ssgpa` does the same, and starts faster.

    Args:
        arguments (`Sequence[str]`, *optional*): The words after the program's name; by default those of the process.

    Returns:
        `int`: The exit code; see `run`.
    """
    return run(parse_arguments(arguments))
