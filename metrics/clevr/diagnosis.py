# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Diagnosis of captions of a templated set: attributes, new values, relations (ours)."""

from collections.abc import Container, Iterable, Sequence
from typing import Any

from ..bounds import Row
from .relations import Meaning, merge_references, relation_rates, relation_verdict
from .scenes import SCENE, scene_rates
from .templates import ATTRIBUTES, ParsedCaption, parse_caption


MIN_PARSED = 0.5
VALUE_TYPES = ("color", "material")


def diagnose(rows: Sequence[Row], hypotheses: Sequence[str]) -> dict[str, Any] | None:
    """Compare what captions say with what the references say, over the changed pairs, by CLEVR-Change's grammar.

    Attributes that no reference names count as right. Whether a caption's relation holds, and whether its object is
    singled out, the references mostly cannot tell: `relations` counts the certain cases, and `scene` (only
    with rows from `scenes.add_scenes`) decides all of them.

    Args:
        rows (`Sequence[Row]`): Tokenized records of the split.
        hypotheses (`Sequence[str]`): One tokenized caption a record.

    Returns:
        `pairs`, `references_parsed` and `captions_parsed` (shares that the grammar explains), `attributes` ({name:
        {"named", "right", "pairs"}}: share of the captions that name it, share of those that name it right), `subject`
        (no attribute wrong, at least one named), `new_value` ({type: share right}), `relations` (counts, see
        `relations.relation_rates`) and `scene` (counts, see `scenes.scene_rates`, or None). None where nothing changed
        or the grammar explains fewer than half of the references.
    """
    cases, explained, total = [], 0, 0
    for row, hypothesis in zip(rows, hypotheses, strict=True):
        if row["change_type"] in {None, "none"}:
            continue
        total += len(row["captions"])
        meaning = merge_references(row["captions"])
        if meaning:
            explained += meaning.explained
            cases.append((row, meaning, parse_caption(hypothesis)))
    if not total or explained < MIN_PARSED * total:
        return None
    known = all(SCENE in row for row, _, _ in cases)
    said = [(meaning, caption) for _, meaning, caption in cases if caption and caption.change_type != "none"]
    return {
        "pairs": len(cases),
        "references_parsed": explained / total,
        "captions_parsed": _share(caption is not None for _, _, caption in cases),
        "attributes": {name: _attribute(name, said, len(cases)) for name in ATTRIBUTES},
        "subject": _share(
            caption is not None
            and bool(caption.subject)
            and all(truth.subject.get(name, value) == value for name, value in caption.subject.items())
            for _, truth, caption in cases
        ),
        "new_value": {
            kind: _share(
                caption is not None and caption.value in truth.values
                for row, truth, caption in cases
                if row["change_type"] == kind
            )
            for kind in VALUE_TYPES
        },
        "relations": relation_rates([(truth, caption) for _, truth, caption in cases]),
        "scene": scene_rates([(row[SCENE], caption) for row, _, caption in cases]) if known else None,
    }


def judge(row: Row, hypothesis: str, known: Container[str]) -> list[tuple[str, bool | None]]:
    """Check one caption of a templated set, aspect by aspect.

    Args:
        row (`Row`): Tokenized record of the pair; with its scene (`scenes.add_scenes`), the scene judges the relation
            and whether the object is singled out.
        hypothesis (`str`): Its tokenized caption.
        known (`Container[str]`): The no-change sentences.

    Returns:
        `list[tuple[str, bool | None]]`: (aspect, whether right, or None where the references do not say): "change" for
        an unchanged pair or a caption that misses a change; else the type, the attributes that are named, the new
        value, the relation where one is used or certainly missing, "the only one" where the scene is known. Empty
        where the references are not of the grammar and the pair did change.
    """
    if row["change_type"] == "none":
        return [("change", hypothesis in known)]
    truth, caption = merge_references(row["captions"]), parse_caption(hypothesis)
    if truth is None or row["change_type"] is None:
        return []
    if caption is None or caption.change_type == "none":
        return [("sentence" if caption is None else "change", False)]
    checks: list[tuple[str, bool | None]] = [("type", caption.change_type == row["change_type"])]
    checks += [(name, truth.subject.get(name, value) == value) for name, value in caption.subject.items()]
    if caption.value:
        checks.append(("new value", caption.value in truth.values))
    scene = row.get(SCENE)
    if scene:
        holds = [("relation", scene.relation_holds(caption))] if caption.relation else []
        return [*checks, *holds, ("the only one", scene.singles_out(caption))]
    verdict = relation_verdict(caption, truth)
    return [*checks, ("relation", verdict)] if caption.relation or verdict is not None else checks


def _attribute(name: str, said: Sequence[tuple[Meaning, ParsedCaption]], pairs: int) -> dict[str, Any]:
    named = [(truth.subject.get(name), caption.subject[name]) for truth, caption in said if name in caption.subject]
    known = [(truth, ours) for truth, ours in named if truth is not None]
    return {"named": len(named) / pairs, "right": _share(truth == ours for truth, ours in known), "pairs": len(known)}


def _share(values: Iterable[bool]) -> float | None:
    counted = list(values)
    return sum(counted) / len(counted) if counted else None
