# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Captions made with perfect knowledge of the scene, in several wordings: what CIDEr owes to wording alone (ours)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ...data.clevr_renderer.captions.sentences import ALL_ATTRIBUTES, ATTRIBUTES, describe_change
from ...data.clevr_renderer.captions.viewpoint_captions import describe_viewpoint_change
from ...data.clevr_renderer.scene.scenes import Scene
from ..bounds import PairBlocks, Row
from .scenes import SCENE, ChangedScene
from .templates import parse_caption
from .wordings import CANON, PLAIN, Description, as_scene, describe, say


FRESH = "a fresh draw of the reference grammar"
SHORTEST = "the shortest description that fits no other object"
FOUR = "four attributes, no relation"
NEEDED = "four attributes, a relation only where needed"
CANONICAL = "canonical words, a relation only where needed"


def oracle_captions(rows: Sequence[Row], seed: int = 0) -> dict[str, list[str]]:
    """Caption changed pairs from their scenes.

    Args:
        rows (`Sequence[Row]`): Changed pairs with their scenes and references; references with CLEVR-DC's phrases make
            the fresh draw one of CLEVR-DC's grammar.
        seed (`int`, *optional*, defaults to `0`): Seed of the fresh draw.

    Returns:
        `dict[str, list[str]]`: One caption a pair by wording. All describe the changed object truly; all but "no
        relation" describe it alone, wherever one relation or none is enough for that.
    """
    generator = np.random.default_rng(seed)
    draw = describe_viewpoint_change if _has_viewpoint_phrases(rows) else describe_change
    found: dict[str, list[str]] = {name: [] for name in (FRESH, SHORTEST, FOUR, NEEDED, CANONICAL)}
    for row in rows:
        truth = row[SCENE]
        scene = as_scene(truth)
        target = scene.find(truth.target)
        needed = describe(scene, target, len(ATTRIBUTES))
        found[FRESH].append(_draw(draw, scene, truth, generator) or say(target, needed, truth, PLAIN))
        found[SHORTEST].append(say(target, describe(scene, target, 1), truth, PLAIN))
        found[FOUR].append(say(target, Description(ALL_ATTRIBUTES), truth, PLAIN))
        found[NEEDED].append(say(target, needed, truth, PLAIN))
        found[CANONICAL].append(say(target, needed, truth, CANON))
    return found


def score_oracles(blocks: PairBlocks, captions: Mapping[str, Sequence[str]]) -> dict[str, dict[str, Any]]:
    """Score captions that know the scene, over the changed pairs.

    Args:
        blocks (`PairBlocks`): The references that are scored.
        captions (`Mapping[str, Sequence[str]]`): Tokenized captions of the changed pairs by wording, from
            `oracle_captions`.

    Returns:
        `dict[str, dict[str, Any]]`: {wording: {"total": None, "changed": scores}}.
    """
    return {
        name: {"total": None, "changed": blocks.corpora["changed"].score(texts)} for name, texts in captions.items()
    }


def _has_viewpoint_phrases(rows: Sequence[Row]) -> bool:
    parsed = (parse_caption(text) for row in rows for text in row["captions"])
    return any(caption and (caption.second or caption.shared) for caption in parsed)


def _draw(draw: Callable[..., list[str]], scene: Scene, truth: ChangedScene, generator: np.random.Generator) -> str:
    texts = draw(scene, truth.target, truth.change_type, truth.value, generator)
    return texts[int(generator.integers(len(texts)))] if texts else ""
