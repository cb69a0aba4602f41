# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""YAML files that somebody else may have written."""

from __future__ import annotations

from pathlib import Path
from typing import Any


# What PyYAML lets through where a value only looks like a date, a number or a word, or lies too deep.
SLIPS = (ValueError, ArithmeticError, AttributeError, LookupError, TypeError, RecursionError)
# Far more than any run or card has. Aliases that double themselves name billions in a few lines.
MAX_VALUES = 10_000
MAX_BYTES = 2**20


def load_yaml(path: Path) -> Any:
    """Read a YAML file that makes nothing but plain values.

    Args:
        path (`Path`): The file, UTF-8.

    Returns:
        `Any`: What it holds.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is no YAML of plain values, or holds more than 10,000 of them or a megabyte; the error names the
            file.
        ImportError: PyYAML is missing; the error names the extra that brings it.
    """
    try:
        import yaml
    except ImportError as error:
        raise ImportError('PyYAML is missing: pip install "ssgpa[train]".') from error
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path} is not YAML of settings: it has more than {MAX_BYTES:,} bytes.")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, *SLIPS) as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    waiting, count = [values], 0
    while waiting:
        value = waiting.pop()
        count += 1
        if isinstance(value, dict):
            waiting += [*value.keys(), *value.values()]
        elif isinstance(value, (list, set, tuple)):
            waiting += value
        if count + len(waiting) > MAX_VALUES:
            raise ValueError(f"{path} holds more than {MAX_VALUES:,} values.")
    return values
