# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The command `ssgpa`: captions what changed between two pictures, or between those of every pair of a table."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from . import __version__
from .batch_captioning import BatchCaptioner, BatchResult, read_pairs
from .caption_log import CaptionLog
from .command_line import (
    ERRORS,
    OneLineParser,
    add_reading_options,
    be_quiet,
    check_output,
    positive,
    reading_options,
    report_error,
    write_output,
)
from .loading import load_system
from .metrics.files import folder_state
from .pipeline_ssgpa import ChangeCaptioningPipeline


DRAWINGS = ("change_map", "change_map_before", "overlay", "overlay_before")
ON_ERROR = ("report", "ignore", "stop")
BATCH_DEFAULTS = {"output": None, "batch_size": 8, "on_error": "report", "quiet": False}
EMBEDDED = Path(__file__).parent / "checkpoints" / "ssgpa-clevr-tiny"


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = OneLineParser(prog="ssgpa", description="Describes what changed between two pictures of one scene.")
    parser.add_argument("--version", action="version", version=f"ssgpa {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    caption = commands.add_parser(
        "caption",
        help="say what changed between two pictures",
        description="Prints one sentence about what changed from the picture BEFORE to the picture AFTER, or writes "
        "one for every pair of a table.",
        usage="ssgpa caption BEFORE AFTER [options]\n       ssgpa caption --pairs PAIRS.csv --output OUT.jsonl [...]",
        allow_abbrev=False,
    )
    caption.add_argument("pictures", metavar="BEFORE AFTER", nargs="*", help="the two pictures: files or URLs")
    caption.add_argument("--model", metavar="PATH_OR_ID", help="a saved system, default: the one in this package")
    caption.add_argument("--revision", metavar="SHA", help="the commit to take, where the model is an id on the Hub")
    caption.add_argument("--change-map", metavar="OUT.png", type=Path, help="write the evidence on AFTER, grey")
    caption.add_argument(
        "--change-map-before", metavar="OUT.png", type=Path, help="write the evidence on BEFORE, grey"
    )
    caption.add_argument("--overlay", metavar="OUT.png", type=Path, help="write AFTER with the evidence in red")
    caption.add_argument(
        "--overlay-before", metavar="OUT.png", type=Path, help="write BEFORE with the evidence in red"
    )
    caption.add_argument("--overwrite", action="store_true", help="replace output files that exist")
    caption.add_argument("--json", action="store_true", help="print one JSON object")
    caption.add_argument("--num-beams", type=positive, metavar="N", help="beams, default: the model's own")
    caption.add_argument("--max-new-tokens", type=positive, metavar="N", help="length limit, default: the model's own")
    add_reading_options(caption.add_argument_group("sensor data"))
    add_batch_options(caption.add_argument_group("many pairs"))
    caption.set_defaults(parser=caption)
    return parser


def add_batch_options(group: Any) -> None:
    """Describe the options of batch captioning; their defaults are filled in by `parse_arguments`."""
    group.add_argument(
        "--pairs",
        metavar="PAIRS.csv",
        type=Path,
        help="a table with the columns before and after, and pair_id if wanted; paths start from its folder",
    )
    group.add_argument(
        "--output", metavar="OUT.jsonl", type=Path, help="one JSON line a pair; a run that stopped goes on"
    )
    group.add_argument("--batch-size", type=positive, metavar="N", help="pairs at a time, default: 8")
    group.add_argument(
        "--on-error",
        choices=ON_ERROR,
        help="a pair that cannot be read: report it and end with exit code 1 (the default), ignore it and end with 0, "
        "or stop there with 2",
    )
    group.add_argument("--quiet", action="store_true", default=None, help="no progress bar")


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; errors end the program with one line."""
    options, rest = build_parser().parse_known_args(arguments)
    unknown = [word for word in rest if word.startswith("-")]
    if unknown:
        options.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    # What stands behind an option after the first picture comes as the rest.
    pictures = [*options.pictures, *rest]
    options.outputs = {name: path for name in DRAWINGS if (path := getattr(options, name)) is not None}
    if options.pairs is None:
        check_single(options, pictures)
    else:
        check_batch(options, pictures)
    return options


def check_single(options: argparse.Namespace, pictures: Sequence[str]) -> None:
    """Refuse a call for one pair that has not two pictures, or options of many pairs."""
    given = [name for name in BATCH_DEFAULTS if getattr(options, name) is not None]
    if given:
        options.parser.error(f"--{given[0].replace('_', '-')} belongs to --pairs")
    if len(pictures) < 2:
        missing = ("BEFORE", "AFTER")[len(pictures) :]
        options.parser.error(f"the following arguments are required: {', '.join(missing)}")
    if len(pictures) > 2:
        options.parser.error(f"two pictures are needed, BEFORE and AFTER; {len(pictures)} were given")
    options.before, options.after = pictures


def check_batch(options: argparse.Namespace, pictures: Sequence[str]) -> None:
    """Refuse a call for many pairs with pictures or drawings, or without an output; fill in the defaults."""
    if pictures:
        options.parser.error(f"--pairs names the pictures; {pictures[0]} was given too")
    if options.outputs:
        options.parser.error(f"--{next(iter(options.outputs)).replace('_', '-')} belongs to a single pair")
    if options.output is None:
        options.parser.error("--pairs needs --output")
    for name, default in BATCH_DEFAULTS.items():
        setattr(options, name, default if getattr(options, name) is None else getattr(options, name))


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


def largest_value(change_map: Image.Image | None) -> float | None:
    """The strongest evidence of a drawn change map, in [0, 1]; None where there is no map."""
    return None if change_map is None else change_map.getextrema()[1] / 255


def load_pipeline(options: argparse.Namespace) -> ChangeCaptioningPipeline:
    """The pipeline of the chosen system."""
    system, processor = load_system(options.model or str(EMBEDDED), options.revision)
    return ChangeCaptioningPipeline(system, processor=processor, task="change-captioning")


def decoding_of(options: argparse.Namespace) -> dict[str, int]:
    """The arguments of `generate` that were given."""
    asked = {name: getattr(options, name) for name in ("num_beams", "max_new_tokens")}
    return {name: value for name, value in asked.items() if value is not None}


def caption(options: argparse.Namespace) -> dict[str, Any]:
    """Caption the pair and write the pictures that were asked for.

    Args:
        options: The command line.

    Returns:
        What `--json` prints. `scores` holds the largest values of the two change maps, null where the system has none.
    """
    check_outputs(options)
    pipe, reading = load_pipeline(options), reading_options(options)
    wants_maps = bool(options.outputs) or (options.json and pipe.has_change_map)
    pair = (options.before, options.after)
    result = pipe(pair, return_change_map=wants_maps, **decoding_of(options), **reading)[0]
    for name, path in options.outputs.items():
        write_output(path, result[name])
    maps = {"change_before": result.get("change_map_before"), "change_after": result.get("change_map")}
    return {
        "caption": result["generated_text"],
        "before": options.before,
        "after": options.after,
        "model": options.model or EMBEDDED.name,
        "revision": options.revision,
        "scores": {name: largest_value(drawn) for name, drawn in maps.items()},
        "files": {name: str(path) for name, path in options.outputs.items()},
    }


def check_table(options: argparse.Namespace) -> int:
    """Read the table once through, so that what is wrong with it shows before any work is done.

    Returns:
        Its number of pairs.

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
    return pairs


def caption_table(options: argparse.Namespace) -> BatchResult:
    """Caption every pair of the table that has no caption in the output yet.

    Args:
        options: The command line.

    Returns:
        What became of the rows.
    """
    total = check_table(options)
    pipe, decoding, reading = load_pipeline(options), decoding_of(options), reading_options(options)
    settings = {
        "model": options.model or EMBEDDED.name,
        "revision": options.revision,
        "model_files": folder_state(options.model or EMBEDDED),
        "decoding": decoding,
        "reading": reading or None,
    }
    log = CaptionLog(options.output, settings, options.overwrite)
    stop = options.on_error == "stop"
    captioner = BatchCaptioner(pipe, log, options.pairs.parent, options.batch_size, stop, decoding, reading)
    return captioner.run(read_pairs(options.pairs), total, progress=not options.quiet)


def report_table(options: argparse.Namespace, result: BatchResult) -> int:
    """Tell what became of the rows, their first errors on stderr; return the exit code."""
    if options.json:
        counts = {"captioned": result.captioned, "known": result.known, "failed": result.failed}
        print(json.dumps({**counts, "output": str(options.output)}))
    else:
        known = f", {result.known} were there already" if result.known else ""
        print(f"{options.output}: {result.captioned} pairs captioned{known}, {result.failed} failed.")
    more = result.failed - len(result.errors)
    lines = result.errors + ([f"{more} more; each is told in {options.output}"] if more else [])
    sys.stderr.write("".join(f"ssgpa: {line}\n" for line in lines))
    return int(bool(result.failed) and options.on_error == "report")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: The words after the program's name; by default those of the process.

    Returns:
        The exit code: 0, or 2 after one line on stderr that names the file and the reason. With a table, 1 if some of
        its pairs failed, and 130 where the run was interrupted.
    """
    options = parse_arguments(arguments)
    be_quiet()
    try:
        if options.pairs is not None:
            return report_table(options, caption_table(options))
        result = caption(options)
    except ERRORS as error:
        return report_error("ssgpa", error)
    except KeyboardInterrupt:
        sys.stderr.write("ssgpa: interrupted; with --pairs, the same command goes on from here.\n")
        return 130
    print(json.dumps(result) if options.json else result["caption"])
    return 0
