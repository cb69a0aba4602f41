# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""No-change controls: training rows that become two harmlessly different views of one image, at a rate."""

import sys
from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow.compute as pc
from datasets import Dataset

from ..data.augment import PairAugmentation
from ..data.checks import check_captions
from ..data.clevr_renderer.dataset.cells import CHANGED_BIT
from ..data.controls import HarmlessChanges
from ..data.schema import CELL_COLUMNS, NO_CHANGE, RETRIEVED, SIDES
from .arguments import DataArguments


# Keeps controls apart from the draws of captions, swaps and alterations, which stay what they were.
CONTROL_STREAM = 0xC07
# What errors call a control, behind its pair's id; and the captions that a run gives for all of them.
CONTROL_MARK = " (as a no-change control)"
GIVEN = "control_captions"
# Why a control cannot have what such a setting gives.
REFUSED = {
    "feature_cache": "the cache keeps features of images as they are",
    "frames": "frames are made of a pair's own two images",
    "retrieval_store": "its captions were retrieved for the pair's own two images",
}


class NoChangeControls:
    """Decides which rows of an epoch are controls, and makes these.

    A control shows one image of its row, the one before or the one after, on both sides, altered as `HarmlessChanges`
    does. It is told by the captions of an unchanged pair, of its own scene where there is one, or by given ones. All
    other rows are altered alike: else an alteration would be a sign that nothing has changed.

    Texts stay in Arrow's memory, see `PairDataset`.

    Args:
        rate (`float`): Probability that a row is a control in an epoch, above 0 and below 1.
        rows (`datasets.Dataset`): The training rows; `scene_id`, `captions` and `change_type` are read.
        captions (`Sequence[str]`, *optional*): What all controls are told by; by default the captions of unchanged
            pairs.
        changes (`HarmlessChanges`, *optional*): Alters the images.

    Raises:
        ValueError: The rate is none, a caption is empty, or no caption is given and no pair of the rows is unchanged.
    """

    def __init__(
        self, rate: float, rows: Dataset, captions: Sequence[str] = (), changes: HarmlessChanges | None = None
    ) -> None:
        if not 0.0 < rate < 1.0:
            raise ValueError(f"The rate of controls must lie above 0 and below 1, got {rate}.")
        self.rate = rate
        self.changes = HarmlessChanges() if changes is None else changes
        self.given = check_captions(list(captions), f"`{GIVEN}`") if captions else []
        still = pc.equal(rows.select_columns(["change_type"]).with_format("arrow")[:]["change_type"], NO_CHANGE)
        self.texts = rows.select_columns(["scene_id", "captions"]).select(
            np.flatnonzero(still.fill_null(False).to_numpy())
        )
        if not self.given and not len(self.texts):
            raise ValueError(
                "`no_change_controls`: no training pair is unchanged, so that there are no captions of controls: set "
                f"`{GIVEN}`, for example to [nothing has changed]."
            )
        # Scenes of the unchanged pairs in the order of their names, and these pairs' places in `texts`.
        scenes = np.array(self.texts["scene_id"][:], dtype=np.str_)
        self.order = np.argsort(scenes, kind="stable")
        self.scenes = scenes[self.order]

    def for_data(
        self, columns: Sequence[str], augmentation: PairAugmentation | None = None, **made: Any
    ) -> "NoChangeControls":
        """The controls of a data set, checked against what else it does.

        Where its rows have auxiliary targets about places, the camera of controls stands still.

        Args:
            columns (`Sequence[str]`): Of its rows.
            augmentation (`PairAugmentation`, *optional*): What alters its images, those of controls too.
            **made (`Any`, *optional*): Its `feature_cache` and `frames`, None where it has none.

        Raises:
            ValueError: They do not go together; the error names the setting.
        """
        made["retrieval_store"] = True if RETRIEVED in columns else None
        _refuse(name for name, value in made.items() if value is not None)
        if augmentation is not None:
            augmentation.check_captions([(GIVEN, self.given)])
        if CELL_COLUMNS[0] not in columns:
            return self
        still = copy(self)
        still.changes = replace(self.changes, motion=0.0)
        return still

    def draw(self, place: tuple[int, int, int]) -> np.random.Generator | None:
        """Decide about a row of an epoch.

        Args:
            place (`tuple[int, int, int]`): Seed, epoch, and number of the row, on which alone it depends.

        Returns:
            `np.random.Generator`: What the control is made with; None where the row stays as it is.
        """
        rng = np.random.default_rng([*place, CONTROL_STREAM])
        return rng if rng.random() < self.rate else None

    def control(self, image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """The two images of a control.

        Args:
            image (`np.ndarray`): The one that it shows, (3, height, width), uint8.
            rng (`np.random.Generator`): What `draw` gave.
        """
        return self.changes((image, image), rng)

    def alter(
        self, images: tuple[np.ndarray, np.ndarray], place: tuple[int, int, int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Alter the images of a row that is no control as those of a control.

        Args:
            images (`tuple[np.ndarray, np.ndarray]`): Before and after, (3, height, width), uint8.
            place (`tuple[int, int, int]`): As for `draw`.
        """
        return self.changes(images, np.random.default_rng([*place, CONTROL_STREAM, 1]))

    def side(self, rng: np.random.Generator) -> str:
        """Which image of the row the control shows, `before` or `after`."""
        return SIDES[rng.integers(len(SIDES))]

    def captions(self, scene_id: str, rng: np.random.Generator) -> list[str]:
        """What a control may be told by.

        Args:
            scene_id (`str`): The row's scene.
            rng (`np.random.Generator`): Chooses among unchanged pairs where the scene has not exactly one.
        """
        if self.given:
            return self.given
        first, end = (np.searchsorted(self.scenes, scene_id, side) for side in ("left", "right"))
        if first == end:
            first, end = 0, len(self.order)
        return self.texts[int(self.order[rng.integers(first, end)])]["captions"]

    def describe(self) -> str:
        """One line for the log."""
        source = "the given captions" if self.given else f"captions of {len(self.texts):,} unchanged pairs"
        return f"{100 * self.rate:.1f} % of the rows become no-change controls, told by {source}."

    def to_dict(self) -> dict[str, Any]:
        """Rate, given captions and number of unchanged pairs, for the run's record."""
        return {"rate": self.rate, "captions": self.given or None, "unchanged_pairs": len(self.texts)}


def control_cells(cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Auxiliary targets of a control: of the one image on both sides, and nothing has changed.

    Args:
        cells (`np.ndarray`): (cells,), int64, of the image that the control shows.
    """
    unchanged = cells & ~(1 << CHANGED_BIT)
    return unchanged, unchanged


def check_control_settings(arguments: DataArguments) -> None:
    """Refuse settings that do not go with controls.

    Raises:
        ValueError: The rate is none, captions are given without a rate, or a control could not have what another
            setting gives; the error names it.
    """
    rate = arguments.no_change_controls
    if not 0.0 <= rate < 1.0:
        raise ValueError(f"`no_change_controls` must be at least 0 and below 1, got {rate}.")
    if arguments.control_captions and not rate:
        raise ValueError(f"`{GIVEN}` are those of controls: say how many with `no_change_controls`.")
    if rate:
        _refuse(name for name in REFUSED if getattr(arguments, name))


def _refuse(names: Iterable[str]) -> None:
    """Refuse the first of the settings that controls do not go with."""
    name = next(iter(names), None)
    if name is not None:
        raise ValueError(f"`no_change_controls` does not go with `{name}`: {REFUSED[name]}. Leave one of them out.")


def make_controls(arguments: DataArguments, rows: Dataset) -> NoChangeControls | None:
    """What a run's `no_change_controls` and `control_captions` ask for.

    Args:
        arguments (`DataArguments`): The run's.
        rows (`datasets.Dataset`): The training rows.

    Returns:
        `NoChangeControls`: None where no row becomes a control.

    Raises:
        ValueError: As for `NoChangeControls`.
    """
    if not arguments.no_change_controls:
        return None
    return NoChangeControls(arguments.no_change_controls, rows, arguments.control_captions)


def report_controls(controls: NoChangeControls | None) -> dict[str, Any]:
    """Tell how many rows become controls, where some do.

    Args:
        controls (`NoChangeControls`, *optional*): What `make_controls` gave.

    Returns:
        `dict[str, Any]`: `no_change_controls` for the run's record; empty without controls.
    """
    if controls is None:
        return {}
    sys.stdout.write(f"{controls.describe()}\n")
    return {"no_change_controls": controls.to_dict()}


__all__ = ["NoChangeControls", "check_control_settings", "control_cells", "make_controls", "report_controls"]
