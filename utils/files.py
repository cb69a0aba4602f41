# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Files that are written completely or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from PIL import Image


def temporary_name(name: str) -> str:
    """Return the name of a file until it is complete."""
    return f".{name}.tmp"


def lock_output(path: Path, is_singleton: bool = False) -> FileLock:
    """Keep other runs from writing to a file until this one ends, however it ends.

    Args:
        path (`Path`): The file; the lock is an empty file beside it, which stays.
        is_singleton (`bool`, *optional*, defaults to `False`): Let the process that holds the lock take it again.

    Returns:
        `FileLock`: The lock, taken.

    Raises:
        FileExistsError: Another run holds it.
    """
    lock = FileLock(path.with_name(f".{path.name}.lock"), timeout=0, is_singleton=is_singleton)
    try:
        lock.acquire()
    except Timeout:
        raise FileExistsError(
            f"{path}: another run is writing to it; wait until it has ended, or choose another name."
        ) from None
    return lock


def is_foreign(folder: Path, first: str) -> bool:
    """Return whether a folder holds something else than a run whose first file is called `first`.

    A run that was killed while it wrote that file leaves its temporary name alone.
    """
    if not folder.exists() or (folder / first).is_file():
        return False
    return not folder.is_dir() or any(path.name != temporary_name(first) for path in folder.iterdir())


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name in the folder of `path` to write to; it replaces `path` if no error is raised."""
    temporary = path.with_name(temporary_name(path.name))
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any, indent: int | None = None) -> None:
    """Write `value` as UTF-8 JSON."""
    write_text(path, json.dumps(value, indent=indent) + "\n")


def write_json_lines(path: Path, values: Iterable[Any]) -> None:
    """Write one JSON value a line."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for value in values:
            file.write(json.dumps(value) + "\n")


def write_png(path: Path, image: Image.Image, level: int = 6) -> None:
    """Write an image as PNG; a lower `level` (1 to 9) takes less time and more space."""
    with replacing(path) as temporary:
        image.save(temporary, format="PNG", compress_level=level)
