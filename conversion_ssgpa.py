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
"""What SSGPA takes over from an InstructBLIP or a BLIP-2 checkpoint: sizes and weights, every one of them or none."""

import os
from collections.abc import Iterable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoConfig, PreTrainedModel
from transformers.configuration_utils import PreTrainedConfig
from transformers.conversion_mapping import register_checkpoint_conversion_mapping
from transformers.core_model_loading import WeightRenaming

from .configuration_ssgpa import SSGPAConfig


class FormerName(WeightRenaming):
    """Loads a weight that was saved under a former name, and saves it under its own."""

    __slots__ = ()

    def reverse_transform(self) -> WeightRenaming:
        """Nothing goes back to the former name."""
        return deepcopy(self)


# Where the weights go. Both families name their parts alike, and a causal language model keeps all but its head under
# `model`.
KEY_MAP = {
    "vision_model.": "model.vision_tower.tower.",
    "qformer.": "model.connector.qformer.",
    "query_tokens": "model.connector.query_tokens",
    "language_projection.": "model.connector.language_projection.",
    "language_model.model.": "model.language_model.",
    "language_model.lm_head.": "lm_head.",
}
# What no such checkpoint holds.
NEW_PARTS = ("model.change_fusion_adapter.", "model.alignment.", "model.connector.global_projection.", "contrast.")
SUB_CONFIGS = ("vision_config", "qformer_config", "text_config")
# Former names of weights, as regular expressions.
FORMER_NAMES = {
    r"vision_tower\.part_projection\b": "vision_tower.patch_projection",
    r"alignment\.part_scale\b": "alignment.patch_scale",
}
TOKEN_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")
MAX_NAMED = 8

register_checkpoint_conversion_mapping(
    SSGPAConfig.model_type, [FormerName(former, name) for former, name in FORMER_NAMES.items()], overwrite=True
)


def read_source(
    pretrained: str | os.PathLike | PreTrainedModel,
    model_class: type[PreTrainedModel],
    dtype: torch.dtype | str = "auto",
    revision: str | None = None,
) -> PreTrainedModel:
    """Read a checkpoint with Transformers' own class, which knows the older layouts of its files.

    Args:
        pretrained (`str`, `os.PathLike` or `PreTrainedModel`): Id on the Hub, folder, or the model itself.
        model_class (`type`): `InstructBlipForConditionalGeneration` or `Blip2ForConditionalGeneration`.
        dtype (`torch.dtype` or `str`, *optional*, defaults to `"auto"`): Of a checkpoint that is read; `"auto"` is its
            own.
        revision (`str`, *optional*): Commit, for an id.

    Returns:
        `PreTrainedModel`: A `model_class`.

    Raises:
        ValueError: It is of another family, its language model is an encoder-decoder, or the files do not hold just
            the model's weights; the error names them.
        OSError: There is no such checkpoint in safetensors.
    """
    if isinstance(pretrained, PreTrainedModel):
        _check_family(pretrained.config, model_class, type(pretrained).__name__)
        return pretrained
    name = os.fspath(pretrained)
    _check_family(AutoConfig.from_pretrained(name, revision=revision), model_class, name)
    source, report = model_class.from_pretrained(
        name,
        dtype=dtype,
        revision=revision,
        use_safetensors=True,
        output_loading_info=True,
        # Their error names no weight.
        ignore_mismatched_sizes=True,
    )
    check_weights(report, name)
    return source


def read_tensor_file(path: Path, known: Iterable[Any] = ()) -> Any:
    """Read what safetensors or `torch.save` wrote, without running code in it.

    Args:
        path (`Path`): `.safetensors`, or any other name for a pickled file.
        known (`Iterable`, *optional*, defaults to `()`): What else than tensors may be in it, as for
            `torch.serialization.safe_globals`.

    Returns:
        `Any`: What is in the file, on the CPU.

    Raises:
        OSError: There is no such file.
        ValueError: It cannot be read; the error says why, in one line, and not which file.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with torch.serialization.safe_globals([*known]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise
        # Over a damaged file torch raises errors of any kind, some of them of the system's that name nothing.
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from error


def are_tensors(found: Any) -> bool:
    """Whether something is tensors by name."""
    return isinstance(found, Mapping) and all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in found.items()
    )


def read_named_tensors(path: Path) -> dict[str, Tensor]:
    """Read a file that holds tensors by name and nothing else, see `read_tensor_file`.

    Args:
        path (`Path`): The file.

    Raises:
        OSError: There is no such file.
        ValueError: It cannot be read, or holds something else; the error names it.
    """
    try:
        found = read_tensor_file(path)
    except ValueError as error:
        raise ValueError(f"{path} holds no tensors that could be read: {error}") from error
    if not are_tensors(found):
        raise ValueError(f"{path} holds no tensors by name.")
    return found


def _check_family(config: PreTrainedConfig, model_class: type[PreTrainedModel], name: str) -> None:
    expected = model_class.config_class.model_type
    if config.model_type != expected:
        raise ValueError(
            f"{name} is of type {config.model_type!r}, not {expected!r}: `from_instructblip` reads InstructBLIP, "
            "`from_blip2` reads BLIP-2."
        )
    if config.text_config.is_encoder_decoder:
        raise ValueError(
            f"{name} has the encoder-decoder {config.text_config.model_type!r} for a language model, and SSGPA needs "
            "a decoder. Take InstructBLIP with Vicuna, such as Salesforce/instructblip-vicuna-7b, or BLIP-2 with OPT, "
            "such as Salesforce/blip2-opt-2.7b."
        )


def convert_config(source: PreTrainedConfig, **fields: Any) -> SSGPAConfig:
    """Sizes of the parts that are taken over, and SSGPA's own.

    Args:
        source (`PreTrainedConfig`): Configuration of an InstructBLIP or BLIP-2.
        **fields (`Any`, *optional*): Fields of [`SSGPAConfig`]; they win.

    Returns:
        `SSGPAConfig`: The configuration.

    Raises:
        ValueError: The placeholder's id is not known or has no embedding, or the Q-Former does not know an id of its
            instruction.
    """
    parts = {name: getattr(source, name).to_dict() for name in SUB_CONFIGS}
    taken = {"num_query_tokens": source.num_query_tokens, "image_token_id": source.image_token_index}
    values = parts | taken | fields
    if values["image_token_id"] is None:
        raise ValueError(
            "The checkpoint does not tell its placeholder's id: give `image_token_id`, the tokenizer's id of <image>."
        )
    instruction, qformer = values.get("qformer_input_ids"), source.qformer_config
    if instruction is not None:
        room = qformer.max_position_embeddings
        if not 0 < len(instruction) <= room or not all(0 <= number < qformer.vocab_size for number in instruction):
            raise ValueError(
                f"`qformer_input_ids` must be 1 to {room} of the Q-Former's {qformer.vocab_size} tokens, got "
                f"{instruction}."
            )
    config = SSGPAConfig(**values)
    if not 0 <= config.image_token_id < config.text_config.vocab_size:
        raise ValueError(
            f"`image_token_id` {config.image_token_id} is none of the language model's "
            f"{config.text_config.vocab_size} tokens."
        )
    return config


def convert_weights(source: PreTrainedModel) -> dict[str, Tensor]:
    """The checkpoint's weights under SSGPA's names; the tensors are not copied.

    Raises:
        ValueError: SSGPA has no place for a weight; the error names it.
    """
    names = {name: convert_key(name) for name in source.state_dict()}
    homeless = [name for name, converted in names.items() if converted is None]
    if homeless:
        raise ValueError(f"SSGPA has no place for {_listed(homeless)} of {type(source).__name__}.")
    return {names[name]: tensor for name, tensor in source.state_dict().items()}


def convert_key(name: str) -> str | None:
    """SSGPA's name of a weight of InstructBLIP or BLIP-2, None where it has none."""
    for prefix, converted in KEY_MAP.items():
        if name.startswith(prefix):
            return converted + name.removeprefix(prefix)
    return None


def check_weights(report: Mapping[str, Iterable], name: str, new: tuple[str, ...] = ()) -> None:
    """Refuse weights that do not fit a model one to one.

    Args:
        report (`Mapping`): Transformers' loading info.
        name (`str`): The checkpoint, for the error.
        new (`tuple[str, ...]`, *optional*): How the names of weights begin that need not be there.

    Raises:
        ValueError: Weights are missing, left over or of another shape; the error names them.
    """
    wrong = {
        "missing": [key for key in report["missing_keys"] if not key.startswith(new)],
        "without a place": report["unexpected_keys"],
        "of another shape": [key for key, *_ in report["mismatched_keys"]],
    }
    told = [f"{what}: {_listed(keys)}" for what, keys in wrong.items() if keys]
    if told:
        raise ValueError(f"{name} does not fit: {'; '.join(told)}.")


def load_converted(
    model_class: type[PreTrainedModel],
    config: PreTrainedConfig,
    weights: dict[str, Tensor],
    name: str,
    dtype: torch.dtype | str,
    new: tuple[str, ...] = (),
) -> PreTrainedModel:
    """Build a model of converted weights and account for each.

    Args:
        model_class (`type`): The class.
        config (`PreTrainedConfig`): Its configuration.
        weights (`dict[str, torch.Tensor]`): By their names here.
        name (`str`): The checkpoint, for errors.
        dtype (`torch.dtype` or `str`): Of the model.
        new (`tuple[str, ...]`, *optional*): How the names of weights begin that need not be there.

    Returns:
        `PreTrainedModel`: In evaluation mode.

    Raises:
        ValueError: Weights are missing, left over or of another shape; the error names them.
    """
    model, report = model_class.from_pretrained(
        None,
        config=config,
        state_dict=weights,
        dtype=dtype,
        output_loading_info=True,
        ignore_mismatched_sizes=True,
    )
    check_weights(report, name, new)
    return model


def _listed(names: Iterable[str]) -> str:
    names = sorted(names)
    rest = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + rest
