# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""What is right about captions that are judged by their scenes, part by part, with intervals."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..bootstrap import DRAWS, rate_interval
from ..bounds import Row
from .correctness import PARTS, Verdict, judge_caption, judge_references
from .scenes import SCENE


def describe_correctness(
    rows: Sequence[Row], hypotheses: Sequence[str], seed: int = 0, draws: int = DRAWS
) -> dict[str, Any] | None:
    """Tell what is right about the captions of the changed pairs, part by part.

    Args:
        rows (`Sequence[Row]`): Tokenized records of a split with scenes, for which `build_judges` gives judges.
        hypotheses (`Sequence[str]`): One tokenized caption a record.
        seed (`int`, *optional*, defaults to `0`): Seed of the bootstrap.
        draws (`int`, *optional*): Number of sets drawn.

    Returns:
        `dict[str, Any]`: `parts` ({"changed": rates, type: rates}) and, of all changed pairs, `pairs`,
        `captions_parsed` (share that the grammar explains), `references` (number) and `references_correct` (share).
        Rates are {part: {"captions": those that have it, "right": share of them or None, "interval": 95 % of it}}.
        None where no pair changed.
    """
    changed = [(row, text) for row, text in zip(rows, hypotheses, strict=True) if row.get(SCENE)]
    if not changed:
        return None
    verdicts = [judge_caption(row[SCENE], text) for row, text in changed]
    types = [row["change_type"] for row, _ in changed]
    blocks = {"changed": verdicts}
    for name in sorted(set(types)):
        blocks[name] = [verdict for verdict, kind in zip(verdicts, types, strict=True) if kind == name]
    references = [hit for row, _ in changed for hit in judge_references(row)]
    return {
        "pairs": len(changed),
        "captions_parsed": float(np.mean([verdict.caption is not None for verdict in verdicts])),
        "references": len(references),
        "references_correct": float(np.mean(references)),
        "parts": {name: _part_rates(found, seed, draws) for name, found in blocks.items()},
    }


def _part_rates(verdicts: Iterable[Verdict], seed: int, draws: int) -> dict[str, dict[str, Any]]:
    said = [verdict.parts for verdict in verdicts]
    rates = {}
    for name in PARTS:
        has = np.array([name in parts for parts in said], dtype=np.float64)
        right = np.array([parts.get(name, False) for parts in said], dtype=np.float64)
        count = int(has.sum())
        rates[name] = {
            "captions": count,
            "right": float(right.sum() / count) if count else None,
            "interval": rate_interval(right, has, draws, seed) if count else None,
        }
    return rates
