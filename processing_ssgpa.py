# Copyright 2026 The ssgpa authors. All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Processor for change captioning: pairs of pictures in, tensors out, captions back."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from transformers.feature_extraction_utils import BatchFeature
from transformers.image_processing_utils import BaseImageProcessor
from transformers.processing_utils import MultiModalData, ProcessingKwargs, ProcessorMixin, Unpack
from transformers.tokenization_utils_base import PreTrainedTokenizerBase
from transformers.utils import auto_docstring

from .pictures_ssgpa import is_picture, load_picture


class SSGPAProcessorKwargs(ProcessingKwargs, total=False):
    """Defaults that differ from the tokenizer's: a batch of prompts is always padded."""

    _defaults = {"text_kwargs": {"padding": True}}


def pair_up(images: Any) -> list[tuple[Any, Any]]:
    """Sort what a user passes as images into (before, after) pairs.

    Args:
        images (`Sequence`): A lone pair, a list of pairs, or a flat list of 2n pictures, pair after pair.

    Returns:
        `list[tuple]`: The pairs, undecoded.

    Raises:
        ValueError: A pair does not have two pictures; names which.
    """
    if is_picture(images):
        raise ValueError("One picture was given; a change needs two: images=[before, after].")
    items = list(images)
    if not items:
        raise ValueError("No pictures were given: images=[before, after] or a list of such pairs.")
    if all(is_picture(item) for item in items):
        if len(items) % 2:
            raise ValueError(f"{len(items)} pictures were given; pairs need an even number: before, after, ...")
        return list(zip(items[::2], items[1::2], strict=True))
    for index, item in enumerate(items):
        if is_picture(item) or len(item) != 2 or not all(is_picture(picture) for picture in item):
            count = 1 if is_picture(item) else len(item)
            raise ValueError(f"Pair {index} has {count} picture(s); every pair needs two: before and after.")
    return [tuple(item) for item in items]


def concatenate(before: Image.Image, after: Image.Image, layout: str) -> Image.Image:
    """Put both pictures into one, above each other or side by side; the second is resized to the first."""
    after = after.resize(before.size, Image.Resampling.BICUBIC) if after.size != before.size else after
    width, height = before.size
    size, corner = ((width, 2 * height), (0, height)) if layout == "vertical" else ((2 * width, height), (width, 0))
    canvas = Image.new("RGB", size)
    canvas.paste(before, (0, 0))
    canvas.paste(after, corner)
    return canvas


@auto_docstring
class SSGPAProcessor(ProcessorMixin):
    valid_processor_kwargs = SSGPAProcessorKwargs

    def __init__(
        self,
        image_processor: BaseImageProcessor | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        chat_template: str | None = None,
        image_seq_length: int = 33,
        pair_layout: Literal["pair", "vertical", "horizontal"] = "pair",
        prompt: str = "before: <image> after: <image> change:",
        image_token: str = "<image>",
    ):
        r"""
        image_seq_length (`int`, *optional*, defaults to 33):
            Placeholder tokens one image stands for; `config.image_seq_length` of the model.
        pair_layout (`str`, *optional*, defaults to `"pair"`):
            `"pair"` keeps the pictures apart, `(batch, 2, channels, height, width)`; `"vertical"` and `"horizontal"`
            concatenate them to one, `(batch, channels, height, width)`.
        prompt (`str`, *optional*):
            What the model is asked where no text is given, with one placeholder an image.
        image_token (`str`, *optional*, defaults to `"<image>"`):
            The placeholder.
        """
        if pair_layout not in ("pair", "vertical", "horizontal"):
            raise ValueError(f'`pair_layout` must be "pair", "vertical" or "horizontal", got {pair_layout!r}.')
        self.image_seq_length = image_seq_length
        self.pair_layout = pair_layout
        self.prompt = prompt
        self.image_token = image_token
        self.image_token_id = tokenizer.convert_tokens_to_ids(image_token)
        super().__init__(image_processor, tokenizer, chat_template=chat_template)

    @auto_docstring
    def __call__(
        self,
        images: Any = None,
        text: str | list[str] | None = None,
        suffix: str | list[str] | None = None,
        **kwargs: Unpack[SSGPAProcessorKwargs],
    ) -> BatchFeature:
        r"""
        images (`Sequence`):
            A pair of pictures, a list of pairs, or a flat list of pictures, pair after pair. A picture is a path, a
            URL, the bytes of a file, a PIL picture, an array or a tensor.
        suffix (`str` or `list[str]`, *optional*):
            Captions to learn, one a pair. Adds `labels`: the caption and the end token only, -100 elsewhere.
        """
        if images is not None and text is None and self.tokenizer is not None:
            text = [self.prompt] * len(pair_up(images))
        if suffix is None:
            return super().__call__(images=images, text=text, **kwargs)
        captions = [suffix] if isinstance(suffix, str) else list(suffix)
        return self._with_labels(images, text, captions, **kwargs)

    def _with_labels(self, images: Any, text: list[str], captions: list[str], **kwargs: Any) -> BatchFeature:
        """Tokenise prompt and caption apart, so that training sees the very prompt that generation sees."""
        options = self._merge_kwargs(tokenizer_init_kwargs=self.tokenizer.init_kwargs, **kwargs)["text_kwargs"]
        kwargs = {key: value for key, value in kwargs.items() if key not in options}
        features = super().__call__(images=images, text=text, padding=False, truncation=False, **kwargs)
        prompts = features.pop("input_ids")
        features.pop("attention_mask", None)
        if len(prompts) != len(captions):
            raise ValueError(
                f"{len(captions)} captions were given for {len(prompts)} pairs; `suffix` needs one a pair."
            )
        max_length = options.get("max_length") if options.get("truncation") else None
        rows = [self._row(prompt, caption, max_length) for prompt, caption in zip(prompts, captions, strict=True)]
        return self.pad_rows(rows, dict(features), **options)

    def _row(self, prompt: list[int], caption: str, max_length: int | None) -> tuple[list[int], list[int]]:
        if self.image_token in caption:
            raise ValueError(f"The caption {caption!r} holds the placeholder {self.image_token}.")
        target = self.tokenizer(caption, add_special_tokens=False)["input_ids"]
        room = None if max_length is None else max_length - len(prompt) - 1
        if room is not None and room < 1:
            raise ValueError(
                f"`max_length` {max_length} leaves no room for a caption: the prompt has {len(prompt)} tokens."
            )
        target = [*target[:room], self.tokenizer.eos_token_id]
        return prompt + target, [-100] * len(prompt) + target

    def pad_rows(
        self, rows: list[tuple[list[int], list[int]]], features: dict[str, Any], **options: Any
    ) -> BatchFeature:
        """Pad (input_ids, labels) rows on the tokenizer's side and join them with the images' features."""
        padded = self.tokenizer.pad(
            {"input_ids": [ids for ids, _ in rows]},
            padding=options.get("padding", True),
            max_length=options.get("max_length"),
            pad_to_multiple_of=options.get("pad_to_multiple_of"),
            return_attention_mask=True,
        )
        width = len(padded["input_ids"][0])
        left = self.tokenizer.padding_side == "left"
        labels = []
        for ids, target in rows:
            fill = [-100] * (len(padded["input_ids"][len(labels)]) - len(ids))
            labels.append(fill + target if left else target + fill)
        data = {**padded, "labels": labels, **features}
        uniform = all(len(row) == width for row in padded["input_ids"])
        return BatchFeature(data, tensor_type=options.get("return_tensors") if uniform else None)

    def prepare_inputs_layout(self, images: Any = None, text: Any = None, **kwargs: Any) -> tuple:
        """Decode the pictures and, for the concatenated layouts, join each pair to one."""
        _, text, videos, audio = super().prepare_inputs_layout(text=text, **kwargs)
        if images is not None:
            pairs = [
                (load_picture(before, f"pair {index}, before"), load_picture(after, f"pair {index}, after"))
                for index, (before, after) in enumerate(pair_up(images))
            ]
            if self.pair_layout == "pair":
                images = [picture for pair in pairs for picture in pair]
            else:
                images = [concatenate(before, after, self.pair_layout) for before, after in pairs]
        return images, text, videos, audio

    def _process_images(self, images: list[Image.Image], **kwargs: Any) -> tuple[BatchFeature, list[str]]:
        processed, replacements = super()._process_images(images, **kwargs)
        if self.pair_layout == "pair":
            pixels = processed["pixel_values"]
            if isinstance(pixels, torch.Tensor | np.ndarray):
                processed["pixel_values"] = pixels.reshape(-1, 2, *pixels.shape[1:])
            else:
                processed["pixel_values"] = [list(pair) for pair in zip(pixels[::2], pixels[1::2], strict=True)]
        return processed, replacements

    def replace_image_token(self, image_inputs: dict, image_idx: int, **kwargs: Any) -> str:
        """The placeholders that one image stands for."""
        return self.image_token * self.image_seq_length

    def _get_num_multimodal_tokens(self, image_sizes: list | None = None, **kwargs: Any) -> MultiModalData:
        if image_sizes is None:
            return MultiModalData()
        count = len(image_sizes)
        return MultiModalData(num_image_tokens=[self.image_seq_length] * count, num_image_patches=[1] * count)

    def post_process_captions(self, generated_ids: Any, inputs: BatchFeature | dict | None = None) -> list[str]:
        """Captions from what `generate` returned, with or without the prompt in front.

        Args:
            generated_ids (`torch.Tensor` of shape `(batch * sequences, length)`): Output of `generate`.
            inputs (`BatchFeature`, *optional*): What was given to `generate`; its prompt is cut off where
                `generated_ids` begin with it (decoder-only systems do, encoder-decoder systems do not).

        Returns:
            `list[str]`: One caption a row, special tokens removed, blanks joined.
        """
        ids = torch.as_tensor(generated_ids)
        prompt = inputs.get("input_ids") if inputs is not None else None
        if prompt is not None:
            prompt = torch.as_tensor(prompt).to(ids.device)
            prompt = prompt.repeat_interleave(max(1, len(ids) // len(prompt)), 0)
            length = prompt.shape[1]
            if ids.shape[1] >= length and torch.equal(ids[:, :length], prompt):
                ids = ids[:, length:]
        texts: Sequence[str] = self.tokenizer.batch_decode(ids, skip_special_tokens=True)
        return [" ".join(text.split()) for text in texts]


__all__ = ["SSGPAProcessor"]
