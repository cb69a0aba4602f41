# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Optional packages of the data sets."""

from __future__ import annotations

import importlib
from types import ModuleType


def require_datasets() -> ModuleType:
    """Import the `datasets` package.

    Raises:
        ImportError: If it is missing, naming the extra that brings it.
    """
    try:
        return importlib.import_module("datasets")
    except ImportError as error:
        raise ImportError('ssgpa.data needs the package `datasets`: pip install "ssgpa[data]"') from error
