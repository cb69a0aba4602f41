# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Published change captioning systems beside SSGPA, a folder each."""

from . import clip4idc, procap, scorer


__all__ = ["clip4idc", "procap", "scorer"]
