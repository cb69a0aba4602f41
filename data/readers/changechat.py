# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Reader of ChangeChat-105k (Deng et al., Remote Sensing 2026): instructions about the images of LEVIR-CC.

Of the six kinds of questions, only the request for a caption makes a caption of a pair.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from ..checks import inner_file, read_json_list
from ..findings import Findings
from ..reading import Pair, Source, clean_captions, place_of, take
from .change_flags import FlaggedPair, build_flagged, take_flag


if TYPE_CHECKING:
    from datasets import DatasetDict


# The release has no file for validation; the authors' program reads one of this name.
FILES = {"train": "train", "validation": "val", "test": "test"}
PLACEHOLDER = "<image>"
REQUEST = re.compile(r"(please )?(briefly )?describe the changes? (in|between|of) (these|the) two (images|scenes)\.?")


def _captions(record: dict[str, Any], where: str, others: Counter[str]) -> list[Any] | None:
    """The captions that a record gives; None where it asks for something else, which is counted in `others`."""
    if "captions" in record:
        return take(record, "captions", list, where)
    messages = take(record, "conversations", list, where)
    kinds = [take(message, "from", str, where) for message in messages]
    if not messages or kinds != ["human", "gpt"] * (len(messages) // 2):
        raise ValueError(f"{where}: the messages must be from human and gpt by turns, found {kinds!r:.80}")
    texts = [take(message, "value", str, where) for message in messages]
    question = " ".join(texts[0].replace(PLACEHOLDER, " ").split())
    # In a dialog the answers depend on what was said before.
    if len(texts) > 2:
        question = "a dialog of several turns"
    elif REQUEST.fullmatch(question.lower()):
        return [texts[1]]
    others[question] += 1
    return None


def _images(record: dict[str, Any], where: str) -> tuple[str, str]:
    """The names of both images, below `images/`."""
    if "image" not in record:
        return take(record, "image_A", str, where), take(record, "image_B", str, where)
    names = take(record, "image", list, where)
    if len(names) != 2 or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{where}: expected the names of two images, found {names!r:.80}")
    return names[0], names[1]


def _read(path: Path, split: str, findings: Findings) -> list[FlaggedPair]:
    """The pairs of one file; the records of one pair are merged, since each holds one answer."""
    pairs: dict[str, Pair] = {}
    flags: dict[str, int] = {}
    others: Counter[str] = Counter()
    for number, record in enumerate(read_json_list(path)):
        where = f"{path}, record {number}"
        flag = take_flag(record, where)
        captions = _captions(record, where, others)
        if captions is None:
            continue
        before, after = _images(record, where)
        name = PurePosixPath(before).stem
        kept = clean_captions(captions, where, findings, place_of(split, name))
        made = Pair(name, name, f"images/{before}", f"images/{after}", [])
        pair = pairs.setdefault(name, made)
        if (pair.before, pair.after) != (made.before, made.after):
            raise ValueError(
                f"{where}: the pair {name!r} occurs with other images too, {pair.before} and {pair.after}"
            )
        if flags.setdefault(name, flag) != flag:
            findings.blame(place_of(split, name), f"{path.name}: changeflag is both 0 and 1")
        pair.captions.extend(kept)
    if others:
        question, count = others.most_common(1)[0]
        findings.note(
            f"{split}: {others.total():,} records left out, which ask for no caption; most often ({count:,}): "
            f"{question:.80}"
        )
    return [FlaggedPair(split, pair, flags[name]) for name, pair in pairs.items()]


def load_changechat(folder: str | Path, findings: Findings | None = None, verify_images: bool = True) -> DatasetDict:
    """Read the captions of ChangeChat-105k, with the images of LEVIR-CC.

    Args:
        folder (`str` or `Path`): Holds `annotations/changechat_105k_train.json`,
            `annotations/changechat_105k_test.json` and `images/{train,val,test}/{A,B}/`, A before and B after. A
            `changechat_105k_val.json`, which the release lacks, is read if it is there.
        findings (`Findings`, *optional*): Gets what is noticed; by default faults are errors. Questions of other kinds
            are left out and noted.
        verify_images (`bool`, *optional*, defaults to `True`): Whether every image is read and decoded once.

    Returns:
        `DatasetDict`: Splits as `reading.Source` describes; the change type is "none" where every caption says so,
        else unknown.

    Raises:
        FileNotFoundError: If an annotation file is missing.
        ValueError: If one is malformed, naming the record.
    """
    folder, findings = Path(folder), Findings() if findings is None else findings
    records, read = [], []
    for split, name in FILES.items():
        file = f"annotations/changechat_105k_{name}.json"
        if split == "validation" and not (folder / file).exists():
            findings.note(f"no {file} in the folder, so that validation is empty")
            continue
        records += _read(inner_file(folder, file), split, findings)
        read.append(split)
    return build_flagged(folder, records, findings, verify_images, read)


CHANGECHAT = Source(
    title="ChangeChat-105k",
    load=load_changechat,
    layout="annotations/changechat_105k_{train,test}.json and images/{train,val,test}/{A,B}/",
    counts={"test": 1_929},
    url="https://huggingface.co/datasets/hlwu/changechat-105k",
    citation="""@article{deng2026deltavlm,
  title   = {DeltaVLM: Interactive Remote Sensing Image Change Analysis via Instruction-Guided Difference Perception},
  author  = {Deng, Pei and Zhou, Wenqian and Wu, Hanlin},
  journal = {Remote Sensing},
  volume  = {18},
  number  = {4},
  pages   = {541},
  year    = {2026}
}""",
    about="Captions of the pairs of LEVIR-CC, written as answers to instructions. The annotations are under CC BY "
    "4.0, the images under the terms of LEVIR-CC.",
)
