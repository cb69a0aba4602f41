# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Blocks of the documents that one results file fills."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


EMPTY = "No figures are stored yet."


def read_block(path: Path, lay_out: Callable[[Mapping[str, Any], str], str]) -> str:
    """Lay out a results file, or say that there is none.

    Args:
        path (`Path`): The JSON file.
        lay_out (`Callable[[Mapping[str, Any], str], str]`): Makes Markdown of what the file holds and of its name as
            the reader finds it.

    Returns:
        `str`: Markdown.
    """
    if not path.is_file():
        return EMPTY
    return lay_out(json.loads(path.read_text(encoding="utf-8")), f"benchmarks/results/{path.name}")
