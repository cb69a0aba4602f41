# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Checks on what a data set's folder holds, each failing with one error that names the file and the entry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError


def read_json_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds one object.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not UTF-8 JSON, not an object, or names a key twice.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing")
    try:
        value = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_unique_keys)
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} must hold a JSON object, not a {type(value).__name__}")
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise ValueError(f"the key {twice!r} occurs twice")
    return result


def check_captions(captions: Any, where: str) -> list[str]:
    """Return `captions` if they are a non-empty list of non-empty strings.

    Raises:
        ValueError: Otherwise, naming `where`.
    """
    if not isinstance(captions, list) or not captions:
        raise ValueError(f"{where}: expected a non-empty list of captions, found {captions!r:.80}")
    for number, caption in enumerate(captions):
        if not isinstance(caption, str) or not caption.strip():
            raise ValueError(f"{where}: caption {number} must be a non-empty string, found {caption!r:.80}")
    return captions


def inner_file(folder: Path, name: str) -> Path:
    """Path of the file `name` in `folder`.

    Raises:
        ValueError: If the name, or a link on its way, leads out of the folder.
        FileNotFoundError: If there is no such file.
    """
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{path} leads out of {folder}; copy the file into the folder")
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing")
    return path


def check_picture(path: Path) -> Path:
    """Return `path` if its picture is whole: checksums of a PNG, a full decoding of anything else.

    Raises:
        ValueError: If it is truncated, damaged or not a picture.
    """
    try:
        with Image.open(path) as picture:
            if picture.format == "PNG":
                picture.verify()
            else:
                picture.load()
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{path} is not a readable picture: {error}") from error
    return path
