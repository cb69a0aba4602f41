# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""A renderer that makes sets like CLEVR-Change here, in the layout of its release."""

from .captions.sentences import change_type_of
from .dataset.settings import RenderSettings
from .dataset.writer import render_dataset


__all__ = ["RenderSettings", "change_type_of", "render_dataset"]
