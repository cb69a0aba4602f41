# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Captions made with perfect knowledge of the scene, in several wordings: what CIDEr owes to wording alone (ours)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...data.clevr_renderer.captions.grammar import ENDINGS, RELATIONS, SYNONYMS
from ...data.clevr_renderer.captions.sentences import (
    ATTRIBUTES,
    Mask,
    describe_change,
    target_relations,
    unique_masks,
)
from ...data.clevr_renderer.captions.viewpoint_captions import describe_viewpoint_change
from ...data.clevr_renderer.scene.scenes import Scene, SceneObject
from ..bounds import PairBlocks, Row
from .scenes import SCENE, ChangedScene
from .templates import parse_caption


FRESH = "a fresh draw of the reference grammar"
SHORTEST = "the shortest description that fits no other object"
FOUR = "four attributes, no relation"
NEEDED = "four attributes, a relation only where needed"
CANONICAL = "canonical words, a relation only where needed"

_ALL: Mask = (True, True, True, True)
_CAMERA_DISTANCE, _CAMERA_HEIGHT = 10.0, 5.0


class Wording(NamedTuple):
    """One word or phrase for each meaning of the grammar."""

    words: Mapping[str, str]
    relations: Mapping[str, str]
    endings: Mapping[str, str]


PLAIN = Wording(
    {value: words[0] for value, words in SYNONYMS.items()},
    {name: phrases[0] for name, phrases in RELATIONS.items()},
    {kind: phrases[0] for kind, phrases in ENDINGS.items()},
)
# Of equal meaning, and nearer to the average reference.
CANON = Wording(
    PLAIN.words | {"small": "tiny", "cube": "block", "sphere": "ball", "metal": "metal"},
    PLAIN.relations,
    PLAIN.endings
    | {"add": "has been newly placed", "drop": "is no longer there", "move": "is in a different location"},
)


class Description(NamedTuple):
    """The attributes that are told of the changed object, and its relation to an anchor with those of that."""

    mask: Mask
    relation: tuple[str, SceneObject, Mask] | None = None


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
        scene = _as_scene(truth)
        target = scene.find(truth.target)
        needed = _describe(scene, target, len(ATTRIBUTES))
        found[FRESH].append(_draw(draw, scene, truth, generator) or _say(target, needed, truth, PLAIN))
        found[SHORTEST].append(_say(target, _describe(scene, target, 1), truth, PLAIN))
        found[FOUR].append(_say(target, Description(_ALL), truth, PLAIN))
        found[NEEDED].append(_say(target, needed, truth, PLAIN))
        found[CANONICAL].append(_say(target, needed, truth, CANON))
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


def _as_scene(truth: ChangedScene) -> Scene:
    """A scene of the renderer with the same objects, seen along the same directions."""
    along = truth.directions["behind"]
    camera = (-_CAMERA_DISTANCE * along[0], -_CAMERA_DISTANCE * along[1], _CAMERA_HEIGHT)
    objects = [
        SceneObject(thing["id"], *(thing[name] for name in ("shape", "size", "color", "material")), position, 0.0)
        for thing in truth.objects
        for position in [tuple(thing["position"])]
    ]
    return Scene(tuple(objects), {}, camera)


def _draw(draw: Callable[..., list[str]], scene: Scene, truth: ChangedScene, generator: np.random.Generator) -> str:
    texts = draw(scene, truth.target, truth.change_type, truth.value, generator)
    return texts[int(generator.integers(len(texts)))] if texts else ""


def _describe(scene: Scene, target: SceneObject, fewest: int) -> Description:
    """The description of the target alone with the fewest attributes from `fewest` on; a relation where four fail."""
    masks = sorted((mask for mask in unique_masks(scene.objects, target) if sum(mask) >= fewest), key=_size)
    if masks:
        return Description(masks[0])
    relations = [
        (name, anchor, mask)
        for name, anchor in target_relations(scene, target)
        for mask in unique_masks(scene.objects, anchor)
        if sum(mask) >= fewest
    ]
    order = list(RELATIONS)
    best = min(relations, key=lambda found: (_size(found[2]), order.index(found[0])), default=None)
    return Description(_ALL, best)


def _size(mask: Mask) -> tuple[int, Mask]:
    return sum(mask), mask


def _noun(thing: SceneObject, mask: Mask, wording: Wording) -> str:
    values = [getattr(thing, name) for name, used in zip(ATTRIBUTES, mask, strict=True) if used]
    return " ".join(["the", *(wording.words[value] for value in [*values, *([] if mask[-1] else ["thing"])])])


def _say(target: SceneObject, told: Description, truth: ChangedScene, wording: Wording) -> str:
    words = [_noun(target, told.mask, wording)]
    if told.relation:
        name, anchor, mask = told.relation
        words += [wording.relations[name], _noun(anchor, mask, wording)]
    return " ".join([*words, wording.endings[truth.change_type].format(wording.words.get(truth.value, ""))])
