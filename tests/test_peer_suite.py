# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""What runs the common tests of transformers: no system is left out, and no skip without a reason passes."""

from collections import Counter
from pathlib import Path

import pytest

from .peer import skip_reasons
from .peer.skip_reasons import check, read_reasons
from .tiny_systems import TINY_SYSTEMS


pytest_plugins = ["pytester"]
PEER = Path(__file__).with_name("peer")
MODULES = {path.name: path.read_text("utf-8") for path in sorted(PEER.glob("peer_*.py"))}
TABLE = """
<!-- skips:begin -->
| says | reason | unless there is |
|---|---|---|
| `needs a GPU` | a GPU is needed | a GPU |
| `* has no RoPE`<br>`` no `rope` `` | no rotary positions | |
<!-- skips:end -->
"""


@pytest.mark.parametrize("name", [name for name in TINY_SYSTEMS if not name.startswith("toy_")])
def test_every_system_is_in_the_testers_of_models_configurations_and_generation(name):
    model, _ = TINY_SYSTEMS[name]()
    kind, config = type(model).__name__, type(model.config).__name__
    found = [text for text in MODULES.values() if f"config_class={config}" in text]
    assert len(found) == 1
    assert "ModelTesterMixin, GenerationTesterMixin" in found[0]
    lists = [line for line in found[0].splitlines() if "all_model_classes" in line]
    assert any(kind in line for line in lists)


def test_all_parts_of_the_suite_are_used():
    used = "\n".join(MODULES.values())
    for mixin in ("ModelTesterMixin", "ConfigTester", "ProcessorTesterMixin", "PipelineTesterMixin"):
        assert f" import {mixin}" in used or f", {mixin}" in used, mixin


def test_a_skip_without_a_reason_is_told():
    reasons = read_reasons(TABLE)
    skips = Counter({"needs a GPU": 3, "A has no RoPE": 2, "no `rope`": 1})
    assert check(skips, reasons, whole=True) == []
    told = check(skips + Counter({"A has no RoPE at all": 2}), reasons, whole=True)
    assert told == ["2 skip(s) without a reason: A has no RoPE at all"]


def test_a_reason_that_has_gone_is_told(monkeypatch):
    reasons, skips = read_reasons(TABLE), Counter({"needs a GPU": 1, "no `rope`": 1})
    assert check(skips, reasons, whole=True) == ["a reason that skips nothing any more: * has no RoPE"]
    # Of a choice of tests, nothing is told.
    assert check(skips, reasons, whole=False) == []
    skips = Counter({"A has no RoPE": 1, "no `rope`": 1})
    for gpu, told in ((False, ["a reason that skips nothing any more: needs a GPU"]), (True, [])):
        monkeypatch.setitem(skip_reasons.PRESENT, "a GPU", lambda gpu=gpu: gpu)
        assert check(skips, reasons, whole=True) == told


def test_a_row_that_says_nothing_is_told():
    for row in ("| `x` | | |", "| x | why | |", "| `x` | why | a unicorn |"):
        with pytest.raises(ValueError, match="not a row of the table of skips"):
            read_reasons(TABLE.replace("<!-- skips:end -->", f"{row}\n<!-- skips:end -->"))


def test_the_table_of_the_page_is_one():
    reasons = read_reasons(skip_reasons.README.read_text("utf-8"))
    messages = [message for reason in reasons for message in reason.messages]
    assert len(messages) == len(set(messages)) > 20


def test_a_run_fails_over_a_skip_without_a_reason(pytester, monkeypatch):
    """The plugin itself, in a run of two tests."""
    monkeypatch.syspath_prepend(PEER)
    pytester.makepyfile("import pytest\ndef test_a(): pytest.skip('nobody knows why')\ndef test_b(): pass")
    result = pytester.runpytest("-p", "skip_reasons", "-p", "no:cacheprovider", "-k", "test")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["README.md: 1 skip(s) without a reason: nobody knows why"])
    pytester.makepyfile("import pytest\ndef test_a(): pytest.skip('test requires accelerator')\ndef test_b(): pass")
    assert pytester.runpytest("-p", "skip_reasons", "-p", "no:cacheprovider", "-k", "test").ret == 0
