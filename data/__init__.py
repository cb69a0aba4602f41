# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Data sets of image pairs: one schema, one reader a data set, and the folders that training reads."""

from .prepared import load_prepared


__all__ = ["load_prepared"]
