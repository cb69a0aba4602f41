# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The table of promises in README.md names tests that there are."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest


TESTS = Path(__file__).parent
TABLE = (
    (TESTS / "README.md").read_text("utf-8").split("<!-- promises:begin -->\n")[1].split("<!-- promises:end -->")[0]
)
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in TABLE.strip().splitlines()[2:]]


@cache
def names_in(path: Path) -> set[str]:
    """Names of a module's tests, without those that are always skipped."""
    functions = [node for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, ast.FunctionDef)]
    return {
        node.name for node in functions if not any("mark.skip(" in ast.unparse(mark) for mark in node.decorator_list)
    }


def test_there_are_forty():
    assert [int(number) for number, *_ in ROWS] == list(range(1, 41))
    assert len({promise for *_, promise in ROWS}) == 40


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_each_names_tests_that_there_are(row):
    _, cell, promise = row
    names = re.findall(r"`([^`]+)`", cell)
    assert names
    assert promise
    for name in names:
        path, _, function = name.partition("::")
        assert function in names_in(TESTS / path), name
