# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Reader of SECOND-CC (Karaca et al., JSTARS 2025): aerial pairs that differ in light, blur and registration too."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from ..checks import inner_file, read_json_object
from ..findings import Findings
from ..reading import Pair, Source, clean_captions, place_of, take
from .change_flags import FlaggedPair, build_flagged, take_flag


if TYPE_CHECKING:
    from datasets import DatasetDict


ANNOTATIONS = "SECOND-CC-AUG.json"
# The release's own program trains on "restval" too.
SPLIT_OF = {"train": "train", "restval": "train", "val": "validation", "test": "test"}


def _caption(sentence: Any, where: str) -> str:
    """The text of a sentence; the release's own program reads its tokens."""
    if isinstance(sentence, dict) and "raw" not in sentence and "tokens" in sentence:
        tokens = take(sentence, "tokens", list, where)
        return " ".join(map(str, tokens))
    return take(sentence, "raw", str, where)


def _pair(record: Any, where: str, findings: Findings) -> FlaggedPair:
    name, folder = take(record, "filename", str, where), take(record, "split", str, where)
    if folder not in SPLIT_OF:
        raise ValueError(f"{where}: the split must be one of {', '.join(SPLIT_OF)}, not {folder!r}")
    # The numbering may begin anew in each folder.
    split, pair_id = SPLIT_OF[folder], f"{folder}/{PurePosixPath(name).stem}"
    raw = [_caption(sentence, where) for sentence in take(record, "sentences", list, where)]
    images = (f"{folder}/rgb/{side}/{name}" for side in "AB")
    captions = clean_captions(raw, where, findings, place_of(split, pair_id))
    # Not every copy of the annotations has the flag.
    flag = take_flag(record, where) if "changeflag" in record else None
    return FlaggedPair(split, Pair(pair_id, pair_id, *images, captions), flag)


def load_second_cc(folder: str | Path, findings: Findings | None = None, verify_images: bool = True) -> DatasetDict:
    """Read the released folder of SECOND-CC.

    Args:
        folder (`str` or `Path`): Holds `SECOND-CC-AUG.json` and `{train,val,test}/rgb/{A,B}/`, A before and B after.
            The semantic maps next to `rgb` are not read.
        findings (`Findings`, *optional*): Gets what is noticed; by default faults are errors.
        verify_images (`bool`, *optional*, defaults to `True`): Whether every image is read and decoded once.

    Returns:
        `DatasetDict`: Splits as `reading.Source` describes; the change type is "none" where every caption says so,
        else unknown.

    Raises:
        FileNotFoundError: If the annotation file is missing.
        ValueError: If it is malformed, naming the entry.
    """
    folder, findings = Path(folder), Findings() if findings is None else findings
    path = inner_file(folder, ANNOTATIONS)
    images = take(read_json_object(path), "images", list, str(path))
    records = [_pair(record, f"{path}, image {number}", findings) for number, record in enumerate(images)]
    return build_flagged(folder, records, findings, verify_images)


SECOND_CC = Source(
    title="SECOND-CC",
    load=load_second_cc,
    layout="SECOND-CC-AUG.json and {train,val,test}/rgb/{A,B}/",
    total=6_041,
    url="https://doi.org/10.5281/zenodo.16937571",
    citation="""@article{karaca2025robust,
  title   = {Robust Change Captioning in Remote Sensing: SECOND-CC Dataset and MModalCC Framework},
  author  = {Karaca, Ali Can and Ozelbas, Enes and Berber, Saadettin and Karimli, Orkhan and Yildirim, Turabi and
             Amasyali, M. Fatih},
  journal = {IEEE Journal of Selected Topics in Applied Earth Observations and Remote Sensing},
  year    = {2025}
}""",
    about="Aerial photographs of the same ground, years apart, five captions a pair. The paper counts pairs before "
    "augmentation; the released file holds altered copies too.",
)
