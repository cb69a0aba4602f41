# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Data and a base for runs that are disturbed."""

import pytest

from ..examples.runs import write_workshop


@pytest.fixture(scope="session")
def workshop(tmp_path_factory):
    """A prepared set `data`, a tiny system `base`, and `run.yaml`, a run that trains it."""
    return write_workshop(tmp_path_factory.mktemp("workshop"))


@pytest.fixture
def own_datasets_cache(workshop, monkeypatch):
    """Keep what `datasets` caches in the workshop."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", workshop / "cache")
