# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Checks on what a data set's folder holds, each failing with one error that names the file and the entry."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image


if TYPE_CHECKING:
    from ..image_utils_ssgpa import Reading


PNG = b"\x89PNG"


def read_json_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds one object.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not UTF-8 JSON, not an object, or names a key twice.
    """
    return _read_json(path, dict)


def read_stored_object(path: Path) -> dict[str, Any]:
    """As `read_json_object`, of a file that a program adds to: empty before there is one."""
    return read_json_object(path) if path.is_file() else {}


def read_json_list(path: Path) -> list[Any]:
    """Read a JSON file that holds one list.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not UTF-8 JSON, not a list, or names a key of an object twice.
    """
    return _read_json(path, list)


def read_vocabulary(path: Path) -> dict[str, int]:
    """Read a JSON file of words and their numbers.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not UTF-8 JSON, or a word has no number, or that of another word.
    """
    words = read_json_object(path)
    wrong = next((word for word, number in words.items() if type(number) is not int or not 0 <= number < 2**32), None)
    if wrong is not None:
        raise ValueError(f"{path}: the word {wrong!r:.80} has the number {words[wrong]!r:.80}")
    if len({*words.values()}) < len(words):
        raise ValueError(f"{path}: two words have one number")
    return words


def _read_json(path: Path, kind: type) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing")
    value = parse_json(path.read_bytes(), str(path))
    if not isinstance(value, kind):
        expected = "object" if kind is dict else "list"
        raise ValueError(f"{path} must hold a JSON {expected}, not a {type(value).__name__}")
    return value


def parse_json(content: bytes, where: str) -> Any:
    """Parse UTF-8 JSON; a key that an object names twice is an error.

    Raises:
        ValueError: If it is not UTF-8 or not JSON, naming `where`.
    """
    try:
        return json.loads(content.decode("utf-8"), object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} is not valid JSON: {error}") from error


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object of JSON, as `object_pairs_hook`.

    Raises:
        ValueError: If a key occurs twice.
    """
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
    if "\0" in name:
        raise ValueError(f"{folder}: {name!r:.80} is not a file name: it holds a zero byte")
    try:
        inside, found = path.resolve().is_relative_to(folder.resolve()), path.is_file()
    except OSError as error:
        raise FileNotFoundError(f"{folder}: {name!r:.80} is not a file name ({error.strerror})") from error
    if not inside:
        raise ValueError(f"{path} leads out of {folder}; copy the file into the folder")
    if not found:
        raise FileNotFoundError(f"{path} is missing")
    return path


def check_image_bytes(content: bytes, name: str, reading: Reading | None = None) -> None:
    """Check that an image is whole and can be trained on: what training decodes it with, and checksums of a PNG.

    Args:
        content (`bytes`): The file.
        name (`str`): What the error calls it.
        reading (`Reading`, *optional*): How values become colors, by default as their dtype says.

    Raises:
        ValueError: If it is truncated, damaged, too small, not an image, or its values fit no range of colors.
    """
    # Imported here, since the renderer's workers import this module and must not wait for torch.
    from ..image_utils_ssgpa import DEFAULT, read_image

    try:
        read_image(content, name, reading=reading or DEFAULT)
        if content.startswith(PNG):
            # Decoding passes over checksums.
            with Image.open(io.BytesIO(content)) as image:
                image.verify()
    # A broken checksum is a SyntaxError.
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{name} is not a readable image: {str(error).removeprefix(f'{name}: ')}") from error
