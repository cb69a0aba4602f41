# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""One caption of a rendered change, in one fixed choice of words (ours)."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from ...data.clevr_renderer.captions.grammar import ENDINGS, RELATIONS, SYNONYMS
from ...data.clevr_renderer.captions.sentences import ALL_ATTRIBUTES, ATTRIBUTES, Mask, target_relations, unique_masks
from ...data.clevr_renderer.scene.geometry import advance, ground_directions
from ...data.clevr_renderer.scene.scenes import Scene, SceneObject
from .scenes import ChangedScene


_CAMERA_DISTANCE, _CAMERA_HEIGHT = 10.0, 5.0


class Wording(NamedTuple):
    """One word or phrase for each meaning of the grammar.

    Attributes:
        words (`Mapping[str, str]`): Of attributes' values and of "thing".
        relations (`Mapping[str, str]`): Of relations.
        endings (`Mapping[str, str]`): Of change types; with a place for the new value where there is one.
    """

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
    """What is told of the changed object.

    Attributes:
        mask (`Mask`): Which of `ATTRIBUTES`.
        relation (`tuple[str, SceneObject, Mask]`, *optional*): Where it lies, of what, and which attributes of that.
    """

    mask: Mask
    relation: tuple[str, SceneObject, Mask] | None = None


def as_scene(truth: ChangedScene) -> Scene:
    """A scene of the renderer with the same objects, seen along the same directions.

    Args:
        truth (`ChangedScene`): The scene that captions describe.
    """
    along = truth.directions["behind"]
    camera = (-_CAMERA_DISTANCE * along[0], -_CAMERA_DISTANCE * along[1], _CAMERA_HEIGHT)
    objects = [
        SceneObject(thing["id"], *(thing[name] for name in ("shape", "size", "color", "material")), position, 0.0)
        for thing in truth.objects
        for position in [tuple(thing["position"])]
    ]
    return Scene(tuple(objects), {}, camera)


def describe(scene: Scene, target: SceneObject, fewest: int) -> Description:
    """The shortest description that fits one object alone; with a relation where four attributes fit others too.

    Of several anchors with as short a name, the nearest one is told, and of its relations the widest: whoever sees the
    image can tell which one that is.

    Args:
        scene (`Scene`): All objects.
        target (`SceneObject`): The one that is described.
        fewest (`int`): Attributes that are told at least, of the target and of an anchor.

    Returns:
        `Description`: All four attributes where no single relation helps.
    """
    masks = sorted((mask for mask in unique_masks(scene.objects, target) if sum(mask) >= fewest), key=_size)
    if masks:
        return Description(masks[0])
    relations = [
        (name, anchor, mask)
        for name, anchor in target_relations(scene, target)
        for mask in unique_masks(scene.objects, anchor)
        if sum(mask) >= fewest
    ]
    directions = ground_directions(scene.camera)

    def rank(found: tuple[str, SceneObject, Mask]) -> tuple[tuple[int, Mask], float, float]:
        name, anchor, mask = found
        way = advance(anchor.position, target.position, directions[name])
        return _size(mask), math.dist(anchor.position, target.position), -way

    return Description(ALL_ATTRIBUTES, min(relations, key=rank, default=None))


def _size(mask: Mask) -> tuple[int, Mask]:
    return sum(mask), mask


def _noun(thing: SceneObject, mask: Mask, wording: Wording) -> str:
    values = [getattr(thing, name) for name, used in zip(ATTRIBUTES, mask, strict=True) if used]
    return " ".join(["the", *(wording.words[value] for value in [*values, *([] if mask[-1] else ["thing"])])])


def say(target: SceneObject, told: Description, truth: ChangedScene, wording: Wording) -> str:
    """The caption.

    Args:
        target (`SceneObject`): The changed object.
        told (`Description`): What is told of it.
        truth (`ChangedScene`): Says what became of it.
        wording (`Wording`): The words.
    """
    words = [_noun(target, told.mask, wording)]
    if told.relation:
        name, anchor, mask = told.relation
        words += [wording.relations[name], _noun(anchor, mask, wording)]
    return " ".join([*words, wording.endings[truth.change_type].format(wording.words.get(truth.value, ""))])


def canonical_description(truth: ChangedScene) -> tuple[SceneObject, Description]:
    """The changed object and what a canonical caption tells of it.

    Args:
        truth (`ChangedScene`): The scene that captions describe.

    Returns:
        `tuple[SceneObject, Description]`: All four attributes, and a relation where they fit another object too.
    """
    scene = as_scene(truth)
    target = scene.find(truth.target)
    return target, describe(scene, target, len(ATTRIBUTES))


def canonical_caption(truth: ChangedScene, wording: Wording = PLAIN) -> str:
    """The caption that names all four attributes, and a relation where they fit another object too.

    Args:
        truth (`ChangedScene`): The scene that captions describe.
        wording (`Wording`, *optional*): The words.
    """
    return say(*canonical_description(truth), truth, wording)
