# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""A small rendered set, shared by the tests of the data sets."""

import shutil

import pytest

from ssgpa.data.clevr_change import RenderSettings, render_dataset


SMALL = RenderSettings(scenes=8, seed=7, size=(96, 64), splits=(0.5, 0.25, 0.25), object_masks=True)


@pytest.fixture(scope="session")
def small_settings():
    return SMALL


@pytest.fixture(scope="session")
def rendered(tmp_path_factory):
    """Eight scenes of 96 x 64 with object masks; not to be changed."""
    return render_dataset(tmp_path_factory.mktemp("clevr") / "set", SMALL, progress=False)


@pytest.fixture
def copied(rendered, tmp_path):
    """A copy of the rendered set that a test may break."""
    return shutil.copytree(rendered, tmp_path / "copied")


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path_factory):
    config = pytest.importorskip("datasets").config
    monkeypatch.setattr(config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
