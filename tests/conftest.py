# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""A small rendered and prepared set and a tiny configuration for its images, made once and shared by all tests."""

import json
from pathlib import Path

import pytest
from transformers.utils import logging

import ssgpa
from ssgpa.data.clevr_renderer import RenderSettings, render_dataset
from ssgpa.data.clevr_renderer.dataset.cells import add_cell_targets
from ssgpa.data.prepared import write_prepared
from ssgpa.data.readers.clevr_change import load_clevr_change

from .metrics.browser import CHROMIUM, Browser
from .tiny_systems import tiny_config


GRID = (4, 6)
ROOT = Path(__file__).resolve().parents[1]
IMPORTED = Path(ssgpa.__file__).resolve().parent
# A folder of the package's name beside this one is imported before what is installed.
if IMPORTED != ROOT and IMPORTED.parent == ROOT.parent:
    raise pytest.UsageError(f"These tests are of {ROOT}, but Python imports {IMPORTED}: move one of them.")


@pytest.fixture
def restored_logging():
    """For what silences Transformers for its process; the other tests want to hear it."""
    verbosity = logging.get_verbosity()
    yield
    logging.set_verbosity(verbosity)
    logging.enable_progress_bar()


@pytest.fixture(scope="session")
def small_settings():
    return RenderSettings(scenes=8, seed=7, size=(96, 64), splits=(0.5, 0.25, 0.25), object_masks=True)


@pytest.fixture(scope="session")
def rendered(small_settings, tmp_path_factory):
    """Eight scenes of 96 x 64 with object masks; not to be changed."""
    return render_dataset(tmp_path_factory.mktemp("clevr") / "set", small_settings, progress=False)


@pytest.fixture(scope="session")
def prepared_dir(rendered):
    """The same with targets of a 4 x 6 grid: eight pairs to train on, four to validate; not to be changed."""
    return write_prepared(
        add_cell_targets(load_clevr_change(rendered), rendered, GRID), rendered.with_name("prepared")
    )


@pytest.fixture(scope="session")
def model_config_values():
    """A configuration for images of 32 x 48, as a JSON file would hold it."""
    config = tiny_config(
        vision="resnet", patch_grid=list(GRID), fusion_layers=1, sinkhorn_iterations=10, contrast_negatives=1
    )
    values = config.to_diff_dict()
    text = values["text_config"]
    values["text_config"] = {name: text[name] for name in text if not name.endswith("token_id")}
    return values


@pytest.fixture(scope="session")
def model_config(model_config_values, tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "tiny.json"
    path.write_text(json.dumps(model_config_values), encoding="utf-8")
    return path


@pytest.fixture
def own_cache(monkeypatch, tmp_path_factory):
    """Keep what `datasets` caches among the test's files."""
    monkeypatch.setattr(pytest.importorskip("datasets").config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A browser without a network."""
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    with Browser(CHROMIUM, tmp_path_factory.mktemp("browser")) as found:
        yield found
