# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Start a model: from a saved system, or from a configuration with a tokenizer of the training captions' words."""

import importlib
import json
import re
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from torch import nn
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForImageTextToText,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    ProcessorMixin,
)
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.utils import logging

from ..processing_ssgpa import SSGPAProcessor
from ..prompts_ssgpa import PLACEHOLDERS, PROMPTS
from ..system_config_ssgpa import ChangeCaptioningConfigMixin
from ..utils.files import holding_output, replacing_folder
from ..utils.loading import BROKEN, check_source, load_partial_system
from ..vlm.configuration_ssgpa_vlm import SSGPAVLMConfig
from ..vlm.ports_ssgpa_vlm import PORTS
from .arguments import NONE, ModelArguments
from .word_tokenizer import PLACEHOLDER, build_word_tokenizer


logger = logging.get_logger(__name__)


def model_class_of(path: str | None) -> type:
    """The class that a class path names, or the one that picks a class by the configuration.

    Raises:
        ValueError: The path names no model class.
    """
    if path is None:
        return AutoModelForImageTextToText
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"`model_class` {path!r} cannot be imported: {error}.") from error
    if not isinstance(found, type) or not issubclass(found, PreTrainedModel):
        raise ValueError(f"`model_class` {path!r} is no model class.")
    return found


def load_base(arguments: ModelArguments) -> tuple[PreTrainedModel, SSGPAProcessor, set[str]]:
    """Load a saved system, which may lack weights that are going to train.

    Args:
        arguments (`ModelArguments`): `model_name_or_path`, `revision`, `model_class`, `config_overrides`
            and `attn_implementation`.

    Returns:
        `tuple`: Model, processor, and the names of parameters that the checkpoint did not hold.

    Raises:
        ValueError: A file is missing or broken, or a weight has the wrong shape; the error names the system.
    """
    path, overrides = arguments.model_name_or_path, {}
    # Its module may register parts that the configuration names.
    model_class = model_class_of(arguments.model_class)
    if arguments.config_overrides:
        try:
            source = check_source(path, arguments.revision)
            kind = type(AutoConfig.from_pretrained(path, revision=arguments.revision, **source))
            # What is no system is a VLM, which becomes one.
            kind = kind if issubclass(kind, ChangeCaptioningConfigMixin) else SSGPAVLMConfig
            overrides = _overrides(arguments.config_overrides, kind)
        except BROKEN as error:
            raise ValueError(f"model {path}: {' '.join(str(error).split())}") from error
    if arguments.instruction is not None:
        overrides["instruction"] = arguments.instruction
    model, processor, missing = load_partial_system(
        path,
        arguments.revision,
        model_class=model_class,
        attn_implementation=arguments.attn_implementation,
        **overrides,
    )
    settings = model.generation_config if model.can_generate() else None
    if settings is not None and settings.max_new_tokens is None and settings.max_length is None:
        # A stage that captions nothing has saved no settings for it.
        complete_generation(model, processor.tokenizer)
    return model, processor, missing


def complete_generation(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Set what the settings of a model's `generate` leave open to what `generation_defaults` says.

    Args:
        model (`PreTrainedModel`): One that captions.
        tokenizer (`PreTrainedTokenizerBase`): Its tokenizer.
    """
    config, settings = model.config, model.generation_config
    token = None if config.placeholder is None else tokenizer.convert_ids_to_tokens(config.image_token_id)
    found = generation_defaults(tokenizer, token)
    settings.update(**{name: value for name, value in found.items() if getattr(settings, name) is None})


def generation_defaults(tokenizer: PreTrainedTokenizerBase, image_token: str | None = PLACEHOLDER) -> dict[str, Any]:
    """What `generate` does where nothing else is said: 5 beams, 40 tokens, and no placeholder in a caption."""
    placeholders = [] if image_token is None else [tokenizer.convert_tokens_to_ids(image_token)]
    return {
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "max_new_tokens": 40,
        "num_beams": 5,
        "suppress_tokens": placeholders or None,
    }


def save_base(model: PreTrainedModel, processor: ProcessorMixin, folder: Path) -> None:
    """Write what runs start from: the whole folder or none.

    Args:
        model (`PreTrainedModel`): The model.
        processor (`ProcessorMixin`): Its processor.
        folder (`Path`): A new folder.

    Raises:
        OSError: It is there and not empty, or cannot be written.
    """
    with holding_output(folder):
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise FileExistsError(f"{folder} is there already; choose another name.")
        with replacing_folder(folder) as part:
            model.save_pretrained(part)
            processor.save_pretrained(part)


def build_model(config: PreTrainedConfig, model_class: str | None = None, **options: Any) -> PreTrainedModel:
    """A model with random weights.

    Args:
        config (`PreTrainedConfig`): Its configuration.
        model_class (`str`, *optional*): Class path of a variant.
        **options (`Any`, *optional*): `attn_implementation`, `dtype`.

    Returns:
        `PreTrainedModel`: On torch's default device.
    """
    chosen = model_class_of(model_class)
    build = chosen._from_config if issubclass(chosen, PreTrainedModel) else chosen.from_config
    return build(config, **options)


def read_config(path: str, overrides: str | None = None) -> PreTrainedConfig:
    """Read a model's configuration, its vocabulary as it stands there.

    Args:
        path (`str`): A configuration JSON, of a system or of a VLM that becomes one.
        overrides (`str`, *optional*): JSON mapping, as `config_overrides`.

    Returns:
        `PreTrainedConfig`: The configuration.

    Raises:
        FileNotFoundError: No such file.
        ValueError: It does not describe a model; the error names it.
    """
    values = _read_values(Path(path))
    if values["model_type"] in PORTS:
        # What is no system is a VLM, which becomes one.
        values = {"model_type": SSGPAVLMConfig.model_type, "vlm_config": values}
    try:
        kind = config_class_of(values.pop("model_type"), Path(path))
        return kind(**values | _overrides(overrides, kind))
    except BROKEN as error:
        raise ValueError(f"{path}: {_told(error)}") from error


def create_system(
    arguments: ModelArguments, captions: Iterable[str]
) -> tuple[PreTrainedModel, SSGPAProcessor, set[str]]:
    """Build a model with random weights from a configuration JSON, and its processor.

    Args:
        arguments (`ModelArguments`): `model_config`, `model_class`, `tokenizer`, `image_processor`, `image_size`,
            `prompt` and `attn_implementation`.
        captions (`Iterable[str]`): Training captions, for a tokenizer of their words.

    Returns:
        `tuple`: Model, processor, and the names of all its parameters.

    Raises:
        FileNotFoundError: No such configuration.
        ValueError: The configuration or the image size does not make a model, or the tokenizer cannot write captions.
    """
    path = Path(arguments.model_config)
    values = _read_values(path)
    kind = config_class_of(values["model_type"], path)
    prompt = arguments.prompt
    if prompt is None:
        prompt = PROMPTS[PLACEHOLDERS[kind.pair_layout] if kind.placeholder else 0].format(kind.placeholder)
    tokenizer = start_tokenizer(arguments.tokenizer, captions, prompt, kind.placeholder)
    try:
        values = kind.with_vocabulary(values, tokenizer) | _overrides(arguments.config_overrides, kind)
        config = kind(**{name: value for name, value in values.items() if name != "model_type"})
    except BROKEN as error:
        raise ValueError(f"{path}: {_told(error)}") from error
    model = build_model(config, arguments.model_class, attn_implementation=arguments.attn_implementation)
    if model.can_generate():
        model.generation_config.update(**generation_defaults(tokenizer, kind.placeholder))
    if arguments.image_processor is not None:
        name, options = _source(arguments.image_processor)
        image_processor = AutoImageProcessor.from_pretrained(name, backend="pil", trust_remote_code=False, **options)
    elif len(arguments.image_size) == 2:
        height, width = arguments.image_size
        image_processor = CLIPImageProcessorPil(
            size={"height": height, "width": width},
            do_center_crop=False,
            image_mean=list(kind.image_mean),
            image_std=list(kind.image_std),
        )
    else:
        raise ValueError(f"`image_size` is a height and a width, got {arguments.image_size}.")
    processor = SSGPAProcessor(
        image_processor,
        tokenizer,
        image_seq_length=config.image_seq_length if kind.placeholder else 0,
        pair_layout=kind.pair_layout,
        prompt=prompt,
    )
    return model, processor, {name for name, _ in model.named_parameters()}


def start_tokenizer(
    name: str | None, captions: Iterable[str], prompt: str, image_token: str | None
) -> PreTrainedTokenizerBase:
    """The tokenizer of a model from random weights: a public one, or one of the captions' words.

    Args:
        name (`str`, *optional*): Folder or ID[@REVISION]; None for a tokenizer of words.
        captions (`Iterable[str]`): Training captions, whose words are taken.
        prompt (`str`): The processor's prompt; without one, a start token stands in front of every text.
        image_token (`str`, *optional*): Placeholder of an image; added where a public tokenizer does not know it.

    Returns:
        `PreTrainedTokenizerBase`: With start, end and padding token, padding on the left.

    Raises:
        OSError: There is no such tokenizer.
        ValueError: It has no token that could start or end a caption.
    """
    if name is None:
        return build_word_tokenizer(captions, prompt, image_token)
    path, options = _source(name)
    if image_token is not None:
        options["extra_special_tokens"] = {"image_token": image_token}
    tokenizer = AutoTokenizer.from_pretrained(path, padding_side="left", trust_remote_code=False, **options)
    # BERT's vocabulary names the ends of a text otherwise.
    tokenizer.bos_token = tokenizer.bos_token or tokenizer.cls_token
    tokenizer.eos_token = tokenizer.eos_token or tokenizer.sep_token
    if tokenizer.bos_token is None or tokenizer.eos_token is None:
        raise ValueError(f"`tokenizer` {name} has no token that starts or ends a text; captions need both.")
    # Llama's has none; labels and attention masks leave padding out, whatever it is.
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.unk_token or tokenizer.eos_token
    return tokenizer


def _source(name: str) -> tuple[str, dict[str, Any]]:
    """Folder or id, and the options of `from_pretrained`."""
    path, _, revision = name.partition("@")
    return path, {"revision": revision} if revision else {}


def config_class_of(model_type: str, path: Path) -> type[PreTrainedConfig]:
    """The configuration class of a system.

    Args:
        model_type (`str`): As its configuration names it.
        path (`Path`): The configuration, for errors.

    Returns:
        `type[PreTrainedConfig]`: Derived from `ChangeCaptioningConfigMixin`.

    Raises:
        ValueError: No such model is known, or it is none that captions changes.
    """
    try:
        kind = CONFIG_MAPPING[model_type]
    except KeyError as error:
        raise ValueError(f"{path}: no model of `model_type` {model_type!r} is known.") from error
    if not issubclass(kind, ChangeCaptioningConfigMixin):
        raise ValueError(f"{path}: a {model_type!r} does not caption changes.")
    return kind


def _told(error: Exception) -> str:
    """An error in one line; a bare key or number says nothing without its kind."""
    kind = "" if isinstance(error, ValueError | TypeError | StrictDataclassError) else f"{type(error).__name__}: "
    return kind + " ".join(str(error).split())


def _read_values(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such model configuration.")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON: {error}.") from error
    if not isinstance(values, dict) or not isinstance(values.get("model_type"), str):
        raise ValueError(f"{path}: a model configuration needs `model_type`.")
    return values


def _overrides(text: str | None, kind: type[PreTrainedConfig]) -> dict[str, Any]:
    """Values that take the place of a configuration's own; a field of a part is refused, as is an unknown one."""
    if not text:
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"`config_overrides` is no JSON: {error}.") from error
    if not isinstance(found, dict):
        raise ValueError(f"`config_overrides` must map fields of the configuration to values, got {text!r}.")
    known = {field.name for field in fields(kind)}
    found = {kind.former_fields.get(name, name): value for name, value in found.items()}
    refused = [name for name in found if name not in known or name.endswith("_config") or name == "model_type"]
    if refused:
        raise ValueError(f"`config_overrides`: {refused} are no sizes or rates of {kind.model_type!r}.")
    return found


def set_trainable(model: nn.Module, patterns: list[str], missing: set[str]) -> dict[str, int]:
    """Switch gradients on for the parameters that a pattern matches, off for all others.

    Args:
        model (`nn.Module`): The model.
        patterns (`list[str]`): Regular expressions, searched in the parameters' names; `none` alone is an empty list.
        missing (`set[str]`): Parameters that no checkpoint gave.

    Returns:
        `dict[str, int]`: Trainable parameters and their sizes.

    Raises:
        ValueError: A pattern is broken or matches nothing, or a parameter is neither loaded nor trainable.
    """
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    matched = set()
    for pattern in [] if patterns == NONE else patterns:
        try:
            expression = re.compile(pattern)
        except re.error as error:
            raise ValueError(f"`trainable`: {pattern!r} is no regular expression: {error}.") from error
        found = {name for name in sizes if expression.search(name)}
        if not found:
            raise ValueError(f"`trainable`: the pattern {pattern!r} matches no parameter.")
        matched |= found
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in matched)
    trainable = {name: size for name, size in sizes.items() if name in matched}
    random_and_frozen = sorted((missing & set(sizes)) - matched)
    if random_and_frozen:
        raise ValueError(
            f"{len(random_and_frozen)} parameters are neither loaded nor trainable and would stay random, e.g. "
            f"{random_and_frozen[:3]}. Add a pattern to `trainable` or load them."
        )
    logger.info(f"Training {sum(trainable.values()):,} of {sum(sizes.values()):,} parameters.")
    return trainable


def trained_parameters(model: nn.Module) -> dict[str, int]:
    """Names and sizes of the parameters that have gradients."""
    return {name: value.numel() for name, value in model.named_parameters() if value.requires_grad}


def parameter_report(model: nn.Module, trainable: dict[str, int]) -> dict[str, Any]:
    """Sizes for the run's record: all parameters, the trainable ones, and their names."""
    total = sum(parameter.numel() for parameter in model.parameters())
    return {"parameters": total, "trainable": sum(trainable.values()), "names": sorted(trainable)}
