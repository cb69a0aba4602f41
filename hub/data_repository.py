# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Prepared folders on the Hub."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.utils import httpx

from ..data.clevr_renderer.dataset.layout import SCENES
from ..data.prepared import CARD, MARKER, check_prepared, scenes_of


FILES = "data/*.parquet"


def push_prepared(folder: str | Path, repo_id: str, private: bool = False) -> str:
    """Upload a prepared folder as a data set, in one commit that also removes the parquet files of an earlier one.

    Args:
        folder (`str` or `Path`): What `examples/prepare_data.py` wrote.
        repo_id (`str`): `ORG/NAME`; the repository is created if need be.
        private (`bool`, *optional*, defaults to `False`): Whether a new repository is private.

    Returns:
        `str`: The repository's address.

    Raises:
        FileNotFoundError: If the folder was not prepared or lacks a file.
        OSError: If the Hub cannot be reached or refuses.
    """
    check_prepared(folder)
    scenes = [] if scenes_of(folder) is None else [SCENES]
    api = HfApi()
    try:
        url = api.create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True)
        api.upload_folder(
            repo_id=repo_id,
            repo_type="dataset",
            folder_path=folder,
            allow_patterns=[CARD, MARKER, FILES, *scenes],
            delete_patterns=[FILES],
            commit_message="Upload pairs of images with captions of what changed",
        )
    except httpx.HTTPError as error:
        raise OSError(f"{repo_id}: the upload of {folder} failed: {error}") from error
    return str(url)
