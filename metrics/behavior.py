# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""What captions say of changed and unchanged pairs, whatever they score."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from .bounds import PairBlocks, Row
from .change_captioning.text import clean_caption


def no_change_rate(blocks: PairBlocks, hypotheses: Sequence[str], known: set[str]) -> dict[str, float | None]:
    """Counts how often "nothing changed" is said of changed pairs (should be 0) and of unchanged ones (should be 1).

    Args:
        blocks (`PairBlocks`): The blocks of the split.
        hypotheses (`Sequence[str]`): The system's tokenized captions.
        known (`set[str]`): The no-change sentences; where none is known, both rates are None.

    Returns:
        `dict[str, float | None]`: {"changed": rate, "unchanged": rate}, None for an empty block.
    """
    unchanged = [index for index, name in enumerate(blocks.change_types) if name == "none"]
    return {
        name: _mean(hypotheses[index] in known for index in indices) if known else None
        for name, indices in (("changed", blocks.changed), ("unchanged", unchanged))
    }


def change_type_accuracy(
    rows: Sequence[Row], predictions: Mapping[str, str], change_type_of: Callable[[str], str | None]
) -> dict[str, Any]:
    """Compares the change type that a caption names with the pair's, over the changed pairs.

    Args:
        rows (`Sequence[Row]`): Records of the split.
        predictions (`Mapping[str, str]`): One caption a pair, by pair id.
        change_type_of (`Callable[[str], str | None]`): Reads the change type off a caption.

    Returns:
        `dict[str, Any]`: {"changed": rate, "by_type": {type: rate}, "references": the same rate for the references,
        which tells whether `change_type_of` fits this data set}; None where no pair changed.
    """
    hits: dict[str, list[bool]] = {}
    checks = []
    for row in rows:
        name = row["change_type"]
        if name not in {None, "none"}:
            said = clean_caption(predictions[row["pair_id"]])[0]
            hits.setdefault(name, []).append(change_type_of(said) == name)
            checks += [change_type_of(text) == name for text in row["captions"]]
    return {
        "changed": _mean(hit for values in hits.values() for hit in values),
        "by_type": {name: _mean(values) for name, values in sorted(hits.items())},
        "references": _mean(checks),
    }


def _mean(values: Iterable[bool]) -> float | None:
    counted = [float(value) for value in values]
    return sum(counted) / len(counted) if counted else None
