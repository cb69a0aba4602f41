# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Training pairs as a stream, read from parquet files wherever they lie."""

import hashlib
from collections.abc import Iterator
from itertools import count
from typing import Any

import numpy as np
from datasets import IterableDataset as RowStream
from torch.utils.data import IterableDataset as TorchStream
from torch.utils.data import get_worker_info

from ..data.augment import PairAugmentation
from ..data.decoding import model_images, resize_image
from ..data.frames import PairFrames, frames_of_row
from ..data.schema import CELL_COLUMNS, NO_CHANGE, OBJECT_COLUMNS, SIDES
from ..processing_ssgpa import SSGPAProcessor
from .controls import CONTROL_MARK, NoChangeControls, control_cells
from .dataset import AUGMENT_STREAM, check_captions_per_pair, check_places, draw_captions


class PairIterableDataset(TorchStream):
    """Training rows without end, read from parquet files wherever they lie; no more than a buffer is in memory.

    Every pass over the files is shuffled anew. Training needs `max_steps`. The distractor of a scene is not at hand,
    so there is no swap.

    Args:
        rows (`datasets.IterableDataset`): A streamed split.
        processor (`SSGPAProcessor`): Resizes the images.
        captions_per_pair (`int`): Captions drawn for every pair, without repetition where it has enough.
        shuffle_buffer (`int`): Rows, undecoded, among which the next one is drawn; files are shuffled too. 0 keeps the
            order of the files.
        seed (`int`): Seed of order, captions and alterations of the images.
        augmentation (`PairAugmentation`, *optional*): Alters the images of every pair anew at every pass.
        frames (`PairFrames`, *optional*): Give the frames that it makes of a pair, in place of the two images.
        first_captions (`bool`): Give every pair's first captions at every pass, in place of drawn ones.
        controls (`NoChangeControls`, *optional*): Turns some rows into two views of one image, anew at every pass.

    Raises:
        ValueError: `captions_per_pair` is below 1, the augmentation would make auxiliary targets about places wrong,
            or controls cannot have what the other rows have; while reading, that there is no pair, or that the
            augmentation would make a pair's captions wrong.
    """

    def __init__(
        self,
        rows: RowStream,
        processor: SSGPAProcessor,
        captions_per_pair: int = 1,
        shuffle_buffer: int = 256,
        seed: int = 0,
        augmentation: PairAugmentation | None = None,
        frames: PairFrames | None = None,
        first_captions: bool = False,
        controls: NoChangeControls | None = None,
    ) -> None:
        self.augmentation = check_places(augmentation, rows.column_names or ())
        if controls is not None:
            controls = controls.for_data(rows.column_names or (), augmentation, frames=frames)
        self.controls = controls
        self.rows = rows.decode(False)
        self.processor = processor
        self.captions_per_pair = check_captions_per_pair(captions_per_pair)
        self.shuffle_buffer = shuffle_buffer
        self.seed = seed
        self.frames = frames
        self.first_captions = first_captions

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for epoch in count():
            rows = self.rows
            if self.shuffle_buffer:
                rows = rows.shuffle(seed=self.seed + epoch, buffer_size=self.shuffle_buffer)
            empty = True
            for row in rows:
                empty = False
                yield self._item(row, epoch)
            if empty:
                # One of several workers may have got no file.
                if get_worker_info() is None:
                    raise ValueError("There is nothing to train on: the stream has no pairs.")
                return

    def _item(self, row: dict[str, Any], epoch: int) -> dict[str, Any]:
        # Numbers of 63 bits, the same in every process.
        digests = (hashlib.sha256(row[name].encode()).digest() for name in ("pair_id", "scene_id"))
        pair, scene = (int.from_bytes(digest[:8], "big") >> 1 for digest in digests)
        control = None if self.controls is None else self.controls.draw((self.seed, epoch, pair))
        if control is not None:
            return self._control(row, scene, (epoch, pair), control)
        rng = np.random.default_rng([self.seed, epoch, pair])
        images = tuple(self._image(row, side) for side in SIDES)
        if self.controls is not None:
            images = self.controls.alter(images, (self.seed, epoch, pair))
        item = {
            "pair_id": row["pair_id"],
            "scene_id": scene,
            "images": self._model_images(images, row, (epoch, pair)),
            "captions": draw_captions(row["captions"], self.captions_per_pair, None if self.first_captions else rng),
            "change_type": row["change_type"],
        }
        if CELL_COLUMNS[0] in row:
            item["cells"] = tuple(np.asarray(row[name], dtype=np.int64) for name in CELL_COLUMNS)
        if OBJECT_COLUMNS[0] in row:
            item["objects"] = tuple(np.asarray(row[name]) for name in OBJECT_COLUMNS)
        return item

    def _control(
        self, row: dict[str, Any], scene: int, place: tuple[int, int], rng: np.random.Generator
    ) -> dict[str, Any]:
        """What a row is as a control."""
        side = self.controls.side(rng)
        captions = self.controls.captions(row["scene_id"], rng)
        item = {
            "pair_id": f"{row['pair_id']}{CONTROL_MARK}",
            "scene_id": scene,
            "captions": draw_captions(captions, self.captions_per_pair, None if self.first_captions else rng),
            "change_type": NO_CHANGE,
            "images": self._model_images(self.controls.control(self._image(row, side), rng), row, place),
        }
        if CELL_COLUMNS[0] in row:
            item["cells"] = control_cells(np.asarray(row[f"{side}_cells"], dtype=np.int64))
        if OBJECT_COLUMNS[0] in row:
            item["objects"] = (np.asarray(row[f"{side}_objects"]),) * 2
        return item

    def _image(self, row: dict[str, Any], side: str) -> np.ndarray:
        name = f"pair {row['pair_id']!r}, {side}"
        if isinstance(row[side], dict) and row[side].get("bytes") is None:
            # Whoever wrote the row would choose a file of this machine, or an address.
            raise ValueError(f"{name}: the row names a file and does not hold it; prepare the data again.")
        return resize_image(row[side], name, self.processor)

    def _model_images(self, images: tuple[np.ndarray, np.ndarray], row: dict[str, Any], place: tuple[int, int]) -> Any:
        if self.augmentation is not None:
            self.augmentation.check_captions([(row["pair_id"], row["captions"])])
            images = self.augmentation(images, np.random.default_rng([self.seed, *place, AUGMENT_STREAM]))
        if self.frames is not None:
            return frames_of_row(self.frames, images, row["pair_id"], (self.seed, *place))
        return model_images(images, self.processor)
