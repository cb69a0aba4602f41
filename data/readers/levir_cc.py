# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Reader of LEVIR-CC (Liu et al., TGRS 2022): pairs of aerial photographs taken years apart."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from ..checks import inner_file, read_json_object
from ..findings import Findings
from ..reading import Pair, Source, build_splits, clean_captions, place_of, take
from ..schema import NO_CHANGE


if TYPE_CHECKING:
    from datasets import DatasetDict


ANNOTATIONS = "LevirCCcaptions.json"
SPLIT_OF = {"train": "train", "val": "validation", "test": "test"}
# What the release says of its unchanged pairs, without signs.
SAME = frozenset(
    (
        "the scene is the same as before",
        "there is no difference",
        "the two scenes seem identical",
        "no change has occurred",
        "almost nothing has changed",
    )
)
FLAGS = (0, 1)


def _pair(record: Any, where: str, findings: Findings) -> tuple[str, Pair, int]:
    """The split of a record, its pair and its flag."""
    name, folder = take(record, "filename", str, where), take(record, "split", str, where)
    if folder not in SPLIT_OF:
        raise ValueError(f"{where}: the split must be one of {', '.join(SPLIT_OF)}, not {folder!r}")
    split, pair_id = SPLIT_OF[folder], PurePosixPath(name).stem
    raw = [take(sentence, "raw", str, where) for sentence in take(record, "sentences", list, where)]
    images = (f"images/{folder}/{side}/{name}" for side in "AB")
    captions = clean_captions(raw, where, findings, place_of(split, pair_id))
    flag = take(record, "changeflag", int, where)
    if flag not in FLAGS:
        raise ValueError(f"{where}: changeflag must be 0 or 1, not {flag}")
    return split, Pair(pair_id, pair_id, *images, captions), flag


def _plain(caption: str) -> str:
    return " ".join(re.findall(r"\w+", caption.lower()))


def _settle_types(records: Sequence[tuple[str, Pair, int]], findings: Findings) -> None:
    """Give each pair its type: the captions decide, since they are what is learned and scored.

    A pair is unchanged where every caption says so, whatever its flag. A caption says so if it is one of the release's
    five sentences, or if it is said of several pairs, all of them with flag 0. Where flag 0 stands beside another
    caption, the type is unknown. 1 says that something changed, not what.
    """
    said = [{_plain(caption) for caption in pair.captions} for _, pair, _ in records]
    counts = Counter(caption for captions in said for caption in captions)
    changed = {caption for captions, (_, _, flag) in zip(said, records, strict=True) if flag for caption in captions}
    same = SAME | {caption for caption, count in counts.items() if count > 1 and caption not in changed}
    contradictions: dict[int, list[str]] = {0: [], 1: []}
    for captions, (split, pair, flag) in zip(said, records, strict=True):
        if captions and captions <= same:
            pair.change_type = NO_CHANGE
        if captions and bool(flag) == (captions <= same):
            contradictions[flag].append(place_of(split, pair.pair_id))
    if contradictions[0]:
        told = f"{len(contradictions[0]):,} pairs have changeflag 0, but captions that tell of a change; type unknown"
        findings.note(told, contradictions[0])
    if contradictions[1]:
        told = f'{len(contradictions[1]):,} pairs have changeflag 1, but every caption says "no change"; type "none"'
        findings.note(told, contradictions[1])


def load_levir_cc(folder: str | Path, findings: Findings | None = None, verify_pictures: bool = True) -> DatasetDict:
    """Read the released folder of LEVIR-CC.

    Args:
        folder: Holds `LevirCCcaptions.json` and `images/{train,val,test}/{A,B}/`, A before and B after.
        findings: Gets what is noticed; by default faults are errors.
        verify_pictures: Whether every picture is read and decoded once.

    Returns:
        Splits as `reading.Source` describes; the change type is "none" where every caption says so, else unknown.
        Pairs whose `changeflag` says otherwise are noted, with their number.

    Raises:
        FileNotFoundError: If the annotation file is missing.
        ValueError: If it is malformed, naming the entry.
    """
    folder, findings = Path(folder), Findings() if findings is None else findings
    path = inner_file(folder, ANNOTATIONS)
    images = take(read_json_object(path), "images", list, str(path))
    records = [_pair(record, f"{path}, image {number}", findings) for number, record in enumerate(images)]
    _settle_types(records, findings)
    pairs: dict[str, list[Pair]] = {}
    for split, pair, _ in records:
        pairs.setdefault(split, []).append(pair)
    return build_splits(folder, pairs, findings, verify_pictures)


LEVIR_CC = Source(
    title="LEVIR-CC",
    load=load_levir_cc,
    layout="LevirCCcaptions.json and images/{train,val,test}/{A,B}/",
    counts={"train": 6_815, "validation": 1_333, "test": 1_929},
    url="https://github.com/Chen-Yang-Liu/RSICC",
    citation="""@article{liu2022remote,
  title   = {Remote Sensing Image Change Captioning With Dual-Branch Transformers: A New Method and a Large Scale
             Dataset},
  author  = {Liu, Chenyang and Zhao, Rui and Chen, Hao and Zou, Zhengxia and Shi, Zhenwei},
  journal = {IEEE Transactions on Geoscience and Remote Sensing},
  volume  = {60},
  year    = {2022}
}""",
    about="Aerial photographs of the same ground, years apart, five captions a pair; half of the pairs are unchanged.",
)
