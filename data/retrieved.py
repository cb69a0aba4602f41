# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Captions of the training split that were retrieved for every pair: a JSON file that belongs to one prepared set."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..utils.files import write_json
from .checks import read_json_object
from .schema import RETRIEVED, SPLITS


if TYPE_CHECKING:
    from collections.abc import Mapping

    from datasets import DatasetDict


FORMAT = 1
TEXTS = ("pair_id", "scene_id", "captions")


def fingerprint(splits: DatasetDict) -> str:
    """What tells one prepared set from another: names of pairs and scenes, and captions, of every split in order.

    Args:
        splits (`DatasetDict`): A prepared set.

    Returns:
        `str`: SHA-256, in hexadecimal. Images do not count.
    """
    digest = hashlib.sha256()
    for split in SPLITS:
        digest.update(split.encode())
        for row in splits[split].select_columns(list(TEXTS)):
            digest.update(json.dumps([row[name] for name in TEXTS], ensure_ascii=True).encode())
    return digest.hexdigest()


def scenes_of_texts(splits: DatasetDict) -> dict[str, set[str]]:
    """The scenes that each caption of the training split is told of.

    Args:
        splits (`DatasetDict`): A prepared set.

    Returns:
        `dict[str, set[str]]`: Scenes by caption, in the captions' order.
    """
    scenes: dict[str, set[str]] = defaultdict(set)
    for row in splits["train"].select_columns(list(TEXTS)):
        for text in row["captions"]:
            scenes[text].add(row["scene_id"])
    return dict(scenes)


def write_store(path: str | Path, splits: DatasetDict, captions: Mapping[str, list[str]], **facts: Any) -> None:
    """Write the captions that were retrieved for the pairs of a prepared set.

    Args:
        path (`str` or `Path`): The JSON file.
        splits (`DatasetDict`): The prepared set.
        captions (`Mapping[str, list[str]]`): By pair id, the most similar first; of every pair.
        **facts (`Any`, *optional*): What else is told of them, such as the model.
    """
    write_json(Path(path), {"format": FORMAT, "data": fingerprint(splits), **facts, "captions": dict(captions)})


def add_retrieved(splits: DatasetDict, path: str | Path) -> DatasetDict:
    """Put the captions of a store into a prepared set, as the column `retrieved` of every split.

    Args:
        splits (`DatasetDict`): The prepared set.
        path (`str` or `Path`): What `write_store` wrote.

    Returns:
        `DatasetDict`: With the column.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no store, or of other data; a pair has no captions in it; or a training pair has got a
            caption that is told of its own scene alone. The error names the pair.
    """
    path = Path(path)
    advice = "make one with examples/make_retrieval_store.py"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of retrieved captions; {advice}.")
    store = read_json_object(path)
    if store.get("format") != FORMAT or not isinstance(store.get("captions"), dict):
        raise ValueError(f"{path} holds no retrieved captions; {advice}.")
    if store.get("data") != fingerprint(splits):
        raise ValueError(f"{path} is stale: its captions were retrieved for other data; {advice}.")
    captions, scenes = store["captions"], scenes_of_texts(splits)
    missing = [name for split in SPLITS for name in splits[split]["pair_id"] if name not in captions]
    if missing:
        raise ValueError(f"{path} has no captions of pair {missing[0]!r}; {advice}.")
    for row in splits["train"].select_columns(list(TEXTS)):
        leaked = [text for text in captions[row["pair_id"]] if scenes.get(text) == {row["scene_id"]}]
        if leaked:
            raise ValueError(f"{path}: pair {row['pair_id']!r} has got its own scene's {leaked[0]!r:.100}; {advice}.")
    found = {name: [captions[pair] for pair in splits[name]["pair_id"]] for name in splits}
    return type(splits)({name: rows.add_column(RETRIEVED, found[name]) for name, rows in splits.items()})


__all__ = ["add_retrieved", "fingerprint", "scenes_of_texts", "write_store"]
