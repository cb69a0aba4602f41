# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
# /// script
# requires-python = ">=3.11"
# dependencies = ["ssgpa[data]"]
# ///
"""Write down what a CLEVR-Change folder holds, the figures of the release beside.

Splits by type, caption lengths, vocabulary, and how far the viewpoint moves (the overlap of boxes). Images are not
needed, so this works on the release's JSON files alone:

    python examples/describe_clevr_change.py --source clevr_change --output clevr_change.json
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ssgpa.data.checks import read_json_object
from ssgpa.data.clevr_renderer.dataset.layout import SETTINGS
from ssgpa.data.readers.clevr_change_summary import describe_clevr_change
from ssgpa.utils.console import OneLineParser, report_error
from ssgpa.utils.results import write_results


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line as a namespace."""
    parser = OneLineParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--source", required=True, type=Path, help="folder in CLEVR-Change's layout")
    parser.add_argument("--output", required=True, type=Path, help="JSON file for the figures")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Describe, and answer errors with one line on stderr and exit code 2."""
    arguments = parse_arguments(argv)
    try:
        figures = describe_clevr_change(arguments.source)
        settings = arguments.source / SETTINGS
        figures["render_settings"] = read_json_object(settings) if settings.is_file() else None
        write_results(arguments.output, figures)
    except (OSError, ValueError) as error:
        return report_error("describe_clevr_change.py", error)
    words, longest = figures["vocabulary"]["words"], figures["change_captions"]["longest"]
    print(f"{figures['scenes']} scenes, {words} words, longest caption {longest}. Wrote {arguments.output}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
