# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The command `ssgpa`: captions what changed between two pictures."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from . import __version__
from .command_line import ERRORS, OneLineParser, be_quiet, check_output, positive, report_error, write_output
from .loading import load_system
from .pictures_ssgpa import load_picture
from .pipeline_ssgpa import ChangeCaptioningPipeline


EMBEDDED = Path(__file__).parent / "checkpoints" / "ssgpa-clevr-tiny"


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = OneLineParser(prog="ssgpa", description="Describes what changed between two pictures of one scene.")
    parser.add_argument("--version", action="version", version=f"ssgpa {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    caption = commands.add_parser(
        "caption",
        help="say what changed between two pictures",
        description="Prints one sentence about what changed from the picture BEFORE to the picture AFTER.",
        allow_abbrev=False,
    )
    caption.add_argument("before", metavar="BEFORE", help="the first picture: a file or a URL")
    caption.add_argument("after", metavar="AFTER", help="the second picture")
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
    caption.set_defaults(parser=caption)
    return parser


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; errors end the program with one line."""
    options, rest = build_parser().parse_known_args(arguments)
    unknown = [word for word in rest if word.startswith("-")]
    if unknown:
        options.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if rest:
        options.parser.error(f"two pictures are needed, BEFORE and AFTER; {2 + len(rest)} were given")
    names = ("change_map", "change_map_before", "overlay", "overlay_before")
    options.outputs = {name: path for name in names if (path := getattr(options, name)) is not None}
    return options


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


def caption(options: argparse.Namespace) -> dict[str, Any]:
    """Caption the pair and write the pictures that were asked for.

    Args:
        options: The command line.

    Returns:
        What `--json` prints. `scores` holds the largest values of the two change maps, null where the system has none.
    """
    check_outputs(options)
    pair = load_picture(options.before), load_picture(options.after)
    model = options.model or str(EMBEDDED)
    system, processor = load_system(model, options.revision)
    pipe = ChangeCaptioningPipeline(system, processor=processor, task="change-captioning")
    wants_maps = bool(options.outputs) or (options.json and pipe.has_change_map)
    asked = {name: getattr(options, name) for name in ("num_beams", "max_new_tokens")}
    decoding = {name: value for name, value in asked.items() if value is not None}
    result = pipe(pair, return_change_map=wants_maps, **decoding)[0]
    for name, path in options.outputs.items():
        write_output(path, result[name])
    maps = {"change_before": result.get("change_map_before"), "change_after": result.get("change_map")}
    return {
        "caption": result["generated_text"],
        "before": options.before,
        "after": options.after,
        "model": model if options.model else EMBEDDED.name,
        "revision": options.revision,
        "scores": {name: largest_value(drawn) for name, drawn in maps.items()},
        "files": {name: str(path) for name, path in options.outputs.items()},
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: The words after the program's name; by default those of the process.

    Returns:
        The exit code: 0, or 2 after one line on stderr that names the file and the reason.
    """
    options = parse_arguments(arguments)
    be_quiet()
    try:
        result = caption(options)
    except ERRORS as error:
        return report_error("ssgpa", error)
    print(json.dumps(result) if options.json else result["caption"])
    return 0
