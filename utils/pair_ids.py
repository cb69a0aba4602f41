# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Values by pair id, without duplicates or gaps."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def by_id(items: Mapping[Any, Any] | Iterable[tuple[Any, Any]], what: str) -> dict[Any, Any]:
    """Return a dictionary of (id, value) pairs; an id given twice is an error.

    Args:
        items (`Mapping[Any, Any]` or `Iterable[tuple[Any, Any]]`): A mapping, or pairs.
        what (`str`): The name of the items in the error.

    Returns:
        `dict[Any, Any]`: The items by id, in their order.

    Raises:
        ValueError: If an id comes twice.
    """
    if isinstance(items, Mapping):
        return dict(items)
    pairs = list(items)
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[Any] = set()
        twice = [name for name, _ in pairs if name in seen or seen.add(name)]
        raise ValueError(f"The {what} hold ids twice: {first_few(twice)}.")
    return found


def check_ids(references: Mapping[Any, Any], predictions: Mapping[Any, Any]) -> None:
    """Check that each pair has one prediction, and that no prediction lacks a pair.

    Args:
        references (`Mapping[Any, Any]`): Anything keyed by pair id.
        predictions (`Mapping[Any, Any]`): Anything keyed by pair id.

    Raises:
        ValueError: If ids are missing or unknown; the error names them.
    """
    missing = [name for name in references if name not in predictions]
    unknown = [name for name in predictions if name not in references]
    if missing:
        count = f"{len(missing)} of {len(references)}"
        raise ValueError(f"Predictions are missing for {count} pairs: {first_few(missing)}.")
    if unknown:
        raise ValueError(f"Predictions were given for {len(unknown)} unknown pairs: {first_few(unknown)}.")


def first_few(names: Sequence[Any], limit: int = 5) -> str:
    """List the first names for an error message."""
    return ", ".join(repr(name) for name in names[:limit]) + (", ..." if len(names) > limit else "")


__all__ = ["by_id", "check_ids", "first_few"]
