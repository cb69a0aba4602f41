# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Frames and their scores on disk, by pair, each with what it was made of.

A folder holds `frames.json`, the settings; with stored frames, `frames/XX/HASH.safetensors`, one file a pair, named by
the SHA-256 of its id, whose tensor `frames` is (count, channels, height, width), uint8; and with scores,
`scores.jsonl`, a line a pair with `pair_id`, `images`, `before` and `after`.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ...utils.files import append_lines, lock_output, write_json, write_text


MANIFEST = "frames.json"
SCORES = "scores.jsonl"
FORMAT = 1
NAME = "frames"


def digest_of_pair(before: np.ndarray, after: np.ndarray) -> str:
    """What tells the resized images of a pair from those of another, or of another preparation.

    Args:
        before (`np.ndarray` of shape `(channels, height, width)`): uint8.
        after (`np.ndarray` of the same shape): uint8.
    """
    found = hashlib.sha256(str(before.shape).encode())
    for image in (before, after):
        found.update(np.ascontiguousarray(image).data)
    return found.hexdigest()


class StaleFramesError(ValueError):
    """Frames or scores were made of other images."""


class FrameFolder:
    """Frames of pairs and their scores, written once and read by every run.

    Args:
        folder (`str` or `Path`): What `examples/make_procap_frames.py` wrote.

    Raises:
        FileNotFoundError: It is none.
        ValueError: Its settings are damaged, or of another version.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        path = self.folder / MANIFEST
        if not path.is_file():
            raise FileNotFoundError(
                f"{self.folder} holds no frames (no {MANIFEST}); make them with examples/make_procap_frames.py."
            )
        try:
            self.settings = json.loads(path.read_text(encoding="utf-8"))
            known = self.settings["format"] == FORMAT
            self.count, self.stored = self.settings["count"], self.settings["stored"]
        except (ValueError, RecursionError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is damaged ({error}); make the frames again.") from error
        if not known:
            raise ValueError(f"{path} is of another version of the format; make the frames again.")

    @classmethod
    def create(cls, folder: str | Path, settings: Mapping[str, Any]) -> "FrameFolder":
        """Begin a folder, or go on with one of the same settings; no other run may write to it meanwhile.

        Args:
            folder (`str` or `Path`): Made where it is missing.
            settings (`Mapping[str, Any]`): What the frames depend on: `count`, `stored` and more, as JSON.

        Raises:
            FileExistsError: The folder holds something else, or another run writes to it.
            ValueError: It holds frames of other settings; the error names them.
        """
        folder, path = Path(folder), Path(folder) / MANIFEST
        wanted = json.loads(json.dumps({"format": FORMAT, **settings}))
        if not path.is_file():
            if folder.exists() and any(item.name[0] != "." for item in folder.iterdir()):
                raise FileExistsError(f"{folder} holds something else; choose another folder.")
            folder.mkdir(parents=True, exist_ok=True)
            write_json(path, wanted, indent=2)
        made = cls(folder)
        made._lock = lock_output(path)
        changed = [name for name in {**wanted, **made.settings} if wanted.get(name) != made.settings.get(name)]
        if changed:
            raise ValueError(
                f"{folder} holds frames of other settings (different: {', '.join(changed)}); choose another folder, "
                "or delete it."
            )
        return made

    def path(self, pair_id: str) -> Path:
        """The file of a pair's frames."""
        name = hashlib.sha256(pair_id.encode()).hexdigest()
        return self.folder / NAME / name[:2] / f"{name}.safetensors"

    def write(self, pair_id: str, digest: str, frames: np.ndarray) -> None:
        """Write a pair's frames, whole or not at all.

        Args:
            pair_id (`str`): The pair's.
            digest (`str`): As `digest_of_pair` gives it.
            frames (`np.ndarray` of shape `(count, channels, height, width)`): uint8.
        """
        path = self.path(pair_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part")
        frames = np.ascontiguousarray(frames)
        notes = {"pair_id": pair_id, "images": digest, "sha256": hashlib.sha256(frames.data).hexdigest()}
        save_file({NAME: frames}, part, metadata=notes)
        part.replace(path)

    def missing(self, pair_ids: Iterable[str]) -> list[str]:
        """Pairs that have no file of frames."""
        there = {path.name for path in (self.folder / NAME).glob("??/*.safetensors")}
        return [name for name in pair_ids if self.path(name).name not in there]

    def read(self, pair_id: str, digest: str) -> np.ndarray:
        """Read a pair's frames (count, channels, height, width), uint8.

        Args:
            pair_id (`str`): The pair's.
            digest (`str`): Of its two images, as `digest_of_pair` gives it.

        Raises:
            ValueError: They are missing, damaged, or made of other images; the error names file and pair.
        """
        path = self.path(pair_id)
        try:
            with safe_open(path, "np") as file:
                notes, frames = file.metadata(), file.get_tensor(NAME)
            source, wanted = notes["images"], notes["sha256"]
        except (OSError, SafetensorError, KeyError, TypeError) as error:
            raise ValueError(f"{path}: the frames of pair {pair_id!r} cannot be read ({error}). {AGAIN}") from error
        if hashlib.sha256(np.ascontiguousarray(frames).data).hexdigest() != wanted:
            raise ValueError(f"{path}: the frames of pair {pair_id!r} are not what was written. {AGAIN}")
        check_source(path, pair_id, source, digest)
        return frames

    def is_current(self, pair_id: str, digest: str) -> bool:
        """Whether the frames of a pair are there and whole.

        Raises:
            StaleFramesError: They are, of other images.
        """
        try:
            return len(self.read(pair_id, digest)) == self.count
        except StaleFramesError:
            raise
        except ValueError:
            return False


AGAIN = "Delete it, and let examples/make_procap_frames.py make it again."


def check_source(path: Path, pair_id: str, found: str, wanted: str) -> None:
    """Refuse what was made of other images.

    Args:
        path (`Path`): Where it lies, for the error.
        pair_id (`str`): The pair's.
        found (`str`): Digest of the images that it was made of.
        wanted (`str`): Digest of those of now.

    Raises:
        StaleFramesError: They differ; the error names file and pair.
    """
    if found != wanted:
        raise StaleFramesError(
            f"{path}: made of other images of pair {pair_id!r}, or of another size or preparation than the run's. "
            "Make frames and scores of this data and this image size in a new folder."
        )


class ScoreTable:
    """Similarities of each pair's captions to its frames, as `scores.jsonl` holds them.

    Args:
        path (`Path`): The file; its first line holds the settings.
        count (`int`): Frames between the images of a pair.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is damaged, or its frames are of another number.
    """

    def __init__(self, path: Path, count: int) -> None:
        self.path = path
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no scores; make them with examples/make_procap_frames.py --retrieval.")
        _, records, _ = read_scores(path)
        self.rows = {record["pair_id"]: row for row, record in enumerate(records)}
        if len(self.rows) < len(records):
            raise ValueError(f"{path} has two lines for one pair; make the scores again.")
        # Arrays, and no Python objects, of which every worker would soon have a copy.
        self.digests = np.array([record["images"] for record in records], dtype="U64")
        sides = [[record["before"], record["after"]] for record in records]
        self.sides = np.array(sides, dtype=np.float64).reshape(len(records), 2, -1)
        if records and self.sides.shape[2] != count:
            raise ValueError(f"{path} scores {self.sides.shape[2]} frames a pair, and there are {count}.")

    def missing(self, pair_ids: Iterable[str]) -> list[str]:
        """Pairs that have no scores."""
        return [name for name in pair_ids if name not in self.rows]

    def read(self, pair_id: str, digest: str) -> np.ndarray:
        """Similarities (2, count) of a pair: of (before, frame), and of (frame, after).

        Args:
            pair_id (`str`): The pair's.
            digest (`str`): Of its two images, as `digest_of_pair` gives it.

        Raises:
            ValueError: There are none, or they are of other images.
        """
        if pair_id not in self.rows:
            raise ValueError(f"{self.path} has no scores of pair {pair_id!r}: make the others with the same command.")
        row = self.rows[pair_id]
        check_source(self.path, pair_id, str(self.digests[row]), digest)
        return self.sides[row]


class ScoreLog:
    """Scores as they are made: appended, and taken up again after an interruption.

    Args:
        path (`Path`): The file; made where it is missing.
        settings (`Mapping[str, Any]`): What the scores depend on, as JSON.

    Raises:
        ValueError: It holds scores of other settings; the error names them.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.path = path
        wanted = json.loads(json.dumps({"format": FORMAT, **settings}))
        self.digests: dict[str, str] = {}
        if not path.is_file() or not path.stat().st_size:
            write_text(path, json.dumps({"settings": wanted}) + "\n")
            return
        theirs, records, cut = read_scores(path)
        changed = [name for name in {**theirs, **wanted} if theirs.get(name) != wanted.get(name)]
        if changed:
            raise ValueError(f"{path} holds scores of other settings (different: {', '.join(changed)}); delete it.")
        if cut:
            os.truncate(path, path.stat().st_size - cut)
        self.digests = {record["pair_id"]: record["images"] for record in records}

    def is_current(self, pair_id: str, digest: str) -> bool:
        """Whether a pair is scored already.

        Raises:
            ValueError: It is, with other images.
        """
        if pair_id in self.digests:
            check_source(self.path, pair_id, self.digests[pair_id], digest)
        return pair_id in self.digests

    def add(self, pair_id: str, digest: str, sides: np.ndarray) -> None:
        """Append the scores of a pair.

        Args:
            pair_id (`str`): The pair's.
            digest (`str`): As `digest_of_pair` gives it.
            sides (`np.ndarray` of shape `(2, count)`): As `ScoreTable.read` gives them.
        """
        before, after = np.asarray(sides, dtype=np.float64).tolist()
        record = {"pair_id": pair_id, "images": digest, "before": before, "after": after}
        append_lines(self.path, [json.dumps(record) + "\n"])
        self.digests[pair_id] = digest


def read_scores(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]], int]:
    """Read a file of scores.

    Args:
        path (`Path`): The file.

    Returns:
        `tuple[dict[str, Any], list[dict[str, Any]], int]`: Its settings, a record a pair, and the bytes of a last line
        that was cut off.

    Raises:
        ValueError: It is no such file, or a line is damaged; the error names them.
    """
    whole, _, cut = path.read_bytes().rpartition(b"\n")
    first, *lines = whole.split(b"\n")
    number = 1
    try:
        settings = json.loads(first)["settings"]
        if settings["format"] != FORMAT:
            raise ValueError("of another version of the format")
        records = []
        for line in lines:
            number += 1
            records.append(_read_record(line))
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise ValueError(f"{path}, line {number}: no scores of frames ({error}); make them again.") from error
    return settings, records, len(cut)


def _read_record(line: bytes) -> dict[str, Any]:
    record = json.loads(line)
    if {*record} != {"pair_id", "images", "before", "after"} or len(record["before"]) != len(record["after"]):
        raise ValueError("it lacks a value")
    if not np.isfinite([*record["before"], *record["after"]]).all():
        raise ValueError("a score is no number")
    return record


__all__ = [
    "MANIFEST",
    "SCORES",
    "FrameFolder",
    "ScoreLog",
    "ScoreTable",
    "StaleFramesError",
    "check_source",
    "digest_of_pair",
    "read_scores",
]
