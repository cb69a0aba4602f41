# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Captions of a change, and the change type that a caption names (source: CLEVR-Change's two caption families)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from ..scene.geometry import COLORS, advance, ground_directions
from ..scene.scenes import Scene, SceneObject
from .grammar import ENDINGS, NO_CHANGE, RELATIONS, SYNONYMS


CAPTIONS_PER_CHANGE = 7
CAPTIONS_PER_DISTRACTOR = 5
DRAWS = 60
RELATION_THRESHOLD = 0.2
ATTRIBUTES = ("size", "color", "material", "shape")

Mask = tuple[bool, ...]

MASKS: tuple[Mask, ...] = tuple(mask for mask in product((False, True), repeat=4) if any(mask))
ALL_ATTRIBUTES: Mask = (True, True, True, True)

_VALUE_VERBS = tuple(f" {ending.removesuffix(' {}')}" for ending in ENDINGS["color"])
_VALUE_WORDS = {"color": {*COLORS}, "material": {*SYNONYMS["metal"], *SYNONYMS["rubber"]}}


def matches(thing: SceneObject, target: SceneObject, mask: Mask) -> bool:
    """Whether an object has the attributes of `target` that a mask over `ATTRIBUTES` keeps."""
    return all(
        getattr(thing, name) == getattr(target, name) for name, used in zip(ATTRIBUTES, mask, strict=True) if used
    )


def unique_masks(objects: tuple[SceneObject, ...], target: SceneObject) -> list[Mask]:
    """Masks that leave the target as the only object that matches."""
    return [mask for mask in MASKS if sum(matches(thing, target, mask) for thing in objects) == 1]


def related(scene: Scene, anchor: SceneObject, direction: tuple[float, float]) -> list[SceneObject]:
    """Objects that lie clearly beyond `anchor` along a unit ground direction."""
    return [
        thing
        for thing in scene.objects
        if thing.id != anchor.id and advance(anchor.position, thing.position, direction) > RELATION_THRESHOLD
    ]


def target_relations(scene: Scene, target: SceneObject) -> Iterator[tuple[str, SceneObject]]:
    """Relations to an anchor in which the target is the only object with its four attributes."""
    directions = ground_directions(scene.camera)
    for anchor in scene.objects:
        for name, direction in directions.items():
            alike = [thing for thing in related(scene, anchor, direction) if matches(thing, target, ALL_ATTRIBUTES)]
            if alike == [target]:
                yield name, anchor


def draw_one(generator: np.random.Generator, options: tuple | list) -> Any:
    """One of the options."""
    return options[int(generator.integers(len(options)))]


def word_of(generator: np.random.Generator, value: str) -> str:
    """A synonym of an attribute's value."""
    return draw_one(generator, SYNONYMS[value])


def noun_phrase(generator: np.random.Generator, thing: SceneObject, mask: Mask) -> str:
    """The article and the words of the attributes that the mask keeps."""
    values = [getattr(thing, name) for name, used in zip(ATTRIBUTES, mask, strict=True) if used]
    if not mask[-1]:
        values.append("thing")
    return " ".join(["the", *(word_of(generator, value) for value in values)])


class Reference(NamedTuple):
    """What denotes an object: its attributes alone, or with its relation to an anchor."""

    target: SceneObject
    mask: Mask
    relation: str | None = None
    anchor: SceneObject | None = None
    anchor_mask: Mask | None = None

    def words(self, generator: np.random.Generator) -> str:
        """Such as "the large green ball that is left of the cube"."""
        if self.relation is None:
            return noun_phrase(generator, self.target, self.mask)
        link = "that is " if generator.random() < 0.5 else ""
        words = draw_one(generator, RELATIONS[self.relation])
        noun = noun_phrase(generator, self.target, self.mask)
        return f"{noun} {link}{words} {noun_phrase(generator, self.anchor, self.anchor_mask)}"


def change_captions(
    before: Scene, after: Scene, changed_id: int, change_type: str, generator: np.random.Generator
) -> list[str]:
    """Up to seven distinct captions of one change, about half of them with a relation.

    An added object is described in the `after` scene, any other one in `before`, each with its camera's directions.

    Returns:
        `list[str]`: An empty list where no phrase of the two families denotes the object alone.
    """
    scene, value = described(before, after, changed_id, change_type)
    return describe_change(scene, changed_id, change_type, value, generator)


def described(before: Scene, after: Scene, changed_id: int, change_type: str) -> tuple[Scene, str | None]:
    """The scene that captions of a change describe, and the value that has become another.

    Args:
        before (`Scene`): Before the change.
        after (`Scene`): After it.
        changed_id (`int`): Id of the changed object.
        change_type (`str`): One of `CHANGE_TYPES`.

    Returns:
        `tuple[Scene, str | None]`: The scene after an addition, else that before; the new color or material.
    """
    scene = after if change_type == "add" else before
    return scene, getattr(after.find(changed_id), change_type) if change_type in ("color", "material") else None


def describe_change(
    scene: Scene, changed_id: int, change_type: str, value: str | None, generator: np.random.Generator
) -> list[str]:
    """As `change_captions`, from the scene that is described.

    Args:
        scene (`Scene`): After an addition, else before the change.
        changed_id (`int`): Id of the changed object.
        change_type (`str`): One of `CHANGE_TYPES`.
        value (`str`, *optional*): The new color or material.
        generator (`np.random.Generator`): Draws objects' descriptions and words.
    """
    target = next(thing for thing in scene.objects if thing.id == changed_id)
    direct = [Reference(target, mask) for mask in unique_masks(scene.objects, target) if mask != ALL_ATTRIBUTES]
    relative = [
        Reference(target, ALL_ATTRIBUTES, name, anchor, mask)
        for name, anchor in target_relations(scene, target)
        for mask in unique_masks(scene.objects, anchor)
    ]
    families = [family for family in (direct, relative) if family]
    captions: dict[str, None] = {}
    for draw in range(DRAWS if families else 0):
        subject = draw_one(generator, families[draw % len(families)]).words(generator)
        ending = draw_one(generator, ENDINGS[change_type])
        captions[f"{subject} {ending.format(word_of(generator, value) if value else '')}"] = None
        if len(captions) == CAPTIONS_PER_CHANGE:
            break
    return list(captions)


def no_change_captions(generator: np.random.Generator) -> list[str]:
    """Five of the nine sentences that say that nothing changed."""
    return [NO_CHANGE[i] for i in generator.choice(len(NO_CHANGE), CAPTIONS_PER_DISTRACTOR, replace=False)]


def change_type_of(caption: str) -> str | None:
    """The change that a caption names, by its ending.

    Args:
        caption (`str`): A sentence; case, surrounding blanks and a final full stop do not count.

    Returns:
        `str`: "color", "material", "add", "drop", "move", "none", or None where no ending of the grammar fits.
    """
    words = caption.strip().rstrip(".").lower().split()
    text = " ".join(words)
    if text in NO_CHANGE:
        return "none"
    for change_type in ("add", "drop", "move"):
        if text.endswith(tuple(f" {ending}" for ending in ENDINGS[change_type])):
            return change_type
    if " ".join(words[:-1]).endswith(_VALUE_VERBS):
        return next((change_type for change_type, values in _VALUE_WORDS.items() if words[-1] in values), None)
    return None
