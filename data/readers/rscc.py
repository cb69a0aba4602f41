# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Reader of RSCC (Chen et al., NeurIPS 2025): satellite images before and after disasters, with long captions."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from ..checks import inner_file, parse_json
from ..findings import Findings
from ..reading import Pair, Source, build_splits, clean_captions, place_of, take


if TYPE_CHECKING:
    from datasets import DatasetDict


ANNOTATIONS = "RSCC_qvq.jsonl"
SPLIT_FILES = {"validation": "val_set.txt", "test": "test_set.txt"}
PARTS = ("EBD", "xbd", "xbd_subset", "xbdsubset")


def _inner_name(path: str) -> str:
    """The name of an image in the folder: the release writes paths of its authors' machines.

    The path before the folder of a part is left out; a path without such a folder is taken as it is.
    """
    places = PurePosixPath(path).parts
    start = next((number for number, place in enumerate(places) if place in PARTS), 0)
    return str(PurePosixPath(*places[start:]))


def _read_pairs(path: Path) -> dict[str, Pair]:
    """The pairs by the name of their first image; records of one pair, by several models, are merged."""
    pairs: dict[str, Pair] = {}
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        record = parse_json(line, where)
        given, after = take(record, "pre_image", str, where), _inner_name(take(record, "post_image", str, where))
        before = _inner_name(given)
        # Each image is a tile of its own, also where four of them were cut from one photograph.
        name = str(PurePosixPath(before).with_suffix(""))
        pair = pairs.setdefault(given, Pair(name, name, before, after, []))
        if pair.after != after:
            raise ValueError(f"{where}: {given} occurs with another post_image too, {pair.after}")
        pair.captions.append(take(record, "change_caption", str, where))
    return pairs


def _read_splits(folder: Path, pairs: dict[str, Pair]) -> dict[str, str]:
    """The split of each first image that a list names.

    Raises:
        ValueError: If a line names no image of the set, or one that another list names.
    """
    split_of: dict[str, str] = {}
    for split, name in SPLIT_FILES.items():
        if not (folder / name).exists():
            continue
        path = inner_file(folder, name)
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            # Bytes that are no UTF-8 name no image.
            image = line.decode("utf-8", errors="replace").strip()
            if not image:
                continue
            if image not in pairs:
                raise ValueError(f"{path}, line {number}: {image!r:.120} is no pre_image of {ANNOTATIONS}")
            if split_of.setdefault(image, split) != split:
                raise ValueError(f"{path}, line {number}: {image!r:.120} occurs in {split_of[image]} and {split}")
    return split_of


def load_rscc(folder: str | Path, findings: Findings | None = None, verify_images: bool = True) -> DatasetDict:
    """Read the released captions of RSCC with their images.

    Args:
        folder (`str` or `Path`): Holds `RSCC_qvq.jsonl` and the images in `EBD/`, `xbd/` and `xbd_subset/`, as the
            file names them from these folders on. `val_set.txt` and `test_set.txt`, if there, name the `pre_image` of
            a pair a line, as the captions' file does; all other pairs are for training.
        findings (`Findings`, *optional*): Gets what is noticed; by default faults are errors.
        verify_images (`bool`, *optional*, defaults to `True`): Whether every image is read and decoded once.

    Returns:
        `DatasetDict`: Splits as `reading.Source` describes, without change types.

    Raises:
        FileNotFoundError: If the captions' file is missing.
        ValueError: If a file is malformed, naming it and the line.
    """
    folder, findings = Path(folder), Findings() if findings is None else findings
    path = inner_file(folder, ANNOTATIONS)
    pairs = _read_pairs(path)
    split_of = _read_splits(folder, pairs)
    if not split_of:
        findings.note(f"no {' or '.join(SPLIT_FILES.values())} in the folder, so that all pairs are for training")
    found: dict[str, list[Pair]] = {}
    for given, pair in pairs.items():
        split = split_of.get(given, "train")
        pair.captions = clean_captions(pair.captions, f"{path}, {given}", findings, place_of(split, pair.pair_id))
        found.setdefault(split, []).append(pair)
    return build_splits(folder, found, findings, verify_images)


RSCC = Source(
    title="RSCC",
    load=load_rscc,
    layout="RSCC_qvq.jsonl and the images in EBD/, xbd/ and xbd_subset/; if wanted, val_set.txt and test_set.txt",
    total=62_351,
    license="cc-by-4.0",
    url="https://huggingface.co/datasets/BiliSakura/RSCC",
    citation="""@misc{chen2025rscc,
  title         = {RSCC: A Large-Scale Remote Sensing Change Caption Dataset for Disaster Events},
  author        = {Chen, Zhenyuan and Wang, Chenxi and Zhang, Ningyu and Zhang, Feng},
  year          = {2025},
  eprint        = {2509.01907},
  archivePrefix = {arXiv}
}""",
    about="Satellite images before and after disasters; the captions are paragraphs that a model wrote. The images of "
    "xBD stay under xBD's license.",
)
