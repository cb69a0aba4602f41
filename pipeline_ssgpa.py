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
"""The pipeline "change-captioning": two pictures of one scene in, a sentence and a map of the change out."""

import copy
import inspect
from collections.abc import Iterable, Mapping, Sequence
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
from transformers import LogitsProcessor, LogitsProcessorList, PreTrainedModel
from transformers.pipelines import Pipeline

from .pictures_ssgpa import is_pair_row, is_picture, load_picture


# Where neither the call nor the model's own settings say otherwise.
DECODING = {"max_new_tokens": 40, "num_beams": 5}
OVERLAY_COLOR = (255, 0, 0)
# At full evidence the picture still shines through.
OVERLAY_OPACITY = 0.7


def draw_change_map(cells: Tensor, size: tuple[int, int]) -> Image.Image:
    """Draw the evidence of one image, interpolated between its cells and otherwise as the model gave it.

    Args:
        cells (`torch.Tensor` of shape `(rows, columns)`): Evidence in [0, 1].
        size (`tuple[int, int]`): Width and height of the picture, in pixels.

    Returns:
        `PIL.Image.Image`: Mode L and `size`; 255 is full evidence.
    """
    pixels = F.interpolate(cells[None, None].float(), size=size[::-1], mode="bilinear", align_corners=False)[0, 0]
    return Image.fromarray((255 * pixels.clamp(0, 1)).round().to(torch.uint8).numpy())


def draw_overlay(picture: Image.Image, change_map: Image.Image) -> Image.Image:
    """Tint a picture where its change map is bright.

    Args:
        picture (`PIL.Image.Image`): The picture.
        change_map (`PIL.Image.Image`): Mode L, of the picture's size.

    Returns:
        `PIL.Image.Image`: Mode RGB.
    """
    mask = change_map.point([round(OVERLAY_OPACITY * value) for value in range(256)])
    return Image.composite(Image.new("RGB", picture.size, OVERLAY_COLOR), picture.convert("RGB"), mask)


def split_pair(item: Any) -> tuple[Any, Any]:
    """Take one input of the pipeline apart.

    Args:
        item (`Mapping` or `Sequence`): `{"before": picture, "after": picture}`, other keys are ignored, or
            (before, after).

    Returns:
        `tuple`: Before and after, undecoded.

    Raises:
        ValueError: There are not two pictures.
    """
    if isinstance(item, Mapping) and not {"before", "after"} <= item.keys():
        raise ValueError(f'A pair as a dict needs the keys "before" and "after", got {sorted(map(str, item))}.')
    pair = (item["before"], item["after"]) if isinstance(item, Mapping) else item
    pair = tuple(pair) if _is_stack(pair) else pair
    if not isinstance(pair, tuple | list) or len(pair) != 2 or not all(is_picture(picture) for picture in pair):
        items = pair if isinstance(pair, tuple | list) else [pair]
        found = ", ".join(type(item).__name__ for item in items) or "nothing"
        raise ValueError(f"A pair is two pictures, (before, after); got {len(items)} of type {found}.")
    return tuple(pair)


def is_pair(inputs: Any) -> bool:
    """Whether `inputs` are one pair, and not a collection of pairs."""
    if isinstance(inputs, list):
        return len(inputs) == 2 and all(is_picture(item) and not is_pair_row(item) for item in inputs)
    return isinstance(inputs, tuple | Mapping) or is_picture(inputs) or _is_stack(inputs)


def _is_stack(inputs: Any) -> bool:
    """Whether `inputs` are pictures of one size in one array, as `np.stack(pair)` makes them."""
    return isinstance(inputs, np.ndarray | Tensor) and inputs.ndim == 4


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


class ChangeCaptioningPipeline(Pipeline):
    """Captions what changed between two pictures, with any system of this library.

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

    def __init__(self, model: PreTrainedModel, *args: Any, **kwargs: Any) -> None:
        _refuse_missing_weights(model)
        super().__init__(model, *args, **kwargs)

    @property
    def has_change_map(self) -> bool:
        """Whether the model tells where its evidence lies, so that `return_change_map` can be asked for."""
        return "output_evidence" in inspect.signature(self.model.forward).parameters

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:
        """Caption one pair or many.

        Args:
            inputs: One pair: `(before, after)`, `[before, after]`, `{"before": ..., "after": ...}` or one array or
                tensor of both; or a list of such pairs; or a generator or a data set of them. A picture is a path, a
                URL, the bytes of a file, a PIL picture, an array or a tensor.
            **kwargs: `return_change_map` (`bool`, defaults to `False`) also returns where the evidence lies; only
                systems that have such evidence can. `batch_size` (`int`, defaults to 1) pairs go through the model
                together. `generate_kwargs` (`dict`) are arguments of `generate`, which may also be given directly,
                as `max_new_tokens=20`; what neither they nor the model's own generation settings say is 5 beams and at
                most 40 new tokens. `value_range`, `nodata` and `bands` say how values of sensor data become colors, as
                in a call of the processor. Without change maps, pictures are decoded at the size that is needed.

        Returns:
            `list[dict]` for one pair, one entry a returned sequence; a list of them for a list; an iterator over
            them for a generator or a data set. Keys: `generated_text`; with `return_change_map` also `change_map`
            and `change_map_before` (mode L, of the size of the picture after and before, raw evidence, 255 is 1),
            `overlay` and `overlay_before` (the pictures, tinted). What has been added shows on the picture after,
            what has gone on the picture before.

        Raises:
            FileNotFoundError: A picture does not exist.
            ValueError: A picture cannot be read, a pair is not two pictures, or `generate` does not know an argument.
            FloatingPointError: The model's scores are not finite.
        """
        if is_pair(inputs):
            return super().__call__(split_pair(inputs), **kwargs)
        if isinstance(inputs, np.ndarray | Tensor):
            inputs = list(inputs)
        if isinstance(inputs, list):
            return super().__call__([split_pair(item) for item in inputs], **kwargs) if inputs else []
        if not isinstance(inputs, GeneratorType | Dataset):
            inputs = self._stream(inputs)
        return super().__call__(inputs, **kwargs)

    @staticmethod
    def _stream(inputs: Any) -> GeneratorType:
        if not isinstance(inputs, Iterable):
            raise ValueError(f"A pair of pictures or a collection of pairs is needed, got a {type(inputs).__name__}.")
        return (item for item in inputs)

    def _sanitize_parameters(
        self,
        return_change_map: bool | None = None,
        generate_kwargs: Mapping[str, Any] | None = None,
        value_range: Any = None,
        nodata: Any = None,
        bands: Any = None,
        **direct: Any,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        twice = sorted(direct.keys() & (generate_kwargs or {}).keys())
        if twice:
            raise ValueError(f"`{twice[0]}` is given twice, directly and in `generate_kwargs`.")
        forward_params: dict[str, Any] = {}
        reading = {"value_range": value_range, "nodata": nodata, "bands": bands}
        preprocess_params = {name: value for name, value in reading.items() if value is not None}
        if return_change_map is not None:
            preprocess_params["return_change_map"] = forward_params["return_change_map"] = return_change_map
        if direct or generate_kwargs:
            forward_params["generate_kwargs"] = {**(generate_kwargs or {}), **direct}
        return preprocess_params, forward_params, {}

    def preprocess(self, input_: Any, return_change_map: bool = False, **reading: Any) -> dict[str, Any]:
        """Decode one pair and prepare it for the model; the whole pictures are kept only where maps are drawn."""
        sources = zip(split_pair(input_), ("before", "after"), strict=True)
        if return_change_map:
            options = self.processor.reading(**reading)
            pictures = [load_picture(source, name, **options) for source, name in sources]
        else:
            pictures = [self.processor.load_image(source, name, **reading) for source, name in sources]
        inputs = self.processor(images=[pictures], return_tensors="pt").to(dtype=self.dtype)
        return {**inputs, "pictures": [tuple(pictures) if return_change_map else None]}

    def _forward(
        self,
        input_tensors: dict[str, Any],
        return_change_map: bool = False,
        generate_kwargs: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        inputs = dict(input_tensors)
        pictures = inputs.pop("pictures")
        change_map = self._encode(inputs) if return_change_map else None
        options = self.decoding_options(generate_kwargs or {})
        checks = LogitsProcessorList([*(options.pop("logits_processor", None) or []), FiniteLogitsCheck()])
        ids = self.model.generate(**inputs, **options, logits_processor=checks)
        return {
            "generated_ids": ids.unflatten(0, (len(pictures), -1)),
            "input_ids": inputs.get("input_ids"),
            "change_map": change_map,
            "pictures": pictures,
        }

    def decoding_options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """What `generate` is called with.

        Args:
            given (`dict`): Arguments of `generate`, `generation_config` among them. They go first, then the settings
                of that configuration or else of the model, then 5 beams and 40 new tokens.

        Returns:
            `dict`: With a `generation_config` that holds them all, if one is given: `generate` takes no arguments
            beside it.
        """
        rest = dict(given)
        config = rest.pop("generation_config", None)
        settings = self.model.generation_config if config is None else config
        wanted = {name: value for name, value in DECODING.items() if getattr(settings, name) is None}
        if rest.get("max_length") is not None or settings.max_length is not None:
            wanted.pop("max_new_tokens", None)
        options = {**wanted, **rest, "return_dict_in_generate": False}
        if config is None:
            return options
        config = copy.deepcopy(config)
        return {**config.update(**options), "generation_config": config}

    def _encode(self, inputs: dict[str, Any]) -> Tensor:
        """Run the vision side once, for the change map (batch, 2, rows, columns) and, in `inputs`, for `generate`."""
        if not self.has_change_map:
            raise ValueError(f"{type(self.model).__name__} has no change map; leave `return_change_map` out.")
        features = self.model.get_image_features(inputs.pop("pixel_values"), return_dict=True)
        inputs["mm_encoder_outputs"] = {"image": features}
        return features.evidence.change_map

    def postprocess(self, model_outputs: dict[str, Any]) -> list[dict[str, Any]]:
        """Decode the captions of one pair and draw its maps."""
        ids = model_outputs["generated_ids"].flatten(0, 1)
        captions = self.processor.post_process_captions(ids, {"input_ids": model_outputs["input_ids"]})
        drawings: dict[str, Image.Image] = {}
        if model_outputs["change_map"] is not None:
            for suffix, picture, cells in zip(
                ("_before", ""), model_outputs["pictures"][0], model_outputs["change_map"][0], strict=True
            ):
                drawings[f"change_map{suffix}"] = draw_change_map(cells, picture.size)
                drawings[f"overlay{suffix}"] = draw_overlay(picture, drawings[f"change_map{suffix}"])
        return [{"generated_text": caption, **drawings} for caption in captions]

    def save_pretrained(self, save_directory: str | PathLike, **kwargs: Any) -> None:
        """Save model and processor, so that the folder can be loaded again.

        The code of the pipeline goes along only where the model's own code does, that is after
        `register_for_auto_class`: a folder that lists a pipeline of its own is not loaded without
        `trust_remote_code`.

        Args:
            save_directory (`str` or `PathLike`): The folder; made where it is missing.
            **kwargs: For `save_pretrained` of the model, for example `push_to_hub`.

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

    def push_to_hub(self, repo_id: str, **kwargs: Any) -> Any:
        """Upload model, processor and pipeline with their code; the arguments are those of the model's."""
        return self.model.push_to_hub(repo_id, processor=self.processor, **kwargs)


def _refuse_missing_weights(model: PreTrainedModel) -> None:
    # `from_pretrained` marks what it read from the checkpoint, and only warns of the rest; a model built from its
    # configuration bears no mark. Quantised and adapted models have parameters that no checkpoint can hold.
    if getattr(model, "peft_config", None) or getattr(model, "is_quantized", False):
        return
    read = {name: getattr(value, "_is_hf_initialized", False) for name, value in model.named_parameters()}
    missing = sorted(name for name, marked in read.items() if not marked)
    if missing and len(missing) < len(read):
        raise ValueError(
            f"{model.name_or_path} does not hold {len(missing)} of the model's weights, the first {missing[0]}: they "
            "are random. Load a complete checkpoint; if they were trained since, save the model and load that."
        )


__all__ = ["ChangeCaptioningPipeline", "FiniteLogitsCheck", "draw_change_map", "draw_overlay"]
