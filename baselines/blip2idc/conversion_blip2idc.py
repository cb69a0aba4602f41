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
"""What BLIP2IDC takes over: a BLIP-2 with OPT, and the adapters of the authors; every weight of them or none."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel

from ...conversion_ssgpa import are_tensors, check_weights, read_source, read_tensor_file
from ...data.checks import read_json_object
from .configuration_blip2idc import BLIP2IDCConfig


# Where BLIP-2's weights go.
KEY_MAP = {
    "vision_model.": "model.vision_model.",
    "qformer.": "model.qformer.",
    "query_tokens": "model.query_tokens",
    "language_projection.": "model.language_projection.",
    "language_model.model.": "model.language_model.",
    "language_model.lm_head.": "lm_head.",
}
SUB_CONFIGS = ("vision_config", "qformer_config", "text_config")
# What PEFT puts in front of a weight's name.
PREFIX = "base_model.model."
# The layers that the released code adapts, as PEFT matches a pattern: 177 of BLIP-2 with OPT-2.7B.
TARGET_MODULES = (
    r"model\.(vision_model\..*\.qkv|qformer\..*\.(key|value)|qformer\..*\.crossattention\.attention\.query"
    r"|language_model\..*\.(q|k|v)_proj)"
)
# As the adapters of the authors name them.
RELEASED_TARGETS = (
    *(f"qformer.encoder.layer.{number}.crossattention.attention.query" for number in range(12)),
    *("qkv", "value", "key", "q_proj", "k_proj", "v_proj"),
)
# Settings of `BLIP2IDCConfig` that make the loss of the released code.
RELEASED = {"padded_length": 30}
# What captions need; the released code's are cut after 77 tokens, since it does not stop at their end token.
GENERATION = {"max_new_tokens": 40, "num_beams": 1}
ADAPTER_FILES = ("adapter_model.bin", "adapter_model.safetensors")
# Settings of PEFT that the released adapters have and that change what they compute.
ADAPTER_OPTIONS = ("r", "lora_alpha", "lora_dropout", "bias", "fan_in_fan_out", "target_modules", "modules_to_save")
# How a pointer to a file in Git's large file storage begins.
POINTER = b"version https://git-lfs"


def convert_key(name: str) -> str | None:
    """Our name of a weight of BLIP-2, None where it has none.

    Args:
        name (`str`): As `Blip2ForConditionalGeneration` names it.
    """
    for prefix, converted in KEY_MAP.items():
        if name.startswith(prefix):
            return converted + name.removeprefix(prefix)
    return None


def _rename(weights: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    names = {name: convert_key(name) for name in weights}
    homeless = sorted(name for name, converted in names.items() if converted is None)
    if homeless:
        raise ValueError(f"BLIP2IDC has no place for {homeless[0]} of {source} ({len(homeless)} such weights).")
    return {names[name]: value for name, value in weights.items()}


def convert_blip2(source: PreTrainedModel, **fields: Any) -> tuple[BLIP2IDCConfig, dict[str, Tensor]]:
    """Configuration and weights of a BLIP-2 under our names; the tensors are not copied.

    Args:
        source (`Blip2ForConditionalGeneration`): With OPT for its language model.
        **fields (`Any`, *optional*): Fields of [`BLIP2IDCConfig`]; they win.

    Returns:
        `tuple`: The configuration, and weights by name.

    Raises:
        ValueError: Its language model is another one, a weight has no place here, or the placeholder no embedding.
    """
    told, name = source.config, type(source).__name__
    if told.text_config.model_type != "opt":
        raise ValueError(
            f"{name} has the language model {told.text_config.model_type!r}, and BLIP2IDC is made for OPT: take "
            "Salesforce/blip2-opt-2.7b or another one with OPT."
        )
    values = {part: getattr(told, part).to_dict() for part in SUB_CONFIGS}
    # OPT's start token ends its texts too, and captions; BLIP-2 tells a line break in its place.
    values["text_config"] |= {"eos_token_id": told.text_config.bos_token_id}
    values |= {"num_query_tokens": told.num_query_tokens}
    # Older checkpoints tell none, and their vocabulary has room for the default.
    if told.image_token_index is not None:
        values["image_token_id"] = told.image_token_index
    config = BLIP2IDCConfig(**values | fields)
    size = config.text_config.vocab_size
    if config.image_token_id >= size:
        raise ValueError(
            f"`image_token_id` {config.image_token_id} is none of the language model's {size} tokens: give one."
        )
    return config, _rename(source.state_dict(), name)


def read_adapter(folder: str | os.PathLike) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read an adapter of the authors, which PEFT has written over `Salesforce/blip2-opt-2.7b`.

    Tensors alone are read; no code in the file runs.

    Args:
        folder (`str` or `os.PathLike`): With `adapter_config.json` and `adapter_model.bin` or
            `adapter_model.safetensors`.

    Returns:
        `tuple`: Its options, and its weights by our names, with PEFT's prefix in front.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: It is no such adapter, the weights are a pointer of Git's large file storage, or one of them has no
            place here; the error names it.
    """
    folder = Path(folder)
    told = folder / "adapter_config.json"
    if not told.is_file():
        raise FileNotFoundError(f"{told}: no such file; an adapter is a folder as PEFT writes it.")
    path = next((folder / name for name in ADAPTER_FILES if (folder / name).is_file()), None)
    if path is None:
        raise FileNotFoundError(f"{folder} holds neither {' nor '.join(ADAPTER_FILES)}.")
    options = read_json_object(told)
    if options.get("peft_type") != "LORA":
        raise ValueError(f"{told}: `peft_type` is {options.get('peft_type')!r}, and the authors' adapters are LORA.")
    with path.open("rb") as file:
        if file.read(len(POINTER)) == POINTER:
            raise ValueError(
                f"{path} is a pointer to a file in Git's large file storage: fetch it with `git lfs pull`."
            )
    try:
        weights = read_tensor_file(path)
    except ValueError as error:
        raise ValueError(f"{path} holds no tensors by name: {error!s:.200}") from error
    if not weights or not are_tensors(weights):
        raise ValueError(f"{path} holds no tensors by name.")
    bare = {name.removeprefix(PREFIX): value for name, value in weights.items()}
    return options, {PREFIX + name: value for name, value in _rename(bare, str(path)).items()}


def convert_adapter(folder: str | os.PathLike, base: str | os.PathLike, output: str | os.PathLike) -> None:
    """Write an adapter of the authors as a checkpoint over a base of ours, which loads like any other.

    Args:
        folder (`str` or `os.PathLike`): As for `read_adapter`.
        base (`str` or `os.PathLike`): Folder of the base that `from_blip2` has made, with its processor.
        output (`str` or `os.PathLike`): A new folder.

    Raises:
        FileExistsError: `output` is there already.
        FileNotFoundError: A file of adapter or base is missing.
        ValueError: As for `read_adapter`.
    """
    base, output = Path(base), Path(output)
    if output.exists():
        raise FileExistsError(f"{output} exists; choose a new folder.")
    if not (base / "config.json").is_file():
        raise FileNotFoundError(f"{base} holds no config.json: make the base first.")
    options, weights = read_adapter(folder)
    kept = {name: options[name] for name in ADAPTER_OPTIONS if name in options}
    kept |= {"peft_type": "LORA", "base_model_name_or_path": str(base.absolute()), "inference_mode": True}
    part = output.with_name(f"{output.name}.part")
    part.mkdir(parents=True)
    (part / "adapter_config.json").write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
    contiguous = {name: value.contiguous() for name, value in weights.items()}
    save_file(contiguous, part / "adapter_model.safetensors", metadata={"format": "pt"})
    for name in ("processor_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        if (base / name).is_file():
            (part / name).write_bytes((base / name).read_bytes())
    part.rename(output)


__all__ = ["TARGET_MODULES", "check_weights", "convert_adapter", "convert_blip2", "read_adapter", "read_source"]
