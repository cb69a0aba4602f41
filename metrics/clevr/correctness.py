# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Whether captions are correct: judged by the scene, not by the words of the references (ours).

A caption of a changed pair is correct if the grammar explains it, it names the change that happened (with the new
color or material), and what it says of the object is true of the changed object and of no other in the scene. A
caption of an unchanged pair is correct if it says that nothing changed.
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass

from ...data.clevr_renderer.captions.grammar import NO_CHANGE
from ..bounds import Row
from ..corpus import Judge
from .scenes import SCENE, ChangedScene
from .templates import ParsedCaption, parse_caption


# Fewer of the references than this, and the judge does not understand the data.
MIN_REFERENCES = 0.9
CHANGE, RELATION, ONLY = "change", "relation", "only"
# What a caption is judged by, as reports list it.
PARTS = (CHANGE, "shape", "color", "material", "size", RELATION, ONLY)


@dataclass(frozen=True)
class Verdict:
    """What is right about one caption of a changed pair.

    Args:
        caption (`ParsedCaption`, *optional*): What it says; None where the grammar does not explain it.
        parts (`dict[str, bool]`): Whether each part is right, of those in `PARTS` that the caption has: "change" (the
            type and the new value), the attributes that are named, "relation" (it holds for the changed object, from
            any object that fits the anchor), and "only" (the description fits the changed object and no other).
            "change" and "only" are always there.
    """

    caption: ParsedCaption | None
    parts: dict[str, bool]

    @property
    def is_correct(self) -> bool:
        """Whether all parts are right."""
        return all(self.parts.values())


def judge_caption(scene: ChangedScene, text: str) -> Verdict:
    """Judge a caption of a changed pair.

    Args:
        scene (`ChangedScene`): The pair's scene.
        text (`str`): A tokenized caption.

    Returns:
        `Verdict`: What is right about it.
    """
    caption = parse_caption(text)
    if caption is None or caption.change_type == "none":
        return Verdict(caption, {CHANGE: False, ONLY: False})
    parts = {CHANGE: (caption.change_type, caption.value) == (scene.change_type, scene.value)}
    parts |= {name: scene.changed[name] == value for name, value in caption.subject.items()}
    if caption.anchor is not None:
        parts[RELATION] = scene.relation_holds(caption)
    return Verdict(caption, parts | {ONLY: scene.singles_out(caption)})


def build_judges(rows: Sequence[Row], known: Container[str] = ()) -> list[Judge] | None:
    """Build what decides whether captions are correct, a function of a tokenized caption for each pair.

    Args:
        rows (`Sequence[Row]`): Tokenized records of a split, changed pairs with their scenes (`scenes.add_scenes`).
        known (`Container[str]`, *optional*): Sentences that say that nothing changed, beside those of the grammar.

    Returns:
        `list[Judge]`: One a pair. None where no pair has a scene, a pair has neither a scene nor type "none", or
        fewer than 90 % of the references are correct in their scenes: then the scenes do not tell the truth of these
        captions.
    """
    if not any(row.get(SCENE) for row in rows):
        return None
    if any(row["change_type"] != "none" and not row.get(SCENE) for row in rows):
        return None
    right = [hit for row in rows if row.get(SCENE) for hit in judge_references(row)]
    if sum(right) < MIN_REFERENCES * len(right):
        return None
    return [_changed_judge(row[SCENE]) if row.get(SCENE) else _unchanged_judge(known) for row in rows]


def _changed_judge(scene: ChangedScene) -> Judge:
    return lambda text: judge_caption(scene, text).is_correct


def _unchanged_judge(known: Container[str]) -> Judge:
    return lambda text: text in NO_CHANGE or text in known


def judge_references(row: Row) -> list[bool]:
    """Judge the references of a changed pair as captions.

    Args:
        row (`Row`): A tokenized record with its scene.

    Returns:
        `list[bool]`: Whether each is correct.
    """
    return [judge_caption(row[SCENE], text).is_correct for text in row["captions"]]
