# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Reader of the Emu Edit generations (Sheynin et al., CVPR 2024): photographs, edited by a model on instruction."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..checks import inner_file
from ..findings import Findings
from ..reading import Pair, Source, clean_captions, place_of, take
from .syned_files import REFERENCES, SPLIT_FILE, read_split_numbers, read_variations
from .tables import combine_tables, load_table, pairs_of_table


if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict


IMAGES = ("image", "edited_image")
TEXTS = ("idx", "instruction", "task", "input_caption", "output_caption")


def _describe(
    split: str, source_split: str, more: dict[int, list[str]], findings: Findings
) -> Callable[[dict[str, Any], str], Pair]:
    def describe(row: dict[str, Any], where: str) -> Pair:
        number = take(row, "idx", int, where)
        name = f"{source_split}-{number}"
        own = clean_captions([take(row, "instruction", str, where)], where, findings, place_of(split, name))
        return Pair(name, name, "", "", own + more.get(number, []), take(row, "task", str, where).lower())

    return describe


def _tables(folder: Path, findings: Findings) -> dict[str, tuple[str, Dataset]]:
    """Released split and rows of each of our splits."""
    released = {name: load_table(folder, name, (*TEXTS, *IMAGES)) for name in ("validation", "test")}
    for name, table in released.items():
        rows = table.select_columns(["idx", "input_caption", "output_caption"])
        same = [str(row["idx"]) for row in rows if row["input_caption"] == row["output_caption"]]
        if same:
            findings.note(f"{name}: {len(same):,} rows with equal input and output captions", same)
    parts = {"test": ("test", released["test"])}
    if not (folder / SPLIT_FILE).is_file():
        findings.note(f"no {SPLIT_FILE} of Syned in the folder, so that train is empty")
        return parts | {"validation": ("validation", released["validation"])}
    for split, numbers in read_split_numbers(inner_file(folder, SPLIT_FILE)).items():
        rows = [row for row, number in enumerate(released["validation"]["idx"]) if number in numbers]
        parts[split] = ("validation", released["validation"].select(rows))
    return parts


def load_emu_edit(folder: str | Path, findings: Findings | None = None, verify_images: bool = True) -> DatasetDict:
    """Read the parquet files of the Emu Edit generations.

    Args:
        folder (`str` or `Path`): Holds `data/validation-*.parquet` and `data/test-*.parquet`, and, if wanted, two
            files of Syned: `splits.json`, which divides the released validation rows into train and validation, and
            `gt_augmented_test_clean.json`, whose variations become further references of test.
        findings (`Findings`, *optional*): Gets what is noticed; by default faults are errors.
        verify_images (`bool`, *optional*, defaults to `True`): Whether every image is decoded once.

    Returns:
        `DatasetDict`: Splits as `reading.Source` describes; the task is the change type. A pair is called SPLIT-IDX
        after the released split.

    Raises:
        FileNotFoundError: If there is no file of a split.
        ValueError: If a file is malformed, naming it or the row.
    """
    folder, findings = Path(folder), Findings() if findings is None else findings
    variations = read_variations(inner_file(folder, REFERENCES), findings) if (folder / REFERENCES).is_file() else {}
    splits = {}
    for split, (source_split, table) in _tables(folder, findings).items():
        describe = _describe(split, source_split, variations if split == "test" else {}, findings)
        splits[split] = pairs_of_table(table, IMAGES, describe, split, findings, verify_images)
    return combine_tables(splits, findings, str(folder))


EMU_EDIT = Source(
    title="Emu Edit generations",
    load=load_emu_edit,
    layout=(
        "data/validation-*.parquet and data/test-*.parquet, as on the Hub (hf download ... --local-dir); Syned's "
        "splits.json and gt_augmented_test_clean.json next to data/ if wanted"
    ),
    counts={"train": 3_050, "validation": 539, "test": 2_022},
    license="cc-by-nc-4.0",
    url="https://huggingface.co/datasets/facebook/emu_edit_test_set_generations",
    citation="""@inproceedings{sheynin2024emu,
  title     = {Emu Edit: Precise Image Editing via Recognition and Generation Tasks},
  author    = {Sheynin, Shelly and Polyak, Adam and Singer, Uriel and Kirstain, Yuval and Zohar, Amit and
               Ashual, Oron and Parikh, Devi and Taigman, Yaniv},
  booktitle = {Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  year      = {2024}
}""",
    about="Photographs, edited by the model Emu Edit on instruction; its eight tasks serve as change types.",
)
