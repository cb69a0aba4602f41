# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Baselines, captions that owe nothing to the images, and upper bounds, captions by people."""

from collections import Counter
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np

from .change_captioning.meteor import Meteor
from .corpus import Judge, ReferenceCorpus


MAX_CONSTANTS = 20
MOST_FREQUENT = "most frequent training caption"
RIGHT_TYPE = "random training caption of the right change type"
SHUFFLED = "predictions shuffled over pairs"
ONE_REFERENCE = "one reference against the others"

Row = Mapping[str, Any]


class PairBlocks:
    """The references of a split as two blocks, total and changed pairs, each with its own document frequencies.

    Args:
        references (`Sequence[Sequence[str]]`): The tokenized captions of each pair.
        change_types (`Sequence[str | None]`): The type of each pair: "none" where nothing changed, None where unknown.
        meteor (`Meteor`, *optional*): METEOR, if it is wanted.
        judges (`Sequence[Judge]`, *optional*): What decides whether a caption of each pair is correct.

    Attributes:
        indices (`dict[str, list[int]]`): Places of the "total", "changed" and "unchanged" pairs.
        corpora (`dict[str, ReferenceCorpus]`): The references of the blocks "total" and "changed"; those without a
            pair are left out.
    """

    def __init__(
        self,
        references: Sequence[Sequence[str]],
        change_types: Sequence[str | None],
        meteor: Meteor | None = None,
        judges: Sequence[Judge] | None = None,
    ) -> None:
        self.references = list(references)
        self.meteor = meteor
        self.judges = judges
        self.change_types = list(change_types)
        self.indices = {
            "total": list(range(len(self.references))),
            "changed": [index for index, name in enumerate(change_types) if name not in {None, "none"}],
            "unchanged": [index for index, name in enumerate(change_types) if name == "none"],
        }
        self.corpora = {
            name: ReferenceCorpus(
                [self.references[index] for index in self.indices[name]],
                judges and [judges[index] for index in self.indices[name]],
            )
            for name in ("total", "changed")
            if self.indices[name]
        }

    def score(self, hypotheses: Sequence[str], with_meteor: bool = False) -> dict[str, Any]:
        """Score one tokenized caption a pair.

        Args:
            hypotheses (`Sequence[str]`): One tokenized caption a pair.
            with_meteor (`bool`, *optional*, defaults to `False`): Whether to add METEOR, which takes most of the time.

        Returns:
            `dict[str, Any]`: {"total": scores, "changed": scores, or None where no pair changed}.
        """
        blocks: dict[str, Any] = {"total": None, "changed": None}
        for name, corpus in self.corpora.items():
            blocks[name] = corpus.score([hypotheses[index] for index in self.indices[name]])
        if with_meteor:
            self.add_meteor(blocks, hypotheses)
        return blocks

    def add_meteor(self, blocks: dict[str, Any], hypotheses: Sequence[str]) -> None:
        """Add METEOR to scores, if it is wanted.

        Args:
            blocks (`dict[str, Any]`): What `score` gave for these captions.
            hypotheses (`Sequence[str]`): One tokenized caption a pair.
        """
        for name, corpus in self.corpora.items() if self.meteor else ():
            texts = [hypotheses[index] for index in self.indices[name]]
            blocks[name]["meteor"] = self.meteor.score(texts, corpus.targets)[0]


def count_captions(rows: Sequence[Row], unchanged_only: bool = False) -> Counter[str]:
    """Count the captions of tokenized rows, most frequent first, ties in alphabetical order.

    Args:
        rows (`Sequence[Row]`): Tokenized records with `captions` and `change_type`.
        unchanged_only (`bool`, *optional*, defaults to `False`): Count those of the pairs with change type "none"
            alone: the no-change sentences.

    Returns:
        `Counter[str]`: Occurrences by caption; empty captions are left out.
    """
    chosen = [row for row in rows if not unchanged_only or row["change_type"] == "none"]
    counts = Counter(text for row in chosen for text in row["captions"])
    counts.pop("", None)
    return Counter(dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))))


class Baselines(NamedTuple):
    """Scores of captions that owe nothing to the images.

    Attributes:
        scores (`dict[str, dict[str, Any]]`): {name: {"total": scores, "changed": scores or None, "caption": the
            constant or None}}.
        best_constant (`dict[str, str | None]`): {"total": name of the constant with the highest CIDEr, "changed":
            name}; None where there is no constant or no such pair.
    """

    scores: dict[str, dict[str, Any]]
    best_constant: dict[str, str | None]


def score_baselines(
    blocks: PairBlocks,
    hypotheses: Sequence[str],
    train_rows: Sequence[Row] | None,
    seed: int,
    all_constants: bool = True,
) -> Baselines:
    """Score captions that owe nothing to the images.

    With training rows, the constants are scored, captions repeated for every pair: each no-change sentence of the
    training split (the `MAX_CONSTANTS` most frequent ones), its most frequent caption, and its captions with the
    highest CIDEr-D over all pairs and over the changed ones (chosen on the scored references, so that no constant does
    better). Then a random training caption of each pair's change type (of any type if it is unknown or new). Always:
    the system's own captions shuffled over the pairs. METEOR is computed for the last two and for the best constants.

    Args:
        blocks (`PairBlocks`): The references that are scored.
        hypotheses (`Sequence[str]`): The system's tokenized captions.
        train_rows (`Sequence[Row]`, *optional*): Tokenized records of the training split.
        seed (`int`): Seed of the draws.
        all_constants (`bool`, *optional*, defaults to `True`): Whether to try every training caption, which takes
            seconds for tens of thousands.

    Returns:
        `Baselines`: The scores, and which constants are the best.
    """
    generator, pairs = np.random.default_rng(seed), len(hypotheses)
    sentences = count_captions(train_rows or [], unchanged_only=True).most_common(MAX_CONSTANTS)
    constants = {f'always "{sentence}"': sentence for sentence, _ in sentences}
    captions = count_captions(train_rows or [])
    if captions:
        constants[MOST_FREQUENT] = captions.most_common(1)[0][0]
    if all_constants:
        best_of = [corpus.best_constant(captions) for corpus in blocks.corpora.values()]
        new = [found[0] for found in best_of if found and found[0] not in constants.values()]
        constants |= {f'always "{caption}"': caption for caption in new}
    scores = {name: {**blocks.score([caption] * pairs), "caption": caption} for name, caption in constants.items()}
    best: dict[str, str | None] = {}
    for block in ("total", "changed"):
        cider = {name: blocks_of[block]["cider"] for name, blocks_of in scores.items() if blocks_of[block]}
        best[block] = max(cider, key=cider.__getitem__, default=None)
    for name in set(best.values()) - {None}:
        blocks.add_meteor(scores[name], [constants[name]] * pairs)
    if train_rows:
        drawn = draw_by_type(blocks.change_types, train_rows, generator)
        scores[RIGHT_TYPE] = {**blocks.score(drawn, with_meteor=True), "caption": None}
    shuffled = [hypotheses[index] for index in generator.permutation(pairs)]
    scores[SHUFFLED] = {**blocks.score(shuffled, with_meteor=True), "caption": None}
    return Baselines(scores, best)


def draw_by_type(
    change_types: Sequence[str | None], train_rows: Sequence[Row], generator: np.random.Generator
) -> list[str]:
    """Draw a training caption of its change type for each pair.

    Args:
        change_types (`Sequence[str | None]`): The type of each pair.
        train_rows (`Sequence[Row]`): Tokenized records of the training split.
        generator (`np.random.Generator`): Random numbers.

    Returns:
        `list[str]`: One tokenized caption a pair.
    """
    by_type: dict[str | None, list[str]] = {}
    for row in train_rows:
        by_type.setdefault(row["change_type"], []).extend(row["captions"])
    everything = [caption for captions in by_type.values() for caption in captions]
    pools = [by_type.get(name) or everything for name in change_types]
    return [pool[generator.integers(len(pool))] for pool in pools]


def score_upper_bounds(blocks: PairBlocks, seed: int) -> dict[str, dict[str, Any]]:
    """Score people against people: one random reference of each pair against the others of the pair.

    Args:
        blocks (`PairBlocks`): The references that are scored.
        seed (`int`): Seed of the draws.

    Returns:
        `dict[str, dict[str, Any]]`: {name: {"total": scores or None, "changed": scores or None, "skipped": pairs with
        a single reference}}.
    """
    generator = np.random.default_rng(seed)
    kept = [index for index, item in enumerate(blocks.references) if len(item) > 1]
    skipped = len(blocks.references) - len(kept)
    if not kept:
        return {ONE_REFERENCE: {"total": None, "changed": None, "skipped": skipped}}
    rest = [list(blocks.references[index]) for index in kept]
    chosen = [item.pop(generator.integers(len(item))) for item in rest]
    judges = blocks.judges and [blocks.judges[index] for index in kept]
    kept_blocks = PairBlocks(rest, [blocks.change_types[index] for index in kept], blocks.meteor, judges)
    scores = kept_blocks.score(chosen, with_meteor=True)
    return {ONE_REFERENCE: {**scores, "skipped": skipped}}


def score_synonyms(
    blocks: PairBlocks, hypotheses: Sequence[str], known: set[str], candidates: Sequence[str]
) -> dict[str, dict[str, Any]] | None:
    """Score with every "no change" caption replaced by one sentence, to show how much the choice of synonym counts.

    Args:
        blocks (`PairBlocks`): The references that are scored.
        hypotheses (`Sequence[str]`): The system's tokenized captions.
        known (`set[str]`): What counts as "no change".
        candidates (`Sequence[str]`): The no-change sentences to try.

    Returns:
        `dict[str, dict[str, Any]]`: {"best": {"caption": sentence, **scores of the total}, "worst": ...} by CIDEr;
        None with nothing to swap.
    """
    if not candidates or known.isdisjoint(hypotheses):
        return None
    trials = []
    for sentence in candidates:
        swapped = [sentence if text in known else text for text in hypotheses]
        trials.append({"caption": sentence, **blocks.corpora["total"].score(swapped)})
    cider = itemgetter("cider")
    return {"best": max(trials, key=cider), "worst": min(trials, key=cider)}
