# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Files that are written completely or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import get_ident
from typing import Any

from filelock import FileLock, Timeout
from PIL import Image


# Outputs that `holding_output` holds, with the processes and threads that hold them.
_HELD: set[tuple[Path, int, int]] = set()


def temporary_name(name: str) -> str:
    """Return the name of a file until it is complete."""
    return f".{name}.tmp"


def lock_output(path: Path, is_singleton: bool = False) -> FileLock:
    """Keep other runs from writing to a file or a folder until this one ends, however it ends.

    Args:
        path (`Path`): The file or folder; the lock is an empty file beside it, which stays.
        is_singleton (`bool`, *optional*, defaults to `False`): Let the process that holds the lock take it again.

    Returns:
        `FileLock`: The lock, taken.

    Raises:
        FileExistsError: Another run holds it.
    """
    # `.` and `..` have no name of their own.
    path = path if path.name not in ("", "..") else path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f".{path.name}.lock"), timeout=0, is_singleton=is_singleton)
    try:
        lock.acquire()
    except Timeout:
        raise FileExistsError(
            f"{path}: another run is writing to it; wait until it has ended, or choose another name."
        ) from None
    return lock


@contextmanager
def holding_output(path: Path) -> Iterator[None]:
    """Keep other runs from a file or a folder for a while, as `lock_output` does, and leave no lock behind.

    Within, the same thread may hold it once more.

    Raises:
        FileExistsError: Another run holds it.
    """
    # A fork holds nothing of what its parent holds.
    key = (path.resolve(), os.getpid(), get_ident())
    if key in _HELD:
        yield
        return
    lock = lock_output(path)
    _HELD.add(key)
    try:
        yield
    finally:
        _HELD.remove(key)
        if os.name == "posix":
            # Before it is free: who takes it then makes a new one. Elsewhere an open file cannot be removed.
            Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def is_foreign(folder: Path, first: str) -> bool:
    """Return whether a folder holds something else than a run whose first file is called `first`.

    A run that was killed while it wrote that file leaves its temporary name alone.
    """
    if not folder.exists() or (folder / first).is_file():
        return False
    return not folder.is_dir() or any(path.name != temporary_name(first) for path in folder.iterdir())


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name a file in the error of what cannot be written to it, where the error does not: a full disk does not."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise type(error)(error.errno, error.strerror, str(path)) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name in the folder of `path` to write to; it replaces `path` if no error is raised."""
    temporary = path.with_name(temporary_name(path.name))
    try:
        with naming(path):
            yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder beside `folder` to write to; it takes the place of `folder` if no error is raised.

    A run that is killed leaves the old folder or the new one, if need be under a hidden name: see `recover_folder`.
    """
    temporary = begin_folder(folder)
    try:
        with naming(folder):
            yield temporary
        put_folder(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        # Where the new one could not be put in its place.
        recover_folder(folder)


def begin_folder(folder: Path) -> Path:
    """Make an empty folder beside `folder`, whatever an interrupted run has left there; return it."""
    recover_folder(folder)
    temporary = folder.with_name(temporary_name(folder.name))
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    return temporary


def put_folder(temporary: Path, folder: Path) -> None:
    """Put a folder from `begin_folder` in its place; an earlier one is removed only once the new one is there."""
    old = old_folder(folder)
    if folder.exists():
        folder.replace(old)
    temporary.replace(folder)
    shutil.rmtree(old, ignore_errors=True)


def recover_folder(folder: Path) -> None:
    """Put a folder back that a killed run had moved away, or remove one that had been replaced."""
    old = old_folder(folder)
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
    elif old.is_dir():
        old.replace(folder)


def old_folder(folder: Path) -> Path:
    """Return where a folder lies while a new one takes its place."""
    return folder.with_name(f".{folder.name}.old")


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


def append_lines(path: Path, lines: Iterable[str]) -> None:
    """Append lines of UTF-8 and hand them to the operating system.

    Raises:
        OSError: They cannot be written; the error names the file. A line that is cut off has no end.
    """
    with naming(path), path.open("a", encoding="utf-8") as file:
        file.write("".join(lines))


def write_png(path: Path, image: Image.Image, level: int = 6) -> None:
    """Write an image as PNG; a lower `level` (1 to 9) takes less time and more space."""
    with replacing(path) as temporary:
        image.save(temporary, format="PNG", compress_level=level)
