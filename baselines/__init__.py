# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Published change captioning systems beside SSGPA, a folder each."""

from . import blip2idc, clip4idc, finer_mllm, procap, scorer, vir_vlfm


__all__ = ["blip2idc", "clip4idc", "finer_mllm", "procap", "scorer", "vir_vlfm"]
