# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""A small rendered and prepared set, and tiny systems for its pictures, shared by the tests of training."""

import json

import pytest

from ssgpa.data.clevr_change import RenderSettings, load_clevr_change, render_dataset
from ssgpa.data.clevr_change.hints import add_cell_hints
from ssgpa.data.prepared import load_prepared, write_prepared
from ssgpa.training.arguments import ModelArguments
from ssgpa.training.systems import create_system

from ..tiny_systems import tiny_config


GRID = (4, 6)
IMAGE_SIZE = [32, 48]


@pytest.fixture(scope="session")
def prepared_dir(tmp_path_factory):
    """Eight scenes with hints of a 4 x 6 grid: eight pairs to train on, four to validate; not to be changed."""
    folder = tmp_path_factory.mktemp("clevr")
    settings = RenderSettings(scenes=8, seed=7, size=(96, 64), splits=(0.5, 0.25, 0.25), object_masks=True)
    rendered = render_dataset(folder / "set", settings, progress=False)
    return write_prepared(add_cell_hints(load_clevr_change(rendered), rendered, GRID), folder / "prepared")


@pytest.fixture(scope="session")
def splits(prepared_dir, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
        return load_prepared(prepared_dir)


@pytest.fixture(scope="session")
def model_config_values():
    """A configuration for pictures of 32 x 48, as a JSON file would hold it."""
    config = tiny_config(
        vision="resnet", part_grid=list(GRID), fusion_layers=1, sinkhorn_iterations=10, contrast_negatives=1
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
def make_system(model_config, splits):
    """A new model with random weights and its processor; keyword arguments go to ModelArguments."""

    def make(**options):
        arguments = ModelArguments(model_config=str(model_config), image_size=IMAGE_SIZE, **options)
        captions = [caption for row in splits["train"]["captions"] for caption in row]
        return create_system(arguments, captions)[:2]

    return make
