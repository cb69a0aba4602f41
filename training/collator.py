# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Batches of pairs with their captions packed behind one prompt."""

from typing import Any

import numpy as np
import torch

from ..processing_ssgpa import SSGPAProcessor
from .pixels import PixelNormalizer


IGNORED = -100
# What every row of `PairDataset` has, beside images or their features.
ITEM_NAMES = ("pair_id", "scene_id", "captions")
# Segments of a packed row: 0 is the prompt, 1 and up are the captions.
PROMPT, PADDING = 0, -1


class PairCollator:
    """Batches of training rows as tensors; all captions of a pair share its visual tokens in one packed sequence.

    A packed row is the prompt once, then for every caption the prompt's last token, the caption and the end token. The
    attention mask lets a caption see the prompt and itself, and positions restart, so that each caption is computed as
    if it stood alone. A lone caption needs no such mask and gets the ordinary one.

    Args:
        processor (`SSGPAProcessor`): Tokenizes and normalizes.
        aux_targets (`bool`): Keep the auxiliary targets' columns.
        normalize (`bool`): Give images as the model reads them; otherwise as the bytes they are, a quarter of the
            size, which `ChangeCaptioningTrainer` normalizes on the model's device.
        pad_to_multiple_of (`int`, *optional*): Pad packed rows to such lengths, so that fewer shapes occur.

    Raises:
        ValueError: `pad_to_multiple_of` is below 1, or nothing would start a caption.
    """

    def __init__(
        self,
        processor: SSGPAProcessor,
        aux_targets: bool = False,
        normalize: bool = True,
        pad_to_multiple_of: int | None = None,
    ) -> None:
        if pad_to_multiple_of is not None and pad_to_multiple_of < 1:
            raise ValueError(f"`pad_to_multiple_of` must be at least 1, got {pad_to_multiple_of}.")
        self.processor = processor
        self.pad_to_multiple_of = pad_to_multiple_of or 1
        self.aux_targets = aux_targets
        self.prompt = processor.prompt_ids()
        if not self.prompt:
            raise ValueError(
                "The processor's prompt is empty and its tokenizer puts no start token in front: nothing would "
                "predict a caption's first token. Give the processor a `prompt`, or the tokenizer a start token."
            )
        self.normalize = PixelNormalizer(processor.image_processor) if normalize else None

    def __call__(self, items: list[dict[str, Any]]) -> dict[str, Any]:
        """Collate rows of `PairDataset` or `PairIterableDataset`.

        Raises:
            ValueError: They are other rows, or a `Trainer` has taken out what the model's `forward` does not name.
        """
        missing = [name for name in ITEM_NAMES if name not in items[0]]
        missing += [] if {"images", "vision_features"} & set(items[0]) else ["images"]
        if missing:
            raise ValueError(
                f"Rows of PairDataset are needed, these have no {', '.join(missing)}. A stock Trainer takes out "
                "what the model's `forward` does not name: set `remove_unused_columns=False`. A prepared split "
                "is read through ssgpa.training.dataset.PairDataset."
            )
        names = [f"pair {item['pair_id']!r}" for item in items]
        batch: dict[str, Any] = self._pack([item["captions"] for item in items], names)
        if "vision_features" in items[0]:
            batch["vision_features"] = torch.stack([item["vision_features"] for item in items])
        else:
            images = [
                np.stack(pair) if isinstance(pair, tuple) else pair for pair in (item["images"] for item in items)
            ]
            pixels = torch.from_numpy(np.stack(images))
            batch["pixel_values"] = pixels if self.normalize is None else self.normalize(pixels)
        if "retrieved" in items[0]:
            found = self.processor.retrieved_inputs([item["retrieved"] for item in items], names)
            batch |= {name: torch.tensor(rows) for name, rows in found.items()}
        batch["scene_ids"] = torch.tensor([item["scene_id"] for item in items])
        batch["pair_ids"] = [item["pair_id"] for item in items]
        if self.aux_targets:
            batch["cells"] = torch.from_numpy(np.stack([np.stack(item["cells"]) for item in items]))
            batch["change_types"] = [item["change_type"] for item in items]
        if self.aux_targets and "objects" in items[0]:
            batch["objects"] = stack_objects([image for item in items for image in item["objects"]], batch["cells"])
        return batch

    def _pack(self, captions: list[list[str]], names: list[str]) -> dict[str, torch.Tensor | int]:
        """The text inputs, a row a pair."""
        packed = max(len(texts) for texts in captions) > 1
        if packed and self.processor.placeholders and self.prompt[-1] == self.processor.image_token_id:
            raise ValueError("A prompt that ends with an image cannot be shared by captions: put a word behind it.")
        targets = [
            self.processor.caption_ids(texts, [name] * len(texts)) for texts, name in zip(captions, names, strict=True)
        ]
        # Every caption brings the prompt's last token with it.
        shared = len(self.prompt) - 1
        width = shared + max(sum(len(target) + 1 for target in row) for row in targets)
        width += -width % self.pad_to_multiple_of
        shape = len(targets), width
        ids, labels = torch.full(shape, self.processor.tokenizer.pad_token_id), torch.full(shape, IGNORED)
        positions, segments = torch.zeros(shape, dtype=torch.long), torch.full(shape, PADDING)
        ids[:, :shared], positions[:, :shared] = torch.tensor(self.prompt[:-1]), torch.arange(shared)
        segments[:, :shared] = PROMPT
        for index, row in enumerate(targets):
            start = shared
            for number, target in enumerate(row, 1):
                stop = start + 1 + len(target)
                ids[index, start:stop] = torch.tensor([self.prompt[-1], *target])
                labels[index, start + 1 : stop] = torch.tensor(target)
                positions[index, start:stop] = torch.arange(shared, shared + 1 + len(target))
                segments[index, start:stop] = number
                start = stop
        return {
            "input_ids": ids,
            "labels": labels,
            "position_ids": positions,
            "attention_mask": packed_mask(segments) if packed else (segments != PADDING).long(),
            # No token of the prompt but its last one predicts anything; with Vicuna's head each would cost 0.14 MiB.
            "logits_to_keep": width - shared,
        }


def stack_objects(images: list[np.ndarray], cells: torch.Tensor) -> dict[str, torch.Tensor]:
    """The objects of all images of a batch.

    Args:
        images (`list[np.ndarray]`): Of each image its objects, as `object_targets` lists them.
        cells (`torch.Tensor` of shape `(batch, 2, cells)`): Tells how many cells there are.

    Returns:
        `dict[str, torch.Tensor]`: `image` (objects,), the number of each object's image; `bits` (objects,), its
        attributes; `shares` (objects, cells), how much of it each cell holds.
    """
    rows = [image.reshape(-1, 1 + cells.shape[-1]) for image in images]
    objects = torch.from_numpy(np.concatenate(rows)).long()
    pixels = objects[:, 1:].float()
    return {
        "image": torch.repeat_interleave(torch.arange(len(rows)), torch.tensor([len(row) for row in rows])),
        "bits": objects[:, 0],
        "shares": pixels / pixels.sum(-1, keepdim=True),
    }


def packed_mask(segments: torch.Tensor) -> torch.Tensor:
    """What is added to attention scores (batch, 1, width, width): every token sees the prompt and its own segment."""
    queries, keys = segments.unsqueeze(2), segments.unsqueeze(1)
    visible = ((queries == keys) | (keys == PROMPT)).tril()
    # Padding sees itself, so that no row is empty.
    return torch.zeros(visible.shape).masked_fill(~visible, torch.finfo(torch.float32).min).unsqueeze(1)
