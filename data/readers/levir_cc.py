# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Reader of LEVIR-CC (Liu et al., TGRS 2022): pairs of aerial photographs taken years apart."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from ..checks import inner_file, read_json_object
from ..findings import Findings
from ..reading import Pair, Source, clean_captions, place_of, take
from .change_flags import FlaggedPair, build_flagged, take_flag


if TYPE_CHECKING:
    from datasets import DatasetDict


ANNOTATIONS = "LevirCCcaptions.json"
SPLIT_OF = {"train": "train", "val": "validation", "test": "test"}


def _pair(record: Any, where: str, findings: Findings) -> FlaggedPair:
    name, folder = take(record, "filename", str, where), take(record, "split", str, where)
    if folder not in SPLIT_OF:
        raise ValueError(f"{where}: the split must be one of {', '.join(SPLIT_OF)}, not {folder!r}")
    split, pair_id = SPLIT_OF[folder], PurePosixPath(name).stem
    raw = [take(sentence, "raw", str, where) for sentence in take(record, "sentences", list, where)]
    images = (f"images/{folder}/{side}/{name}" for side in "AB")
    captions = clean_captions(raw, where, findings, place_of(split, pair_id))
    return FlaggedPair(split, Pair(pair_id, pair_id, *images, captions), take_flag(record, where))


def load_levir_cc(folder: str | Path, findings: Findings | None = None, verify_images: bool = True) -> DatasetDict:
    """Read the released folder of LEVIR-CC.

    Args:
        folder (`str` or `Path`): Holds `LevirCCcaptions.json` and `images/{train,val,test}/{A,B}/`, A before and B
            after.
        findings (`Findings`, *optional*): Gets what is noticed; by default faults are errors.
        verify_images (`bool`, *optional*, defaults to `True`): Whether every image is read and decoded once.

    Returns:
        `DatasetDict`: Splits as `reading.Source` describes; the change type is "none" where every caption says so,
        else unknown. Pairs whose `changeflag` says otherwise are noted, with their number.

    Raises:
        FileNotFoundError: If the annotation file is missing.
        ValueError: If it is malformed, naming the entry.
    """
    folder, findings = Path(folder), Findings() if findings is None else findings
    path = inner_file(folder, ANNOTATIONS)
    images = take(read_json_object(path), "images", list, str(path))
    records = [_pair(record, f"{path}, image {number}", findings) for number, record in enumerate(images)]
    return build_flagged(folder, records, findings, verify_images)


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
