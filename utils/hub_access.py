# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Check once, within seconds, whether the Hub answers."""

from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import httpx


def is_cached(repo_id: str, filename: str, revision: str | None = None, repo_type: str = "model") -> bool:
    """Return whether the cache knows a file of a repository, or knows that there is none."""
    return try_to_load_from_cache(repo_id, filename, revision=revision, repo_type=repo_type) is not None


def can_ask_hub(repo_id: str, filename: str, revision: str | None = None, repo_type: str = "model") -> bool:
    """Check whether the Hub answers, by asking it once for a file.

    Without an answer the libraries ask six times for each file that is not in the cache, which takes minutes.

    Args:
        repo_id (`str`): `owner/name`.
        filename (`str`): A file of the repository.
        revision (`str`, *optional*): Commit or branch.
        repo_type (`str`, *optional*, defaults to `'model'`): "model" or "dataset".

    Returns:
        `bool`: Whether the Hub answers. If not, the file is in the cache.

    Raises:
        ConnectionError: It does not answer within `HF_HUB_ETAG_TIMEOUT` seconds, and the file is not in the cache.
    """
    try:
        get_hf_file_metadata(hf_hub_url(repo_id, filename, revision=revision, repo_type=repo_type))
    except HfHubHTTPError:
        # The libraries report what is missing, or who may read it.
        return True
    except (OfflineModeIsEnabled, httpx.RequestError) as error:
        if is_cached(repo_id, filename, revision, repo_type):
            return False
        told = " ".join(str(error).split())
        raise ConnectionError(
            f"{repo_id} is not in the cache ({constants.HF_HUB_CACHE}), and the Hub ({constants.ENDPOINT}) cannot be "
            f"reached: {told}"
        ) from error
    return True


__all__ = ["can_ask_hub", "is_cached"]
