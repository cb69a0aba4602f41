# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Reader of CLEVR-DC (Kim et al., ICCV 2021): rendered scenes under drastic changes of viewpoint."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..checks import inner_file, read_json_object
from ..clevr_renderer.captions.sentences import change_type_of
from ..clevr_renderer.dataset.layout import SETTINGS
from ..findings import Findings
from ..reading import Pair, Source, build_splits, clean_captions, place_of


if TYPE_CHECKING:
    from datasets import DatasetDict


SPLIT_KEYS = {"train": "train", "validation": "val", "test": "test"}
# The release numbers its pairs in six blocks, one a type, and so does the renderer, whose sets differ in size.
BLOCK = 8_000
BLOCK_TYPES = ("color", "material", "add", "drop", "move", "none")


def block_size(folder: Path) -> int:
    """Pairs of each type: those of the release, or as many as the renderer says that it made.

    Raises:
        ValueError: If the renderer's settings name no number of scenes that six types can share.
    """
    if not (folder / SETTINGS).is_file():
        return BLOCK
    scenes = read_json_object(inner_file(folder, SETTINGS)).get("scenes")
    if type(scenes) is not int or scenes < 1 or scenes % len(BLOCK_TYPES):
        raise ValueError(
            f"{folder / SETTINGS}: `scenes` must be a multiple of {len(BLOCK_TYPES)}, found {scenes!r:.80}"
        )
    return scenes // len(BLOCK_TYPES)


def read_numbers(path: Path, block: int = BLOCK) -> dict[str, list[int]]:
    """Numbers of the pairs of train, validation and test; they are ids, not places in the caption file.

    Args:
        path (`Path`): The file `split.json`.
        block (`int`, *optional*, defaults to `BLOCK`): Pairs of each type.

    Raises:
        ValueError: If a split is missing, or an entry is no number of a pair.
    """
    table = read_json_object(path)
    if sorted(table) != sorted(SPLIT_KEYS.values()):
        raise ValueError(f"{path}: expected the splits {', '.join(SPLIT_KEYS.values())}, found {', '.join(table)}")
    for name, numbers in table.items():
        known = range(block * len(BLOCK_TYPES))
        if not isinstance(numbers, list):
            raise ValueError(f"{path}, {name}: expected a list of numbers of pairs, found {numbers!r:.80}")
        wrong = [number for number in numbers if type(number) is not int or number not in known]
        if wrong:
            raise ValueError(f"{path}, {name}: {wrong[0]!r:.80} is not the number of a pair, 0 to {known[-1]:,}")
    return {split: table[key] for split, key in SPLIT_KEYS.items()}


def _pair(number: int, captions: Any, where: str, split: str, findings: Findings, block: int) -> Pair:
    name = str(number)
    return Pair(
        pair_id=name,
        scene_id=name,
        before=f"bef/{name}.png",
        after=f"aft/{name}.png",
        captions=clean_captions(captions, where, findings, place_of(split, name)),
        change_type=BLOCK_TYPES[number // block],
    )


def load_clevr_dc(folder: str | Path, findings: Findings | None = None, verify_images: bool = True) -> DatasetDict:
    """Read the released folder of CLEVR-DC.

    Args:
        folder (`str` or `Path`): Holds `bef/N.png`, `aft/N.png`, `captions.json` and `split.json`.
        findings (`Findings`, *optional*): Gets what is noticed; by default faults are errors.
        verify_images (`bool`, *optional*, defaults to `True`): Whether every image is read and decoded once.

    Returns:
        `DatasetDict`: Splits as `reading.Source` describes; the change type follows from the block that a number lies
        in, of 8,000 in the release, of a sixth of all in a set that was rendered here.

    Raises:
        FileNotFoundError: If an annotation file is missing.
        ValueError: If a file is malformed, naming it and the entry.
    """
    folder, findings = Path(folder), Findings() if findings is None else findings
    block = block_size(folder)
    numbers = read_numbers(inner_file(folder, "split.json"), block)
    path = inner_file(folder, "captions.json")
    captions = read_json_object(path)
    lacking = [str(number) for listed in numbers.values() for number in listed if str(number) not in captions]
    if lacking:
        raise ValueError(f"{path}: no captions for pair {lacking[0]}, which split.json lists")
    pairs = {
        split: [_pair(number, captions[str(number)], f"{path}, {number}", split, findings, block) for number in listed]
        for split, listed in numbers.items()
    }
    named = Counter(
        (pair.change_type, kind)
        for found in pairs.values()
        for pair in found
        for kind in map(change_type_of, pair.captions)
    )
    for (expected, kind), count in sorted(item for item in named.items() if item[0][1] is not None):
        if expected != kind:
            findings.note(f"{count:,} captions of the block {expected!r} read as {kind!r}")
    return build_splits(folder, pairs, findings, verify_images)


CLEVR_DC = Source(
    title="CLEVR-DC",
    load=load_clevr_dc,
    layout="bef/N.png, aft/N.png, captions.json and split.json",
    counts={"train": 40_800, "validation": 2_400, "test": 4_800},
    url="https://github.com/hsgkim/clevr-dc",
    citation="""@inproceedings{kim2021viewpoint,
  title     = {Viewpoint-Agnostic Change Captioning with Cycle Consistency},
  author    = {Kim, Hoeseong and Kim, Jongseok and Lee, Hyungseok and Park, Hyunsung and Kim, Gunhee},
  booktitle = {Proceedings of the IEEE/CVF International Conference on Computer Vision},
  year      = {2021}
}""",
    about="Rendered scenes of simple objects; the second camera stands at a random place. Five changes, or none.",
)
