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
"""The pipeline "change-captioning": two images of one scene in, a sentence and a map of the change out."""

import copy
import gc
import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from os import PathLike
from pathlib import Path
from types import GeneratorType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from transformers import LogitsProcessor, LogitsProcessorList, RepetitionPenaltyLogitsProcessor
from transformers.pipelines import Pipeline
from transformers.utils import logging

from .difference_ssgpa import WORKING_SIDE, difference, same_pixels
from .evidence_ssgpa import EVIDENCE, encode, weigh
from .image_utils_ssgpa import READING, ImageFacts, Reading, cut_out, is_image, is_pair_row, mark, needed_size
from .tiles_ssgpa import CHANGED_FROM, OVERLAP, join_captions, lay_in, tile_boxes, tile_grid
from .trust_ssgpa import UNCHANGED, Trust, trust_of


logger = logging.get_logger(__name__)

ON_ERROR = ("raise", "return")
NO_ERROR = {"errors": [None]}
# What a run of the model gives.
TENSORS = ("generated_ids", "input_ids", "change_map", "evidence", "statistics")
# Where neither the call nor the model's own settings say otherwise.
DECODING = {"max_new_tokens": 40, "num_beams": 5}
OVERLAY_COLOR = (255, 0, 0)
# At full evidence the image still shines through.
OVERLAY_OPACITY = 0.7


def draw_change_map(cells: Tensor, size: tuple[int, int]) -> Image.Image:
    """Draw the evidence of one image, interpolated between its cells and otherwise as the model gave it.

    Args:
        cells (`torch.Tensor` of shape `(rows, columns)`): Evidence in [0, 1].
        size (`tuple[int, int]`): Width and height of the image, in pixels.

    Returns:
        `PIL.Image.Image`: Mode L and `size`; 255 is full evidence.
    """
    pixels = F.interpolate(cells[None, None].float(), size=size[::-1], mode="bilinear", align_corners=False)[0, 0]
    return Image.fromarray((255 * pixels.clamp(0, 1)).round().to(torch.uint8).numpy())


def draw_overlay(image: Image.Image, change_map: Image.Image) -> Image.Image:
    """Tint an image where its change map is bright.

    Args:
        image (`PIL.Image.Image`): The image.
        change_map (`PIL.Image.Image`): Mode L, of the image's size.

    Returns:
        `PIL.Image.Image`: Mode RGB.
    """
    mask = change_map.point([round(OVERLAY_OPACITY * value) for value in range(256)])
    return Image.composite(Image.new("RGB", image.size, OVERLAY_COLOR), image.convert("RGB"), mask)


def split_pair(item: Any) -> tuple[Any, Any]:
    """Take one input of the pipeline apart.

    Args:
        item (`Mapping` or `Sequence`): `{"before": image, "after": image}`, other keys are ignored, or
            (before, after).

    Returns:
        `tuple`: Before and after, undecoded.

    Raises:
        ValueError: There are not two images.
    """
    if isinstance(item, Mapping) and not {"before", "after"} <= item.keys():
        raise ValueError(f'A pair as a dict needs the keys "before" and "after", got {sorted(map(str, item))}.')
    pair = (item["before"], item["after"]) if isinstance(item, Mapping) else item
    pair = tuple(pair) if _is_stack(pair) else pair
    if not isinstance(pair, tuple | list) or len(pair) != 2 or not all(is_image(image) for image in pair):
        items = pair if isinstance(pair, tuple | list) else [pair]
        found = ", ".join(type(item).__name__ for item in items) or "nothing"
        raise ValueError(f"A pair is two images, (before, after); got {len(items)} of type {found}.")
    return tuple(pair)


def check_pair(item: Any) -> Any:
    """One input of the pipeline as `split_pair` takes it apart, with the captions that were retrieved for it, if any.

    Args:
        item (`Mapping` or `Sequence`): As for `split_pair`; a mapping may hold `retrieved`, a list of captions.

    Returns:
        `Mapping` or `tuple`: `before`, `after` and `retrieved`; (before, after) where nothing was retrieved.

    Raises:
        ValueError: There are not two images.
    """
    pair = split_pair(item)
    if not isinstance(item, Mapping) or item.get("retrieved") is None:
        return pair
    return {"before": pair[0], "after": pair[1], "retrieved": item["retrieved"]}


def is_pair(inputs: Any) -> bool:
    """Whether `inputs` are one pair, and not a collection of pairs."""
    if isinstance(inputs, list):
        return len(inputs) == 2 and all(is_image(item) and not is_pair_row(item) for item in inputs)
    return isinstance(inputs, tuple | Mapping) or is_image(inputs) or _is_stack(inputs)


def _is_stack(inputs: Any) -> bool:
    """Whether `inputs` are images of one size in one array, as `np.stack(pair)` makes them."""
    return isinstance(inputs, np.ndarray | Tensor) and inputs.ndim == 4


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is too little memory, on a GPU or a CPU."""
    # On a CPU, torch raises a plain RuntimeError.
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error)


def _chosen(value: Any, indices: Sequence[int]) -> Any:
    """Some rows of a batch's tensor or list."""
    return value[list(indices)] if isinstance(value, Tensor) else [value[index] for index in indices]


def _spread(value: Tensor | None, indices: Sequence[int], size: int) -> Tensor | None:
    """A batch's tensor with rows of zeros where nothing was asked."""
    if value is None:
        return None
    whole = value.new_zeros(size, *value.shape[1:])
    whole[list(indices)] = value
    return whole


def _message(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def caption_penalty(model: Any, options: dict[str, Any], input_ids: Tensor | None) -> list[LogitsProcessor]:
    """Let a repetition penalty count the caption's own tokens; `generate` itself would count the prompt's as well.

    Args:
        model (`Any`): Its `generation_config` is read where the options say nothing.
        options (`dict`): Arguments of `generate`; in them, the penalty becomes 1.
        input_ids (`torch.Tensor` of shape `(batch, tokens)`, *optional*): The prompts.

    Returns:
        `list[LogitsProcessor]`: The penalty; empty where there is none.
    """
    config = options.get("generation_config")
    settings = [options.get("repetition_penalty")]
    settings += [
        getattr(one, "repetition_penalty", None) for one in (config, getattr(model, "generation_config", None))
    ]
    penalty = next((value for value in settings if value is not None), None)
    if penalty in (None, 1):
        return []
    if config is None:
        options["repetition_penalty"] = 1.0
    else:
        # `generate` takes no arguments beside a configuration.
        options["generation_config"] = config = copy.deepcopy(config)
        options.pop("repetition_penalty", None)
        config.repetition_penalty = 1.0
    size = 0 if input_ids is None else input_ids.shape[1]
    return [RepetitionPenaltyLogitsProcessor(float(penalty), prompt_ignore_length=size)]


class FiniteLogitsCheck(LogitsProcessor):
    """Stops a generation whose scores are not numbers, at the step where it happens.

    Without it, a model whose logits are NaN says the first words of its vocabulary, for every pair, in good order.
    Single entries of minus infinity pass: that is how other processors rule tokens out.

    Args:
        names (`Sequence[str]`, *optional*): What to call the pairs of the batch in the error; unnamed by default.
    """

    def __init__(self, names: Sequence[str] = ()) -> None:
        self.names = list(names)

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Check one step.

        Args:
            input_ids (`torch.LongTensor` of shape `(batch * beams, length)`): Not looked at.
            scores (`torch.FloatTensor` of shape `(batch * beams, vocabulary)`): The scores.

        Returns:
            `torch.FloatTensor`: The scores as they came.

        Raises:
            FloatingPointError: A row's largest score is NaN or infinite; the error names the pairs.
        """
        # The maximum is NaN where any score is, and -inf where every score is.
        broken = ~torch.isfinite(scores.amax(dim=-1))
        if broken.any():
            rows = broken.nonzero().flatten().tolist()
            # Each pair has as many rows as there are beams, one after the other.
            names = dict.fromkeys(self.names[row * len(self.names) // len(scores)] for row in rows if self.names)
            where = f" for {', '.join(names)}" if names else ""
            raise FloatingPointError(f"The model's scores are not finite{where}: its weights are broken or overflow.")
        return scores


def gives_evidence(model: Any) -> bool:
    """Whether a model tells where its evidence lies, so that it has change maps.

    Args:
        model (`PreTrainedModel` or `type`): Of any system, or its class.

    Returns:
        `bool`: Whether its `forward` has the parameter `output_evidence`.
    """
    return "output_evidence" in inspect.signature(model.forward).parameters


class ChangeCaptioningPipeline(Pipeline):
    """Captions what changed between two images, with any system of this library.

    Example:
        ```python
        >>> import ssgpa
        >>> from transformers import pipeline

        >>> pipe = pipeline("change-captioning", model="checkpoints/ssgpa-clevr-tiny")
        >>> pipe(("before.png", "after.png"))
        [{'generated_text': '...'}]
        ```
    """

    _load_processor = True
    _load_tokenizer = False
    _load_image_processor = False
    _load_feature_extractor = False

    # What was given at construction, for calls that say nothing: arguments of `generate`, and the pipeline's own.
    generate_kwargs: Mapping[str, Any] | None = None
    settings: Mapping[str, Any] | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.trust: Trust | None = trust_of(self.model)
        # Pairs that go through the model at once, where a batch was once too large for memory.
        self.fitting_batch_size: int | None = None

    @property
    def has_change_map(self) -> bool:
        """Whether the model tells where its evidence lies, so that `return_change_map` can be asked for."""
        return gives_evidence(self.model)

    def __call__(self, inputs: Any, *, tiles: Any = None, tile_overlap: float | None = None, **kwargs: Any) -> Any:
        """Caption one pair or many.

        Args:
            inputs (`Any`): One pair: `(before, after)`, `[before, after]`, `{"before": ..., "after": ...}` or one
                array or tensor of both; or a list of such pairs; or a generator or a data set of them. An image is a
                path, a URL, the bytes of a file, a PIL image, an array or a tensor. A dict may also hold `retrieved`,
                captions that were retrieved for the pair, where the system reads such.
            tiles (`Any`, *optional*): Rows and columns of tiles into which each image is cut, or `"auto"`, for large
                images: each tile is captioned on its own, at the same place of both images. By default an image is
                    one.
            tile_overlap (`float`, *optional*): How far a tile reaches into its neighbors, as a share of its own side;
                0.125 by default.
            **kwargs (`Any`, *optional*): `on_error` (`"raise"` by default, or `"return"`) says what becomes of a pair
                that cannot be read: `"return"` gives `[{"error": "..."}]` in its place. `return_change_map` (`bool`,
                    defaults to
                `False`) also returns where the evidence lies; only systems that have such evidence can. `batch_size`
                (`int`, defaults to 1) pairs go through the model together; where that is too much for the memory, the
                batch is halved with a warning, and it goes on with so many. `generate_kwargs` (`dict`) are arguments
                of `generate`, which may also be given directly, as `max_new_tokens=20`; what neither they nor the
                model's own generation settings say is 5 beams and at most 40 new tokens. A `repetition_penalty` counts
                the caption's own tokens, where `generate` alone counts the prompt's too. `value_range`, `nodata` and
                `bands` say how values of sensor data become colors, as in a call of the processor. Without change maps
                and tiles, images are decoded at the size that is needed. `always_ask` (`bool`, defaults to `False`)
                takes the model's sentence also for equal and for unfamiliar images. `confidence` (`bool`, defaults to
                `True`), where False, goes without confidence and familiarity, which take time.

        Returns:
            `list[dict]` for one pair, one entry a returned sequence; a list of them for a list; an iterator over
            them for a generator or a data set. Keys: `generated_text`; with `return_change_map` also `change_map`
            and `change_map_before` (mode L, of the size of the image after and before, raw evidence, 255 is 1),
            `overlay` and `overlay_before` (the images, tinted). What has been added shows on the image after,
            what has gone on the image before. Exactly equal images are answered without the model, and have
            `identical`. Of a checkpoint that is calibrated (`trust.json`), there are `confidence` (how likely the
            caption is right, 0 to 1) and `familiar`; where images are unfamiliar, `generated_text` is what can be
            said without naming things, `difference` (`ImageDifference`) holds it, `model_text` is the model's
            sentence and `note` says what the checkpoint was trained on. With `tiles`, `generated_text` has one line a
            changed tile, the maps are stitched, and `tiles` lists every tile: `row`, `column`, `box_before`,
            `box_after` (pixels), `generated_text`, `change_score` and `changed`, see `change_scores`.

        Raises:
            FileNotFoundError: An image does not exist.
            ValueError: An image cannot be read, a pair is not two images, or `generate` does not know an argument.
            FloatingPointError: The model's scores are not finite.
            torch.OutOfMemoryError: A single pair is too large for the memory.
        """
        tiles = self.settings.get("tiles") if tiles is None else tiles
        if tiles is None:
            return self._call_whole(inputs, **kwargs)
        overlap = self.settings.get("tile_overlap", OVERLAP) if tile_overlap is None else tile_overlap
        asked = {**self.generate_kwargs, **(kwargs.get("generate_kwargs") or {}), **kwargs}
        if (asked.get("num_return_sequences") or 1) != 1:
            raise ValueError("With `tiles` there is one caption a tile; leave `num_return_sequences` out.")
        kept = ("return_change_map", "on_error", "always_ask", *READING)
        kwargs = {**{name: self.settings[name] for name in kept if name in self.settings}, **kwargs}
        if is_pair(inputs):
            return self._caption_tiles(inputs, tiles, overlap, **kwargs)
        results = (self._caption_tiles(item, tiles, overlap, **kwargs) for item in self._stream(inputs))
        return list(results) if isinstance(inputs, list | np.ndarray | Tensor) else results

    def _call_whole(self, inputs: Any, **kwargs: Any) -> Any:
        if is_pair(inputs):
            return super().__call__(inputs if self._returns_errors(kwargs) else check_pair(inputs), **kwargs)
        if isinstance(inputs, np.ndarray | Tensor):
            inputs = list(inputs)
        if isinstance(inputs, list):
            pairs = inputs if self._returns_errors(kwargs) else [check_pair(item) for item in inputs]
            return super().__call__(pairs, **kwargs) if inputs else []
        if not isinstance(inputs, GeneratorType | Dataset):
            inputs = self._stream(inputs)
        return super().__call__(inputs, **kwargs)

    def _returns_errors(self, kwargs: Mapping[str, Any]) -> bool:
        return kwargs.get("on_error", self.settings.get("on_error")) == "return"

    @staticmethod
    def _stream(inputs: Any) -> GeneratorType:
        if isinstance(inputs, Dataset) and not isinstance(inputs, Iterable):
            return (inputs[index] for index in range(len(inputs)))
        if not isinstance(inputs, Iterable):
            raise ValueError(f"A pair of images or a collection of pairs is needed, got a {type(inputs).__name__}.")
        return (item for item in inputs)

    def _sanitize_parameters(
        self,
        return_change_map: bool | None = None,
        generate_kwargs: Mapping[str, Any] | None = None,
        on_error: str | None = None,
        value_range: Any = None,
        nodata: Any = None,
        bands: Any = None,
        tiles: Any = None,
        tile_overlap: float | None = None,
        always_ask: bool | None = None,
        confidence: bool | None = None,
        **direct: Any,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        twice = sorted(direct.keys() & (generate_kwargs or {}).keys())
        if twice:
            raise ValueError(f"`{twice[0]}` is given twice, directly and in `generate_kwargs`.")
        forward_params: dict[str, Any] = {}
        if on_error is not None and on_error not in ON_ERROR:
            raise ValueError(f"`on_error` must be one of {', '.join(ON_ERROR)}; got {on_error!r}.")
        options = {"value_range": value_range, "nodata": nodata, "bands": bands, "on_error": on_error}
        options |= {"return_change_map": return_change_map, "always_ask": always_ask}
        preprocess_params = {name: value for name, value in options.items() if value is not None}
        if return_change_map is not None:
            forward_params["return_change_map"] = return_change_map
        if confidence is not None:
            forward_params["weighs"] = None if confidence else False
        given = {**(generate_kwargs or {}), **direct}
        if self.settings is None:
            # At construction, before any call.
            asked = {"tiles": tiles, "tile_overlap": tile_overlap}
            asked = {name: value for name, value in asked.items() if value is not None}
            self.generate_kwargs, self.settings = given, {**preprocess_params, **asked}
        # As in all pipelines, a call's `generation_config` replaces what was given at construction.
        forward_params["generate_kwargs"] = (
            given if "generation_config" in given else {**self.generate_kwargs, **given}
        )
        return preprocess_params, forward_params, {} if always_ask is None else {"always_ask": always_ask}

    def preprocess(
        self,
        input_: Any,
        return_change_map: bool = False,
        on_error: str = "raise",
        always_ask: bool = False,
        **reading: Any,
    ) -> dict[str, Any]:
        """Decode one pair and prepare it for the model; the whole images are kept only where maps are drawn.

        With `on_error="return"`, the pair's error stands in `errors`.
        """
        try:
            images = self._decode(input_, return_change_map, **reading)
            prepared = self._prepare(images, return_change_map, self._retrieved(input_))
            identical = not always_ask and same_pixels(*images)
            return {**prepared, **NO_ERROR, "identical": [identical], "shown": [self._small(images)]}
        # A decoder may raise anything over a broken file.
        except Exception as error:
            if on_error == "raise":
                raise
            # A blank pair stands in for it, so that batches stay whole; what the model says of it is thrown away.
            facts = ImageFacts("blank", (32, 32), Reading(**self.processor.reading(**reading)))
            blank = mark(Image.new("RGB", (32, 32)), None, facts)
            blanks = self._prepare([blank, blank], return_change_map, self._retrieved({}))
            return {**blanks, "errors": [_message(error)], "identical": [True], "shown": [None]}

    def _small(self, images: Sequence[Image.Image]) -> tuple[list[Image.Image], list[tuple[int, int]]] | None:
        """What is kept of a pair in case that it is unfamiliar: small copies, and the sizes of the whole images."""
        if self.trust is None:
            return None
        copies = [image.copy() for image in images]
        for copy_ in copies:
            # In place; twice the working size, so that the difference does its own averaging.
            copy_.thumbnail((2 * WORKING_SIDE, 2 * WORKING_SIDE))
        return copies, [image.ssgpa_facts.size for image in images]

    def _decode(self, item: Any, whole: bool, **reading: Any) -> list[Image.Image]:
        """Both images of a pair, whole or at the size that the model needs."""
        sources = zip(split_pair(item), ("before", "after"), strict=True)
        return [self.processor.load_image(source, name, whole=whole, **reading) for source, name in sources]

    def _retrieved(self, item: Any) -> dict[str, list[Any]]:
        """The processor's argument for captions retrieved for a pair: none for a system that reads none."""
        found = item.get("retrieved") if isinstance(item, Mapping) else None
        # Alike for all pairs of a batch, those without captions among them.
        if self.model.config.reads_retrieved:
            if found is None:
                logger.warning_once(
                    f"{type(self.model).__name__} reads captions that were retrieved for a pair, and a pair came "
                    'without: give {"before": ..., "after": ..., "retrieved": [...]}. '
                    "examples/make_retrieval_store.py retrieves some."
                )
            return {"retrieved": [[] if found is None else found]}
        if found is not None:
            raise ValueError(f"{type(self.model).__name__} reads no retrieved captions; leave `retrieved` out.")
        return {}

    def _prepare(self, images: list[Image.Image], keep: bool, retrieved: dict[str, list[Any]]) -> dict[str, Any]:
        inputs = self.processor(images=[images], return_tensors="pt", **retrieved).to(dtype=self.dtype)
        return {**inputs, "images": [tuple(images) if keep else None]}

    def _forward(self, input_tensors: dict[str, Any], **params: Any) -> dict[str, Any]:
        """Run a batch without its equal pairs, in parts where the whole is too large for memory."""
        inputs = dict(input_tensors)
        kept = {name: inputs.pop(name) for name in ("errors", "identical", "shown")}
        # Of several pairs, each comes in a list of its own.
        asked = [index for index, identical in enumerate(kept["identical"]) if identical not in (True, [True])]
        images = inputs["images"]
        if len(asked) < len(images):
            inputs = {name: _chosen(value, asked) for name, value in inputs.items()}
        parts = self._in_parts(
            len(asked),
            lambda start, stop: self._run({name: value[start:stop] for name, value in inputs.items()}, **params),
        )
        tensors = dict.fromkeys(TENSORS) | self._joined(parts)
        if tensors["generated_ids"] is None:
            tensors["generated_ids"] = torch.zeros(len(asked), 1, 1, dtype=torch.long)
        if len(asked) < len(images):
            tensors = {name: _spread(value, asked, len(images)) for name, value in tensors.items()}
        return {**tensors, **kept, "images": images}

    def _joined(self, parts: Sequence[Mapping[str, Any]]) -> dict[str, Tensor | None]:
        """The tensors of a batch that was run in parts."""
        if len(parts) < 2:
            return dict(parts[0]) if parts else {}
        # Each part was padded to its own longest caption.
        length = max(part["generated_ids"].shape[-1] for part in parts)
        padding = self.processor.tokenizer.pad_token_id or 0
        joined = {}
        for name in parts[0]:
            values = [part[name] for part in parts]
            if name == "generated_ids":
                values = [F.pad(value, (0, length - value.shape[-1]), value=padding) for value in values]
            joined[name] = None if values[0] is None else torch.cat(values)
        return joined

    def _in_parts(self, size: int, run: Callable[[int, int], Any]) -> list[Any]:
        """What `run(start, stop)` gives for `size` pairs: at once, or for fewer of them where that is too many."""
        parts, start = [], 0
        while start < size:
            count = min(self.fitting_batch_size or size, size - start)
            try:
                parts.append(run(start, start + count))
                start += count
                continue
            except (RuntimeError, MemoryError) as error:
                if count == 1 or not is_out_of_memory(error):
                    raise
            # Only here, behind the handler, is what the failed run held free.
            self.fitting_batch_size = count // 2
            logger.warning(
                f"A batch of {count} pairs is too large for the memory; going on with {count // 2} at a time."
            )
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        return parts

    def _run(
        self,
        inputs: dict[str, Any],
        return_change_map: bool = False,
        generate_kwargs: Mapping[str, Any] | None = None,
        weighs: bool | None = None,
    ) -> dict[str, Any]:
        weighs = self.trust is not None if weighs is None else weighs
        pairs = len(inputs.pop("images"))
        encoded = dict(inputs)
        features = self._encode(encoded, return_change_map) if return_change_map or weighs else None
        change_map = features.evidence.change_map if return_change_map else None
        options = self.decoding_options(generate_kwargs or {})
        own = options.pop("logits_processor", None) or []
        returned = self._all_beams(options) if weighs else None
        penalty = caption_penalty(self.model, options, inputs.get("input_ids"))
        checks = LogitsProcessorList([*penalty, *own, FiniteLogitsCheck()])
        ids = self.model.generate(**encoded, **options, logits_processor=checks).unflatten(0, (pairs, -1))
        return {
            "generated_ids": ids if returned is None else ids[:, :returned],
            "input_ids": inputs.get("input_ids"),
            "change_map": change_map,
            "evidence": weigh(self.model, inputs, features, ids) if weighs else None,
            "statistics": self.model.image_statistics(features, pairs) if weighs else None,
        }

    def _all_beams(self, options: dict[str, Any]) -> int:
        """Let a beam search return all its beams, in the options; how many sequences were asked for."""
        settings = [options, vars(options.get("generation_config") or self.model.generation_config)]
        beams, returned, samples = (
            next((one[name] for one in settings if one.get(name) is not None), default)
            for name, default in (("num_beams", 1), ("num_return_sequences", 1), ("do_sample", False))
        )
        if beams > returned and not samples:
            if options.get("generation_config") is not None:
                options["generation_config"].num_return_sequences = beams
            else:
                options["num_return_sequences"] = beams
        return returned

    def examine(self, pairs: Iterable[Any], batch_size: int = 1, **generate_kwargs: Any) -> Iterator[dict[str, Any]]:
        """Caption pairs and return what a calibration is fitted on; the model is asked of every pair.

        Args:
            pairs (`Iterable`): The pairs, in the forms that a call takes.
            batch_size (`int`, *optional*, defaults to 1): Pairs that go through the model together.
            **generate_kwargs (`Any`, *optional*): Arguments of `generate`.

        Yields:
            `dict[str, Any]`: `generated_text`, `evidence` (`torch.Tensor` of shape `(7,)`, see `weigh` in
            `evidence_ssgpa.py`) and `statistics` (`torch.Tensor`, see `image_statistics` of the system).
        """
        rest = iter(pairs)
        while batch := list(islice(rest, batch_size)):
            inputs = [self._prepare(self._decode(pair, False), False, self._retrieved(pair)) for pair in batch]
            joined = {
                name: [item[name][0] for item in inputs]
                if name == "images"
                else torch.cat([item[name] for item in inputs])
                for name in inputs[0]
            }
            moved = {
                name: value.to(self.device) if isinstance(value, torch.Tensor) else value
                for name, value in joined.items()
            }
            with self.device_placement(), self.get_inference_context()():
                outputs = self._run(moved, generate_kwargs=generate_kwargs, weighs=True)
            ids = outputs["generated_ids"][:, 0]
            captions = self.processor.post_process_captions(ids, {"input_ids": outputs["input_ids"]})
            for caption, evidence, statistics in zip(
                captions, outputs["evidence"].cpu(), outputs["statistics"].cpu(), strict=True
            ):
                yield {"generated_text": caption, "evidence": evidence, "statistics": statistics}

    def decoding_options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """What `generate` is called with.

        Args:
            given (`dict`): Arguments of `generate`, `generation_config` among them. They go first, then the settings
                of that configuration, then the model's, then 5 beams and 40 new tokens.

        Returns:
            `dict`: With a `generation_config` that holds them all, if one is given: `generate` takes no arguments
            beside it.

        Raises:
            ValueError: The assistant model is a name.
        """
        rest = dict(given)
        config = rest.pop("generation_config", None)
        if isinstance(rest.get("assistant_model"), str):
            raise ValueError("`assistant_model` must be a loaded model, not its name.")
        settings = [self.model.generation_config] if config is None else [config, self.model.generation_config]
        said = {name for name in (*DECODING, "max_length") if any(getattr(one, name) is not None for one in settings)}
        said |= {name for name, value in rest.items() if value is not None}
        wanted = {name: value for name, value in DECODING.items() if name not in said}
        if "max_length" in said:
            wanted.pop("max_new_tokens", None)
        options = {**wanted, **rest, "return_dict_in_generate": False}
        if config is None:
            return options
        config = copy.deepcopy(config)
        return {**config.update(**options), "generation_config": config}

    def _encode(self, inputs: dict[str, Any], needs_map: bool = True) -> Any:
        """Run the vision side once, for what is read of it and, in `inputs`, for `generate`."""
        if needs_map and not self.has_change_map:
            raise ValueError(f"{type(self.model).__name__} has no change map; leave `return_change_map` out.")
        features = encode(self.model, inputs.pop("pixel_values"))
        # A beam search repeats what it holds, in place.
        inputs["mm_encoder_outputs"] = {"image": copy.deepcopy(features)}
        return features

    def postprocess(self, model_outputs: dict[str, Any], always_ask: bool = False) -> list[dict[str, Any]]:
        """Decode the captions of one pair, say how far they can be trusted and draw its maps, or tell its error."""
        if model_outputs["errors"][0] is not None:
            return [{"error": model_outputs["errors"][0]}]
        ids = model_outputs["generated_ids"].flatten(0, 1)
        drawings = self._draw(model_outputs)
        if model_outputs["identical"][0]:
            return [{"generated_text": self.unchanged, **self._certain(), **drawings} for _ in ids]
        captions = self.processor.post_process_captions(ids, {"input_ids": model_outputs["input_ids"]})
        if self.trust is None or model_outputs["evidence"] is None:
            return [{"generated_text": caption, **drawings} for caption in captions]
        told = self.judge(model_outputs["evidence"][0], model_outputs["statistics"], model_outputs["shown"][0])
        results = []
        for place, caption in enumerate(captions):
            # The evidence is about the best.
            result = {"generated_text": caption, **told, **({} if place == 0 else {"confidence": None}), **drawings}
            if not told["familiar"]:
                sentence = caption if always_ask else told["difference"].sentence
                result |= {"generated_text": sentence, "model_text": caption}
            results.append(result)
        return results

    def _draw(self, outputs: Mapping[str, Any]) -> dict[str, Image.Image]:
        """The maps of one pair; empty ones where both images are equal."""
        drawings: dict[str, Image.Image] = {}
        images, maps = outputs["images"][0], outputs["change_map"]
        if images is None:
            return drawings
        cells = [torch.zeros(1, 1)] * 2 if outputs["identical"][0] else maps[0]
        for suffix, image, evidence in zip(("_before", ""), images, cells, strict=True):
            drawings[f"change_map{suffix}"] = draw_change_map(evidence, image.size)
            drawings[f"overlay{suffix}"] = draw_overlay(image, drawings[f"change_map{suffix}"])
        return drawings

    @property
    def unchanged(self) -> str:
        """The answer for exactly equal images: as the checkpoint says it, where that is known."""
        return UNCHANGED if self.trust is None else self.trust.unchanged

    def _certain(self) -> dict[str, Any]:
        """What is said of equal images beside the caption: no model was asked, and none is needed."""
        return {"identical": True, **({} if self.trust is None else {"confidence": 1.0, "familiar": None})}

    def judge(
        self,
        evidence: Tensor,
        statistics: Tensor,
        shown: tuple[Sequence[Image.Image], Sequence[tuple[int, int]]],
    ) -> dict[str, Any]:
        """Say how far the best caption of a pair can be trusted, by the checkpoint's calibration.

        Args:
            evidence (`torch.Tensor` of shape `(7,)`): What `weigh` of `evidence_ssgpa.py` gave.
            statistics (`torch.Tensor` of shape `(1, 2 * width)`): Of the pair's images.
            shown (`tuple`): Both images, and the sizes that boxes are told in.

        Returns:
            `dict[str, Any]`: `confidence` and `familiar`; for unfamiliar images also `difference` and `note`.
        """
        distance = self.trust.familiarity.distance(statistics).item()
        named = dict(zip(EVIDENCE, evidence.tolist(), strict=True)) | {"distance": math.log(max(distance, 1e-6))}
        familiar = distance <= self.trust.familiarity.threshold
        told: dict[str, Any] = {"confidence": self.trust.confidence.chance(named), "familiar": familiar}
        if not familiar:
            images, sizes = shown
            told |= {"difference": difference(*images, sizes=sizes), "note": self.trust.note}
        return told

    def _caption_tiles(
        self, item: Any, tiles: Any, overlap: float, return_change_map: bool = False, **kwargs: Any
    ) -> list[dict[str, Any]]:
        """Caption one pair tile by tile, and stitch the maps."""
        reading = {name: kwargs.pop(name) for name in READING if name in kwargs}
        on_error = kwargs.pop("on_error", None)
        try:
            images = self._decode(item, True, **reading)
            retrieved = {name: texts[0] for name, texts in self._retrieved(item).items()}
            larger = tuple(max(sides) for sides in zip(*(image.size for image in images), strict=True))
            grid = tile_grid(tiles, larger, needed_size(self.processor.image_processor), self.processor, overlap)
            boxes = list(zip(*(tile_boxes(image.size, grid, overlap) for image in images), strict=True))
        except Exception as error:
            if on_error != "return":
                raise
            return [{"error": _message(error)}]
        # Tiles are cut when their turn comes; cut all at once they would be a second copy of the images.
        pairs = (self._tile(images, place) | retrieved for place in boxes)
        maps = [Image.new("L", image.size) for image in images] if return_change_map else []
        captions, told = [], []
        # The tiles of one pair stand and fall together.
        results = self._call_whole(pairs, return_change_map=return_change_map, on_error="raise", **kwargs)
        for place, result in zip(boxes, results, strict=True):
            captions.append(result[0].get("model_text", result[0]["generated_text"]))
            told.append({name: result[0][name] for name in ("confidence", "familiar") if name in result[0]})
            for canvas, box, name in zip(maps, place, ("change_map_before", "change_map"), strict=False):
                lay_in(canvas, result[0][name], box)
        pairs = (self._tile(images, place) | retrieved for place in boxes)
        scores = self.change_scores(pairs, captions, kwargs.get("batch_size") or 1)
        found = [
            {
                "row": index // grid[1] + 1,
                "column": index % grid[1] + 1,
                "box_before": place[0],
                "box_after": place[1],
                "generated_text": caption,
                "change_score": score,
                "changed": score >= CHANGED_FROM,
                **trusted,
            }
            for index, (place, caption, score, trusted) in enumerate(zip(boxes, captions, scores, told, strict=True))
        ]
        drawings: dict[str, Image.Image] = {}
        for suffix, image, drawn in zip(("_before", ""), images, maps, strict=False):
            drawings[f"change_map{suffix}"], drawings[f"overlay{suffix}"] = drawn, draw_overlay(image, drawn)
        result = {"generated_text": join_captions(found), "tiles": found, **drawings}
        return [result | self._told_of_tiles(found, images, result["generated_text"], kwargs.get("always_ask", False))]

    def _told_of_tiles(
        self, tiles: Sequence[Mapping[str, Any]], images: Sequence[Image.Image], caption: str, always_ask: bool
    ) -> dict[str, Any]:
        """What is said of a pair whose tiles were captioned: unfamiliar, where half of those that were asked are."""
        asked = [tile["familiar"] for tile in tiles if tile.get("familiar") is not None]
        if not asked:
            return {}
        familiar = sum(asked) > len(asked) / 2
        told: dict[str, Any] = {"familiar": familiar}
        if not familiar:
            found = difference(*images)
            told |= {"difference": found, "note": self.trust.note, "model_text": caption}
            told |= {} if always_ask else {"generated_text": found.sentence}
        return told

    @staticmethod
    def _tile(images: Sequence[Image.Image], place: Sequence[tuple[int, ...]]) -> dict[str, Any]:
        """The same tile of both images, as a pair."""
        cut = (cut_out(image, box) for image, box in zip(images, place, strict=True))
        return dict(zip(("before", "after"), cut, strict=True))

    def change_scores(self, pairs: Iterable[Any], captions: Sequence[str], batch_size: int = 1) -> list[float]:
        """Say how strongly a pair, and not the image before alone, speaks for its caption.

        A caption that says "nothing changed", in whatever words this model learned for it, is about as likely for the
        image before beside itself, where nothing can have changed. A caption that tells a change is far less likely
        there. So no list of sentences is needed, and it holds for any system.

        Args:
            pairs (`Iterable`): The pairs, in the forms that a call takes.
            captions (`Sequence[str]`): Their captions.
            batch_size (`int`, *optional*, defaults to 1): Pairs that go through the model together.

        Returns:
            `list[float]`: The logarithm of how many times likelier the model finds each caption for the pair than for
            the image before beside itself. From log 20 = 3.0 on, which is usually called strong evidence, `tiles`
            counts a tile as changed.
        """
        scores, rest = [], zip(pairs, captions, strict=True)
        while batch := list(islice(rest, batch_size)):
            decoded = [(self._decode(pair, False), self._retrieved(pair)) for pair, _ in batch]
            texts = [caption for _, caption in batch]
            for part in self._in_parts(len(batch), partial(self._gain, decoded, texts)):
                scores += part.tolist()
        return scores

    def _gain(
        self,
        pairs: Sequence[tuple[Sequence[Any], dict[str, list[Any]]]],
        captions: Sequence[str],
        start: int,
        stop: int,
    ) -> Tensor:
        there, texts = [tuple(pair) for pair, _ in pairs[start:stop]], list(captions[start:stop])
        if all(same_pixels(*pair) for pair in there):
            return torch.zeros(len(there))
        alone = [(before, before) for before, _ in there]
        retrieved = [told for _, told in pairs[start:stop]]
        given = {name: [told[name][0] for told in retrieved] for name in retrieved[0]}
        return self._log_likelihood(there, texts, **given) - self._log_likelihood(alone, texts, **given)

    @torch.no_grad()
    def _log_likelihood(self, pairs: Sequence[tuple[Any, Any]], captions: list[str], **retrieved: list[Any]) -> Tensor:
        """Log probabilities of captions with their end tokens, (batch,), float32."""
        images = [list(pair) for pair in pairs]
        inputs = self.processor(images=images, suffix=captions, return_tensors="pt", **retrieved)
        inputs = inputs.to(self.device, dtype=self.dtype)
        labels = inputs.pop("labels")[:, 1:]
        logits = self.model(**inputs).logits[:, -labels.shape[1] - 1 : -1].float()
        steps = logits.log_softmax(-1).gather(-1, labels.clamp(min=0).unsqueeze(-1)).squeeze(-1)
        return (steps * (labels != -100)).sum(-1).cpu()

    def save_pretrained(self, save_directory: str | PathLike, **kwargs: Any) -> None:
        """Save model and processor, so that the folder can be loaded again.

        The code of the pipeline goes along only where the model's own code does, that is after
        `register_for_auto_class`: a folder that lists a pipeline of its own is not loaded without
        `trust_remote_code`.

        Args:
            save_directory (`str` or `PathLike`): The folder; made where it is missing.
            **kwargs (`Any`, *optional*): For `save_pretrained` of the model, for example `push_to_hub`.

        Raises:
            NotADirectoryError: There is a file of that name.
        """
        if Path(save_directory).is_file():
            raise NotADirectoryError(f"{save_directory} is a file; a folder is needed.")
        if self.model._auto_class is None:
            self.model.save_pretrained(save_directory, **kwargs)
        else:
            super().save_pretrained(save_directory, **kwargs)
        self.processor.save_pretrained(save_directory, **kwargs)
        if self.trust is not None:
            self.trust.save(save_directory)

    def push_to_hub(self, repo_id: str, **kwargs: Any) -> Any:
        """Upload model, processor and pipeline with their code; the arguments are those of the model's."""
        return self.model.push_to_hub(repo_id, processor=self.processor, **kwargs)


__all__ = [
    "ChangeCaptioningPipeline",
    "FiniteLogitsCheck",
    "caption_penalty",
    "draw_change_map",
    "draw_overlay",
    "gives_evidence",
    "is_out_of_memory",
]
