# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""What is learned of a rendered scene in place of its references: one fixed wording, the change backwards (ours)."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from datasets import Dataset, List, Value

from ..data.clevr_renderer.captions.grammar import ENDINGS, RELATIONS, SYNONYMS
from ..data.clevr_renderer.captions.sentences import describe_change
from ..data.schema import NO_CHANGE
from ..metrics.clevr.scenes import INVERSE_TYPES, ChangedScene, find_scenes
from ..metrics.clevr.wordings import PLAIN, Wording, as_scene, canonical_caption, canonical_description, say
from ..metrics.corpus import ReferenceCorpus


# Columns that training rows get: captions to learn, and captions and type of the change from after to before.
TARGETS, INVERSE_TARGETS, INVERSE_TYPE = "targets", "inverse_targets", "inverse_type"
# Pairs by which the words are chosen; more of them choose the same.
CHOOSING_PAIRS = 600


class Wordings(NamedTuple):
    """The words of canonical captions.

    Attributes:
        changed (`Wording`): Of changes.
        unchanged (`str`, *optional*): What is said where nothing changed; None where no training pair is unchanged.
    """

    changed: Wording
    unchanged: str | None


class Targets(NamedTuple):
    """What `make_targets` made.

    Attributes:
        rows (`datasets.Dataset`): The training rows with the columns.
        wordings (`Wordings`, *optional*): The words that were chosen for canonical captions.
        report (`dict[str, Any]`): The same for the run's record.
    """

    rows: Dataset
    wordings: Wordings | None
    report: dict[str, Any]


def make_targets(
    rows: Dataset, scenes: Path | None, canonical_captions: bool, time_reversal: bool, seed: int
) -> Targets:
    """Add what is to be learned to the training rows.

    Args:
        rows (`datasets.Dataset`): A prepared training split.
        scenes (`Path`, *optional*): The renderer's `scenes.jsonl` of these rows.
        canonical_captions (`bool`): One caption a pair, in the words that `choose_wording` chooses: four attributes,
            and a relation where these fit another object too.
        time_reversal (`bool`): Captions of the change from after to before, in the same words or in those of the
            references' grammar.
        seed (`int`): Seed of the captions that are drawn from that grammar.

    Returns:
        `Targets`: The rows as they are where neither is wanted.

    Raises:
        ValueError: The rows have no scenes, or another file's.
    """
    if not (canonical_captions or time_reversal):
        return Targets(rows, None, {})
    if scenes is None:
        raise ValueError(
            "`canonical_captions` and `time_reversal` read the renderer's scenes, and the data was prepared without: "
            "prepare rendered scenes anew with examples/prepare_data.py."
        )
    records = rows.select_columns(["pair_id", "scene_id", "change_type", "captions"]).to_list()
    texts, wordings = [record["captions"] for record in records], None
    if canonical_captions:
        found = find_scenes(records, scenes)
        wordings = Wordings(choose_wording(records, found), choose_unchanged(records))
        texts = [
            [wordings.unchanged if scene is None else canonical_caption(scene, wordings.changed)] for scene in found
        ]
        rows = _with_column(rows, TARGETS, texts)
    if time_reversal:
        backwards = find_scenes(records, scenes, inverse=True)
        generator = np.random.default_rng(seed)
        texts = [
            own if scene is None else tell_change(scene, wordings, generator)
            for scene, own in zip(backwards, texts, strict=True)
        ]
        kinds = [INVERSE_TYPES.get(record["change_type"], record["change_type"]) for record in records]
        rows = _with_column(rows, INVERSE_TARGETS, texts)
        rows = rows.add_column(INVERSE_TYPE, kinds, feature=Value("string"))
    report = {} if wordings is None else {**wordings.changed._asdict(), "unchanged": wordings.unchanged}
    return Targets(rows, wordings, {"canonical_captions": report} if report else {})


def _with_column(rows: Dataset, name: str, texts: list[list[str]]) -> Dataset:
    return rows.add_column(name, texts, feature=List(Value("string")))


def tell_change(scene: ChangedScene, wordings: Wordings | None, generator: np.random.Generator) -> list[str]:
    """Captions of a changed scene.

    Args:
        scene (`ChangedScene`): The scene.
        wordings (`Wordings`, *optional*): The words of the canonical one; by default some of the references' grammar.
        generator (`np.random.Generator`): Draws those.
    """
    if wordings is not None:
        return [canonical_caption(scene, wordings.changed)]
    drawn = describe_change(as_scene(scene), scene.target, scene.change_type, scene.value, generator)
    # Few objects are alone in no phrase of the grammar.
    return drawn or [canonical_caption(scene)]


def choose_wording(records: Sequence[Mapping[str, Any]], scenes: Sequence[ChangedScene | None]) -> Wording:
    """The words whose canonical captions come nearest to the references, by CIDEr-D.

    Every meaning's words are tried in turn, the others as they are by then.

    Args:
        records (`Sequence[Mapping[str, Any]]`): Training rows with `captions`.
        scenes (`Sequence[ChangedScene | None]`): Their scenes; None where nothing changed.

    Returns:
        `Wording`: The words.

    Raises:
        ValueError: There is no changed pair.
    """
    pairs = [(record, scene) for record, scene in zip(records, scenes, strict=True) if scene is not None]
    pairs = pairs[:CHOOSING_PAIRS]
    if not pairs:
        raise ValueError("`canonical_captions`: no training pair has a change, by whose captions words are chosen.")
    corpus = ReferenceCorpus([[_plain(text) for text in record["captions"]] for record, _ in pairs])

    # What is told is the same in all words.
    told = [(*canonical_description(scene), scene) for _, scene in pairs]

    def score(wording: Wording) -> float:
        return corpus.score([say(*each, wording) for each in told])["cider"]

    best, top = PLAIN, score(PLAIN)
    for field, options in (("words", SYNONYMS), ("relations", RELATIONS), ("endings", ENDINGS)):
        for meaning, choices in options.items():
            for choice in choices[1:]:
                tried = best._replace(**{field: {**getattr(best, field), meaning: choice}})
                found = score(tried)
                if found > top:
                    best, top = tried, found
    return best


def choose_unchanged(records: Sequence[Mapping[str, Any]]) -> str | None:
    """The most frequent caption of unchanged pairs, the first in the alphabet among equals.

    Args:
        records (`Sequence[Mapping[str, Any]]`): Training rows.

    Returns:
        `str`: None where no pair is unchanged.
    """
    texts: Iterable[str] = (
        text for record in records if record["change_type"] == NO_CHANGE for text in record["captions"]
    )
    counts = Counter(texts)
    return min(counts, key=lambda text: (-counts[text], text)) if counts else None


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


__all__ = [
    "INVERSE_TARGETS",
    "INVERSE_TYPE",
    "TARGETS",
    "Targets",
    "choose_wording",
    "make_targets",
]
