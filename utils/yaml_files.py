# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""YAML of other people: plain values, or one line that names the file."""

from pathlib import Path
from typing import Any


# What PyYAML lets through where a value only looks like a date, a number or a word, or lies too deep.
SLIPS = (ValueError, ArithmeticError, AttributeError, LookupError, TypeError, RecursionError)
# Aliases of aliases become any number of values out of a few lines.
LARGEST = 100_000


def read_yaml_file(path: Path) -> Any:
    """Read a YAML file; no tag of it makes anything else than plain values.

    Args:
        path (`Path`): The file, UTF-8.

    Returns:
        `Any`: Its value.

    Raises:
        ImportError: PyYAML is missing.
        ValueError: It is no YAML, or aliases in it unfold without end; the error names it, in one line.
    """
    try:
        import yaml
    except ImportError as error:
        raise ImportError('PyYAML is missing: pip install "ssgpa[train]".') from error
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, *SLIPS) as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if _is_larger(value, LARGEST):
        raise ValueError(f"{path}: its aliases unfold to more than {LARGEST:,} values.")
    return value


def _is_larger(value: Any, limit: int) -> bool:
    """Whether a value holds more than `limit` others, counted as often as they are shown; it may hold itself."""
    waiting, count = [value], 0
    while waiting and count <= limit:
        item = waiting.pop()
        count += 1
        if isinstance(item, dict):
            waiting += [*item, *item.values()]
        elif isinstance(item, list | tuple | set):
            waiting += item
    return count > limit
