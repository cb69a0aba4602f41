# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Captions of several changes: one sentence a change, joined into one caption (ours)."""

from __future__ import annotations

import numpy as np

from ..captions.sentences import CAPTIONS_PER_CHANGE, change_captions
from ..scene.changes import Change
from ..scene.scenes import Scene


# As CARD's release joins the sentences of a pair of Spot-the-Diff.
JOINT = ". "
DRAWS = 60


def captions_of_changes(
    before: Scene, after: Scene, changes: tuple[Change, ...], generator: np.random.Generator
) -> list[str]:
    """Up to seven distinct captions that tell all changes, in any order; of one change, those of `change_captions`.

    Returns:
        `list[str]`: An empty list where one of the changed objects cannot be denoted alone.
    """
    told = [change_captions(before, after, change.object_id, change.change_type, generator) for change in changes]
    if len(told) == 1 or not all(told):
        return told[0] if len(told) == 1 else []
    captions: dict[str, None] = {}
    for number in range(DRAWS):
        sentences = [options[number % len(options)] for options in told]
        captions[JOINT.join(sentences[i] for i in generator.permutation(len(sentences)))] = None
        if len(captions) == CAPTIONS_PER_CHANGE:
            break
    return list(captions)
