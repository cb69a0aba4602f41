# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Captions of pairs whose camera may stand anywhere, in the manner of CLEVR-DC (Kim et al., ICCV 2021).

Source: the example captions that its release shows; "both ... and" after the families of CLEVR's public generator.
"""

from __future__ import annotations

import numpy as np

from ..scene.scenes import Scene
from .grammar import ENDINGS
from .sentences import draw_one, word_of
from .viewpoint_references import Placed, reference_families


CAPTIONS_PER_PAIR = 5
DRAWS = 60
AFTER_IMAGE = "in the after image"


def viewpoint_captions(
    before: Scene, after: Scene, changed_id: int, change_type: str, generator: np.random.Generator
) -> list[str]:
    """Up to five distinct captions of one change, from all families in turn.

    An added object is described in `after`, half the time with the words "in the after image" behind a relation; any
    other one in `before`. Each scene's directions are those of its own camera.

    Returns:
        `list[str]`: An empty list where no phrase denotes the object alone.
    """
    scene = after if change_type == "add" else before
    target = next(thing for thing in scene.objects if thing.id == changed_id)
    families = reference_families(scene, target)
    value = getattr(after.find(changed_id), change_type) if change_type in ("color", "material") else None
    captions: dict[str, None] = {}
    for draw in range(DRAWS if families else 0):
        reference = draw_one(generator, families[draw % len(families)])
        words = [reference.words(generator, scene)]
        if change_type == "add" and isinstance(reference, Placed) and reference.relations and generator.random() < 0.5:
            words.append(AFTER_IMAGE)
        ending = draw_one(generator, ENDINGS[change_type])
        words.append(ending.format(word_of(generator, value) if value else ""))
        captions[" ".join(words)] = None
        if len(captions) == CAPTIONS_PER_PAIR:
            break
    return list(captions)
