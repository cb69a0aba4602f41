# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""What the tests of the data sets share."""

import shutil

import pytest


@pytest.fixture
def copied(rendered, tmp_path):
    """A copy of the rendered set that a test may break."""
    return shutil.copytree(rendered, tmp_path / "copied")


@pytest.fixture(autouse=True)
def _own_cache(own_cache):
    """Every test here may load a data set."""
