# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Shared by the commands: a parser, errors of one line with exit code 2, and output files that replace nothing."""

import logging
import sys
import warnings
from collections.abc import Collection
from pathlib import Path

from PIL import Image
from transformers.utils import logging as library_logging

from ssgpa_command.arguments import OneLineParser, positive

from .files import write_png


MAX_MESSAGE = 400
# Errors that a user can cause and fix.
ERRORS = (OSError, ValueError, RuntimeError, ArithmeticError, ImportError)


class WarningLines(logging.Handler):
    """Writes the package's own warnings to stderr, one line each."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one warning."""
        sys.stderr.write(f"ssgpa: warning: {' '.join(record.getMessage().split())}\n")


def be_quiet() -> None:
    """Keep notes and progress bars of Transformers off stderr; the package's own warnings take one line each."""
    ours = logging.getLogger("ssgpa")
    if not any(isinstance(handler, WarningLines) for handler in ours.handlers):
        ours.addHandler(WarningLines(logging.WARNING))
    library_logging.set_verbosity_error()
    library_logging.disable_progress_bar()
    # A large image is no attack yet; at twice that size Pillow refuses it.
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def report_error(program: str, error: Exception) -> int:
    """Write an error as one line on stderr, cut to 400 characters; return the exit code 2."""
    message = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, OSError) and error.filename and error.strerror:
        # Python's own words begin with a number.
        message = f"{error.filename}: {error.strerror.lower()}."
    message = message if len(message) <= MAX_MESSAGE else message[: MAX_MESSAGE - 4] + " ..."
    sys.stderr.write(f"{program}: error: {message}\n")
    return 2


def check_output(path: Path, taken: Collection[Path] = (), overwrite: bool | None = None) -> None:
    """Refuse a PNG file that could not be written, or should not be, before any work is done.

    Args:
        path (`Path`): The file.
        taken (`Collection[Path]`, *optional*, defaults to `()`): Resolved paths of inputs and other outputs.
        overwrite (`bool`, *optional*): Whether the file may exist; None where the command has no `--overwrite`, and it
            may not.

    Raises:
        OSError: The folder is missing, or the file exists.
        ValueError: The name is not one of a PNG file, or is taken.
    """
    if path.suffix.lower() != ".png":
        raise ValueError(f"{path}: the file is written as PNG, its name must end in .png.")
    if path.resolve() in taken:
        raise ValueError(f"{path}: is an input or another output too; choose another name.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: there is no folder {path.parent} to write to.")
    if path.is_dir():
        raise IsADirectoryError(f"{path}: is a folder.")
    if path.exists() and not overwrite:
        advice = "choose another name" if overwrite is None else "pass --overwrite to replace it"
        raise FileExistsError(f"{path}: exists; {advice}.")


def write_output(path: Path, drawing: Image.Image) -> None:
    """Write one drawing, whole or not at all.

    Raises:
        OSError: The file cannot be written; the error names it.
    """
    try:
        write_png(path, drawing)
    except OSError as error:
        raise OSError(f"{path}: cannot be written ({error.strerror or error}).") from error


__all__ = [
    "ERRORS",
    "OneLineParser",
    "be_quiet",
    "check_output",
    "positive",
    "report_error",
    "write_output",
]
