# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Parser of captions in the grammars of CLEVR-Change and CLEVR-DC: object, relations, change, new value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...data.clevr_renderer.captions.grammar import ENDINGS, NO_CHANGE, RELATIONS, SYNONYMS
from ...data.clevr_renderer.captions.viewpoint_captions import AFTER_IMAGE
from ...data.clevr_renderer.scene.geometry import COLORS, MATERIALS, SHAPES, SIZES


ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "size": tuple(SIZES),
    "color": tuple(COLORS),
    "material": MATERIALS,
    "shape": SHAPES,
}
_MEANINGS = {
    word: (attribute, value)
    for attribute, values in ATTRIBUTES.items()
    for value in values
    for word in SYNONYMS[value]
}
_ANY_SHAPE = frozenset(SYNONYMS["thing"])
_AFTER_IMAGE = AFTER_IMAGE.split()
_BOTH = ["that", "is", "both"]


def _longest_first(phrases: Mapping[str, Sequence[str]]) -> list[tuple[tuple[str, ...], str]]:
    found = [(tuple(phrase.split()), name) for name, texts in phrases.items() for phrase in texts]
    return sorted(found, key=lambda item: -len(item[0]))


_RELATIONS = _longest_first(RELATIONS)
_PLAIN_ENDINGS = _longest_first({name: ENDINGS[name] for name in ("add", "drop", "move")})
_VALUE_ENDINGS = _longest_first({"": [ending.removesuffix(" {}") for ending in ENDINGS["color"]]})


@dataclass(frozen=True)
class ParsedCaption:
    """A caption of the grammar.

    Args:
        change_type (`str`): "color", "material", "add", "drop", "move" or "none".
        subject (`Mapping[str, str]`): Value by attribute, for the attributes that are named.
        value (`str`, *optional*): The new color or material.
        relation (`str`, *optional*): "left", "right", "behind" or "front" of the anchor.
        anchor (`Mapping[str, str]`, *optional*): As `subject`, for the object that the relation starts from, or that
            the attribute is shared with.
        second (`tuple[str, Mapping[str, str]]`, *optional*): Another relation and its anchor ("both ... and ...").
        shared (`str`, *optional*): The attribute that the object shares with the anchor ("the other ... the same color
            as ..."); there is no relation then.
    """

    change_type: str
    subject: Mapping[str, str]
    value: str | None = None
    relation: str | None = None
    anchor: Mapping[str, str] | None = None
    second: tuple[str, Mapping[str, str]] | None = None
    shared: str | None = None


def parse_caption(text: str) -> ParsedCaption | None:
    """Parse a caption.

    Args:
        text (`str`): A tokenized caption.

    Returns:
        `ParsedCaption`: What it says, or None where the grammar does not make such a sentence.
    """
    words = text.split()
    if text in NO_CHANGE:
        return ParsedCaption("none", {})
    found = _split_ending(words)
    if found is None:
        return None
    change_type, value, rest = found
    if change_type == "add" and list(rest[-len(_AFTER_IMAGE) :]) == _AFTER_IMAGE:
        rest = rest[: -len(_AFTER_IMAGE)]
    for read in (_read_shared, _read_both, _read_placed):
        told = read(rest)
        if told is not None:
            return ParsedCaption(change_type, value=value, **told)
    return None


def _read_placed(words: Sequence[str]) -> dict[str, Any] | None:
    """Parse "the red cube" or "the red cube [that is] behind the ball"."""
    subject, relation, anchor = _split_relation(words)
    thing, other = _read_phrase(subject), anchor and _read_phrase(anchor)
    if thing is None or (relation and other is None):
        return None
    return {"subject": thing, "relation": relation, "anchor": other}


def _read_both(words: Sequence[str]) -> dict[str, Any] | None:
    """Parse "the red cube that is both behind the ball and left of the cylinder"."""
    start = _find(words, _BOTH)
    place = start and _find(words, ["and"])
    if not place:
        return None
    noun = list(words[:start])
    one, other = _read_placed([*noun, *words[start + len(_BOTH) : place]]), _read_placed([*noun, *words[place + 1 :]])
    if not one or not other or not one["relation"] or not other["relation"]:
        return None
    return {**one, "second": (other["relation"], other["anchor"])}


def _read_shared(words: Sequence[str]) -> dict[str, Any] | None:
    """Parse "the other cube [that is] the same color as the ball"."""
    start = _find(words, ["the", "same"])
    if not start or list(words[:2]) != ["the", "other"] or words[start + 3 : start + 4] != ["as"]:
        return None
    noun = ["the", *words[2:start]]
    thing, anchor = _read_phrase(noun[:-2] if noun[-2:] == ["that", "is"] else noun), _read_phrase(words[start + 4 :])
    shared = words[start + 2]
    if thing is None or anchor is None or shared not in ATTRIBUTES:
        return None
    return {"subject": thing, "anchor": anchor, "shared": shared}


def _find(words: Sequence[str], phrase: Sequence[str]) -> int | None:
    """The first place of a phrase behind the first word."""
    places = range(1, len(words) - len(phrase) + 1)
    return next((start for start in places if list(words[start : start + len(phrase)]) == list(phrase)), None)


def _split_ending(words: Sequence[str]) -> tuple[str, str | None, Sequence[str]] | None:
    for ending, change_type in _PLAIN_ENDINGS:
        if tuple(words[-len(ending) :]) == ending:
            return change_type, None, words[: -len(ending)]
    attribute, value = _MEANINGS.get(words[-1] if words else "", ("", ""))
    for ending, _ in _VALUE_ENDINGS:
        if attribute in {"color", "material"} and tuple(words[-len(ending) - 1 : -1]) == ending:
            return attribute, value, words[: -len(ending) - 1]
    return None


def _split_relation(words: Sequence[str]) -> tuple[Sequence[str], str | None, Sequence[str] | None]:
    for phrase, name in _RELATIONS:
        for start in range(1, len(words) - len(phrase)):
            if tuple(words[start : start + len(phrase)]) == phrase:
                subject = words[:start]
                return subject[:-2] if subject[-2:] == ["that", "is"] else subject, name, words[start + len(phrase) :]
    return words, None, None


def _read_phrase(words: Sequence[str]) -> dict[str, str] | None:
    """Parse "the [size] [color] [material] shape-or-thing"; attributes in any order, each at most once."""
    if len(words) < 2 or words[0] != "the":
        return None
    *attributes, noun = words[1:]
    named = [_MEANINGS.get(word) for word in attributes]
    if noun not in _ANY_SHAPE:
        named.append(_MEANINGS.get(noun))
        if named[-1] is None or named[-1][0] != "shape":
            return None
    if None in named or len({attribute for attribute, _ in named}) < len(named):
        return None
    return dict(named)
