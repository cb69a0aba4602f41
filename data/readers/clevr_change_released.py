# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Figures of the released CLEVR-Change, to be put beside those of a set rendered here.

Sources: splits, types and overlaps were counted in the index files of the release (`splits.json`, `type_mapping.json`,
`change_captions_by_IOU.json`); the words stand in a published vocabulary of 72 words and four special ones; the
longest caption is what the official configuration allows, less its start token; the number of captions is printed by a
third party.
"""

from __future__ import annotations


_WORDS = """
    a added appeared as ball became been before behind big block blue brown change changed cube cyan cylinder
    difference different disappeared front gone gray green has identical in is its large left location longer made
    matte metal metallic missing modified moved newly no nothing object occurred of on placed purple red remains right
    rubber same scene scenes seem shiny side small sphere that the there thing tiny to turned two was yellow
"""
WORDS = tuple(_WORDS.split())

FIGURES = {
    "scenes": 39_803,
    "splits": {"train": 33_830, "validation": 1988, "test": 3985},
    "types": {
        "color": {"train": 6764, "validation": 397, "test": 797},
        "material": {"train": 6768, "validation": 398, "test": 797},
        "add": {"train": 6771, "validation": 398, "test": 797},
        "drop": {"train": 6766, "validation": 398, "test": 797},
        "move": {"train": 6761, "validation": 397, "test": 797},
    },
    "captions": 493_735,
    "longest_caption": 22,
    "vocabulary": len(WORDS),
    "overlap": {
        "all": {"mean": 0.508, "q05": 0.281, "q25": 0.408, "q50": 0.502, "q75": 0.605, "q95": 0.755},
        "test": {"mean": 0.510, "q05": 0.287, "q25": 0.406, "q50": 0.505, "q75": 0.607, "q95": 0.756},
    },
}
