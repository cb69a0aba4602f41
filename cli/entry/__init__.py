# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Where the command `ssgpa` starts: it reads the command line before anything slow is imported.

A package of its own beside `ssgpa`, which imports torch and Transformers and registers every system with them: help,
the version and a wrong argument need none of that.
"""

import sys
from collections.abc import Sequence

from .arguments import OneLineParser, add_reading_options, parse_arguments, positive, reading_options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments (`Sequence[str]`, *optional*): The words after the program's name; by default those of the process.

    Returns:
        `int`: The exit code; see `ssgpa.cli.commands.run`.
    """
    options = parse_arguments(arguments)
    try:
        from ssgpa.cli.commands import run
    except KeyboardInterrupt:
        sys.stderr.write("ssgpa: interrupted.\n")
        return 130
    return run(options)


__all__ = ["OneLineParser", "add_reading_options", "main", "parse_arguments", "positive", "reading_options"]
