# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Saved systems: from safetensors, without code from elsewhere, and with one error that names what is wrong."""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from huggingface_hub.utils import validate_repo_id
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoProcessor,
    GenerationConfig,
    PreTrainedModel,
    ProcessorMixin,
)
from transformers.utils import (
    ADAPTER_CONFIG_NAME,
    ADAPTER_SAFE_WEIGHTS_NAME,
    CONFIG_NAME,
    PROCESSOR_NAME,
    SAFE_WEIGHTS_INDEX_NAME,
    cached_file,
    find_adapter_config_file,
    logging,
)

from ..system_config_ssgpa import ChangeCaptioningConfigMixin
from ..trust_ssgpa import TRUST_FILE, Trust, load_trust
from ..vlm.modeling_ssgpa_vlm import NEW_PARTS, SSGPAForVLM
from ..vlm.starting import is_plain_vlm, load_vlm
from .hub_access import can_ask_hub, is_cached


logger = logging.get_logger(__name__)

# What the libraries raise over broken files of a model, or too little memory, and is no error of Python's own kinds.
LIBRARY_ERRORS = (SafetensorError, StrictDataclassError, torch.OutOfMemoryError)
# And all that they raise: tokenizers raises a bare `Exception`.
BROKEN = Exception
# What PEFT's files put in front of every name.
PREFIX = "base_model.model."
# Metadata of a checkpoint over a base: what it holds beside whole modules and LoRA's matrices.
LOOSE_NAMES = "loose_parameters"
# And where its base lies, if that is a folder, as seen from the checkpoint's own.
BASE_FROM_HERE = "base_from_here"


def load_system(path: str, revision: str | None = None, **options: Any) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Load a system with all of its weights, or a plain VLM as one, with a warning.

    Args:
        path (`str`): Folder of a saved system or of a VLM, or its id on the Hub.
        revision (`str`, *optional*): Commit, for an id.
        **options (`Any`, *optional*): For `load_partial_system`.

    Returns:
        `tuple[PreTrainedModel, ProcessorMixin]`: The model in evaluation mode, and its processor.

    Raises:
        ValueError: Something is missing or broken; the error names the system.
    """
    model, processor, missing = load_partial_system(path, revision, **options)
    model.trust = _find_trust(model, path, revision)
    if missing and is_plain_vlm(path, **_source_of(path, revision)):
        logger.warning(
            f"model {path}: a VLM as it is, asked of two images; SSGPA's adapter and change map are untrained."
        )
    elif missing:
        raise ValueError(
            f"model {path}: the files do not hold {len(missing)} of the model's weights, the first "
            f"{sorted(missing)[0]}. Load a complete checkpoint."
        )
    return model, processor


def load_partial_system(
    path: str, revision: str | None = None, model_class: type = AutoModelForImageTextToText, **options: Any
) -> tuple[PreTrainedModel, ProcessorMixin, set[str]]:
    """Load a system that may lack weights, which are random then, for training to fill in.

    Args:
        path (`str`): Folder of a saved system or of a VLM, or its id on the Hub.
        revision (`str`, *optional*): Commit, for an id.
        model_class (`type`, *optional*, defaults to `AutoModelForImageTextToText`): Class to load, or one that picks
            it by the configuration.
        **options (`Any`, *optional*): For the model's `from_pretrained`; of a VLM also `instruction`, and fields of
            `SSGPAVLMConfig`.

    Returns:
        `tuple[PreTrainedModel, ProcessorMixin, set[str]]`: The model in evaluation mode, its processor, and the names
        of the weights that the files do not hold.

    Raises:
        ValueError: A file is missing or broken, or a weight has another shape; the error names the system.
    """
    source = {"trust_remote_code": False, **({"revision": revision} if revision else {})}
    try:
        source |= check_source(path, revision)
        if is_plain_vlm(path, **source):
            return _load_vlm(path, source, model_class, options)
        if "instruction" in options:
            raise TypeError("`instruction` is asked of a plain VLM; a saved system has its prompt in its processor.")
        processor = AutoProcessor.from_pretrained(path, **source)
        if not hasattr(processor, "post_process_captions"):
            raise TypeError(f"a {type(processor).__name__} does not caption changes.")
        offline = {"local_files_only": source.get("local_files_only", False)}
        adapter = find_adapter_config_file(path, revision=revision, **offline)
        if adapter is not None:
            model, missing = _load_over_base(path, revision, Path(adapter), model_class, options)
            return model, processor, missing
        model, info = model_class.from_pretrained(
            path,
            use_safetensors=True,
            output_loading_info=True,
            # Their error names no weight.
            ignore_mismatched_sizes=True,
            **source,
            **options,
        )
        _check_shapes(info)
    except BROKEN as error:
        raise ValueError(f"model {path}: {' '.join(str(error).split())}") from error
    return model, processor, set(info["missing_keys"])


def _find_trust(model: PreTrainedModel, path: str, revision: str | None) -> Trust | None:
    """The calibration beside a checkpoint, which may be one over a base; without asking a Hub that does not answer."""
    if Path(path).is_dir():
        return load_trust(model, path)
    try:
        offline = not can_ask_hub(path, TRUST_FILE, revision)
    except ConnectionError:
        offline = True
    return load_trust(model, path, revision, offline)


def _load_vlm(
    path: str, source: dict[str, Any], model_class: type, options: dict[str, Any]
) -> tuple[PreTrainedModel, ProcessorMixin, set[str]]:
    """Load a plain VLM as a system; what no VLM has counts as missing."""
    model_class = SSGPAForVLM if model_class is AutoModelForImageTextToText else model_class
    if not issubclass(model_class, SSGPAForVLM):
        raise TypeError(f"a plain VLM becomes a {SSGPAForVLM.__name__}, not a {model_class.__name__}.")
    named = {name: options.pop(name) for name in ("instruction", "attn_implementation", "dtype") if name in options}
    source = {name: value for name, value in source.items() if name != "trust_remote_code"}
    model, processor = load_vlm(path, fields=options, model_class=model_class, **named, **source)
    return model, processor, {name for name, _ in model.named_parameters() if name.startswith(NEW_PARTS)}


def _source_of(path: str, revision: str | None) -> dict[str, Any]:
    """How to read a configuration that was read before, without asking the Hub again where it is cached."""
    source: dict[str, Any] = {"revision": revision} if revision else {}
    return source if Path(path).is_dir() else {**source, "local_files_only": True}


def _load_over_base(
    path: str, revision: str | None, adapter: Path, model_class: type, options: dict[str, Any]
) -> tuple[PreTrainedModel, set[str]]:
    """Load what was trained over the base that it names, and account for the weights of both."""
    _check_json(adapter)
    notes = _notes(path, revision)
    base, its_revision = _find_base(Path(path), adapter, notes.get(BASE_FROM_HERE))
    fields = _fields_over_base(path, revision)
    if not fields and is_plain_vlm(base, **_source_of(base, its_revision)):
        raise FileNotFoundError("it was trained over a VLM, and holds no config.json.")
    told = "dtype" in options
    model, _, missing = load_partial_system(base, its_revision, model_class, **fields, **options)
    names = {name.removeprefix(PREFIX) for name in notes["names"].splitlines()}
    missing -= names
    options = {"revision": revision} if revision else {}
    config = _adapter_config(path, model, options)
    conversions = getattr(model, "_weight_conversions", None)
    info = model.load_adapter(path, peft_config=config, adapter_kwargs=options or None).to_dict()
    # Those of the adapter's files would rename the base's weights once they are merged and saved.
    model._weight_conversions = conversions
    if not told:
        _restore_dtypes(model, cached_file(path, ADAPTER_SAFE_WEIGHTS_NAME, revision=revision))
    _check_shapes(info)
    if info["unexpected_keys"]:
        raise ValueError(f"the base has no weight {sorted(info['unexpected_keys'])[0]}.")
    # How it was evaluated; checkpoints of earlier versions have the base's settings alone.
    with suppress(OSError):
        model.generation_config = GenerationConfig.from_pretrained(path, **options)
    lost = set(json.loads(notes.get(LOOSE_NAMES, "[]"))) - set(notes["names"].splitlines())
    return model.eval(), set(info["missing_keys"]) | lost | missing


def name_in_file(name: str, adapter: str) -> str:
    """How PEFT's files call a parameter: without the adapter's own name.

    Args:
        name (`str`): Of the parameter in the model.
        adapter (`str`): The adapter's name there.
    """
    return re.sub(rf"\.{re.escape(adapter)}(?=\.|$)", "", name.replace(".modules_to_save", ""))


def _restore_dtypes(model: PreTrainedModel, path: str) -> None:
    """Give what was trained its own dtype again: loaded over a base in half precision, it would be rounded."""
    weights, adapter = load_file(path), next(iter(model.peft_config))
    for name, value in model.named_parameters():
        stored = weights.get(PREFIX + name_in_file(name, adapter))
        if stored is not None and stored.dtype != value.dtype:
            value.data = stored.to(value.device)


def _fields_over_base(path: str, revision: str | None) -> dict[str, Any]:
    """What the configuration of a checkpoint over a base tells that the base does not; most have none of their own."""
    found = cached_file(
        path,
        CONFIG_NAME,
        revision=revision,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    if found is None:
        return {}
    config = AutoConfig.from_pretrained(Path(found).parent, trust_remote_code=False)
    return config.fields_over_base() if isinstance(config, ChangeCaptioningConfigMixin) else {}


def _adapter_config(path: str, model: PreTrainedModel, options: dict[str, Any]) -> Any:
    """PEFT's configuration of a checkpoint over a base; PEFT would pass over whole modules that the base lacks."""
    from peft import PeftConfig

    config = PeftConfig.from_pretrained(path, **options)
    names = list(config.modules_to_save or [])
    for former, name in getattr(type(model), "former_names", {}).items():
        names = [re.sub(former, name, module) for module in names]
    known = [name for name, _ in model.named_modules()]
    lost = [name for name in names if not any(module == name or module.endswith(f".{name}") for module in known)]
    if lost:
        raise ValueError(f"the base has no module {lost[0]}, which was trained whole.")
    config.modules_to_save = names or None
    return config


def _notes(path: str, revision: str | None) -> dict[str, str]:
    """Return the metadata of a checkpoint over a base, with the names of its weights as `names`."""
    with safe_open(cached_file(path, ADAPTER_SAFE_WEIGHTS_NAME, revision=revision), "pt") as file:
        return {**(file.metadata() or {}), "names": "\n".join(file.keys())}


def base_of(folder: Path) -> tuple[str, str | None]:
    """The base of a checkpoint over one, in a folder.

    Args:
        folder (`Path`): Of the checkpoint.

    Returns:
        `tuple[str, str | None]`: The base's folder and None, or its id and revision.

    Raises:
        FileNotFoundError: A base in a folder is not there.
        ValueError: None is named, or a file is broken.
    """
    adapter = folder / ADAPTER_CONFIG_NAME
    _check_json(adapter)
    return _find_base(folder, adapter, _notes(str(folder), None).get(BASE_FROM_HERE))


def _find_base(checkpoint: Path, adapter: Path, from_here: str | None) -> tuple[str, str | None]:
    """Find the base of a checkpoint: its folder and no revision, or its id and revision.

    A folder is looked for where the checkpoint says, then where it lies as seen from the checkpoint, in case both were
    moved. Older checkpoints tell a path from where they were trained, which is some folder above them.
    """
    told = json.loads(adapter.read_text(encoding="utf-8"))
    base, revision = told.get("base_model_name_or_path"), told.get("revision")
    if not isinstance(base, str) or not base:
        raise ValueError(f"{adapter.name} names no `base_model_name_or_path`.")
    places = [Path(base)]
    if checkpoint.is_dir():
        places += [checkpoint / from_here] if from_here else []
        places += [] if Path(base).is_absolute() else [above / base for above in checkpoint.resolve().parents]
    found = next((place for place in places if _holds_system(place)), None)
    if found is not None:
        return str(found), None
    # A folder's name may be a stranger's id on the Hub.
    if from_here or Path(base).is_absolute() or (checkpoint.is_dir() and revision is None):
        raise FileNotFoundError(
            f"its base {base} is not there. Write into {adapter.name} where it lies, as `base_model_name_or_path`; "
            "or, if that is an id on the Hub, its commit as `revision`."
        )
    return base, revision


def _holds_system(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("config.json", "adapter_config.json"))


def check_source(path: str, revision: str | None) -> dict[str, bool]:
    """Refuse what is neither the folder of a saved system or VLM nor an id on the Hub.

    Args:
        path (`str`): Folder or id.
        revision (`str`, *optional*): Commit, for an id.

    Returns:
        `dict[str, bool]`: How to load it: `local_files_only` where the Hub does not answer.

    Raises:
        OSError: It is neither, or lacks a file, or is not in the cache while the Hub does not answer.
        ValueError: A revision of a folder is named, or a file is no JSON.
    """
    folder = Path(path)
    if folder.is_dir():
        if revision is not None:
            raise ValueError("a revision belongs to an id on the Hub, and this is a folder.")
        # A checkpoint over a base has no configuration of its own.
        model_file = "adapter_config.json" if (folder / "adapter_config.json").is_file() else "config.json"
        _check_json(folder / model_file)
        _check_index(folder)
        # A VLM of somebody else's may keep its image processor's settings in other files.
        if (folder / PROCESSOR_NAME).is_file() or not is_plain_vlm(path):
            _check_json(folder / PROCESSOR_NAME)
    elif folder.exists() or folder.is_absolute() or path.count("/") != 1 or path.startswith("."):
        raise NotADirectoryError("there is no such folder, and an id on the Hub looks like owner/name.")
    else:
        validate_repo_id(path)
        if revision is None and not is_cached(path, PROCESSOR_NAME):
            _check_mistyped(folder)
        known = CONFIG_NAME if is_cached(path, CONFIG_NAME, revision) else PROCESSOR_NAME
        if not can_ask_hub(path, known, revision):
            return {"local_files_only": True}
    return {}


def _check_mistyped(folder: Path) -> None:
    """Refuse what looks like an id but lies in a folder of this machine: more likely, its name is mistyped."""
    if folder.parent.is_dir():
        near = get_close_matches(folder.name, [path.name for path in folder.parent.iterdir() if path.is_dir()], n=1)
        hint = f" (did you mean {folder.parent / near[0]}?)" if near else ""
        raise NotADirectoryError(
            f"the folder {folder.parent} has no folder {folder.name}{hint}. If you mean the id on the Hub, name its "
            "revision, for example main."
        )


def _check_index(folder: Path) -> None:
    """Refuse an index of shards that names a file elsewhere, or one that is none."""
    path = folder / SAFE_WEIGHTS_INDEX_NAME
    if not path.is_file():
        return
    _check_json(path)
    shards = json.loads(path.read_text(encoding="utf-8")).get("weight_map")
    if not isinstance(shards, dict) or not shards:
        raise ValueError(f"{path.name} has no `weight_map`.")
    for name in shards.values():
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
            raise ValueError(f"{path.name} names {name!r:.80}; shards are safetensors files beside it.")


def _check_json(path: Path) -> None:
    """Refuse a file that holds no JSON object, by its name: the libraries report only line and column."""
    if not path.is_file():
        raise FileNotFoundError(f"the folder holds no {path.name}.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path.name} is not JSON ({error}).") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} holds a {type(content).__name__}, not an object.")


def _check_shapes(info: Mapping[str, Any]) -> None:
    wrong = sorted(name for name, *_ in info["mismatched_keys"])
    if wrong:
        raise ValueError(
            f"{len(wrong)} of the model's weights have another shape than the configuration says, the first "
            f"{wrong[0]}."
        )
