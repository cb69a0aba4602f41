# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Pairs of pictures as a torch data set: pictures decoded once, captions drawn anew every epoch."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from datasets import Dataset, Image
from torch.utils.data import Dataset as TorchDataset
from tqdm.auto import tqdm

from ..pictures_ssgpa import load_picture
from ..processing_ssgpa import SSGPAProcessor


# Bit of a cell that says: whether the changed object is here is not known.
CHANGE_UNKNOWN = 1 << 16


class PictureStore:
    """Resized 8-bit pictures of a prepared split, by row and side; equal files are kept once.

    Args:
        rows (`datasets.Dataset`): A prepared split.
        processor (`SSGPAProcessor`): Its image processor resizes.
        cache (`bool`): Decode all now and keep them; otherwise decode at every access.
    """

    def __init__(self, rows: Dataset, processor: SSGPAProcessor, cache: bool):
        self.rows = rows.select_columns(["before", "after"])
        self.rows = self.rows.cast_column("before", Image(decode=False)).cast_column("after", Image(decode=False))
        self.image_processor = processor.image_processor
        self.pictures: list[np.ndarray] = []
        self.places: dict[tuple[int, str], int] = {}
        if cache:
            self._decode_all()

    def _decode_all(self) -> None:
        known: dict[bytes, int] = {}
        for index, row in enumerate(tqdm(self.rows, desc="Decoding pictures", leave=False)):
            for side in ("before", "after"):
                content = row[side]["bytes"]
                if content not in known:
                    known[content] = len(self.pictures)
                    self.pictures.append(self._decode(row[side], index, side))
                self.places[index, side] = known[content]

    def _decode(self, source: dict[str, Any], index: int, side: str) -> np.ndarray:
        picture = load_picture(source, f"row {index}, {side}")
        resized = self.image_processor(picture, do_rescale=False, do_normalize=False, return_tensors="np")
        return resized["pixel_values"][0].astype(np.uint8)

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
    """

    def __init__(
        self,
        rows: Dataset,
        processor: SSGPAProcessor,
        captions_per_pair: int = 1,
        distractor_swap: bool = False,
        cache: bool = False,
        seed: int = 0,
    ):
        self.store = PictureStore(rows, processor, cache)
        self.table = rows.remove_columns(["before", "after"]).to_list()
        self.scenes = {scene: number for number, scene in enumerate(sorted({row["scene_id"] for row in self.table}))}
        self.unchanged = {
            row["scene_id"]: index for index, row in enumerate(self.table) if row["change_type"] == "none"
        }
        self.captions_per_pair = captions_per_pair
        self.distractor_swap = distractor_swap
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Draw other captions and swaps from now on."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self.table[index]
        rng = np.random.default_rng([self.seed, self.epoch, index])
        before, after = (index, "before"), (index, "after")
        if self.distractor_swap and rng.random() < 0.5:
            before, after = self._swap(row, before, after)
        item = {
            "pair_id": row["pair_id"],
            "scene_id": self.scenes[row["scene_id"]],
            "pictures": (self.store(*before), self.store(*after)),
            "captions": self._draw(row["captions"], rng),
            "change_type": row["change_type"],
        }
        if "before_cells" in row:
            item["cells"] = (self._cells(before, index), self._cells(after, index))
        return item

    def _swap(self, row: dict[str, Any], before: tuple[int, str], after: tuple[int, str]) -> tuple:
        distractor = self.unchanged.get(row["scene_id"])
        if distractor is None:
            return before, after
        if row["change_type"] == "none":
            return after, before
        return (distractor, "after"), after

    def _cells(self, place: tuple[int, str], index: int) -> np.ndarray:
        cells = np.asarray(self.table[place[0]][f"{place[1]}_cells"], dtype=np.int64)
        # The distractor's row does not say which object the semantic change touches.
        return cells if place[0] == index else cells | CHANGE_UNKNOWN

    def _draw(self, captions: list[str], rng: np.random.Generator) -> list[str]:
        order = rng.permutation(len(captions))
        return [captions[order[number % len(order)]] for number in range(self.captions_per_pair)]


class PairCollator:
    """Batches of training rows as tensors; all captions of a pair share its visual tokens in one packed sequence.

    A packed row is the prompt once, then for every caption the prompt's last token, the caption and the end token. The
    attention mask lets a caption see the prompt and itself, and positions restart, so that each caption is computed as
    if it stood alone.

    Args:
        processor (`SSGPAProcessor`): Tokenizes and normalises.
        visual_hints (`bool`): Keep the hints' columns.
    """

    def __init__(self, processor: SSGPAProcessor, visual_hints: bool = False):
        self.processor = processor
        self.visual_hints = visual_hints
        count = processor.prompt.count(processor.image_token)
        replacements = [processor.replace_image_token({}, number) for number in range(count)]
        text, _ = processor.get_text_with_replacements([processor.prompt], replacements)
        self.prompt: list[int] = processor.tokenizer(text[0])["input_ids"]

    def __call__(self, items: list[dict[str, Any]]) -> dict[str, Any]:
        """Collate rows of `PairDataset`."""
        batch = self._text([item["captions"] for item in items])
        batch["pixel_values"] = self._pixels([item["pictures"] for item in items])
        batch["scene_ids"] = torch.tensor([item["scene_id"] for item in items])
        batch["pair_ids"] = [item["pair_id"] for item in items]
        if self.visual_hints:
            batch["cells"] = torch.from_numpy(np.stack([np.stack(item["cells"]) for item in items]))
            batch["change_types"] = [item["change_type"] for item in items]
        return batch

    def _pixels(self, pairs: list[tuple[np.ndarray, np.ndarray]]) -> torch.Tensor:
        flat = [picture for pair in pairs for picture in pair]
        pixels = self.processor.image_processor(flat, do_resize=False, return_tensors="pt")["pixel_values"]
        return pixels.unflatten(0, (-1, 2))

    def _text(self, captions: list[list[str]]) -> dict[str, torch.Tensor]:
        tokenizer = self.processor.tokenizer
        targets = [
            [[*ids, tokenizer.eos_token_id] for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]
            for texts in captions
        ]
        width = len(self.prompt) - 1 + max(sum(len(ids) + 1 for ids in row) for row in targets)
        rows = [self._pack(row, width) for row in targets]
        keys = ("input_ids", "labels", "position_ids", "attention_mask")
        return {key: torch.stack(column) for key, column in zip(keys, zip(*rows, strict=True), strict=True)}

    def _pack(self, targets: list[list[int]], width: int) -> tuple[torch.Tensor, ...]:
        start = len(self.prompt) - 1
        ids = torch.full((width,), self.processor.tokenizer.pad_token_id)
        labels, positions = torch.full((width,), -100), torch.zeros(width, dtype=torch.long)
        segments = torch.full((width,), -1)  # 0 is the prompt, 1.. the captions, -1 padding
        ids[:start], positions[:start], segments[:start] = torch.tensor(self.prompt[:-1]), torch.arange(start), 0
        for number, target in enumerate(targets, 1):
            stop = start + 1 + len(target)
            ids[start:stop] = torch.tensor([self.prompt[-1], *target])
            labels[start + 1 : stop] = torch.tensor(target)
            positions[start:stop] = torch.arange(len(self.prompt) - 1, len(self.prompt) + len(target))
            segments[start:stop] = number
            start = stop
        same = (segments[:, None] == segments[None]) | (segments[None] == 0)
        visible = same & torch.ones(width, width, dtype=torch.bool).tril()
        mask = torch.zeros(1, width, width).masked_fill(~visible, torch.finfo(torch.float32).min)
        return ids, labels, positions, mask


