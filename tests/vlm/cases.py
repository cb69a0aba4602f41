# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Tiny VLMs that the tests share, plain and with SSGPA's parts."""

from functools import cache

import torch
from transformers import PreTrainedModel

from ssgpa.benchmarks.tiny_vlms import TINY_VLMS, build_vlm, open_parts, wrap_vlm
from ssgpa.vlm import SSGPAForVLM


FAMILIES = sorted(TINY_VLMS)
DTYPES = [torch.float32, torch.bfloat16]
SHORT = {"max_new_tokens": 5, "do_sample": False}


@cache
def untrained(family: str, dtype: torch.dtype = torch.float32) -> tuple[PreTrainedModel, SSGPAForVLM]:
    """A plain VLM and a wrapped copy of it, for tests that change neither."""
    return build_vlm(family, dtype=dtype), wrap_vlm(build_vlm(family, dtype=dtype), family)


@cache
def opened(family: str) -> SSGPAForVLM:
    """A wrapped VLM whose parts take effect, for tests that do not change it."""
    return fresh(family)


def fresh(family: str, **fields: object) -> SSGPAForVLM:
    """The same as one's own."""
    return open_parts(wrap_vlm(build_vlm(family), family, **fields))
