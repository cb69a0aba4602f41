# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""What can denote one object of a scene in CLEVR-DC's captions (Kim et al., ICCV 2021)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..scene.geometry import ground_directions
from ..scene.scenes import Scene, SceneObject
from .grammar import RELATIONS
from .sentences import ATTRIBUTES, MASKS, Mask, draw_one, matches, noun_phrase, related, unique_masks


NO_ATTRIBUTE: Mask = (False, False, False, False)


def _that_is(generator: np.random.Generator) -> str:
    return draw_one(generator, ("that is ", ""))


def _anchor(generator: np.random.Generator, scene: Scene, anchor: SceneObject) -> str:
    return noun_phrase(generator, (anchor, draw_one(generator, unique_masks(scene.objects, anchor))))


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
    """A target by attributes and none, one or two relations."""

    target: SceneObject
    mask: Mask
    relations: tuple[Relation, ...]

    def words(self, generator: np.random.Generator, scene: Scene) -> str:
        """Such as "the green ball that is both behind the red cube and left of the tiny thing"."""
        noun = noun_phrase(generator, (self.target, self.mask))
        places = [relation.words(generator, scene) for relation in self.relations]
        if not places:
            return noun
        link = _that_is(generator) if len(places) == 1 else "that is both "
        return f"{noun} {link}{' and '.join(places)}"


@dataclass(frozen=True)
class Alike:
    """A target by the attribute that it shares with an anchor."""

    target: SceneObject
    mask: Mask
    attribute: str
    anchor: SceneObject

    def words(self, generator: np.random.Generator, scene: Scene) -> str:
        """Such as "the other small cylinder the same color as the tiny metallic cylinder"."""
        noun = noun_phrase(generator, (self.target, self.mask)).removeprefix("the ")
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


def _direct(scene: Scene, target: SceneObject) -> Iterator[Placed]:
    for mask in unique_masks(scene.objects, target):
        yield Placed(target, mask, ())


def _one_relation(scene: Scene, target: SceneObject) -> Iterator[Placed]:
    for relation in _relations(scene, target):
        for mask in MASKS:
            if _only(relation.there, target, mask):
                yield Placed(target, mask, (relation,))


def _two_relations(scene: Scene, target: SceneObject) -> Iterator[Placed]:
    """Relations to two anchors that denote the target together and not alone."""
    relations = _relations(scene, target)
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
    families = (_direct, _one_relation, _two_relations, _alike)
    return [options for options in (list(family(scene, target)) for family in families) if options]
