# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Whether the references of a pair confirm or contradict a relation in a caption (ours).

The references name a few of the true relations, each from an anchor that its description singles out. So a relation
that none of them has is no mistake. Only two cases are certain, and everything else stays open.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from .templates import ATTRIBUTES, ParsedCaption, parse_caption


OPPOSITE = {"left": "right", "right": "left", "behind": "front", "front": "behind"}


class Meaning(NamedTuple):
    """What the references of a pair say together.

    `subject` holds every attribute that one of them names, `values` the new values, `direct` the attributes of each
    reference without a relation, `related` each relation with its anchor. `needs_relation` is true where each of the
    pair's references is understood and uses a relation: CLEVR-Change then has no description of at most three
    attributes that singles the object out. All four together may still do. `explained` is the number of references
    that the grammar explains.
    """

    subject: dict[str, str]
    values: frozenset[str]
    direct: list[Mapping[str, str]]
    related: list[tuple[str, Mapping[str, str]]]
    needs_relation: bool
    explained: int


def merge_references(texts: Sequence[str]) -> Meaning | None:
    """Merge what the references of one pair say.

    Args:
        texts (`Sequence[str]`): The tokenized references.

    Returns:
        `Meaning`: Their common meaning; None where the grammar explains none of them.
    """
    parsed = [found for text in texts if (found := parse_caption(text)) and found.subject]
    if not parsed:
        return None
    subject = {name: value for caption in parsed for name, value in caption.subject.items()}
    values = frozenset(caption.value for caption in parsed if caption.value)
    direct = [caption.subject for caption in parsed if not caption.relation]
    related = [(caption.relation, caption.anchor) for caption in parsed if caption.relation]
    needed = not direct and len(parsed) == len(texts)
    return Meaning(subject, values, direct, related, needed, len(parsed))


def relation_verdict(caption: ParsedCaption, truth: Meaning) -> bool | None:
    """Check a caption's relation against the references.

    Args:
        caption (`ParsedCaption`): A caption.
        truth (`Meaning`): What the references say.

    Returns:
        `bool`: True if a reference has the relation from an anchor with all the attributes that the caption gives its
        anchor: then the relation holds. False if a reference has the opposite relation from an anchor whose
        attributes the caption's anchor has too: then it does not. Also False for a caption without a relation that
        names fewer than four attributes, if each reference uses a relation. None if the references do not say, or if
        the caption has no relation and none is needed or its four attributes may do.
    """
    if not caption.relation:
        missed = truth.needs_relation and len(caption.subject) < len(ATTRIBUTES)
        return False if missed else None
    ours = dict(caption.anchor or {}).items()
    if any(name == caption.relation and ours <= dict(anchor).items() for name, anchor in truth.related):
        return True
    opposite = OPPOSITE[caption.relation]
    denied = any(name == opposite and dict(anchor).items() <= ours for name, anchor in truth.related if anchor)
    return False if denied else None


def relation_rates(cases: Sequence[tuple[Meaning, ParsedCaption | None]]) -> dict[str, Any]:
    """Count relations and what the references say about them.

    Args:
        cases (`Sequence[tuple[Meaning, ParsedCaption | None]]`): What the references of a pair say, and its caption
            (None where the grammar does not explain it).

    Returns:
        `used` (pairs), of these `confirmed`, `contradicted` and `open`; `needed` (pairs whose references all use a
        relation), of these `used_where_needed` and `confirmed_where_needed`. These are counts, as a share of a few
        pairs is no rate.
    """
    used = [(truth, caption) for truth, caption in cases if caption and caption.relation]
    verdicts = [relation_verdict(caption, truth) for truth, caption in used]
    needed = [verdict for (truth, _), verdict in zip(used, verdicts, strict=True) if truth.needs_relation]
    return {
        "used": len(used),
        "confirmed": verdicts.count(True),
        "contradicted": verdicts.count(False),
        "open": verdicts.count(None),
        "needed": sum(truth.needs_relation for truth, _ in cases),
        "used_where_needed": len(needed),
        "confirmed_where_needed": needed.count(True),
    }
