# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Readers of released data sets and of users' own pairs, one module each, with the contract of `reading.Source`."""

from .changechat import CHANGECHAT
from .clevr_dc import CLEVR_DC
from .custom_pairs import CUSTOM_PAIRS
from .emu_edit import EMU_EDIT
from .image_editing_request import IMAGE_EDITING_REQUEST
from .levir_cc import LEVIR_CC
from .magicbrush import MAGICBRUSH
from .rscc import RSCC
from .second_cc import SECOND_CC
from .spot_the_diff import SPOT_THE_DIFF_MULTI, SPOT_THE_DIFF_SINGLE
from .syned import SYNED


__all__ = [
    "CHANGECHAT",
    "CLEVR_DC",
    "CUSTOM_PAIRS",
    "EMU_EDIT",
    "IMAGE_EDITING_REQUEST",
    "LEVIR_CC",
    "MAGICBRUSH",
    "RSCC",
    "SECOND_CC",
    "SPOT_THE_DIFF_MULTI",
    "SPOT_THE_DIFF_SINGLE",
    "SYNED",
]
