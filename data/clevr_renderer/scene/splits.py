# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Splits balanced by change type."""

from __future__ import annotations

import numpy as np

from .geometry import CHANGE_TYPES


# Keeps the shuffle apart from the generators of the scenes, [seed, index].
_STREAM = (0x5F11, 0)


def _shuffled_rounds(scenes: int, seed: int) -> list[int]:
    """All indices in rounds that hold one scene of each type, in random order within a type."""
    generator = np.random.default_rng([seed, *_STREAM])
    kinds = len(CHANGE_TYPES)
    columns = [generator.permutation(np.arange(kind, scenes, kinds)) for kind in range(kinds)]
    return [int(column[i]) for i in range(len(columns[0])) for column in columns if i < len(column)]


def _share(scenes: int, part: float) -> int:
    return 0 if part == 0 or scenes < 3 else max(1, round(scenes * part))


def balanced_splits(scenes: int, seed: int, shares: tuple[float, float, float]) -> dict[str, list[int]]:
    """Random splits in which the change types differ by one scene at most.

    Args:
        scenes (`int`): Number of scenes, index i being of type i % 5.
        seed (`int`): Seed of the set.
        shares (`tuple[float, float, float]`): Shares of train, val, test; a share above 0 gets a scene at least where
            there are three or more.

    Returns:
        `dict[str, list[int]]`: Ascending indices under "train", "val" and "test".
    """
    order = _shuffled_rounds(scenes, seed)
    test, val = _share(scenes, shares[2]), _share(scenes, shares[1])
    parts = {"train": order[test + val :], "val": order[test : test + val], "test": order[:test]}
    return {name: sorted(indices) for name, indices in parts.items()}
