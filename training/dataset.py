# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Pairs of images as a torch data set: images decoded once, captions drawn anew every epoch."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow.compute as pc
import torch
from datasets import Dataset
from datasets import Image as ImageFeature
from torch.utils.data import Dataset as TorchDataset
from tqdm.auto import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ..data.augment import PairAugmentation
from ..data.decoding import SIDES, model_images, resize_image
from ..data.frames import PairFrames, frames_of_row
from ..data.schema import CELL_COLUMNS, NO_CHANGE, OBJECT_COLUMNS, RETRIEVED
from ..processing_ssgpa import SSGPAProcessor
from .controls import CONTROL_MARK, NoChangeControls, control_cells
from .features import FeatureCache, digest_of
from .targets import INVERSE_TARGETS, INVERSE_TYPE, TARGETS


# Bit of a cell that says: whether the changed object is here is not known.
CHANGE_UNKNOWN = 1 << 16
SWAP_PROBABILITY = 0.5
# Keeps alterations of images apart from the draws of captions and swaps.
AUGMENT_STREAM = 0xA06

Place = tuple[int, str]


def draw_captions(captions: list[str], number: int, rng: np.random.Generator | None) -> list[str]:
    """Draw so many captions, without repetition where there are enough; without a generator, the first ones."""
    order = np.arange(len(captions)) if rng is None else rng.permutation(len(captions))
    return [captions[order[place % len(order)]] for place in range(number)]


def check_places(augmentation: PairAugmentation | None, columns: Sequence[str]) -> PairAugmentation | None:
    """Return the augmentation if it leaves the auxiliary targets of these columns right.

    Raises:
        ValueError: It moves what places show, and there are auxiliary targets about places.
    """
    if augmentation is not None and augmentation.moves and CELL_COLUMNS[0] in columns:
        raise ValueError(
            "augment: warp and flip would make the auxiliary targets about cells wrong; prepare the data without "
            "--aux_grid"
        )
    return augmentation


def check_captions_per_pair(number: int) -> int:
    """Return a number of captions that are learned of every pair.

    Raises:
        ValueError: It is below 1.
    """
    if number < 1:
        raise ValueError(f"`captions_per_pair` must be at least 1, got {number}.")
    return number


class ImageCache:
    """Resized 8-bit images of a prepared split, by row and side; equal files are kept once.

    Args:
        rows (`datasets.Dataset`): A prepared split.
        processor (`SSGPAProcessor`): Its image processor resizes.
        cache (`bool`): Decode all now and keep them; otherwise decode at every access.
    """

    def __init__(self, rows: Dataset, processor: SSGPAProcessor, cache: bool) -> None:
        self.columns = {
            side: rows.select_columns([side]).cast_column(side, ImageFeature(decode=False)) for side in SIDES
        }
        self.pair_ids = rows.select_columns(["pair_id"])
        self.processor = processor
        self.images: list[np.ndarray] = []
        # Which image a row shows before and after, one after the other; no Python objects, see `PairDataset`.
        self.places = np.zeros(2 * len(rows), dtype=np.int64)
        if not cache:
            return
        known: dict[bytes, int] = {}
        for number, (side, sources) in enumerate(self.columns.items()):
            for index, row in enumerate(tqdm(sources, desc=f"Decoding images {side}", leave=False)):
                digest = hashlib.sha256(row[side]["bytes"]).digest()
                if digest not in known:
                    known[digest] = len(self.images)
                    self.images.append(self._decode(row[side], index, side))
                self.places[2 * index + number] = known[digest]

    def _decode(self, source: dict[str, Any], index: int, side: str) -> np.ndarray:
        return resize_image(source, f"pair {self.pair_ids[index]['pair_id']!r}, {side}", self.processor)

    def digests(self) -> Iterator[tuple[str, Callable[[], np.ndarray]]]:
        """The digest of every image, and what decodes it."""
        for side, rows in self.columns.items():
            for index, row in enumerate(rows):
                yield digest_of(row[side]["bytes"]), partial(self._decode, row[side], index, side)

    def features(self, cache: FeatureCache, index: int, side: str) -> torch.Tensor:
        """The features of a row's image (1 + patches, patch_hidden_size)."""
        return cache.read(digest_of(self.columns[side][index][side]["bytes"]))

    def __call__(self, index: int, side: str) -> np.ndarray:
        """The image of a row, (channels, height, width), uint8."""
        if self.images:
            return self.images[self.places[2 * index + SIDES.index(side)]]
        return self._decode(self.columns[side][index][side], index, side)


class PairDataset(TorchDataset):
    """Training rows: two resized images, some of the pair's captions, and auxiliary targets where the split has them.

    Rows with the columns that `targets.make_targets` adds give these captions, and with probability 0.5 the pair from
    after to before.

    What is drawn at random depends on seed, epoch and row alone, so that a resumed run sees what it would have seen.

    Texts and auxiliary targets stay in Arrow's memory. As Python objects they take several times as much, and every
    worker soon has a copy of its own, since looking at an object writes its count of references.

    Args:
        rows (`datasets.Dataset`): A prepared split.
        processor (`SSGPAProcessor`): Resizes the images.
        captions_per_pair (`int`): Captions drawn for every pair, without repetition where it has enough.
        distractor_swap (`bool`): With probability 0.5 the distractor image of the scene stands for the one before.
        cache (`bool`): Keep the resized images in memory.
        seed (`int`): Seed of captions, swaps and alterations of the images.
        augmentation (`PairAugmentation`, *optional*): Alters the images of every pair anew every epoch.
        features (`FeatureCache`, *optional*): Give the images' features from there, in place of the images.
        changed_only (`bool`): Leave out pairs without a change.
        frames (`PairFrames`, *optional*): Give the frames that it makes of a pair, in place of the two images.
        first_captions (`bool`): Give every pair's first captions in every epoch, in place of drawn ones.
        controls (`NoChangeControls`, *optional*): Turns some rows into two views of one image, anew every epoch, and
            alters the images of the others alike.

    Raises:
        ValueError: There is no pair, `captions_per_pair` is below 1, distractors are wanted and no pair is unchanged,
            the augmentation would change an answer or make auxiliary targets about places wrong, or controls cannot
            have what the other rows have.
    """

    def __init__(
        self,
        rows: Dataset,
        processor: SSGPAProcessor,
        captions_per_pair: int = 1,
        distractor_swap: bool = False,
        cache: bool = False,
        seed: int = 0,
        augmentation: PairAugmentation | None = None,
        features: FeatureCache | None = None,
        changed_only: bool = False,
        frames: PairFrames | None = None,
        first_captions: bool = False,
        controls: NoChangeControls | None = None,
    ) -> None:
        if not len(rows):
            raise ValueError("There is nothing to train on: the split has no pairs.")
        beside = (*SIDES, *CELL_COLUMNS, *OBJECT_COLUMNS)
        self.table = rows.remove_columns([name for name in beside if name in rows.column_names])
        has_cells = CELL_COLUMNS[0] in rows.column_names
        self.cells = rows.select_columns(list(CELL_COLUMNS)).with_format("arrow") if has_cells else None
        has_objects = OBJECT_COLUMNS[0] in rows.column_names
        self.objects = rows.select_columns(list(OBJECT_COLUMNS)).with_format("arrow") if has_objects else None
        columns = rows.select_columns(["scene_id", "change_type"]).with_format("arrow")[:]
        # Number of every row's scene, in the order of their names.
        self.scene_numbers = pc.rank(columns["scene_id"], tiebreaker="dense").to_numpy().astype(np.int64) - 1
        # Row of every scene's unchanged pair, -1 where there is none.
        self.unchanged = np.full(self.scene_numbers.max() + 1, -1)
        still = np.flatnonzero(pc.equal(columns["change_type"], NO_CHANGE).fill_null(False).to_numpy())
        self.unchanged[self.scene_numbers[still]] = still
        self.kept_rows = np.setdiff1d(np.arange(len(rows)), still) if changed_only else np.arange(len(rows))
        if not len(self.kept_rows):
            raise ValueError("`changed_only` leaves nothing to train on: no pair of the split has a change.")
        if distractor_swap and not still.size:
            raise ValueError("`distractor_swap` needs pairs without a change; the training split has none.")
        if augmentation is not None:
            augmentation.check_captions((row["pair_id"], row["captions"]) for row in self.table)
        if augmentation is not None and features is not None:
            raise ValueError("augment: features are of images as they are; leave out `augment` or `feature_cache`")
        self.augmentation = check_places(augmentation, rows.column_names)
        if controls is not None:
            controls = controls.for_data(rows.column_names, augmentation, feature_cache=features, frames=frames)
        self.controls = controls
        self.captions_per_pair = check_captions_per_pair(captions_per_pair)
        self.distractor_swap = distractor_swap
        self.seed = seed
        # Shared memory, for workers that outlive an epoch.
        self.epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self.store = ImageCache(rows, processor, cache and features is None)
        self.features = features
        self.frames = frames
        self.first_captions = first_captions

    def set_epoch(self, epoch: int) -> None:
        """Draw other captions, swaps, alterations and controls from now on."""
        self.epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.kept_rows)

    def row_of(self, index: int) -> int:
        """The row that a place in the epoch shows.

        Args:
            index (`int`): Below the length.
        """
        return int(self.kept_rows[index])

    def __getitem__(self, index: int) -> dict[str, Any]:
        index = self.row_of(index)
        row = self.table[index]
        control = None if self.controls is None else self.controls.draw((self.seed, self.epoch.item(), index))
        if control is not None:
            return self._control(index, row, control)
        rng = np.random.default_rng([self.seed, self.epoch.item(), index])
        before, after = (index, "before"), (index, "after")
        if self.distractor_swap and rng.random() < SWAP_PROBABILITY:
            before, after = self._swap(index, row["change_type"])
        captions, change_type = row.get(TARGETS, row["captions"]), row["change_type"]
        if INVERSE_TYPE in row and rng.random() < SWAP_PROBABILITY:
            before, after = after, before
            captions, change_type = row[INVERSE_TARGETS], row[INVERSE_TYPE]
        item = {
            "pair_id": row["pair_id"],
            "scene_id": int(self.scene_numbers[index]),
            "captions": draw_captions(captions, self.captions_per_pair, None if self.first_captions else rng),
            "change_type": change_type,
        }
        if RETRIEVED in row:
            item[RETRIEVED] = row[RETRIEVED]
        if self.features is None:
            images = self.store(*before), self.store(*after)
            if self.controls is not None:
                images = self.controls.alter(images, (self.seed, self.epoch.item(), index))
            item["images"] = self._images(images, index, row["pair_id"])
        else:
            both = [self.store.features(self.features, *place) for place in (before, after)]
            item["vision_features"] = torch.stack(both)
        if self.cells is not None:
            item["cells"] = (self._cells(before, index), self._cells(after, index))
        if self.objects is not None:
            item["objects"] = (self._objects(before), self._objects(after))
        return item

    def _control(self, index: int, row: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        """What a row is as a control."""
        side = self.controls.side(rng)
        captions = self.controls.captions(row["scene_id"], rng)
        item = {
            "pair_id": f"{row['pair_id']}{CONTROL_MARK}",
            "scene_id": int(self.scene_numbers[index]),
            "captions": draw_captions(captions, self.captions_per_pair, None if self.first_captions else rng),
            "change_type": NO_CHANGE,
            "images": self._images(self.controls.control(self.store(index, side), rng), index, row["pair_id"]),
        }
        if self.cells is not None:
            item["cells"] = control_cells(self._cells((index, side), index))
        if self.objects is not None:
            item["objects"] = (self._objects((index, side)),) * 2
        return item

    def _images(
        self, images: tuple[np.ndarray, np.ndarray], index: int, pair_id: str
    ) -> tuple[np.ndarray, np.ndarray] | np.ndarray:
        if self.frames is not None:
            return frames_of_row(self.frames, images, pair_id, (self.seed, self.epoch.item(), index))
        if self.augmentation is not None:
            rng = np.random.default_rng([self.seed, self.epoch.item(), index, AUGMENT_STREAM])
            images = self.augmentation(images, rng)
        return model_images(images, self.store.processor)

    def _swap(self, index: int, change_type: str | None) -> tuple[Place, Place]:
        distractor = int(self.unchanged[self.scene_numbers[index]])
        if distractor < 0:
            return (index, "before"), (index, "after")
        if change_type == NO_CHANGE:
            return (index, "after"), (index, "before")
        return (distractor, "after"), (index, "after")

    def _cells(self, place: Place, index: int) -> np.ndarray:
        (cells,) = self.cells[place[0]][f"{place[1]}_cells"]
        cells = cells.values.to_numpy().astype(np.int64)
        # The distractor's row does not say which object the semantic change touches.
        return cells if place[0] == index else cells | CHANGE_UNKNOWN

    def _objects(self, place: Place) -> np.ndarray:
        (objects,) = self.objects[place[0]][f"{place[1]}_objects"]
        return objects.values.to_numpy()


class EpochCallback(TrainerCallback):
    """Tells the training data which epoch begins.

    Accelerate's data loader tells either its sampler or its data set; where batches are skipped or shared out among
    processes, that is the sampler alone.
    """

    def on_epoch_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        train_dataloader: Any = None,
        **kwargs: Any,
    ) -> None:
        """Pass the epoch on to a data set that asks for it."""
        if hasattr(train_dataloader.dataset, "set_epoch"):
            train_dataloader.dataset.set_epoch(int(state.epoch or 0))
