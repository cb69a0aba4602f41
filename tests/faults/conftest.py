# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Data and a base for runs that are disturbed."""

import pytest

from ..examples.runs import render_pairs, save_base, write_data, write_run


@pytest.fixture(scope="session")
def workshop(tmp_path_factory):
    """A prepared set `data`, a tiny system `base`, and `run.yaml`, a run that trains it."""
    folder = tmp_path_factory.mktemp("workshop")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.config.HF_DATASETS_CACHE", folder / "cache")
        data = write_data(render_pairs(folder / "rendered"), folder / "data")
        save_base(folder / "base", data)
    write_run(folder / "run.yaml", model_name_or_path=str(folder / "base"), data_dir=str(data))
    return folder


@pytest.fixture
def own_datasets_cache(workshop, monkeypatch):
    """Keep what `datasets` caches in the workshop."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", workshop / "cache")
