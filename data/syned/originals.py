# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""What is augmented: a prepared folder, or images of your own with one instruction each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from ...image_utils_ssgpa import load_image
from ...utils.extras import require_datasets
from ..checks import check_image_bytes, inner_file
from ..prepared import is_prepared, load_prepared
from ..schema import COLUMNS, SPLITS, pair_features


if TYPE_CHECKING:
    from datasets import DatasetDict


LISTING = "originals.jsonl"


@dataclass(frozen=True)
class Original:
    """One image with an instruction.

    Args:
        number (`int`): Position in the set, over all splits.
        split (`str`): Its split.
        row (`int`): Position in the split.
        pair_id (`str`): Its name.
        instruction (`str`): The first caption.
    """

    number: int
    split: str
    row: int
    pair_id: str
    instruction: str


def load_originals(folder: str | Path) -> DatasetDict:
    """Load what is to be augmented.

    Args:
        folder (`str` or `Path`): What `examples/prepare_data.py` wrote, of which the image before and the first
            caption count; or a folder with `originals.jsonl`, each line `{"id": str, "image": file name,
            "instruction": str}` with "split" where it is not train.

    Returns:
        `DatasetDict`: Splits train, validation, test with the columns of `schema.pair_features`; the images after are
        null in a folder of images.

    Raises:
        FileNotFoundError: If it is neither, or lacks an image.
        ValueError: For an instruction without words, a damaged image, or a name that occurs twice.
    """
    folder = Path(folder)
    if is_prepared(folder):
        dataset = load_prepared(folder)
        return type(dataset)({name: split.select_columns(list(COLUMNS)) for name, split in dataset.items()})
    listing = folder / LISTING
    if not listing.is_file():
        raise FileNotFoundError(f"{folder} holds neither a prepared data set nor {LISTING}")
    columns = {split: {name: [] for name in COLUMNS} for split in SPLITS}
    seen: set[str] = set()
    for row in _lines(listing):
        if row["id"] in seen:
            raise ValueError(f"{listing}: the id {row['id']!r} occurs twice")
        seen.add(row["id"])
        image = inner_file(folder, row["image"])
        check_image_bytes(image.read_bytes(), str(image))
        values = (row["id"], row["id"], str(image), None, [row["instruction"]], None)
        for name, value in zip(COLUMNS, values, strict=True):
            columns[row["split"]][name].append(value)
    if not seen:
        raise ValueError(f"{listing} is empty")
    hf, features = require_datasets(), pair_features()
    return hf.DatasetDict({split: hf.Dataset.from_dict(columns[split], features=features) for split in SPLITS})


def _lines(path: Path) -> Iterator[dict[str, str]]:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = {"split": "train", **json.loads(line)}
        except (ValueError, RecursionError, TypeError) as error:
            raise ValueError(f"{path}, line {number} is not a JSON object: {error}") from error
        texts = {key: row.get(key) for key in ("id", "image", "instruction")}
        wrong = [key for key, text in texts.items() if not isinstance(text, str) or not text.strip()]
        if wrong:
            raise ValueError(f"{path}, line {number}: {', '.join(wrong)} must be a string with something in it")
        if row["split"] not in SPLITS:
            raise ValueError(f"{path}, line {number}: split must be {', '.join(SPLITS)}, not {row['split']!r}")
        yield row


def list_originals(dataset: DatasetDict) -> list[Original]:
    """All originals in order, without their images.

    Raises:
        ValueError: For an instruction without letters or digits, naming split and pair.
    """
    originals: list[Original] = []
    for split in SPLITS:
        for index, row in enumerate(dataset[split].select_columns(["pair_id", "captions"])):
            instruction = " ".join((row["captions"] or [""])[0].split())
            if not any(map(str.isalnum, instruction)):
                raise ValueError(f"{split}, pair {row['pair_id']!r}: the instruction {instruction!r} holds no word")
            originals.append(Original(len(originals), split, index, row["pair_id"], instruction))
    return originals


def image_before(dataset: DatasetDict, original: Original) -> Image.Image:
    """The image of an original, RGB.

    Raises:
        ValueError: If it cannot be read, naming split and pair.
    """
    try:
        return load_image(dataset[original.split][original.row]["before"])
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(
            f"{original.split}, pair {original.pair_id!r}: the image before cannot be read ({error})"
        ) from error


def digest(dataset: DatasetDict) -> str:
    """SHA-256 of all rows with the bytes of their images before, to recognize a set that changed since a run began."""
    undecoded = require_datasets().Image(decode=False)
    state = hashlib.sha256()
    for split in SPLITS:
        for row in dataset[split].cast_column("before", undecoded).remove_columns("after"):
            image = row.pop("before")
            content = image["bytes"] or Path(image["path"]).read_bytes()
            state.update(json.dumps([split, row, hashlib.sha256(content).hexdigest()]).encode())
    return state.hexdigest()
