# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Where captions of a templated set go wrong: attributes, new values, relations (ours)."""

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from .floors import Row
from .templates import ATTRIBUTES, ParsedCaption, parse_caption


MIN_PARSED = 0.5
VALUE_TYPES = ("color", "material")


class Meaning(NamedTuple):
    """What the references of a pair say together.

    `subject` holds every attribute that one of them names, `values` the new values, `related` each relation with its
    anchor. `needs_relation` is true where each of them uses a relation: there, three attributes single nothing out.
    """

    subject: dict[str, str]
    values: frozenset[str]
    related: list[tuple[str, Mapping[str, str]]]
    needs_relation: bool


def merge_references(parsed: Sequence[ParsedCaption]) -> Meaning:
    """Puts together what the references of one pair say.

    Args:
        parsed: The references that the grammar explains, at least one.

    Returns:
        Their common meaning.
    """
    subject = {name: value for caption in parsed for name, value in caption.subject.items()}
    values = frozenset(caption.value for caption in parsed if caption.value)
    related = [(caption.relation, caption.anchor) for caption in parsed if caption.relation]
    return Meaning(subject, values, related, len(related) == len(parsed))


def diagnose(rows: Sequence[Row], hypotheses: Sequence[str]) -> dict[str, Any] | None:
    """Compares what captions say with what the references say, over the changed pairs, by CLEVR-Change's grammar.

    A relation counts as right if a reference uses it with an anchor that the caption's anchor does not contradict.
    References do not list every true relation, so that these rates are lower bounds.

    Args:
        rows: Tokenised records of the split.
        hypotheses: One tokenised caption a record.

    Returns:
        `pairs`, `references_parsed` and `captions_parsed` (shares that the grammar explains), `attributes` ({name:
        {"named", "right", "pairs"}}: share of the captions that name it, share of those that name it right), `subject`
        (no attribute wrong, at least one named), `new_value` ({type: share right}) and `relations`. None where
        nothing changed or the grammar explains fewer than half of the references.
    """
    cases, explained, total = [], 0, 0
    for row, hypothesis in zip(rows, hypotheses, strict=True):
        if row["change_type"] in {None, "none"}:
            continue
        parsed = [found for text in row["captions"] if (found := parse_caption(text)) and found.subject]
        explained, total = explained + len(parsed), total + len(row["captions"])
        if parsed:
            cases.append((row["change_type"], merge_references(parsed), parse_caption(hypothesis)))
    if not total or explained < MIN_PARSED * total:
        return None
    said = [(meaning, caption) for _, meaning, caption in cases if caption and caption.change_type != "none"]
    return {
        "pairs": len(cases),
        "references_parsed": explained / total,
        "captions_parsed": _share(caption is not None for _, _, caption in cases),
        "attributes": {name: _attribute(name, said, len(cases)) for name in ATTRIBUTES},
        "subject": _share(
            caption is not None and _agrees(caption.subject, truth.subject) for _, truth, caption in cases
        ),
        "new_value": {
            kind: _share(
                bool(caption and caption.value in truth.values) for name, truth, caption in cases if name == kind
            )
            for kind in VALUE_TYPES
        },
        "relations": _relations([(truth, caption) for _, truth, caption in cases]),
    }


def judge(row: Row, hypothesis: str, known: Container[str]) -> list[tuple[str, bool]]:
    """Says what is right about one caption of a templated set.

    Args:
        row: Tokenised record of the pair.
        hypothesis: Its tokenised caption.
        known: The no-change sentences.

    Returns:
        (aspect, whether right): "change" for an unchanged pair or a caption that misses a change; else the type, the
        attributes that are named, the new value, and the relation where one is used. Empty where the references are
        not of the grammar and the pair did change.
    """
    if row["change_type"] == "none":
        return [("change", hypothesis in known)]
    parsed = [found for text in row["captions"] if (found := parse_caption(text)) and found.subject]
    if not parsed or row["change_type"] is None:
        return []
    truth, caption = merge_references(parsed), parse_caption(hypothesis)
    if caption is None or caption.change_type == "none":
        return [("sentence" if caption is None else "change", False)]
    checks = [("type", caption.change_type == row["change_type"])]
    checks += [(name, truth.subject.get(name, value) == value) for name, value in caption.subject.items()]
    if caption.value:
        checks.append(("new value", caption.value in truth.values))
    if caption.relation:
        checks.append(("relation", _relation_is_right(caption, truth)))
    elif truth.needs_relation:
        checks.append(("relation", False))
    return checks


def _attribute(name: str, said: Sequence[tuple[Meaning, ParsedCaption]], pairs: int) -> dict[str, Any]:
    named = [(truth.subject.get(name), caption.subject[name]) for truth, caption in said if name in caption.subject]
    known = [(truth, ours) for truth, ours in named if truth is not None]
    return {"named": len(named) / pairs, "right": _share(truth == ours for truth, ours in known), "pairs": len(known)}


def _agrees(ours: Mapping[str, str], truth: Mapping[str, str]) -> bool:
    return bool(ours) and all(truth.get(name, value) == value for name, value in ours.items())


def _relations(cases: Sequence[tuple[Meaning, ParsedCaption | None]]) -> dict[str, Any]:
    given = [bool(caption and caption.relation) for _, caption in cases]
    right = [bool(caption and _relation_is_right(caption, truth)) for truth, caption in cases]
    needed = [truth.needs_relation for truth, _ in cases]
    return {
        "used": _share(given),
        "right_where_used": _share(ok for ok, used in zip(right, given, strict=True) if used),
        "pairs_in_need": sum(needed),
        "used_in_need": _share(used for used, need in zip(given, needed, strict=True) if need),
        "right_in_need": _share(ok for ok, need in zip(right, needed, strict=True) if need),
    }


def _relation_is_right(caption: ParsedCaption, truth: Meaning) -> bool:
    return any(
        caption.relation == relation and _agrees(caption.anchor or {}, anchor) for relation, anchor in truth.related
    )


def _share(values: Iterable[bool]) -> float | None:
    counted = list(values)
    return sum(counted) / len(counted) if counted else None
