# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Syned, synthetic pairs after the BLIP2IDC paper (arXiv 2412.15939): edited images and instructions in other words.

Written from the paper's description; what it leaves open is ours and marked so.
"""

from .pipeline import make_syned
from .settings import EditSettings, ParaphraseSettings, RankSettings, SynedSettings


__all__ = ["EditSettings", "ParaphraseSettings", "RankSettings", "SynedSettings", "make_syned"]
