# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Pairs of pictures as a torch data set: pictures decoded once, captions drawn anew every epoch."""

import hashlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from datasets import Dataset, Image
from torch.utils.data import Dataset as TorchDataset
from tqdm.auto import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ..data.schema import HINT_COLUMNS, NO_CHANGE
from ..pictures_ssgpa import load_picture
from ..processing_ssgpa import SSGPAProcessor
from .features import FeatureCache, digest_of


# Bit of a cell that says: whether the changed object is here is not known.
CHANGE_UNKNOWN = 1 << 16
SWAP_PROBABILITY = 0.5

Place = tuple[int, str]


class PictureStore:
    """Resized 8-bit pictures of a prepared split, by row and side; equal files are kept once.

    Args:
        rows (`datasets.Dataset`): A prepared split.
        processor (`SSGPAProcessor`): Its image processor resizes.
        cache (`bool`): Decode all now and keep them; otherwise decode at every access.
    """

    def __init__(self, rows: Dataset, processor: SSGPAProcessor, cache: bool) -> None:
        self.rows = rows.select_columns(["before", "after"])
        self.rows = self.rows.cast_column("before", Image(decode=False)).cast_column("after", Image(decode=False))
        self.image_processor = processor.image_processor
        self.pictures: list[np.ndarray] = []
        self.places: dict[Place, int] = {}
        if cache:
            self._decode_all()

    def _decode_all(self) -> None:
        known: dict[bytes, int] = {}
        for index, row in enumerate(tqdm(self.rows, desc="Decoding pictures", leave=False)):
            for side in ("before", "after"):
                digest = hashlib.sha256(row[side]["bytes"]).digest()
                if digest not in known:
                    known[digest] = len(self.pictures)
                    self.pictures.append(self._decode(row[side], index, side))
                self.places[index, side] = known[digest]

    def _decode(self, source: dict[str, Any], index: int, side: str) -> np.ndarray:
        picture = load_picture(source, f"row {index}, {side}")
        resized = self.image_processor(picture, do_rescale=False, do_normalize=False, return_tensors="np")
        return resized["pixel_values"][0].astype(np.uint8)

    def digests(self) -> Iterator[tuple[str, Callable[[], np.ndarray]]]:
        """The digest of every picture, and what decodes it."""
        for index, row in enumerate(self.rows):
            for side in ("before", "after"):
                yield digest_of(row[side]["bytes"]), partial(self._decode, row[side], index, side)

    def features(self, cache: FeatureCache, index: int, side: str) -> torch.Tensor:
        """The features of a row's picture (1 + parts, part_hidden_size)."""
        return cache.read(digest_of(self.rows[index][side]["bytes"]))

    def __call__(self, index: int, side: str) -> np.ndarray:
        """The picture of a row, (channels, height, width), uint8."""
        if self.pictures:
            return self.pictures[self.places[index, side]]
        return self._decode(self.rows[index][side], index, side)


class PairDataset(TorchDataset):
    """Training rows: two resized pictures, some of the pair's captions, and hints where the split has them.

    What is drawn at random depends on seed, epoch and row alone, so that a resumed run sees what it would have seen.

    Args:
        rows (`datasets.Dataset`): A prepared split.
        processor (`SSGPAProcessor`): Resizes the pictures.
        captions_per_pair (`int`): Captions drawn for every pair, without repetition where it has enough.
        distractor_swap (`bool`): With probability 0.5 the distractor picture of the scene stands for the one before.
        cache (`bool`): Keep the resized pictures in memory.
        seed (`int`): Seed of captions and swaps.
        features (`FeatureCache`, *optional*): Give the pictures' features from there, in place of the pictures.

    Raises:
        ValueError: `captions_per_pair` is below 1, or distractors are wanted and no pair is unchanged.
    """

    def __init__(
        self,
        rows: Dataset,
        processor: SSGPAProcessor,
        captions_per_pair: int = 1,
        distractor_swap: bool = False,
        cache: bool = False,
        seed: int = 0,
        features: FeatureCache | None = None,
    ) -> None:
        self.table = rows.remove_columns(["before", "after"]).to_list()
        self.scenes = {scene: number for number, scene in enumerate(sorted({row["scene_id"] for row in self.table}))}
        self.unchanged = {
            row["scene_id"]: index for index, row in enumerate(self.table) if row["change_type"] == NO_CHANGE
        }
        if captions_per_pair < 1:
            raise ValueError(f"`captions_per_pair` must be at least 1, got {captions_per_pair}.")
        if distractor_swap and not self.unchanged:
            raise ValueError("`distractor_swap` needs pairs without a change; the training split has none.")
        self.captions_per_pair = captions_per_pair
        self.distractor_swap = distractor_swap
        self.seed = seed
        # Shared memory, for workers that outlive an epoch.
        self.epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self.store = PictureStore(rows, processor, cache and features is None)
        self.features = features

    def set_epoch(self, epoch: int) -> None:
        """Draw other captions and swaps from now on."""
        self.epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self.table[index]
        rng = np.random.default_rng([self.seed, self.epoch.item(), index])
        before, after = (index, "before"), (index, "after")
        if self.distractor_swap and rng.random() < SWAP_PROBABILITY:
            before, after = self._swap(row, before, after)
        item = {
            "pair_id": row["pair_id"],
            "scene_id": self.scenes[row["scene_id"]],
            "captions": self._draw(row["captions"], rng),
            "change_type": row["change_type"],
        }
        if self.features is None:
            item["pictures"] = (self.store(*before), self.store(*after))
        else:
            both = [self.store.features(self.features, *place) for place in (before, after)]
            item["vision_features"] = torch.stack(both)
        if HINT_COLUMNS[0] in row:
            item["cells"] = (self._cells(before, index), self._cells(after, index))
        return item

    def _swap(self, row: dict[str, Any], before: Place, after: Place) -> tuple[Place, Place]:
        distractor = self.unchanged.get(row["scene_id"])
        if distractor is None:
            return before, after
        if row["change_type"] == NO_CHANGE:
            return after, before
        return (distractor, "after"), after

    def _cells(self, place: Place, index: int) -> np.ndarray:
        cells = np.asarray(self.table[place[0]][f"{place[1]}_cells"], dtype=np.int64)
        # The distractor's row does not say which object the semantic change touches.
        return cells if place[0] == index else cells | CHANGE_UNKNOWN

    def _draw(self, captions: list[str], rng: np.random.Generator) -> list[str]:
        order = rng.permutation(len(captions))
        return [captions[order[number % len(order)]] for number in range(self.captions_per_pair)]


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
