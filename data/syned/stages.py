# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The folder of a run: its settings, and per stage one record an original, which marks that original as done there."""

from __future__ import annotations

import gc
import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from ...utils.files import is_foreign, write_json
from ..checks import read_json_object
from .originals import Original


SETTINGS = "syned_settings.json"
MODEL = "model.json"


def item_seed(seed: int, kind: str, pair_id: str, number: int) -> int:
    """Seed of one draw of one item: the first 63 bits of the SHA-256 of all four, so that no order matters."""
    text = json.dumps([seed, kind, pair_id, number])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> 1


def differences(saved: dict[str, Any], wanted: dict[str, Any], prefix: str = "") -> list[str]:
    """What differs between two nested settings, as "name there, here"."""
    found = []
    for key in sorted({*saved, *wanted}):
        there, here = saved.get(key), wanted.get(key)
        if isinstance(there, dict) and isinstance(here, dict):
            found += differences(there, here, f"{prefix}{key}.")
        elif there != here:
            found.append(f"{prefix}{key} {there!r:.80} there, {here!r:.80} here")
    return found


def keep_same(path: Path, wanted: dict[str, Any]) -> None:
    """Save settings, or check that an earlier run saved the same.

    Raises:
        ValueError: If they differ, naming the settings, or the file is damaged.
    """
    wanted = json.loads(json.dumps(wanted))
    if not path.is_file():
        write_json(path, wanted, indent=2)
        return
    other = differences(read_json_object(path), wanted)
    if other:
        raise ValueError(
            f"{path.parent} was begun with other settings or models: {'; '.join(other)}; choose a new folder"
        )


def open_run(folder: Path, settings: dict[str, Any]) -> None:
    """Create the folder of a run, or resume an earlier run in it.

    Args:
        folder (`Path`): New, empty, or left by a run with the same settings.
        settings (`dict[str, Any]`): What the run depends on, as JSON.

    Raises:
        FileExistsError: If the folder holds something that no such run began.
        ValueError: If the earlier run had other settings.
    """
    if is_foreign(folder, SETTINGS):
        raise FileExistsError(f"{folder} exists and was not begun by this program; choose an empty or a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    keep_same(folder / SETTINGS, settings)


class Stage:
    """The records of one stage of a run.

    Args:
        folder (`Path`): Its folder, made where it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)

    def path(self, original: Original, ending: str = ".json") -> Path:
        """A file of an original."""
        return self.folder / f"{original.number:06d}{ending}"

    def read(self, original: Original) -> dict[str, Any]:
        """The record of an original."""
        return read_json_object(self.path(original))

    def model(self) -> dict[str, Any] | None:
        """What `run` saved about the stage's model; None if it never loaded one."""
        path = self.folder / MODEL
        return read_json_object(path) if path.is_file() else None

    def run(
        self,
        originals: Iterable[Original],
        load: Callable[[], tuple[Any, dict[str, Any]]],
        work: Callable[[Any, Original], dict[str, Any]],
        progress: bool,
    ) -> None:
        """Make the records that are not there yet; the model is loaded only if one is missing.

        Args:
            originals (`Iterable[Original]`): What the stage works on.
            load (`Callable[[], tuple[Any, dict[str, Any]]]`): Gives the model and what its results depend on, as JSON;
                a later run must give the same.
            work (`Callable[[Any, Original], dict[str, Any]]`): Gives the record of an original; files that it writes
                come before the record.
            progress (`bool`): Whether to show a progress bar.
        """
        originals = list(originals)
        pending = [original for original in originals if not self.path(original).is_file()]
        if not pending:
            return
        model, facts = load()
        keep_same(self.folder / MODEL, facts)
        done = len(originals) - len(pending)
        bar = {"desc": self.folder.name, "total": len(originals), "initial": done, "disable": not progress}
        for original in tqdm(pending, **bar):
            write_json(self.path(original), work(model, original))
        # Give the memory of the GPU back before the next stage loads its model.
        del model
        if torch.cuda.is_available():
            gc.collect()
            torch.cuda.empty_cache()
