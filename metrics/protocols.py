# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Protocols of the published tables as data: what is a pair, what are its references, which blocks are scored.

Scores under different protocols do not belong in one column: on Spot-the-Diff, joining the sentences of a pair into
one reference takes 5 points of BLEU-4 and 8 of CIDEr from the same captions.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ..utils.pair_ids import first_few
from .bounds import Row


JOINT = ". "


@dataclass(frozen=True)
class Protocol:
    """How a data set is scored.

    Args:
        name (`str`): Goes into every result.
        description (`str`): What belongs in a table's caption.
        references (`str`, *optional*, defaults to `'all'`): "all": every sentence of a pair is a reference; "joined":
            all of them are one reference, in their order, put together by ". ".
        blocks (`tuple[str, ...]`, *optional*, defaults to `()`): The blocks that its tables print, beside the total:
            "changed", "unchanged", "by_type".
        types (`tuple[str, ...]`, *optional*): The change types that may occur; None where the set has none, () where
            any name may.
        test_pairs (`int`, *optional*): Pairs of the released test split.
    """

    name: str
    description: str
    references: str = "all"
    blocks: tuple[str, ...] = ()
    types: tuple[str, ...] | None = None
    test_pairs: int | None = None


_CLEVR_TYPES = ("color", "material", "add", "drop", "move", "none")
_EDITING = "the 8 tasks of Emu Edit stand in the place of change types"
PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            "clevr_change",
            "CLEVR-Change: one changed and one distractor pair a scene, all captions of a pair as references; total, "
            "changed, unchanged and each type scored apart, each with its own document frequencies.",
            blocks=("changed", "unchanged", "by_type"),
            types=_CLEVR_TYPES,
            test_pairs=7970,
        ),
        Protocol(
            "clevr_dc",
            "CLEVR-DC: no distractors but a sixth type, none; the published line scores the changed pairs.",
            blocks=("changed", "unchanged", "by_type"),
            types=_CLEVR_TYPES,
            test_pairs=4800,
        ),
        Protocol(
            "spot_the_diff_single",
            "Spot-the-Diff, single change: rows of one pair are grouped, every sentence is a reference of its own, "
            "one prediction a pair.",
            test_pairs=1270,
        ),
        Protocol(
            "spot_the_diff_multi",
            "Spot-the-Diff, multi change: all sentences of a pair joined into one reference. Not comparable with the "
            "single-change protocol.",
            references="joined",
            test_pairs=1270,
        ),
        Protocol(
            "image_editing_request",
            "Image-Editing-Request: 3 instructions a pair in validation and test, 1 in training.",
            test_pairs=495,
        ),
        Protocol(
            "emu_edit",
            f"Emu Edit generations: one instruction a pair, scored in total and by task; {_EDITING}.",
            blocks=("by_type",),
            types=(),
            test_pairs=2022,
        ),
        Protocol(
            "syned",
            f"Emu Edit with Syned's further instructions as references, in total and by task; {_EDITING}.",
            blocks=("by_type",),
            types=(),
            test_pairs=2022,
        ),
    )
}


def apply_protocol(protocol: Protocol, rows: Sequence[Row]) -> list[Row]:
    """Return the items that a protocol scores.

    Args:
        protocol (`Protocol`): One of `PROTOCOLS`.
        rows (`Sequence[Row]`): Records of a split, one a pair.

    Returns:
        `list[Row]`: Records with the protocol's references.

    Raises:
        ValueError: If a pair comes in several rows, or has a change type that the protocol does not know.
    """
    kinds = [row["change_type"] for row in rows]
    if protocol.types:
        fits, expected = [kind in protocol.types for kind in kinds], f"one of {', '.join(protocol.types)}"
    elif protocol.types is None:
        fits, expected = [kind is None for kind in kinds], "no change types"
    else:
        fits, expected = [kind is not None for kind in kinds], "one of the tasks"
    if not all(fits):
        wrong = [row["pair_id"] for row, fit in zip(rows, fits, strict=True) if not fit]
        raise ValueError(f"{protocol.name} expects {expected}; this does not fit the pairs {first_few(wrong)}.")
    twice = [name for name, count in Counter(row["pair_id"] for row in rows).items() if count > 1]
    if twice:
        raise ValueError(f"{protocol.name} scores each pair once; group the rows of {first_few(twice)}.")
    if protocol.references == "joined":
        return [{**row, "captions": [JOINT.join(row["captions"])]} for row in rows]
    return [dict(row) for row in rows]
