# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Real pairs and synthetic ones in one run, at a share that the run's YAML tells."""

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict, concatenate_datasets

from ..data.prepared import HUB_PREFIX, is_prepared, load_prepared, reading_of
from ..data.schema import CELL_COLUMNS, OBJECT_COLUMNS
from .arguments import DataArguments
from .dataset import PairDataset


# Keeps the order of synthetic pairs apart from what is drawn of every row.
ORDER_STREAM = 0x5E7


@dataclass(frozen=True)
class Mixture:
    """How many pairs of which kind an epoch has.

    Args:
        real (`int`): Real pairs, each once an epoch.
        synthetic (`int`): Synthetic pairs in an epoch.
        available (`int`): Synthetic pairs that these are taken from, in turn: all are seen before any is seen again.
    """

    real: int
    synthetic: int
    available: int

    @property
    def share(self) -> float:
        """Share of the epoch's pairs that is synthetic."""
        return self.synthetic / (self.real + self.synthetic)

    def describe(self) -> str:
        """One line for the log."""
        return (
            f"An epoch has {self.real:,} real and {self.synthetic:,} synthetic pairs, taken in turn from "
            f"{self.available:,}: {100 * self.share:.1f} % are synthetic."
        )

    def to_dict(self) -> dict[str, Any]:
        """The counts and `share`, for the run's record."""
        return {**asdict(self), "share": self.share}


def mix_pairs(arguments: DataArguments, rows: Dataset, splits: DatasetDict) -> tuple[Dataset, Mixture | None]:
    """Put synthetic training pairs behind the real ones.

    Args:
        arguments (`DataArguments`): `data_dir`, `synthetic_data_dir` and `synthetic_share`.
        rows (`datasets.Dataset`): The real training rows.
        splits (`datasets.DatasetDict`): The real set, whose other splits no synthetic pair may show.

    Returns:
        `tuple[datasets.Dataset, Mixture]`: Real rows, then synthetic ones, and the counts; the rows as they were and
        None where no synthetic set is named.

    Raises:
        FileNotFoundError: The synthetic set is not prepared.
        ValueError: The share is none, a synthetic pair is of a scene that is evaluated or has a real pair's name, or
            the sets read images in different ways.
    """
    folder, share = arguments.synthetic_data_dir, arguments.synthetic_share
    if folder is None:
        if share is not None:
            raise ValueError("`synthetic_share` needs `synthetic_data_dir`, where the synthetic pairs are.")
        return rows, None
    if share is not None and not 0.0 < share <= 1.0:
        raise ValueError(f"`synthetic_share` must lie above 0 and be at most 1, got {share}.")
    if not folder.startswith(HUB_PREFIX) and not is_prepared(Path(folder)):
        raise FileNotFoundError(f"`synthetic_data_dir` {folder} is not a prepared folder; docs/syned.md makes one.")
    if reading_of(folder) != reading_of(arguments.data_dir):
        raise ValueError(f"`synthetic_data_dir` {folder} was prepared to read images otherwise than the real pairs.")
    synthetic = load_prepared(folder, splits=["train"])["train"]
    if not len(synthetic):
        raise ValueError(f"`synthetic_data_dir` {folder} has no training pairs.")
    _check_apart(folder, synthetic, rows, splits)
    if share == 1.0:
        return synthetic, Mixture(0, len(synthetic), len(synthetic))
    count = len(synthetic) if share is None else max(1, round(share / (1.0 - share) * len(rows)))
    targets = (*CELL_COLUMNS, *OBJECT_COLUMNS)
    cells = [[name for name in targets if name in part.column_names] for part in (rows, synthetic)]
    both = [part.remove_columns(names) for part, names in zip((rows, synthetic), cells, strict=True)]
    return concatenate_datasets(both), Mixture(len(rows), count, len(synthetic))


def report_pairs(mixture: Mixture | None) -> dict[str, Any]:
    """Tell how many pairs of which kind an epoch has, where there are two kinds.

    Args:
        mixture (`Mixture`, *optional*): What `mix_pairs` gave.

    Returns:
        `dict[str, Any]`: `pairs` for the run's record; empty without a mixture.
    """
    if mixture is None:
        return {}
    sys.stdout.write(f"{mixture.describe()}\n")
    return {"pairs": mixture.to_dict()}


def _check_apart(folder: str, synthetic: Dataset, rows: Dataset, splits: DatasetDict) -> None:
    scenes = dict(zip(synthetic["scene_id"][:], synthetic["pair_id"][:], strict=True))
    for name, split in splits.items():
        if name == "train":
            continue
        leaked = next((scene for scene in split["scene_id"][:] if scene in scenes), None)
        if leaked is not None:
            raise ValueError(
                f"`synthetic_data_dir` {folder}: pair {scenes[leaked]!r} is of scene {leaked!r}, which is in the real "
                f"set's {name} split; leave such pairs out."
            )
    twice = set(rows["pair_id"][:]) & set(synthetic["pair_id"][:])
    if twice:
        raise ValueError(f"`synthetic_data_dir` {folder}: pair {min(twice)!r} is also a real pair; rename it.")


class MixedPairDataset(PairDataset):
    """Every real pair once an epoch, and so many synthetic ones, in turn.

    Args:
        rows (`datasets.Dataset`): What `mix_pairs` gives.
        *args (`Any`): As for `PairDataset`.
        mixture (`Mixture`): The counts.
        **kwargs (`Any`, *optional*): As for `PairDataset`.

    Raises:
        ValueError: As for `PairDataset`, or `changed_only` is set, which would change the share.
    """

    def __init__(self, rows: Dataset, *args: Any, mixture: Mixture, **kwargs: Any) -> None:
        if kwargs.get("changed_only"):
            raise ValueError("`changed_only` would change the share of synthetic pairs: leave one of them out.")
        super().__init__(rows, *args, **kwargs)
        self.mixture = mixture
        self._orders: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return self.mixture.real + self.mixture.synthetic

    def row_of(self, index: int) -> int:
        """The row that a place in the epoch shows.

        Args:
            index (`int`): Below the length.
        """
        mixture = self.mixture
        if index < mixture.real:
            return super().row_of(index)
        turn = self.epoch.item() * mixture.synthetic + index - mixture.real
        round_number, place = divmod(turn, mixture.available)
        return mixture.real + int(self._order(round_number)[place])

    def _order(self, round_number: int) -> np.ndarray:
        """The order of a round; an epoch may have parts of several, of which a sampler takes places in any order."""
        if round_number not in self._orders:
            mixture = self.mixture
            first = self.epoch.item() * mixture.synthetic
            rounds = range(first // mixture.available, (first + mixture.synthetic - 1) // mixture.available + 1)
            # Those of other epochs are forgotten.
            self._orders = {number: order for number, order in self._orders.items() if number in rounds}
            generator = np.random.default_rng([self.seed, round_number, ORDER_STREAM])
            self._orders[round_number] = generator.permutation(mixture.available)
        return self._orders[round_number]


__all__ = ["MixedPairDataset", "Mixture", "mix_pairs", "report_pairs"]
