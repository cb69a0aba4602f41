# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Pairs of pictures as a torch data set: pictures decoded once, captions drawn anew every epoch."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow.compute as pc
import torch
from datasets import Dataset, IterableDataset
from datasets import Image as ImageFeature
from PIL import Image
from torch.utils.data import Dataset as TorchDataset
from tqdm.auto import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.utils import logging

from ..data.augment import PairAugmentation
from ..data.schema import HINT_COLUMNS, NO_CHANGE
from ..pictures_ssgpa import READING, Reading, load_picture
from ..processing_ssgpa import SSGPAProcessor, fixed_size
from .features import FeatureCache, digest_of


logger = logging.get_logger(__name__)

# Bit of a cell that says: whether the changed object is here is not known.
CHANGE_UNKNOWN = 1 << 16
SWAP_PROBABILITY = 0.5
# So many pairs tell how large the pictures of a set are.
SAMPLED_PAIRS = 64
# Keeps alterations of pictures apart from the draws of captions and swaps.
AUGMENT_STREAM = 0xA06

SIDES = ("before", "after")

Place = tuple[int, str]


def resize_picture(source: dict[str, Any], name: str, processor: SSGPAProcessor) -> np.ndarray:
    """Decode an undecoded cell of an image column, and resize it as the processor does.

    Args:
        source (`dict`): `bytes` and `path`.
        name (`str`): The pair and its side, for errors.
        processor (`SSGPAProcessor`): Decodes and resizes.

    Returns:
        `np.ndarray`: (channels, height, width), uint8.

    Raises:
        ValueError: It cannot be decoded; the error names the pair and the file.
    """
    image_processor, picture = processor.image_processor, _named(processor.load_image, source, name)
    if picture.size == fixed_size(image_processor):
        return np.asarray(picture).transpose(2, 0, 1)
    resized = image_processor(picture, do_rescale=False, do_normalize=False, return_tensors="np")
    return resized["pixel_values"][0].astype(np.uint8)


def undecoded(rows: Dataset) -> Dataset:
    """A prepared split whose pictures come as their files' bytes, for the decoder of this package."""
    for side in SIDES:
        if isinstance(rows.features.get(side), ImageFeature):
            rows = rows.cast_column(side, ImageFeature(decode=False))
    return rows


def load_pair(
    row: Mapping[str, Any], processor: Any = None, whole: bool = False, **reading: Any
) -> tuple[Image.Image, Image.Image]:
    """Decode the two pictures of a row of `undecoded` as the processor does.

    Args:
        row (`dict`): With `pair_id`, `before` and `after`.
        processor (`SSGPAProcessor`, *optional*): Says how values become colors, and which size is needed. Without one,
            or with one of another kind, the pictures keep their own size.
        whole (`bool`): Leave the pictures at their own size.
        **reading (`Any`, *optional*): `value_range`, `nodata` and `bands`; by default the processor's own.

    Returns:
        `tuple[PIL.Image.Image, PIL.Image.Image]`: Before and after, mode RGB.

    Raises:
        ValueError: One cannot be decoded; the error names the pair and the file.
    """
    # Any processor may show its pairs; only ours says how to read them.
    load = partial(processor.load_image, whole=whole) if hasattr(processor, "load_image") else load_picture
    return tuple(_named(partial(load, **reading), row[side], f"pair {row['pair_id']!r}, {side}") for side in SIDES)


def _named(load: Callable[..., Image.Image], source: Any, name: str) -> Image.Image:
    try:
        return load(source, name)
    except (OSError, ValueError) as error:
        raise ValueError(str(error) if str(error).startswith(name) else f"{name}: {error}") from error


def describe_sources(processor: SSGPAProcessor, rows: Dataset | IterableDataset, reading: Mapping[str, Any]) -> None:
    """Note in a processor how the training pictures are read and how large they are; it is saved with it.

    Args:
        processor (`SSGPAProcessor`): Gets `value_range`, `nodata`, `bands` as the data was prepared with, None where
            it was prepared without, and `trained_size`: of the pictures of up to 64 pairs in the order of their
            pixels, the size of the one nine tenths up.
        rows (`datasets.Dataset` or `datasets.IterableDataset`): The prepared training split.
        reading (`dict`): What `data.prepared.reading_of` gives.

    Raises:
        ValueError: A picture cannot be decoded; the error names the pair.
    """
    # Preparing has checked the data with its own reading; a base's would be another one.
    own, told = Reading(**processor.reading()), Reading(**reading)
    if own not in (told, Reading()):
        logger.warning(
            f"Images are read as the data was prepared, with {_tell(told)}, "
            f"and no longer with the base's {_tell(own)}."
        )
    _set_reading(processor, told)
    processor.trained_size = None
    if isinstance(rows, Dataset):
        count = min(len(rows), SAMPLED_PAIRS)
        files = undecoded(rows).select([place * len(rows) // count for place in range(count)])
    else:
        files = rows.decode(False).take(SAMPLED_PAIRS)
    sizes = sorted(
        (picture.ssgpa_facts.size for row in files for picture in load_pair(row, processor)),
        key=lambda size: (size[0] * size[1], size),
    )
    if sizes:
        width, height = sizes[len(sizes) * 9 // 10]
        processor.trained_size = {"height": height, "width": width}


def adopt_reading(processor: Any, reading: Mapping[str, Any], data: str) -> None:
    """Let a trained system's processor read prepared data as the data was prepared.

    Args:
        processor (`SSGPAProcessor`): Takes what `reading` tells and it does not.
        reading (`dict`): What `data.prepared.reading_of` gives.
        data (`str`): What errors call the data.

    Raises:
        ValueError: The processor tells another reading than the data, or cannot be told any.
    """
    told = Reading(**reading)
    if not hasattr(processor, "reading"):
        if told.is_default:
            return
        raise ValueError(
            f"{data} was prepared with {_tell(told)}, and a {type(processor).__name__} cannot read images so; "
            "evaluate it on data prepared without."
        )
    own = processor.reading()
    other = [name for name in READING if own[name] is not None and own[name] != getattr(told, name)]
    if other:
        raise ValueError(
            f"{data} was prepared with {_tell(told, other)}, and the model reads images with "
            f"{_tell(Reading(**own), other)}: one of them would show other colors than were learned. Prepare the data "
            "with the model's options, or save the model's processor with the data's."
        )
    _set_reading(processor, told)


def _set_reading(processor: SSGPAProcessor, reading: Reading) -> None:
    for name in READING:
        setattr(processor, name, getattr(reading, name))


def _tell(reading: Reading, names: Sequence[str] = READING) -> str:
    """Options of a reading in words, None included."""
    return ", ".join(f"{name}={getattr(reading, name)}" for name in names)


def draw_captions(captions: list[str], number: int, rng: np.random.Generator) -> list[str]:
    """Draw so many captions, without repetition where there are enough."""
    order = rng.permutation(len(captions))
    return [captions[order[place % len(order)]] for place in range(number)]


def check_places(augmentation: PairAugmentation | None, columns: Sequence[str]) -> PairAugmentation | None:
    """Return the augmentation if it leaves the hints of these columns right.

    Raises:
        ValueError: It moves what places show, and there are hints about places.
    """
    if augmentation is not None and augmentation.moves and HINT_COLUMNS[0] in columns:
        raise ValueError(
            "augment: warp and flip would make the hints about cells wrong; prepare the data without --hint_grid"
        )
    return augmentation


class PictureStore:
    """Resized 8-bit pictures of a prepared split, by row and side; equal files are kept once.

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
        self.pictures: list[np.ndarray] = []
        # Which picture a row shows before and after, one after the other; no Python objects, see `PairDataset`.
        self.places = np.zeros(2 * len(rows), dtype=np.int64)
        if cache:
            self._decode_all()

    def _decode_all(self) -> None:
        known: dict[bytes, int] = {}
        for number, (side, rows) in enumerate(self.columns.items()):
            for index, row in enumerate(tqdm(rows, desc=f"Decoding pictures {side}", leave=False)):
                digest = hashlib.sha256(row[side]["bytes"]).digest()
                if digest not in known:
                    known[digest] = len(self.pictures)
                    self.pictures.append(self._decode(row[side], index, side))
                self.places[2 * index + number] = known[digest]

    def _decode(self, source: dict[str, Any], index: int, side: str) -> np.ndarray:
        return resize_picture(source, f"pair {self.pair_ids[index]['pair_id']!r}, {side}", self.processor)

    def digests(self) -> Iterator[tuple[str, Callable[[], np.ndarray]]]:
        """The digest of every picture, and what decodes it."""
        for side, rows in self.columns.items():
            for index, row in enumerate(rows):
                yield digest_of(row[side]["bytes"]), partial(self._decode, row[side], index, side)

    def features(self, cache: FeatureCache, index: int, side: str) -> torch.Tensor:
        """The features of a row's picture (1 + parts, part_hidden_size)."""
        return cache.read(digest_of(self.columns[side][index][side]["bytes"]))

    def __call__(self, index: int, side: str) -> np.ndarray:
        """The picture of a row, (channels, height, width), uint8."""
        if self.pictures:
            return self.pictures[self.places[2 * index + SIDES.index(side)]]
        return self._decode(self.columns[side][index][side], index, side)


class PairDataset(TorchDataset):
    """Training rows: two resized pictures, some of the pair's captions, and hints where the split has them.

    What is drawn at random depends on seed, epoch and row alone, so that a resumed run sees what it would have seen.

    Texts and hints stay in Arrow's memory. As Python objects they take several times as much, and every worker soon
    has a copy of its own, since looking at an object writes its count of references.

    Args:
        rows (`datasets.Dataset`): A prepared split.
        processor (`SSGPAProcessor`): Resizes the pictures.
        captions_per_pair (`int`): Captions drawn for every pair, without repetition where it has enough.
        distractor_swap (`bool`): With probability 0.5 the distractor picture of the scene stands for the one before.
        cache (`bool`): Keep the resized pictures in memory.
        seed (`int`): Seed of captions, swaps and alterations of the pictures.
        augmentation (`PairAugmentation`, *optional*): Alters the pictures of every pair anew every epoch.
        features (`FeatureCache`, *optional*): Give the pictures' features from there, in place of the pictures.

    Raises:
        ValueError: There is no pair, `captions_per_pair` is below 1, distractors are wanted and no pair is unchanged,
            or the augmentation would change an answer or make hints about places wrong.
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
    ) -> None:
        if not len(rows):
            raise ValueError("There is nothing to train on: the split has no pairs.")
        self.table = rows.remove_columns([name for name in (*SIDES, *HINT_COLUMNS) if name in rows.column_names])
        hints = HINT_COLUMNS[0] in rows.column_names
        self.cells = rows.select_columns(list(HINT_COLUMNS)).with_format("arrow") if hints else None
        columns = rows.select_columns(["scene_id", "change_type"]).with_format("arrow")[:]
        # Number of every row's scene, in the order of their names.
        self.scene_numbers = pc.rank(columns["scene_id"], tiebreaker="dense").to_numpy().astype(np.int64) - 1
        # Row of every scene's unchanged pair, -1 where there is none.
        self.unchanged = np.full(self.scene_numbers.max() + 1, -1)
        still = np.flatnonzero(pc.equal(columns["change_type"], NO_CHANGE).fill_null(False).to_numpy())
        self.unchanged[self.scene_numbers[still]] = still
        if captions_per_pair < 1:
            raise ValueError(f"`captions_per_pair` must be at least 1, got {captions_per_pair}.")
        if distractor_swap and not still.size:
            raise ValueError("`distractor_swap` needs pairs without a change; the training split has none.")
        if augmentation is not None:
            augmentation.check_captions((row["pair_id"], row["captions"]) for row in self.table)
        if augmentation is not None and features is not None:
            raise ValueError("augment: features are of pictures as they are; leave out `augment` or `feature_cache`")
        self.augmentation = check_places(augmentation, rows.column_names)
        self.captions_per_pair = captions_per_pair
        self.distractor_swap = distractor_swap
        self.seed = seed
        # Shared memory, for workers that outlive an epoch.
        self.epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self.store = PictureStore(rows, processor, cache and features is None)
        self.features = features

    def set_epoch(self, epoch: int) -> None:
        """Draw other captions, swaps and alterations from now on."""
        self.epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self.table[index]
        rng = np.random.default_rng([self.seed, self.epoch.item(), index])
        before, after = (index, "before"), (index, "after")
        if self.distractor_swap and rng.random() < SWAP_PROBABILITY:
            before, after = self._swap(index, row["change_type"])
        item = {
            "pair_id": row["pair_id"],
            "scene_id": int(self.scene_numbers[index]),
            "captions": draw_captions(row["captions"], self.captions_per_pair, rng),
            "change_type": row["change_type"],
        }
        if self.features is None:
            item["pictures"] = self._pictures(before, after, index)
        else:
            both = [self.store.features(self.features, *place) for place in (before, after)]
            item["vision_features"] = torch.stack(both)
        if self.cells is not None:
            item["cells"] = (self._cells(before, index), self._cells(after, index))
        return item

    def _pictures(self, before: Place, after: Place, index: int) -> tuple[np.ndarray, np.ndarray]:
        pictures = self.store(*before), self.store(*after)
        if self.augmentation is None:
            return pictures
        rng = np.random.default_rng([self.seed, self.epoch.item(), index, AUGMENT_STREAM])
        return self.augmentation(pictures, rng)

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
