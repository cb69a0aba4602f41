# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The command `ssgpa`: captions what changed between two pictures."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from huggingface_hub.errors import StrictDataclassError
from huggingface_hub.utils import validate_repo_id
from PIL import Image
from safetensors import SafetensorError
from transformers import AutoModelForImageTextToText, AutoProcessor
from transformers.utils import logging

from . import __version__
from .data.files import write_png
from .pictures_ssgpa import load_picture
from .pipeline_ssgpa import ChangeCaptioningPipeline


EMBEDDED = Path(__file__).parent / "checkpoints" / "ssgpa-clevr-tiny"
MAX_MESSAGE = 400
ERRORS = (OSError, ValueError, RuntimeError, ArithmeticError, ImportError)
# What the libraries raise over broken files of a model.
LOADING_ERRORS = (*ERRORS, TypeError, KeyError, AttributeError, SafetensorError, StrictDataclassError)


class OneLineParser(argparse.ArgumentParser):
    """A parser whose errors take one line."""

    def error(self, message: str) -> NoReturn:
        """End the program with exit code 2."""
        self.exit(2, f"{self.prog}: error: {message}\n")


def positive(text: str) -> int:
    """Read a whole number from 1 on; argparse reports the error."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


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
    caption.add_argument("--num-beams", type=positive, default=5, metavar="N", help="beams of the search, default 5")
    caption.add_argument("--max-new-tokens", type=positive, default=40, metavar="N", help="length limit, default 40")
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
        if path.suffix.lower() != ".png":
            raise ValueError(f"{path}: the file is written as PNG, its name must end in .png.")
        if path.resolve() in taken:
            raise ValueError(f"{path}: is an input or another output too; choose another name.")
        if not path.parent.is_dir():
            raise FileNotFoundError(f"{path}: there is no folder {path.parent} to write to.")
        if path.is_dir():
            raise IsADirectoryError(f"{path}: is a folder.")
        if path.exists() and not options.overwrite:
            raise FileExistsError(f"{path}: exists; pass --overwrite to replace it.")
        taken.add(path.resolve())


def check_json(path: Path) -> None:
    """Refuse a file that holds no JSON object, by its name: the libraries tell only line and column.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It holds something else.
    """
    if not path.is_file():
        raise FileNotFoundError(f"the folder holds no {path.name}.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path.name} is not JSON ({error}).") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} holds a {type(content).__name__}, not an object.")


def check_model(model: str, revision: str | None) -> None:
    """Refuse what is neither the folder of a saved system nor an id on the Hub.

    Raises:
        OSError: The folder is missing or incomplete.
        ValueError: The name cannot be an id, or a revision is given for a folder.
    """
    folder = Path(model)
    if folder.is_dir():
        if revision is not None:
            raise ValueError("--revision belongs to an id on the Hub, and --model is a folder.")
        for name in ("config.json", "processor_config.json"):
            check_json(folder / name)
    elif folder.exists() or folder.is_absolute() or model.count("/") != 1 or model.startswith("."):
        raise NotADirectoryError("there is no such folder, and an id on the Hub looks like owner/name.")
    else:
        validate_repo_id(model)


def load_pipeline(model: str, revision: str | None = None) -> ChangeCaptioningPipeline:
    """Load a system with all of its weights, from safetensors and without code from elsewhere.

    Args:
        model: Folder or id on the Hub.
        revision: Commit, for an id.

    Returns:
        The pipeline.

    Raises:
        ValueError: Something is missing or broken; the error names the model.
    """
    source = {"revision": revision} if revision else {}
    try:
        check_model(model, revision)
        processor = AutoProcessor.from_pretrained(model, trust_remote_code=False, **source)
        if not hasattr(processor, "post_process_captions"):
            raise TypeError(f"a {type(processor).__name__} does not caption changes.")
        # Sizes that differ are let through here to be named below.
        system, info = AutoModelForImageTextToText.from_pretrained(
            model,
            trust_remote_code=False,
            use_safetensors=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **source,
        )
    except LOADING_ERRORS as error:
        raise ValueError(f"model {model}: {error}") from error
    missing = sorted([*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])])
    if missing:
        raise ValueError(
            f"model {model}: the files lack {len(missing)} weights of the right shape, first {missing[0]}."
        )
    return ChangeCaptioningPipeline(system, processor=processor, task="change-captioning")


def write_output(path: Path, drawing: Image.Image) -> None:
    """Write one drawing, whole or not at all.

    Raises:
        OSError: The file cannot be written; the error names it.
    """
    try:
        write_png(path, drawing)
    except OSError as error:
        raise OSError(f"{path}: cannot be written ({error.strerror or error}).") from error


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
    pipe = load_pipeline(model, options.revision)
    wants_maps = bool(options.outputs) or (options.json and pipe.has_change_map)
    result = pipe(
        pair,
        return_change_map=wants_maps,
        num_beams=options.num_beams,
        max_new_tokens=options.max_new_tokens,
    )[0]
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
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        result = caption(options)
    except ERRORS as error:
        message = " ".join(str(error).split())
        message = message if len(message) <= MAX_MESSAGE else message[: MAX_MESSAGE - 4] + " ..."
        print(f"ssgpa: error: {message}", file=sys.stderr)
        return 2
    print(json.dumps(result) if options.json else result["caption"])
    return 0
