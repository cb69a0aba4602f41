# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The command line of `ssgpa`: what it accepts, and what it refuses in one line."""

import argparse
import math
import re
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

from .score_arguments import add_score_command


# A list of numbers, the first of which is negative.
NUMBERS = re.compile(r"-[\d.][\d.eE+-]*(,[\d.eE+-]+)*")
DRAWINGS = ("change_map", "change_map_before", "overlay", "overlay_before")
ON_ERROR = ("report", "ignore", "stop")
PERCENTILE = "percentile"
BATCH_DEFAULTS = {"output": None, "batch_size": 8, "on_error": "report", "quiet": False}


class OneLineParser(argparse.ArgumentParser):
    """A parser whose errors take one line."""

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:
        """Parse as argparse does, except that "--value-range -1,5" is an option and its value, not two options."""
        print_any_sign()
        words = list(sys.argv[1:] if args is None else args)
        for place in range(len(words) - 1, 0, -1):
            if NUMBERS.fullmatch(words[place]) and re.fullmatch(r"--[\w-]+", words[place - 1]):
                words[place - 1 : place + 1] = [f"{words[place - 1]}={words[place]}"]
        return super().parse_known_args(words, namespace)

    def error(self, message: str) -> NoReturn:
        """End the program with exit code 2."""
        self.exit(2, f"{self.prog}: error: {message}\n")


def print_any_sign() -> None:
    """Let stdout write what its encoding has no sign for as an escape, as stderr does: a caption is worth more."""
    # In the locale "C", Python has chosen the second.
    if hasattr(sys.stdout, "reconfigure") and sys.stdout.errors in ("strict", "surrogateescape"):
        sys.stdout.reconfigure(errors="backslashreplace")


def positive(text: str) -> int:
    """Read a whole number from 1 on; argparse reports the error."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def grid(text: str) -> tuple[int, int] | str:
    """Read rows and columns as `3x4`, or `auto`; argparse reports the error."""
    if text == "auto":
        return text
    rows, mark, columns = text.lower().partition("x")
    if not mark:
        raise argparse.ArgumentTypeError(f"{text!r} is neither ROWSxCOLUMNS, as 3x4, nor auto")
    return positive(rows), positive(columns)


def value_range(text: str) -> tuple[float, float] | str:
    """Read "LOW,HIGH" or "percentile"; argparse reports the error."""
    if text == PERCENTILE:
        return text
    try:
        low, high = map(float, text.split(","))
    except ValueError:
        low = high = math.nan
    if not (low < high and math.isfinite(high - low)):
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither LOW,HIGH, two numbers of which the first is smaller, nor {PERCENTILE}"
        )
    return low, high


def band_numbers(text: str) -> tuple[int, ...]:
    """Read "3,2,1" or "4"; argparse reports the error."""
    bands = text.split(",")
    if len(bands) not in (1, 3) or not all(band.isdecimal() and int(band) for band in bands):
        raise argparse.ArgumentTypeError(f"{text!r} is neither one nor three whole numbers from 1 on")
    return tuple(map(int, bands))


def add_reading_options(parser: Any, dash: str = "-") -> None:
    """Describe how values of sensor data become colors; `reading_options` takes what was given.

    Args:
        parser (`Any`): A parser or a group of one.
        dash (`str`, *optional*, defaults to `'-'`): What joins the words of an option.
    """
    parser.add_argument(
        f"--value{dash}range",
        metavar="LOW,HIGH",
        type=value_range,
        help="the values that become black and white, or percentile; default: what the dtype says",
    )
    parser.add_argument("--nodata", metavar="VALUE", type=float, help="the value that stands for no data")
    parser.add_argument(
        "--bands", metavar="R,G,B", type=band_numbers, help="numbers of the bands to show, from 1 on; or one"
    )


def reading_options(options: argparse.Namespace) -> dict[str, Any]:
    """Return the given options of `add_reading_options`, by name."""
    given = {name: getattr(options, name) for name in ("value_range", "nodata", "bands")}
    return {name: value for name, value in given.items() if value is not None}


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = OneLineParser(prog="ssgpa", description="Describes what changed between two images of one scene.")
    parser.add_argument("--version", action="version", version=f"ssgpa {version('ssgpa')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    caption = commands.add_parser(
        "caption",
        help="say what changed between two images",
        description="Prints one sentence about what changed from the image BEFORE to the image AFTER, or writes "
        "one for every pair of a table.",
        usage="ssgpa caption BEFORE AFTER [options]\n       ssgpa caption --pairs PAIRS.csv --output OUT.jsonl [...]",
        allow_abbrev=False,
    )
    caption.add_argument("images", metavar="BEFORE AFTER", nargs="*", help="the two images: files or URLs")
    caption.add_argument("--model", metavar="PATH_OR_ID", help="a saved system, default: the one in this package")
    caption.add_argument("--revision", metavar="SHA", help="the commit to take, where the model is an id on the Hub")
    caption.add_argument("--change-map", metavar="OUT.png", type=Path, help="write the evidence on AFTER, gray")
    caption.add_argument(
        "--change-map-before", metavar="OUT.png", type=Path, help="write the evidence on BEFORE, gray"
    )
    caption.add_argument("--overlay", metavar="OUT.png", type=Path, help="write AFTER with the evidence in red")
    caption.add_argument(
        "--overlay-before", metavar="OUT.png", type=Path, help="write BEFORE with the evidence in red"
    )
    caption.add_argument("--overwrite", action="store_true", help="replace output files that exist")
    caption.add_argument("--json", action="store_true", help="print one JSON object")
    caption.add_argument("--num-beams", type=positive, metavar="N", help="beams, default: the model's own")
    caption.add_argument("--max-new-tokens", type=positive, metavar="N", help="length limit, default: the model's own")
    caption.add_argument(
        "--tiles",
        type=grid,
        metavar="ROWSxCOLUMNS",
        help="caption large images tile by tile, one line a changed tile; auto: no tile is shrunk more than the "
        "images that the model was trained on",
    )
    caption.add_argument(
        "--always-ask",
        action="store_true",
        help="take the model's sentence also where both images are equal, or unlike what it was trained on",
    )
    caption.add_argument(
        "--no-confidence", action="store_true", help="go without confidence and familiarity, which take time"
    )
    add_reading_options(caption.add_argument_group("sensor data"))
    add_batch_options(caption.add_argument_group("many pairs"))
    caption.set_defaults(parser=caption)
    add_score_command(commands)
    return parser


def add_batch_options(group: Any) -> None:
    """Describe the options of batch captioning; their defaults are filled in by `parse_arguments`."""
    group.add_argument(
        "--pairs",
        metavar="PAIRS.csv",
        type=Path,
        help="a table, CSV or JSON, with the columns before and after, and pair_id if wanted; paths start from its "
        "folder",
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
    unknown = rest if options.command == "score" else [word for word in rest if word.startswith("-")]
    if unknown:
        options.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if options.command == "score":
        return options
    # What stands behind an option after the first image comes as the rest.
    images = [*options.images, *rest]
    options.outputs = {name: path for name in DRAWINGS if (path := getattr(options, name)) is not None}
    if options.pairs is None:
        check_single(options, images)
    else:
        check_batch(options, images)
    return options


def check_single(options: argparse.Namespace, images: Sequence[str]) -> None:
    """Refuse a call for one pair that has not two images, or options of many pairs."""
    given = [name for name in BATCH_DEFAULTS if getattr(options, name) is not None]
    if given:
        options.parser.error(f"--{given[0].replace('_', '-')} belongs to --pairs")
    if len(images) < 2:
        missing = ("BEFORE", "AFTER")[len(images) :]
        options.parser.error(f"the following arguments are required: {', '.join(missing)}")
    if len(images) > 2:
        options.parser.error(f"two images are needed, BEFORE and AFTER; {len(images)} were given")
    options.before, options.after = images


def check_batch(options: argparse.Namespace, images: Sequence[str]) -> None:
    """Refuse a call for many pairs with images or drawings, or without an output; fill in the defaults."""
    if images:
        options.parser.error(f"--pairs names the images; {images[0]} was given too")
    if options.outputs:
        options.parser.error(f"--{next(iter(options.outputs)).replace('_', '-')} belongs to a single pair")
    if options.output is None:
        options.parser.error("--pairs needs --output")
    for name, default in BATCH_DEFAULTS.items():
        setattr(options, name, default if getattr(options, name) is None else getattr(options, name))


__all__ = ["OneLineParser", "add_reading_options", "build_parser", "parse_arguments", "positive", "reading_options"]
