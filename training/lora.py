# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Checkpoints of what was trained alone, over a base that they name: LoRA beside parts that train in full, by PEFT."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from huggingface_hub import try_to_load_from_cache
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils.constants import DUMMY_TARGET_MODULES
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils import ADAPTER_CONFIG_NAME, ADAPTER_SAFE_WEIGHTS_NAME, CONFIG_NAME

from ..utils.loading import BASE_FROM_HERE, LOOSE_NAMES, PREFIX, base_of, name_in_file
from .arguments import ModelArguments


# What the patterns and the base are told by, elsewhere in the run's arguments.
TOLD_ELSEWHERE = ("modules_to_save", "base_model_name_or_path", "revision", "task_type", "inference_mode")
# What the matrices are multiplied with follows from these.
SCALING = ("lora_alpha", "r", "use_rslora", "use_dora", "alpha_pattern", "rank_pattern")


def is_over_base(arguments: ModelArguments) -> bool:
    """Whether a checkpoint of the run holds what was trained alone, and names the base that it stands on."""
    return bool(arguments.lora) or arguments.save_trained_only


def add_lora(model: PreTrainedModel, arguments: ModelArguments, trainable: dict[str, int]) -> PeftModel:
    """Put a model under PEFT, which then saves LoRA's matrices and the parts that train in full, and names the base.

    Args:
        model (`PreTrainedModel`): Loaded from a saved system; its `trainable` parameters have gradients already.
        arguments (`ModelArguments`): `lora`, without which no matrices are added, and the base with its revision.
        trainable (`dict[str, int]`): What trains in full, as `set_trainable` tells it.

    Returns:
        `PeftModel`: The model; what trains in full is a copy of the base's.

    Raises:
        ValueError: The model is no saved one, the options are none of PEFT's, or LoRA's pattern matches nothing or
            what trains in full.
    """
    if not arguments.model_name_or_path:
        raise ValueError("A checkpoint of what was trained alone names its base: start from --model_name_or_path.")
    lasting = sorted(set(json.loads(arguments.config_overrides or "{}")) - model.config.training_fields)
    if lasting and not model.config.fields_over_base():
        raise ValueError(f"`config_overrides` {lasting} would be lost: a checkpoint over a base has the base's own.")
    base, revision = lasting_name(arguments.model_name_or_path, arguments.revision)
    tuned = wrap_model(model, arguments.lora, trainable, revision)
    # PEFT writes the name that the model was loaded by, whatever the options say.
    tuned.active_peft_config.base_model_name_or_path = base
    if arguments.adapter_name_or_path:
        load_trained(tuned, Path(arguments.adapter_name_or_path))
    return tuned


def report_adapter(arguments: ModelArguments) -> dict[str, str]:
    """What a run went on from over its base, for its record.

    Args:
        arguments (`ModelArguments`): `adapter_name_or_path`.

    Returns:
        `dict[str, str]`: Empty where it began anew.
    """
    start = arguments.adapter_name_or_path
    return {"adapter_name_or_path": start} if start else {}


def wrap_model(
    model: PreTrainedModel, lora: str | None, trainable: dict[str, int], revision: str | None = None
) -> PeftModel:
    """Put a model under PEFT, whatever its base is.

    Args:
        model (`PreTrainedModel`): Its `trainable` parameters have gradients already.
        lora (`str`, *optional*): As `ModelArguments` has it.
        trainable (`dict[str, int]`): What trains in full, as `set_trainable` tells it.
        revision (`str`, *optional*): Commit of the base.

    Returns:
        `PeftModel`: The model; what trains in full is a copy.

    Raises:
        ValueError: The options are none of PEFT's, or LoRA's pattern matches nothing or what trains in full.
    """
    options = read_lora(lora)
    parts = split_trainable(model, trainable)
    try:
        config = LoraConfig(
            **{"target_modules": DUMMY_TARGET_MODULES} | options,
            modules_to_save=parts.whole or None,
            revision=revision,
        )
        tuned = get_peft_model(model, config)
    except (TypeError, ValueError) as error:
        raise ValueError(f"`lora`: {' '.join(str(error).split())}") from error
    targets = tuned.base_model.targeted_module_names
    if options and not targets:
        raise ValueError("`lora`: `target_modules` matches no layer of the model.")
    own = [name for name in targets if not name.startswith(model.pretrained_modules)]
    if own:
        raise ValueError(
            f"`lora`: `target_modules` also matches {own[0]}, which no checkpoint pretrained. Anchor the "
            "pattern, such as `model\\.language_model\\..*\\.(q_proj|v_proj)`."
        )
    for name in parts.loose:
        tuned.get_parameter(PREFIX + name).requires_grad_(True)
    return tuned


def load_trained(model: PeftModel, folder: Path) -> None:
    """Let a model go on from the trained weights of a checkpoint over the same base, every one of them.

    Args:
        model (`PeftModel`): With the same LoRA and the same parts that train in full.
        folder (`Path`): The checkpoint.

    Raises:
        FileNotFoundError: It is none, or the base that it names is not there.
        ValueError: It was trained otherwise or over another base; the error names the option, base or weight.
    """
    path, told = folder / ADAPTER_SAFE_WEIGHTS_NAME, folder / ADAPTER_CONFIG_NAME
    if not (path.is_file() and told.is_file()):
        raise FileNotFoundError(f"`adapter_name_or_path` {folder} holds no {path.name} with its {told.name}.")
    theirs, ours = json.loads(told.read_text(encoding="utf-8")), model.active_peft_config
    for name in SCALING:
        if name in theirs and theirs[name] != getattr(ours, name):
            raise ValueError(
                f"`adapter_name_or_path` {folder} was trained with {name} {theirs[name]}, this run's `lora` says "
                f"{getattr(ours, name)}: take the same."
            )
    try:
        over = base_of(folder)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"`adapter_name_or_path` {folder}: {error}") from error
    bases = [_one_name(*base) for base in (over, (ours.base_model_name_or_path, ours.revision))]
    if bases[0] != bases[1]:
        there, here = (f"{base} ({revision})" if revision else base for base, revision in bases)
        raise ValueError(
            f"`adapter_name_or_path` {folder} was trained over {there}, this run starts from {here}: take the same."
        )
    weights = load_file(path)
    places = {name: value for name, value in model.named_parameters() if value.requires_grad}
    # PEFT's files leave the adapter's own name out.
    found = {name_in_file(name, model.active_adapter): value for name, value in places.items()}
    weights = {name.replace(".modules_to_save", ""): value for name, value in weights.items()}
    lacking, left = sorted(found.keys() - weights.keys()), sorted(weights.keys() - found.keys())
    other = sorted(name for name in found.keys() & weights.keys() if found[name].shape != weights[name].shape)
    for what, names in (("lacks", lacking), ("also holds", left), ("has of another shape", other)):
        if names:
            raise ValueError(
                f"`adapter_name_or_path` {folder} {what} {names[0].removeprefix(PREFIX)} ({len(names)} such weights): "
                "`lora` and `trainable` must be those of that run."
            )
    with torch.no_grad():
        for name, value in found.items():
            value.copy_(weights[name])


def _one_name(base: str, revision: str | None) -> tuple[str, str | None]:
    """A base by one name, whatever way leads to its folder."""
    return (str(Path(base).resolve()), None) if Path(base).is_dir() else (base, revision)


def lasting_name(path: str, revision: str | None = None) -> tuple[str, str | None]:
    """What a base is found again by, from wherever and whenever a checkpoint over it is loaded.

    Args:
        path (`str`): A folder, or an id on the Hub that was loaded before.
        revision (`str`, *optional*): As it was loaded.

    Returns:
        `tuple[str, str | None]`: The folder's absolute path and no revision; or the id and its commit.
    """
    if Path(path).is_dir():
        return str(Path(path).absolute()), None
    found = try_to_load_from_cache(path, CONFIG_NAME, revision=revision)
    # .../snapshots/COMMIT/config.json
    return path, Path(found).parent.name if isinstance(found, str) else revision


def read_lora(text: str | None) -> dict[str, Any]:
    """Read LoRA's options.

    Args:
        text (`str`, *optional*): JSON mapping of `LoraConfig`'s arguments to values, `target_modules` among them.

    Returns:
        `dict[str, Any]`: The options; empty where there is no text.

    Raises:
        ValueError: The text is no such mapping, or tells what the run's other arguments tell.
    """
    if not text:
        return {}
    try:
        options = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"`lora` is no JSON: {error}.") from error
    if not isinstance(options, dict) or "target_modules" not in options:
        raise ValueError(f"`lora` must map options of PEFT's LoraConfig, `target_modules` among them, got {text!r}.")
    refused = sorted(set(options) & set(TOLD_ELSEWHERE))
    if refused:
        raise ValueError(f"`lora`: {refused} follow from `trainable` and `model_name_or_path`; leave them out.")
    return options


class TrainedParts(NamedTuple):
    """What trains in full, by name.

    Attributes:
        whole (`list[str]`): The largest modules of which every parameter trains; none lies in another.
        loose (`list[str]`): The parameters that train outside of these, sorted.
    """

    whole: list[str]
    loose: list[str]


def split_trainable(model: nn.Module, trainable: Iterable[str]) -> TrainedParts:
    """Find the modules that train whole, and what trains outside of them.

    Args:
        model (`nn.Module`): The model.
        trainable (`Iterable[str]`): Names of the parameters that train.
    """
    names, whole = set(trainable), []
    for name, module in model.named_modules():
        if not name or any(name.startswith(f"{outer}.") for outer in whole):
            continue
        own = [f"{name}.{parameter}" for parameter, _ in module.named_parameters()]
        if own and names.issuperset(own):
            whole.append(name)
    within = tuple(f"{name}." for name in whole)
    return TrainedParts(whole, sorted(name for name in names if not name.startswith(within)))


def complete_checkpoint(model: PeftModel, folder: Path, state_dict: dict[str, Tensor] | None = None) -> None:
    """Add to a checkpoint of PEFT what it leaves out: what trains of modules that do not train whole.

    PEFT would not miss these, so the file also tells their names; and where a base in a folder lies as seen from the
    checkpoint, for the day when both are moved.

    Args:
        model (`PeftModel`): The model.
        folder (`Path`): What `save_pretrained` wrote.
        state_dict (`dict[str, torch.Tensor]`, *optional*): The model's state where that is gathered already.
    """
    path = folder / ADAPTER_SAFE_WEIGHTS_NAME
    weights = load_file(path)
    state = state_dict if state_dict is not None else model.state_dict()
    kept = (".lora_", ".modules_to_save.")
    trained = [name for name, value in model.named_parameters() if value.requires_grad]
    loose = {
        name: state[name].detach().cpu().contiguous() for name in trained if not any(word in name for word in kept)
    }
    told = {LOOSE_NAMES: json.dumps(sorted(loose))} if loose else {}
    base = model.active_peft_config.base_model_name_or_path
    if base and Path(base).is_absolute():
        told[BASE_FROM_HERE] = Path(os.path.relpath(base, folder)).as_posix()
    inner = model.get_base_model()
    if inner.config.fields_over_base():
        inner.config.save_pretrained(folder)
    if inner.generation_config is not None:
        # Of this run; the base has settings of its own.
        inner.generation_config.save_pretrained(folder)
    if told:
        part = path.with_suffix(".part")
        save_file(weights | loose, part, metadata={"format": "pt", **told})
        Path(part).replace(path)
