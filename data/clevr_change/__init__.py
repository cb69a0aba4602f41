# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""CLEVR-Change: a renderer that makes such a set here, and a reader for its released layout."""

from .captions import change_type_of
from .reader import load_clevr_change
from .settings import RenderSettings
from .writer import render_dataset


__all__ = ["RenderSettings", "change_type_of", "load_clevr_change", "render_dataset"]
