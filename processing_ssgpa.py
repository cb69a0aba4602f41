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
"""Processor for change captioning: pairs of images in, tensors out, captions back."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from PIL import Image
from transformers.feature_extraction_utils import BatchFeature
from transformers.image_processing_utils import BaseImageProcessor
from transformers.processing_utils import MultiModalData, ProcessingKwargs, ProcessorMixin, TextKwargs, Unpack
from transformers.tokenization_utils_base import PreTrainedTokenizerBase
from transformers.utils import auto_docstring, logging

from .image_utils_ssgpa import READING, ImageFacts, Reading, concatenate, mark, needed_size, pair_up, read_image
from .prompts_ssgpa import PLACEHOLDERS, PROMPTS, renew_chat_template
from .publishing_ssgpa import publish


logger = logging.get_logger(__name__)

# What is decided only once the caption has joined its prompt.
UNDECIDED = {
    "padding": False,
    "truncation": False,
    "max_length": None,
    "pad_to_multiple_of": None,
    "return_tensors": None,
}
# Options of one call that change how an image processor resizes.
RESIZING = {"do_resize", "size", "resample", "do_center_crop", "crop_size", "do_pad", "pad_size"}
SIDES = ("before", "after")
# Images a little larger than those of the training are no news.
SHRUNK_TOLERANCE = 1.3


def fixed_size(image_processor: BaseImageProcessor) -> tuple[int, int] | None:
    """Width and height that an image processor brings every image to, by Pillow and without crop or border.

    Args:
        image_processor (`BaseImageProcessor`): Any.

    Returns:
        `tuple[int, int]`: None where it does otherwise.
    """
    options = {
        name: getattr(image_processor, name, None) for name in ("do_resize", "do_center_crop", "do_pad", "size")
    }
    size = options.pop("size")
    if not options.pop("do_resize") or any(options.values()) or getattr(image_processor, "backend", "pil") != "pil":
        return None
    return (size.width, size.height) if size.width and size.height else None


@auto_docstring
class SSGPAProcessor(ProcessorMixin):
    """Images and prompts of change captioning, for every system of the package; differences are its parameters."""

    # A batch of prompts is always padded, unlike a tokenizer's.
    text_kwargs: ClassVar[TextKwargs] = {"padding": True}

    def __init__(
        self,
        image_processor: BaseImageProcessor | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        chat_template: str | None = None,
        image_seq_length: int = 33,
        pair_layout: Literal["pair", "vertical", "horizontal"] = "pair",
        prompt: str | None = None,
        image_token: str | None = None,
        value_range: tuple[float, float] | Literal["percentile"] | None = None,
        nodata: float | None = None,
        bands: tuple[int, ...] | None = None,
        trained_size: dict[str, int] | None = None,
        size_of_pair: Literal["before", "after"] = "before",
        image_text: str | None = None,
    ) -> None:
        r"""Check that layout, prompt and tokenizer agree.

        Args:
            image_processor (`BaseImageProcessor`):
                Any of transformers' own PIL image processors.
            tokenizer (`PreTrainedTokenizerBase`):
                The language model's tokenizer, which knows the placeholder and has a `pad_token`.
            chat_template (`str`, *optional*):
                Jinja template of chats. By default one that asks `prompt` of a turn with two images and no text; a
                saved default is written anew where `prompt`, `pair_layout` or `image_token` have changed since.
            image_seq_length (`int`, *optional*, defaults to 33):
                Placeholder tokens one image stands for; `config.image_seq_length` of the model.
            pair_layout (`str`, *optional*, defaults to `"pair"`):
                `"pair"` keeps the images apart, `(batch, 2, channels, height, width)`; `"vertical"` and
                `"horizontal"` concatenate them to one, `(batch, channels, height, width)`.
            prompt (`str`, *optional*):
                What the model is asked where no text is given. It holds two placeholders with `pair_layout="pair"`
                and one with the concatenated layouts. By default `"before: <image> after: <image> change:"` and
                `"<image> change:"`; empty where there is no placeholder.
            image_token (`str`, *optional*):
                The placeholder, by default the tokenizer's `image_token`. Without either, images take no place in the
                text, as in systems that attend to them from the decoder.
            value_range (`tuple[float, float]` or `"percentile"`, *optional*):
                The values that become black and white, for checkpoints of sensor data; by default the dtype says.
            nodata (`float`, *optional*):
                The value that stands for no data.
            bands (`tuple[int, ...]`, *optional*):
                Numbers of the bands to show, from 1 on: one, or red, green and blue.
            trained_size (`dict[str, int]`, *optional*):
                `{"height": ..., "width": ...}` of the images that the checkpoint was trained on, before they were
                resized. An image that is shrunk more than these is told in a warning.
            size_of_pair (`str`, *optional*, defaults to `"before"`):
                Whose size both images get where they are concatenated: `"before"` or `"after"`.
            image_text (`str`, *optional*):
                What a placeholder becomes, `image_seq_length` of them among other tokens, for language models that
                mark where an image or a row of it begins or ends. By default the placeholders alone.
        """
        if pair_layout not in PLACEHOLDERS:
            raise ValueError(f"`pair_layout` must be one of {', '.join(PLACEHOLDERS)}; got {pair_layout!r}.")
        if size_of_pair not in SIDES:
            raise ValueError(f"`size_of_pair` must be one of {', '.join(SIDES)}; got {size_of_pair!r}.")
        self.size_of_pair = size_of_pair
        if tokenizer is not None and tokenizer.pad_token_id is None:
            raise ValueError(
                "The tokenizer has no `pad_token`, which fills up the rows of a batch. Give it one first, a token it "
                "knows: `tokenizer.pad_token = tokenizer.eos_token`."
            )
        self.value_range, self.nodata, self.bands = (
            getattr(Reading(value_range, nodata, bands), name) for name in READING
        )
        if trained_size is not None and (
            not isinstance(trained_size, dict)
            or sorted(trained_size) != ["height", "width"]
            or not all(isinstance(side, int) and side > 0 for side in trained_size.values())
        ):
            raise ValueError(
                f'`trained_size` must be {{"height": ..., "width": ...}} in pixels, got {trained_size!r}.'
            )
        self.trained_size = trained_size
        # Sizes of which a warning has told already.
        self._told: set[tuple[int, int]] = set()
        self.image_seq_length = image_seq_length
        self.pair_layout = pair_layout
        self.image_token = image_token or getattr(tokenizer, "image_token", None)
        self.image_token_id = None
        if self.image_token is not None:
            self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
            if self.image_token_id is None or self.image_token_id == tokenizer.unk_token_id:
                raise ValueError(
                    f"The tokenizer does not know {self.image_token}; load it with "
                    f'`extra_special_tokens={{"image_token": "{self.image_token}"}}`.'
                )
        self.prompt = PROMPTS[self.placeholders].format(self.image_token) if prompt is None else prompt
        if self.placeholders and self.prompt.count(self.image_token) != self.placeholders:
            raise ValueError(
                f"`prompt` {self.prompt!r} must hold {self.image_token} {self.placeholders} time(s), as "
                f"`pair_layout={pair_layout!r}` says."
            )
        if image_text is not None and image_text.count(self.image_token or "") != image_seq_length:
            raise ValueError(
                f"`image_text` must hold {self.image_token} {image_seq_length} time(s), as `image_seq_length` says."
            )
        self.image_text = image_text
        asked = (self.prompt, self.image_token, self.placeholders)
        super().__init__(image_processor, tokenizer, chat_template=renew_chat_template(chat_template, *asked))

    @property
    def placeholders(self) -> int:
        """Placeholders of one pair in a prompt: 2, 1 for concatenated pairs, 0 without an image token."""
        return 0 if self.image_token is None else PLACEHOLDERS[self.pair_layout]

    @auto_docstring
    def __call__(
        self,
        images: Any = None,
        text: str | list[str] | None = None,
        suffix: str | list[str] | None = None,
        retrieved: list[list[str]] | None = None,
        **kwargs: Unpack[ProcessingKwargs],
    ) -> BatchFeature:
        r"""Prepare pairs for a model, with their captions where it is to learn them.

        Args:
            images (`Sequence`):
                A pair of images, a list of pairs, or a flat list of images, pair after pair; a pair may be a dict
                with the keys `"before"` and `"after"`. An image is a path, a URL, the bytes of a file, a PIL
                image, an array or a tensor. How values that are not 8 bits become colors is told by `load_image`.
            text (`str` or `list[str]`, *optional*):
                Prompts with their placeholders, one a pair; the processor's own prompt by default.
            suffix (`str` or `list[str]`, *optional*):
                Captions to learn, one a pair. Adds `labels`: the caption and the end token only, -100 elsewhere.
            retrieved (`list[list[str]]`, *optional*):
                Captions of other pairs, retrieved for each pair, for systems that read such. Adds `retrieved_ids` and
                `retrieved_mask`, see `retrieved_inputs`.
            **kwargs (`ProcessingKwargs`, *optional*):
                Options of image processor and tokenizer; and `value_range` (`tuple[float, float]` or `"percentile"`),
                the values that become black and white, `nodata` (`float`), the value that stands for no data and is
                drawn black, and `bands` (`tuple[int, ...]`), numbers of the bands to show, from 1 on: one, or red,
                green and blue. By default they are the processor's own; without those, dtype and TIFF tag decide.
        """
        if retrieved is not None:
            features = self(images=images, text=text, suffix=suffix, **kwargs)
            rows = features.get("input_ids", features.get("pixel_values"))
            if len(rows) != len(retrieved):
                raise ValueError(f"`retrieved` has the captions of {len(retrieved)} pairs for {len(rows)}.")
            found = BatchFeature(self.retrieved_inputs(retrieved), tensor_type=kwargs.get("return_tensors"))
            return BatchFeature({**features, **found})
        asked = {name: kwargs.pop(name, None) for name in READING}
        if images is not None:
            images, text = self._load_pairs(images, text, self._is_resized_otherwise(kwargs), asked)
        if suffix is None and (images is None or not self._closing_tokens()):
            return super().__call__(images=images, text=text, **kwargs)
        captions = [suffix] if isinstance(suffix, str) else suffix
        return self._encode(images, text, captions, **kwargs)

    def load_image(
        self,
        source: Any,
        name: str = "image",
        value_range: Any = None,
        nodata: Any = None,
        bands: Any = None,
        whole: bool = False,
    ) -> Image.Image:
        """Decode one image as a call of the processor does, which takes what comes back without a further look.

        Args:
            source (`Any`): As for `load_image`.
            name (`str`): What errors and warnings call it where it has no path.
            value_range (`tuple[float, float]` or `str`, *optional*): By default the processor's own.
            nodata (`float`, *optional*): By default the processor's own.
            bands (`tuple[int, ...]`, *optional*): By default the processor's own.
            whole (`bool`, *optional*, defaults to `False`): Keep the image's own size.

        Returns:
            `PIL.Image.Image`: Mode RGB; of the size that the model reads where that is the same for all images.
            Values of an image that such a call returned are colors, and are not scaled a second time.

        Raises:
            FileNotFoundError: The path does not exist.
            ValueError: As for `load_image`.
        """
        return self._load(source, name, whole, {"value_range": value_range, "nodata": nodata, "bands": bands})

    def reading(self, value_range: Any = None, nodata: Any = None, bands: Any = None) -> dict[str, Any]:
        """Arguments of `load_image`: those that are given, and the processor's own for the others.

        Args:
            value_range (`tuple[float, float]` or `str`, *optional*): As for `load_image`.
            nodata (`float`, *optional*): As for `load_image`.
            bands (`tuple[int, ...]`, *optional*): As for `load_image`.

        Returns:
            `dict[str, Any]`: All three, by name.
        """
        given = dict(zip(READING, (value_range, nodata, bands), strict=True))
        return {name: getattr(self, name) if value is None else value for name, value in given.items()}

    def _load(self, source: Any, name: str, otherwise: bool, asked: dict[str, Any]) -> Image.Image:
        """Decode an image; `otherwise` says that the call at hand resizes in another way than the image processor."""
        size = None if otherwise else needed_size(self.image_processor)
        known, told = getattr(source, "ssgpa_facts", None), any(value is not None for value in asked.values())
        # What was read in a way of its own is not scaled a second time in the processor's.
        keep = known is not None and not told and not known.reading.is_default
        image, facts = read_image(source, name, size, known.reading if keep else Reading(**self.reading(**asked)))
        fixed = None if otherwise or self.pair_layout != "pair" else fixed_size(self.image_processor)
        if not otherwise:
            self._tell_shrunk(facts)
        if fixed is not None and image.size != fixed:
            # The very pixels that the image processor makes, without its copies of a large image.
            resample = self.image_processor.resample
            image = image.resize(fixed, Image.Resampling.BILINEAR if resample is None else resample)
        return mark(image, source, facts)

    def _load_pairs(
        self, images: Any, text: Any, otherwise: bool, asked: dict[str, Any]
    ) -> tuple[list[tuple[Image.Image, Image.Image]] | None, Any]:
        """Sort the images into pairs and decode them; each asks the processor's prompt where there is no text."""
        pairs = _without_empty(images) if text is not None else images
        if pairs is None:
            return None, text
        pairs = pair_up(pairs)
        loaded = [
            tuple(
                self._load(image, f"pair {index}, {side}", otherwise, asked)
                for side, image in zip(("before", "after"), pair, strict=True)
            )
            for index, pair in enumerate(pairs)
        ]
        return loaded, [self.prompt] * len(pairs) if text is None else text

    @staticmethod
    def _is_resized_otherwise(kwargs: dict[str, Any]) -> bool:
        nested = [kwargs.get(name) or {} for name in ("images_kwargs", "common_kwargs")]
        return any(RESIZING & options.keys() for options in (kwargs, *nested))

    def _tell_shrunk(self, facts: ImageFacts) -> None:
        """Warn, once a size, of an image that is shrunk more than those of the training were."""
        target = needed_size(self.image_processor)
        if self.trained_size is None or target is None or facts.size in self._told:
            return
        trained = (self.trained_size["width"], self.trained_size["height"])
        # A long edge is cut off or kept in proportion where one number stands for both sides.
        pick = min if self.image_processor.size.shortest_edge else max
        now, then = (pick(side / to for side, to in zip(size, target, strict=True)) for size in (facts.size, trained))
        if now > then * SHRUNK_TOLERANCE:
            self._told.add(facts.size)
            logger.warning(
                f"{facts.name}: {facts.size[0]}x{facts.size[1]} pixels are shrunk {now:.1f} times, and the checkpoint "
                f"was trained on {trained[0]}x{trained[1]}, shrunk {then:.1f} times; small changes may be lost: "
                'caption it tile by tile (`tiles="auto"`, on the command line `--tiles auto`).'
            )

    def prompt_ids(self, text: str | None = None) -> list[int]:
        """Token ids of one prompt as `generate` and training see it.

        Args:
            text (`str`, *optional*): The prompt with its placeholders; the processor's own by default.

        Returns:
            `list[int]`: Placeholders multiplied, the tokenizer's special tokens in front, no end token behind.
        """
        text = self.prompt if text is None else text
        count = text.count(self.image_token) if self.image_token else 0
        images = [self.replace_image_token({}, index) for index in range(count)]
        ids = self.tokenizer(self.get_text_with_replacements([text], images)[0][0])["input_ids"]
        return ids[: len(ids) - self._closing_tokens()]

    def _closing_tokens(self) -> int:
        """Special tokens that the tokenizer puts behind a text; a prompt that goes on must not have them."""
        bare, full = (self.tokenizer("a", add_special_tokens=special)["input_ids"] for special in (False, True))
        start = next((index for index in range(len(full)) if full[index : index + len(bare)] == bare), 0)
        return len(full) - start - len(bare) if bare else 0

    def _encode(self, images: Any, text: Any, captions: list[str] | None, **kwargs: Any) -> BatchFeature:
        """Tokenize prompt and caption apart, so that training sees the very prompt that generation sees."""
        merged = self._merge_kwargs(tokenizer_init_kwargs=self.tokenizer.init_kwargs, **kwargs)
        options = merged["text_kwargs"]
        typed = options.pop("return_mm_token_type_ids", False)
        inner = {key: value for key, value in options.items() if key != "return_text_replacement_offsets"} | UNDECIDED
        features = dict(super().__call__(images, text, text_kwargs=inner, images_kwargs=merged["images_kwargs"]))
        prompts = features.pop("input_ids", [])
        for key in ("attention_mask", "token_type_ids"):
            features.pop(key, None)
        if captions is not None and len(prompts) != len(captions):
            raise ValueError(f"`suffix` has {len(captions)} captions for {len(prompts)} pairs; one each is needed.")
        closing = self._closing_tokens() if options.get("add_special_tokens", True) else 0
        prompts = [prompt[: len(prompt) - closing] for prompt in prompts]
        targets = None if captions is None else self._targets(prompts, captions, options)
        rows = prompts if targets is None else [[*head, *tail] for head, tail in zip(prompts, targets, strict=True)]
        side = options.get("padding_side") or self.tokenizer.padding_side
        padded = dict(
            self.tokenizer.pad(
                {"input_ids": rows},
                padding=options.get("padding"),
                max_length=options.get("max_length") if options.get("padding") == "max_length" else None,
                pad_to_multiple_of=options.get("pad_to_multiple_of"),
                padding_side=side,
                return_attention_mask=True,
            )
        )
        if targets is not None:
            padded["labels"] = []
            for ids, row, target in zip(padded["input_ids"], rows, targets, strict=True):
                fill, masked = [-100] * (len(ids) - len(row)), [-100] * (len(row) - len(target))
                padded["labels"].append([*fill, *masked, *target] if side == "left" else [*masked, *target, *fill])
        if typed:
            padded["mm_token_type_ids"] = self.create_mm_token_type_ids(padded["input_ids"])
        return BatchFeature({**padded, **features}, tensor_type=options.get("return_tensors"))

    def caption_ids(self, captions: Sequence[str], names: Sequence[str] | None = None) -> list[list[int]]:
        """Token ids of captions as training sees them; nothing else in the package encodes a caption.

        A special token in a caption is an error, but for the unknown token, whose letters are text.

        Args:
            captions (`Sequence[str]`): The captions.
            names (`Sequence[str]`, *optional*): What errors call them; by default their numbers.

        Returns:
            `list[list[int]]`: Ids of each caption and the end token, no start token in front.

        Raises:
            ValueError: A caption is no text or holds a special token, or the tokenizer has no end token.
        """
        tokenizer = self.tokenizer
        known = getattr(tokenizer, "added_tokens_decoder", {}).values()
        added = [token.content for token in known if token.special]
        special = dict.fromkeys([*tokenizer.all_special_tokens, *added])
        special = [token for token in special if token not in (tokenizer.unk_token, self.image_token)]
        for index, caption in enumerate(captions):
            where = f"{names[index]}: the caption" if names else f"The caption {index},"
            if not isinstance(caption, str):
                raise ValueError(f"{where} {caption!r:.80} is not a string.")
            if self.image_token is not None and self.image_token in caption:
                raise ValueError(f"{where} {caption!r:.200} holds the placeholder {self.image_token}; remove it.")
            found = [token for token in special if token and token in caption]
            if found:
                raise ValueError(
                    f"{where} {caption!r:.200} holds {', '.join(found)}, special to the tokenizer: it would be "
                    "learned as a sign of its own and not as text. Remove it."
                )
            try:
                caption.encode()
            except UnicodeEncodeError as error:
                raise ValueError(
                    f"{where} {caption!r:.200} holds half a character (a lone surrogate); write it anew."
                ) from error
        if tokenizer.eos_token_id is None:
            raise ValueError("The tokenizer has no `eos_token`, which ends a caption.")
        if not captions:
            return []
        unknown = tokenizer.unk_token
        as_text = {"split_special_tokens": True} if unknown and any(unknown in text for text in captions) else {}
        ids = tokenizer(list(captions), add_special_tokens=False, **as_text)["input_ids"]
        return [[*row, tokenizer.eos_token_id] for row in ids]

    def retrieved_inputs(
        self, retrieved: Sequence[Sequence[str]], names: Sequence[str] | None = None
    ) -> dict[str, list[list[int]]]:
        """Token ids of the words of captions that were retrieved for pairs, each word of a pair once.

        Args:
            retrieved (`Sequence[Sequence[str]]`): Captions of each pair, the most similar first.
            names (`Sequence[str]`, *optional*): What errors call the pairs; by default their numbers.

        Returns:
            `dict[str, list[list[int]]]`: `retrieved_ids` and `retrieved_mask`, a row a pair, of equal lengths of 1 at
            least; the mask is 1 for tokens and 0 for padding.

        Raises:
            ValueError: A caption is no text or holds a special token, or a pair's captions are no list.
        """
        for index, texts in enumerate(retrieved):
            if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
                raise ValueError(f"`retrieved` is a list of captions a pair, got {texts!r:.80} for pair {index}.")
        lexicons = [" ".join(dict.fromkeys(" ".join(texts).split())) for texts in retrieved]
        # Without the end token.
        rows = [ids[:-1] for ids in self.caption_ids(lexicons, names)]
        width = max([1, *map(len, rows)])
        padding = self.tokenizer.pad_token_id
        return {
            "retrieved_ids": [[*row, *[padding] * (width - len(row))] for row in rows],
            "retrieved_mask": [[1] * len(row) + [0] * (width - len(row)) for row in rows],
        }

    def _targets(self, prompts: list[list[int]], captions: list[str], options: dict[str, Any]) -> list[list[int]]:
        """Ids of the captions, each with its end token, cut to what `max_length` leaves behind the prompt."""
        targets = self.caption_ids(captions)
        if options.get("truncation") in (None, False, "do_not_truncate"):
            return targets
        limit = options.get("max_length") or self.tokenizer.model_max_length
        cut = []
        for prompt, (*ids, end) in zip(prompts, targets, strict=True):
            room = limit - len(prompt) - 1
            if room < 1:
                raise ValueError(f"`max_length` {limit} leaves no room for a caption: the prompt alone fills it.")
            if len(ids) > room:
                logger.warning_once(
                    f"Captions longer than `max_length` {limit} allows are cut; their end token is kept."
                )
            cut.append([*ids[:room], end])
        return cut

    def prepare_inputs_layout(self, images: Any = None, text: Any = None, **kwargs: Any) -> tuple:
        """Decode the images and, for the concatenated layouts, join each pair to one; texts may come without any."""
        text = [text] if isinstance(text, str) else text
        _, text, videos, audio = super().prepare_inputs_layout(text=text, **kwargs)
        images = _without_empty(images)
        if images is None:
            return None, text, videos, audio
        # A call of the processor has decoded them.
        pairs, _ = self._load_pairs(images, text or [], self._is_resized_otherwise(kwargs), {})
        if self.pair_layout == "pair":
            return [image for pair in pairs for image in pair], text, videos, audio
        joined = [concatenate(before, after, self.pair_layout, self.size_of_pair) for before, after in pairs]
        return joined, text, videos, audio

    def validate_inputs(self, images: Any = None, text: Any = None, **kwargs: Any) -> None:
        """Check that the placeholders agree with the decoded images, over all texts and in each."""
        super().validate_inputs(images=images, text=text, **kwargs)
        if not self.placeholders:
            return
        for index, sample in enumerate(text or []):
            count = sample.count(self.image_token)
            if count % self.placeholders:
                raise ValueError(
                    f"Text {index} holds {count} {self.image_token}; with this `pair_layout` a pair takes "
                    f"{self.placeholders}."
                )

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
        """What one placeholder becomes: as many of them as the image has tokens, and what stands around them."""
        return self.image_token * self.image_seq_length if self.image_text is None else self.image_text

    def _get_num_multimodal_tokens(self, image_sizes: list | None = None, **kwargs: Any) -> MultiModalData:
        if image_sizes is None:
            return MultiModalData()
        count = len(image_sizes)
        return MultiModalData(num_image_tokens=[self.image_seq_length] * count, num_image_patches=[1] * count)

    def to_dict(self) -> dict[str, Any]:
        """The processor's settings; of how images are read, those that are told."""
        optional = (*READING, "trained_size", "image_text")
        told = {key: value for key, value in super().to_dict().items() if key not in optional or value is not None}
        if self.size_of_pair == SIDES[0]:
            # Checkpoints from before there was a choice.
            told.pop("size_of_pair", None)
        return told

    def push_to_hub(self, repo_id: str, **kwargs: Any) -> Any:
        """Upload the processor with its code, by the arguments of every `push_to_hub`; a model's uploads both."""
        return publish(None, repo_id, self, **kwargs)

    def post_process_captions(self, generated_ids: Any, inputs: BatchFeature | dict | None = None) -> list[str]:
        """Captions from what `generate` returned, with or without the prompt in front.

        Args:
            generated_ids (`torch.Tensor` of shape `(batch * sequences, length)`): Output of `generate`; -100 counts as
                padding.
            inputs (`BatchFeature`, *optional*): What was given to `generate`; each row's prompt is cut off where the
                row begins with it, whatever its padding (decoder-only systems do, encoder-decoder systems do not).
                Without it, the processor's own prompt is cut off.

        Returns:
            `list[str]`: One caption a row, special tokens removed, blanks joined.

        Raises:
            ValueError: The rows are no multiple of the prompts, or a row begins with another prompt than its own.
        """
        rows = torch.as_tensor(generated_ids).tolist()
        prompts = self._prompts_of(inputs)
        if prompts and len(rows) % len(prompts):
            raise ValueError(f"{len(rows)} generated rows cannot belong to {len(prompts)} prompts.")
        padding = {-100, self.tokenizer.pad_token_id}
        for index, row in enumerate(rows if prompts else ()):
            whole, prompt = prompts[index * len(prompts) // len(rows)]
            if row[: len(whole)] == whole:
                rows[index] = row[len(whole) :]
                continue
            # The row may be padded otherwise than the prompt, by a token that may also start the prompt: each place
            # behind padding alone is tried.
            rest, size = None, len(prompt)
            for start in range(len(row) - size + 1):
                if row[start : start + size] == prompt:
                    rest = row[start + size :]
                    break
                if row[start] not in padding:
                    break
            images = prompt.count(self.image_token_id) if inputs is not None else 0
            if rest is None and images and row.count(self.image_token_id) >= images:
                raise ValueError(f"Generated row {index} begins with another prompt than that of `inputs`.")
            rows[index] = row if rest is None else rest
        rows = [[token for token in row if token >= 0] for row in rows]
        return [" ".join(text.split()) for text in self.tokenizer.batch_decode(rows, skip_special_tokens=True)]

    def _prompts_of(self, inputs: BatchFeature | dict | None) -> list[tuple[list[int], list[int]]]:
        """The prompts of `inputs`, as they are and without padding; without inputs, the processor's own."""
        if inputs is None:
            own = self.prompt_ids() if self.prompt else []
            return [(own, own)] if own else []
        if inputs.get("input_ids") is None:
            return []
        rows = torch.as_tensor(inputs["input_ids"]).tolist()
        padding = {-100, self.tokenizer.pad_token_id}
        if inputs.get("attention_mask") is not None:
            masks = torch.as_tensor(inputs["attention_mask"]).tolist()
            bare = [
                [token for token, kept in zip(row, mask, strict=True) if kept]
                for row, mask in zip(rows, masks, strict=True)
            ]
        else:
            bare = []
            for row in rows:
                # Only at the ends: the padding may be a token that a prompt holds.
                places = [place for place, token in enumerate(row) if token not in padding]
                bare.append(row[places[0] : places[-1] + 1] if places else [])
        return list(zip(rows, bare, strict=True))


def _without_empty(images: Any) -> Any:
    """Conversations without images leave empty lists among them; None where nothing is left."""
    if isinstance(images, list | tuple):
        return [item for item in images if not isinstance(item, list | tuple) or len(item)] or None
    return images


__all__ = ["SSGPAProcessor", "fixed_size", "needed_size"]
