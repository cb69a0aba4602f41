# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Captions of pairs whose camera may stand anywhere, after CLEVR-DC (Kim et al., ICCV 2021).

Source: the example captions that its release shows; "both ... and" after the families of CLEVR's public generator.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..scene.geometry import ground_directions
from ..scene.scenes import Scene, SceneObject
from .grammar import ENDINGS, RELATIONS
from .sentences import (
    ATTRIBUTES,
    MASKS,
    Mask,
    described,
    draw_one,
    matches,
    noun_phrase,
    related,
    unique_masks,
    word_of,
)


CAPTIONS_PER_PAIR = 5
DRAWS = 60
AFTER_IMAGE = "in the after image"
NO_ATTRIBUTE: Mask = (False, False, False, False)


def _that_is(generator: np.random.Generator) -> str:
    return draw_one(generator, ("that is ", ""))


def _anchor(generator: np.random.Generator, scene: Scene, anchor: SceneObject) -> str:
    return noun_phrase(generator, anchor, draw_one(generator, unique_masks(scene.objects, anchor)))


@dataclass(frozen=True)
class Relation:
    """Where the target lies: a direction of `grammar.RELATIONS` from an anchor, and all objects that lie there."""

    direction: str
    anchor: SceneObject
    there: tuple[SceneObject, ...]

    def words(self, generator: np.random.Generator, scene: Scene) -> str:
        """Such as "left of the red cube"."""
        return f"{draw_one(generator, RELATIONS[self.direction])} {_anchor(generator, scene, self.anchor)}"


@dataclass(frozen=True)
class Placed:
    """A target described by its attributes and by none, one or two relations."""

    target: SceneObject
    mask: Mask
    relations: tuple[Relation, ...]

    def words(self, generator: np.random.Generator, scene: Scene) -> str:
        """Such as "the green ball that is both behind the red cube and left of the tiny thing"."""
        noun = noun_phrase(generator, self.target, self.mask)
        places = [relation.words(generator, scene) for relation in self.relations]
        if not places:
            return noun
        link = _that_is(generator) if len(places) == 1 else "that is both "
        return f"{noun} {link}{' and '.join(places)}"


@dataclass(frozen=True)
class Alike:
    """A target described by the attribute that it shares with an anchor."""

    target: SceneObject
    mask: Mask
    attribute: str
    anchor: SceneObject

    def words(self, generator: np.random.Generator, scene: Scene) -> str:
        """Such as "the other small cylinder the same color as the tiny metallic cylinder"."""
        noun = noun_phrase(generator, self.target, self.mask).removeprefix("the ")
        anchor = _anchor(generator, scene, self.anchor)
        return f"the other {noun} {_that_is(generator)}the same {self.attribute} as {anchor}"


ViewpointReference = Placed | Alike


def _only(objects: tuple[SceneObject, ...], target: SceneObject, mask: Mask) -> bool:
    return [thing.id for thing in objects if matches(thing, target, mask)] == [target.id]


def _relations(scene: Scene, target: SceneObject) -> list[Relation]:
    anchors = [anchor for anchor in scene.objects if unique_masks(scene.objects, anchor)]
    found = [
        Relation(name, anchor, tuple(related(scene, anchor, step)))
        for anchor in anchors
        for name, step in ground_directions(scene.camera).items()
    ]
    return [relation for relation in found if target in relation.there]


def _two_relations(relations: list[Relation], target: SceneObject) -> Iterator[Placed]:
    """Relations to two anchors that denote the target together and not alone."""
    for number, one in enumerate(relations):
        for other in relations[:number]:
            if one.direction == other.direction or one.anchor.id == other.anchor.id:
                continue
            both = tuple(thing for thing in one.there if thing in other.there)
            for mask in MASKS:
                alone = any(_only(relation.there, target, mask) for relation in (one, other))
                if not alone and _only(both, target, mask):
                    yield Placed(target, mask, (one, other))


def _alike(scene: Scene, target: SceneObject) -> Iterator[Alike]:
    for position, attribute in enumerate(ATTRIBUTES):
        sharing = [thing for thing in scene.objects if getattr(thing, attribute) == getattr(target, attribute)]
        masks = [mask for mask in (NO_ATTRIBUTE, *MASKS) if not mask[position]]
        for anchor in sharing:
            if anchor.id == target.id or not unique_masks(scene.objects, anchor):
                continue
            others = tuple(thing for thing in sharing if thing.id != anchor.id)
            for mask in masks:
                if _only(others, target, mask):
                    yield Alike(target, mask, attribute, anchor)


def reference_families(scene: Scene, target: SceneObject) -> list[list[ViewpointReference]]:
    """The families that have a reference for the target: direct, one relation, two relations, a shared attribute."""
    relations = _relations(scene, target)
    direct = [Placed(target, mask, ()) for mask in unique_masks(scene.objects, target)]
    one_relation = [
        Placed(target, mask, (relation,))
        for relation in relations
        for mask in MASKS
        if _only(relation.there, target, mask)
    ]
    families = (direct, one_relation, list(_two_relations(relations, target)), list(_alike(scene, target)))
    return [family for family in families if family]


def viewpoint_captions(
    before: Scene, after: Scene, changed_id: int, change_type: str, generator: np.random.Generator
) -> list[str]:
    """Up to five distinct captions of one change, from all families in turn.

    An added object is described in `after`, half the time with the words "in the after image" behind a relation; any
    other one in `before`. Each scene's directions are those of its own camera.

    Returns:
        `list[str]`: An empty list where no phrase denotes the object alone.
    """
    scene, value = described(before, after, changed_id, change_type)
    return describe_viewpoint_change(scene, changed_id, change_type, value, generator)


def describe_viewpoint_change(
    scene: Scene, changed_id: int, change_type: str, value: str | None, generator: np.random.Generator
) -> list[str]:
    """As `viewpoint_captions`, from the scene that is described.

    Args:
        scene (`Scene`): After an addition, else before the change.
        changed_id (`int`): Id of the changed object.
        change_type (`str`): One of `CHANGE_TYPES`.
        value (`str`, *optional*): The new color or material.
        generator (`np.random.Generator`): Draws objects' descriptions and words.
    """
    target = next(thing for thing in scene.objects if thing.id == changed_id)
    families = reference_families(scene, target)
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
