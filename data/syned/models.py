# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""What the models of all stages share: errors that name the model, and what a run depends on."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any

import torch
from transformers import PreTrainedModel

from ...utils.loading import BROKEN
from ...utils.results import folder_state
from .settings import EditSettings, ParaphraseSettings, RankSettings, SynedSettings


def require_diffusers() -> ModuleType:
    """The `diffusers` package.

    Raises:
        ImportError: If it is missing, naming the extra that brings it.
    """
    try:
        return importlib.import_module("diffusers")
    except ImportError as error:
        raise ImportError('ssgpa.data.syned needs the package `diffusers`: pip install "ssgpa[syned]"') from error


@contextmanager
def naming(model: str) -> Iterator[None]:
    """Let errors of loading begin with the model's name."""
    try:
        yield
    except BROKEN as error:
        raise ValueError(f"model {model}: {' '.join(str(error).split())}") from error


def source(part: EditSettings | RankSettings | ParaphraseSettings) -> dict[str, Any]:
    """Options of `from_pretrained` that say which commit."""
    return {"revision": part.revision} if part.revision else {}


def torch_dtype(settings: SynedSettings) -> torch.dtype:
    """The dtype of a run's weights."""
    return getattr(torch, settings.dtype)


def check_complete(info: dict[str, Any]) -> None:
    """Refuse a checkpoint that lacks weights, which would be random.

    Args:
        info (`dict[str, Any]`): What `from_pretrained(..., output_loading_info=True)` returns.

    Raises:
        ValueError: Naming the first weight.
    """
    missing = sorted(info["missing_keys"])
    if missing:
        raise ValueError(f"the files do not hold {len(missing)} of the model's weights, the first {missing[0]}")


def hub_commit(model: PreTrainedModel) -> str | None:
    """The commit that a model was loaded from; None for a folder."""
    return getattr(model.config, "_commit_hash", None)


def model_facts(part: EditSettings | RankSettings | ParaphraseSettings, loaded_from: str | None) -> dict[str, Any]:
    """What a stage's results depend on besides the settings.

    Args:
        part (`EditSettings`, `RankSettings` or `ParaphraseSettings`): The stage's settings.
        loaded_from (`str`, *optional*): A path that the model was loaded from, or the commit; gives the commit of an
            id on the Hub.

    Returns:
        `dict[str, Any]`: Id, revision asked for, commit found, files of a local folder, versions of the libraries.
    """
    commit = re.search(r"(?:^|snapshots[/\\])([0-9a-f]{40})(?:[/\\]|$)", loaded_from or "")
    return {
        "model": part.model,
        "revision": part.revision,
        "commit": commit and commit[1],
        "files": folder_state(part.model),
        "versions": {name: _version(name) for name in ("torch", "transformers", "diffusers", "pillow")},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
