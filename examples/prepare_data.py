# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
# /// script
# requires-python = ">=3.11"
# dependencies = ["ssgpa[data]"]
# ///
r"""Write a data set of image pairs as parquet, the form that training and evaluation read.

From the folder that `render_clevr_change.py` made, or from the released CLEVR-Change:

    python examples/prepare_data.py --dataset clevr_change --source clevr_change --output_dir prepared/clevr_change

With auxiliary targets for training about what each cell of a grid of 10 rows and 15 columns shows; the source needs
object masks:

    python examples/prepare_data.py --dataset clevr_change --source clevr_large --output_dir prepared/targets \
        --aux_grid 10 15

From any other set that has a reader (docs/data.md has their layouts), and on to the Hub:

    python examples/prepare_data.py --dataset spot_the_diff_single --source spot-the-diff/data --output_dir spot
    python examples/prepare_data.py --dataset custom --source my_pairs --output_dir prepared/mine \
        --license cc-by-4.0 --push_to_hub ORG/NAME --private
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub.utils import validate_repo_id

from ssgpa.data.card import write_card
from ssgpa.data.checks import inner_file, read_json_object
from ssgpa.data.clevr_renderer.dataset.cells import add_cell_targets
from ssgpa.data.clevr_renderer.dataset.layout import LAYOUTS, SCENES, SETTINGS
from ssgpa.data.findings import Findings, count_table
from ssgpa.data.prepared import held_target, write_prepared
from ssgpa.data.readers import (
    CHANGECHAT,
    CLEVR_DC,
    CUSTOM_PAIRS,
    EMU_EDIT,
    IMAGE_EDITING_REQUEST,
    LEVIR_CC,
    MAGICBRUSH,
    RSCC,
    SECOND_CC,
    SPOT_THE_DIFF_MULTI,
    SPOT_THE_DIFF_SINGLE,
    SYNED,
)
from ssgpa.data.readers.clevr_change import CLEVR_CHANGE
from ssgpa.data.reading import Source
from ssgpa.hub.data_repository import push_prepared
from ssgpa.image_utils_ssgpa import Reading
from ssgpa.metrics.change_captioning.scripts import base_language, guess_language, script_fault
from ssgpa.metrics.change_captioning.tokenizers import choose_tokenizer
from ssgpa.metrics.clevr.scenes import find_scenes
from ssgpa.utils.console import OneLineParser, report_error
from ssgpa_command.arguments import add_reading_options, reading_options


if TYPE_CHECKING:
    from datasets import DatasetDict

READERS: dict[str, Source] = {
    "changechat": CHANGECHAT,
    "clevr_change": CLEVR_CHANGE,
    "clevr_dc": CLEVR_DC,
    "emu_edit": EMU_EDIT,
    "image_editing_request": IMAGE_EDITING_REQUEST,
    "levir_cc": LEVIR_CC,
    "magicbrush": MAGICBRUSH,
    "custom": CUSTOM_PAIRS,
    "rscc": RSCC,
    "second_cc": SECOND_CC,
    "spot_the_diff_multi": SPOT_THE_DIFF_MULTI,
    "spot_the_diff_single": SPOT_THE_DIFF_SINGLE,
    "syned": SYNED,
}


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line as a namespace."""
    parser = OneLineParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--dataset", required=True, choices=sorted(READERS), help="which reader to use")
    parser.add_argument("--source", required=True, help="folder with the data set as it was released or rendered")
    parser.add_argument("--output_dir", required=True, help="folder to create")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier prepared folder")
    parser.add_argument(
        "--skip_faulty", action="store_true", help="leave out pairs with missing or damaged images or no caption"
    )
    parser.add_argument(
        "--aux_grid",
        type=int,
        nargs=2,
        metavar=("ROWS", "COLUMNS"),
        help="add auxiliary targets about the cells of a grid",
    )
    parser.add_argument("--language", metavar="CODE", help="of the captions, as in en or zh; by default the release's")
    add_reading_options(parser, dash="_")
    parser.add_argument("--license", metavar="ID", help="license in the card, by default the release's")
    parser.add_argument("--push_to_hub", metavar="ORG/NAME", help="upload the prepared folder as a data set")
    parser.add_argument("--private", action="store_true", help="make a new data set on the Hub private")
    return parser.parse_args(argv)


def source_of(arguments: argparse.Namespace) -> tuple[Source, dict[str, Any]]:
    """The data set, and the settings of its rendering if it was rendered; then the published counts do not apply."""
    source, folder = READERS[arguments.dataset], Path(arguments.source)
    if arguments.language:
        base_language(arguments.language)
        source = replace(source, language=arguments.language)
    if not (folder / SETTINGS).is_file():
        return source, {}
    title = f"Rendered scenes in the layout of {source.title}"
    return replace(source, title=title, counts=None, total=None, url="", citation=""), {
        "render_settings": read_json_object(inner_file(folder, SETTINGS))
    }


def note_language(source: Source, dataset: DatasetDict, findings: Findings) -> None:
    """Note if the script of the captions is not that of the language, or if the language should be given."""
    captions = [caption for rows in dataset.values() for texts in rows["captions"] for caption in texts]
    tokenizer = choose_tokenizer("auto", None, source.language)
    if script_fault(captions, source.language, tokenizer):
        guessed = guess_language(captions)
        written = f"in a script without spaces, perhaps {guessed!r}" if guessed else "in a script with spaces"
        told = f"--language is {source.language!r}" if source.language else "no language is given"
        findings.note(f"captions are written {written}, and {told}: scores depend on it, set it with --language")


def rendered_scenes(arguments: argparse.Namespace, dataset: DatasetDict) -> Path | None:
    """The renderer's scenes, checked against the pairs; None for other sets."""
    if arguments.dataset not in LAYOUTS or not (Path(arguments.source) / SCENES).is_file():
        return None
    path = inner_file(Path(arguments.source), SCENES)
    for split in dataset.values():
        find_scenes(split.select_columns(["pair_id", "scene_id", "change_type"]).to_list(), path)
    return path


def prepare(arguments: argparse.Namespace) -> list[str]:
    """Read, check and write the data set, and return lines about what was found."""
    output = Path(arguments.output_dir)
    with held_target(output, arguments.overwrite):
        return _prepare(arguments, output)


def _prepare(arguments: argparse.Namespace, output: Path) -> list[str]:
    reading = reading_options(arguments)
    findings = Findings(skip_faulty=arguments.skip_faulty, reading=Reading(**reading))
    if arguments.push_to_hub:
        validate_repo_id(arguments.push_to_hub)
    source, facts = source_of(arguments)
    try:
        dataset = source.load(arguments.source, findings)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}; --source must hold {source.layout}") from error
    note_language(source, dataset, findings)
    if arguments.aux_grid:
        dataset = add_cell_targets(dataset, arguments.source, tuple(arguments.aux_grid))
    facts |= {"reading": reading} if reading else {}
    facts |= {
        "dataset": arguments.dataset,
        "language": source.language,
        "aux_grid": arguments.aux_grid,
        "findings": findings.as_dict(),
    }
    card = write_card(source, dataset, findings, arguments.license)
    scenes = rendered_scenes(arguments, dataset)
    write_prepared(dataset, output, facts, arguments.overwrite, card, scenes=scenes)
    rows = {name: len(split) for name, split in dataset.items()}
    return [*count_table(rows, findings, source.counts, source.total), *findings.lines()]


def main(argv: list[str] | None = None) -> int:
    """Prepare a data set, and answer errors with one line on stderr and exit code 2."""
    arguments = parse_arguments(argv)
    try:
        lines = prepare(arguments)
        print("\n".join([f"{arguments.output_dir}:", *lines]))
        if arguments.push_to_hub:
            print(push_prepared(arguments.output_dir, arguments.push_to_hub, arguments.private))
    except (ImportError, OSError, ValueError) as error:
        return report_error("prepare_data.py", error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
