# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Reader of MagicBrush (Zhang et al., NeurIPS 2023): photographs edited by hand in up to three turns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..findings import Findings
from ..reading import Pair, Source, clean_captions, place_of, take
from .tables import combine_tables, load_table, pairs_of_table


if TYPE_CHECKING:
    from datasets import DatasetDict


IMAGES = ("source_img", "target_img")
TEXTS = ("img_id", "turn_index", "instruction")
FILES = {"train": "train", "validation": "dev"}


def _describe(split: str, findings: Findings) -> Callable[[dict[str, Any], str], Pair]:
    def describe(row: dict[str, Any], where: str) -> Pair:
        scene = str(take(row, "img_id", (str, int), where))
        name = f"{scene}-{take(row, 'turn_index', int, where)}"
        captions = clean_captions([take(row, "instruction", str, where)], where, findings, place_of(split, name))
        return Pair(name, scene, "", "", captions)

    return describe


def load_magicbrush(folder: str | Path, findings: Findings | None = None, verify_images: bool = True) -> DatasetDict:
    """Read the parquet files of MagicBrush, one row a turn.

    Args:
        folder (`str` or `Path`): Holds `data/train-*.parquet` and `data/dev-*.parquet`; the test split is not released
            openly.
        findings (`Findings`, *optional*): Gets what is noticed; by default faults are errors.
        verify_images (`bool`, *optional*, defaults to `True`): Whether every image is decoded once.

    Returns:
        `DatasetDict`: Splits as `reading.Source` describes, without change types; `dev` is validation, test is empty.
        The turns of one photograph share a scene.

    Raises:
        FileNotFoundError: If there is no file of a split.
        ValueError: If a file is malformed, naming it or the row.
    """
    folder, findings = Path(folder), Findings() if findings is None else findings

    splits = {}
    for split, prefix in FILES.items():
        table = load_table(folder, prefix, (*TEXTS, *IMAGES))
        describe = _describe(split, findings)
        splits[split] = pairs_of_table(table, IMAGES, describe, split, findings, verify_images)
    return combine_tables(splits, findings, str(folder))


MAGICBRUSH = Source(
    title="MagicBrush",
    load=load_magicbrush,
    layout="data/train-*.parquet and data/dev-*.parquet, as on the Hub (hf download ... --local-dir)",
    counts={"train": 8_807, "validation": 528, "test": 0},
    license="cc-by-4.0",
    url="https://huggingface.co/datasets/osunlp/MagicBrush",
    citation="""@inproceedings{zhang2023magicbrush,
  title     = {MagicBrush: A Manually Annotated Dataset for Instruction-Guided Image Editing},
  author    = {Zhang, Kai and Mo, Lingbo and Chen, Wenhu and Sun, Huan and Su, Yu},
  booktitle = {Advances in Neural Information Processing Systems},
  year      = {2023}
}""",
    about="Photographs edited by hand in up to three turns; the captions are instructions.",
)
