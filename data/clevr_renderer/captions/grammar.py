# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Words of CLEVR-Change's captions: synonyms, relations and endings (source: the release's vocabulary and samples)."""

from __future__ import annotations

from ..scene.geometry import COLORS


SYNONYMS: dict[str, tuple[str, ...]] = {
    "cube": ("cube", "block"),
    "sphere": ("sphere", "ball"),
    "cylinder": ("cylinder",),
    "thing": ("thing", "object"),
    "large": ("large", "big"),
    "small": ("small", "tiny"),
    "metal": ("metallic", "metal", "shiny"),
    "rubber": ("rubber", "matte"),
} | {color: (color,) for color in COLORS}

RELATIONS: dict[str, tuple[str, ...]] = {
    "left": ("left of", "to the left of", "on the left side of"),
    "right": ("right of", "to the right of", "on the right side of"),
    "behind": ("behind",),
    "front": ("in front of",),
}

_VALUE_ENDINGS = ("changed to {}", "turned {}", "became {}")
ENDINGS: dict[str, tuple[str, ...]] = {
    "color": _VALUE_ENDINGS,
    "material": _VALUE_ENDINGS,
    "add": ("has been added", "has been newly placed", "has appeared"),
    "drop": ("has disappeared", "is missing", "is gone", "is no longer there"),
    "move": ("changed its location", "is in a different location", "moved"),
}

NO_CHANGE = (
    "no change was made",
    "there is no change",
    "the two scenes seem identical",
    "the scene is the same as before",
    "the scene remains the same",
    "nothing has changed",
    "nothing was modified",
    "no change has occurred",
    "there is no difference",
)
