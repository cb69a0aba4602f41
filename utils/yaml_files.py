# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""YAML of other people: plain values, or one line that names the file."""

from pathlib import Path
from typing import Any


# What PyYAML lets through where a value only looks like a date, a number or a word, or lies too deep.
SLIPS = (ValueError, ArithmeticError, AttributeError, LookupError, TypeError, RecursionError)


def read_yaml_file(path: Path) -> Any:
    """Read a YAML file; no tag of it makes anything else than plain values.

    Args:
        path (`Path`): The file, UTF-8.

    Returns:
        `Any`: Its value.

    Raises:
        ImportError: PyYAML is missing.
        ValueError: It is no YAML; the error names it, in one line.
    """
    try:
        import yaml
    except ImportError as error:
        raise ImportError('PyYAML is missing: pip install "ssgpa[train]".') from error
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, *SLIPS) as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
