# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Reader of Image-Editing-Request (Tan et al., ACL 2019): photographs, their edited versions, and the requests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..checks import inner_file, read_json_list
from ..findings import Findings
from ..reading import Pair, Source, build_splits, clean_captions, place_of, take


if TYPE_CHECKING:
    from datasets import DatasetDict


SPLIT_FILES = {"train": "train", "validation": "valid", "test": "test"}


def _pair(record: Any, where: str, split: str, findings: Findings) -> Pair:
    name, before, after = (take(record, key, str, where) for key in ("uid", "img0", "img1"))
    captions = clean_captions(take(record, "sents", list, where), where, findings, place_of(split, name))
    return Pair(name, name, f"images/{before}", f"images/{after}", captions)


def load_image_editing_request(
    folder: str | Path, findings: Findings | None = None, verify_images: bool = True
) -> DatasetDict:
    """Read the released annotations of Image-Editing-Request with their images.

    Args:
        folder (`str` or `Path`): Holds `train.json`, `valid.json`, `test.json` and the images in `images/`.
        findings (`Findings`, *optional*): Gets what is noticed; by default faults are errors.
        verify_images (`bool`, *optional*, defaults to `True`): Whether every image is read and decoded once.

    Returns:
        `DatasetDict`: Splits as `reading.Source` describes, without change types: `img0` is before, `img1` after.

    Raises:
        FileNotFoundError: If an annotation file is missing.
        ValueError: If a file is malformed, naming it and the entry.
    """
    folder, findings = Path(folder), Findings() if findings is None else findings
    pairs = {}
    for split, name in SPLIT_FILES.items():
        path = inner_file(folder, f"{name}.json")
        records = enumerate(read_json_list(path))
        pairs[split] = [_pair(record, f"{path}, entry {number}", split, findings) for number, record in records]
    # The release uses some photographs in several splits.
    return build_splits(folder, pairs, findings, verify_images, shared_images=True)


IMAGE_EDITING_REQUEST = Source(
    title="Image-Editing-Request",
    load=load_image_editing_request,
    layout="train.json, valid.json, test.json and images/",
    counts={"train": 3_061, "validation": 383, "test": 495},
    url="https://github.com/airsplay/VisualRelationships",
    citation="""@inproceedings{tan2019expressing,
  title     = {Expressing Visual Relationships via Language},
  author    = {Tan, Hao and Dernoncourt, Franck and Lin, Zhe and Bui, Trung and Bansal, Mohit},
  booktitle = {Proceedings of the 57th Annual Meeting of the Association for Computational Linguistics},
  year      = {2019}
}""",
    about="Photographs and their edited versions from forums; the captions are requests, three a pair but in train.",
)
