# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The splits of the prepared set, and tiny systems for its images, shared by the tests of training."""

import pytest

from ssgpa.data.prepared import load_prepared
from ssgpa.training.arguments import ModelArguments
from ssgpa.training.systems import create_system


IMAGE_SIZE = [32, 48]


@pytest.fixture(scope="session")
def splits(prepared_dir, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
        return load_prepared(prepared_dir)


@pytest.fixture
def make_system(model_config, splits):
    """A new model with random weights and its processor; keyword arguments go to ModelArguments."""

    def make(**options):
        arguments = ModelArguments(model_config=str(model_config), image_size=IMAGE_SIZE, **options)
        captions = [caption for row in splits["train"]["captions"] for caption in row]
        return create_system(arguments, captions)[:2]

    return make
