# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Reader of Syned (Evennou et al., 2024): variants of Emu Edit's photographs, made by another editor."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..checks import inner_file, read_json_list
from ..findings import Findings
from ..reading import Pair, Source, build_splits, clean_captions, place_of, take
from .syned_files import SPLIT_FILE, read_split_numbers


if TYPE_CHECKING:
    from datasets import DatasetDict


RECORDS = "augmented_dataset.json"
VARIANTS = 8


def _pair(record: Any, number: int, variant: int, where: str, split: str, findings: Findings) -> Pair:
    name = f"{number}-{variant}"
    before, after = (take(record, key, str, where) for key in ("image", "edited_image"))
    captions = clean_captions([take(record, "instruction", str, where)], where, findings, place_of(split, name))
    return Pair(name, str(number), before, after, captions, take(record, "task", str, where).lower())


def load_syned(folder: str | Path, findings: Findings | None = None, verify_images: bool = True) -> DatasetDict:
    """Read the released variants of Syned.

    Args:
        folder (`str` or `Path`): Holds `augmented_dataset.json`, `splits.json` and the images that the former names,
            relative to the folder.
        findings (`Findings`, *optional*): Gets what is noticed; by default faults are errors.
        verify_images (`bool`, *optional*, defaults to `True`): Whether every image is read and decoded once.

    Returns:
        `DatasetDict`: Splits as `reading.Source` describes; the task is the change type, the variants of a photograph
        share a scene. Test is empty: it is Emu Edit's, see `emu_edit`.

    Raises:
        FileNotFoundError: If an annotation file is missing.
        ValueError: If a file is malformed, naming it and the entry.
    """
    folder, findings = Path(folder), Findings() if findings is None else findings
    numbers = read_split_numbers(inner_file(folder, SPLIT_FILE))
    split_of = {number: split for split, listed in numbers.items() for number in listed}
    path = inner_file(folder, RECORDS)
    pairs: dict[str, list[Pair]] = {}
    seen: Counter[int] = Counter()
    for position, record in enumerate(read_json_list(path)):
        where = f"{path}, entry {position}"
        number = take(record, "idx", int, where)
        if number not in split_of:
            raise ValueError(f"{where}: row {number} is in no split of {SPLIT_FILE}")
        seen[number] += 1
        split = split_of[number]
        pairs.setdefault(split, []).append(_pair(record, number, seen[number], where, split, findings))
    uneven = [str(number) for number in sorted(split_of) if seen[number] != VARIANTS]
    if uneven:
        findings.note(f"{len(uneven):,} rows with other than {VARIANTS} variants", uneven)
    return build_splits(folder, pairs, findings, verify_images)


SYNED = Source(
    title="Syned",
    load=load_syned,
    layout="augmented_dataset.json, splits.json and the images that the former names, relative to the folder",
    counts={"train": 24_400, "validation": 4_312, "test": 0},
    license="cc-by-nc-4.0",
    url="https://huggingface.co/datasets/Gevennou/Syned",
    citation="""@misc{evennou2024reframing,
  title         = {Reframing Image Difference Captioning with BLIP2IDC and Synthetic Augmentation},
  author        = {Evennou, Gautier and Chaffin, Antoine and Chappelier, Vivien and Kijak, Ewa},
  year          = {2024},
  eprint        = {2412.15939},
  archivePrefix = {arXiv}
}""",
    about="Eight edited variants of each photograph of Emu Edit's released validation split, by another editor.",
)
