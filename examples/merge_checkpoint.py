# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
#
# /// script
# requires-python = ">=3.11"
# dependencies = ["ssgpa[train]"]
# ///
"""Make a whole model of a checkpoint that holds only what was trained.

A run with `lora` or `save_trained_only` saves its new weights and the name of its base. The merged folder needs no
base, loads with `AutoModelForImageTextToText.from_pretrained`, and can be published.

    python examples/merge_checkpoint.py --checkpoint runs/smolvlm_256m/best --output_dir merged/smolvlm_256m
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from ssgpa.training.systems import save_base
from ssgpa.utils.console import ERRORS, OneLineParser, be_quiet, report_error
from ssgpa.utils.loading import load_system
from ssgpa.utils.merging import merge_adapter


def main(arguments: Sequence[str] | None = None) -> int:
    """Merge, and answer errors with one line on stderr and exit code 2."""
    parser = OneLineParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--checkpoint", required=True, help="folder of a checkpoint, or its id on the Hub")
    parser.add_argument("--revision", help="commit, for an id")
    parser.add_argument("--output_dir", required=True, type=Path, help="a new folder")
    options = parser.parse_args(arguments)
    be_quiet()
    try:
        if options.output_dir.exists():
            raise FileExistsError(f"{options.output_dir} is there already; choose another name.")
        model, processor = load_system(options.checkpoint, options.revision)
        options.output_dir.parent.mkdir(parents=True, exist_ok=True)
        save_base(merge_adapter(model), processor, options.output_dir)
    except ERRORS as error:
        return report_error("merge_checkpoint.py", error)
    print(f"{options.output_dir}: {model.num_parameters():,} parameters.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
