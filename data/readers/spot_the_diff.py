# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Reader of Spot-the-Diff (Jhamtani and Berg-Kirkpatrick, EMNLP 2018): frames of fixed surveillance cameras."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..checks import inner_file, read_json_list
from ..findings import Findings
from ..reading import Pair, Source, build_splits, place_of, strip_captions, take


if TYPE_CHECKING:
    from datasets import DatasetDict


SPLIT_FILES = {"train": "train", "validation": "val", "test": "test"}
JOINT = ". "


def read_rows(path: Path, split: str, findings: Findings) -> list[Pair]:
    """Pairs of one annotation file; the rows of one pair are merged, since each holds one writer's sentences.

    Empty sentences, of which the release has some, are left out and noted.

    Raises:
        ValueError: If a row is malformed.
    """
    pairs: dict[str, Pair] = {}
    empty = 0
    for number, row in enumerate(read_json_list(path)):
        where = f"{path}, row {number}"
        name = take(row, "img_id", str, where)
        sentences = take(row, "sentences", list, where)
        kept = strip_captions(sentences, where)
        empty += len(sentences) - len(kept)
        images = (f"resized_images/{name}.png", f"resized_images/{name}_2.png")
        pairs.setdefault(name, Pair(name, name, *images, captions=[])).captions.extend(kept)
    mute = [name for name, pair in pairs.items() if not pair.captions]
    if empty:
        findings.note(f"{split}: {empty:,} empty sentences left out")
    if mute:
        findings.note(f"{split}: {len(mute):,} pairs left out, which have no other sentence", mute)
    findings.omitted |= {place_of(split, name) for name in mute}
    return list(pairs.values())


def load_spot_the_diff(
    folder: str | Path, findings: Findings | None = None, verify_images: bool = True, joined: bool = False
) -> DatasetDict:
    """Read the released folder of Spot-the-Diff.

    Args:
        folder (`str` or `Path`): The folder `data` of the release: `annotations/{train,val,test}.json` and
            `resized_images/{ID.png,ID_2.png}`.
        findings (`Findings`, *optional*): Gets what is noticed; by default faults are errors, but for empty sentences.
        verify_images (`bool`, *optional*, defaults to `True`): Whether every image is read and decoded once.
        joined (`bool`, *optional*, defaults to `False`): All sentences of a pair make one caption, joined by ". "
            (multi change); otherwise each is a caption.

    Returns:
        `DatasetDict`: Splits as `reading.Source` describes, one row a pair, without change types.

    Raises:
        FileNotFoundError: If an annotation file is missing.
        ValueError: If a file is malformed, naming it and the row.
    """
    folder, findings = Path(folder), Findings() if findings is None else findings
    pairs = {
        split: read_rows(inner_file(folder, f"annotations/{name}.json"), split, findings)
        for split, name in SPLIT_FILES.items()
    }
    if joined:
        pairs = {
            split: [replace(pair, captions=[JOINT.join(pair.captions)]) for pair in found]
            for split, found in pairs.items()
        }
    return build_splits(folder, pairs, findings, verify_images)


SPOT_THE_DIFF_SINGLE = Source(
    title="Spot-the-Diff, single change",
    load=load_spot_the_diff,
    layout="annotations/{train,val,test}.json and resized_images/{ID.png,ID_2.png}",
    counts={"train": 8_566, "validation": 1_493, "test": 1_270},
    url="https://github.com/harsh19/spot-the-diff",
    citation="""@inproceedings{jhamtani2018learning,
  title     = {Learning to Describe Differences Between Pairs of Similar Images},
  author    = {Jhamtani, Harsh and Berg-Kirkpatrick, Taylor},
  booktitle = {Proceedings of the 2018 Conference on Empirical Methods in Natural Language Processing},
  year      = {2018}
}""",
    about="Frames of fixed surveillance cameras. Every sentence about a pair is a caption of its own.",
)
SPOT_THE_DIFF_MULTI = replace(
    SPOT_THE_DIFF_SINGLE,
    title="Spot-the-Diff, multi change",
    load=partial(load_spot_the_diff, joined=True),
    about="Frames of fixed surveillance cameras. The sentences about a pair are joined into one caption.",
)
