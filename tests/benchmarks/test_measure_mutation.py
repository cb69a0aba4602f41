# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Mutants are what the program says, and live or die by their tests."""

import ast
from pathlib import Path

import pytest

from ssgpa.benchmarks import measure_mutation
from ssgpa.benchmarks.measure_mutation import TARGETS, measure, mutants_of, parse_options, summarize


ROOT = Path(__file__).resolve().parents[2]
TEXT = '''"""Says what it is."""

__all__ = ["largest"]


def largest(values: list[int], start: int = 0) -> int:
    """The largest value, or a start."""
    found = start
    for value in values:
        if value > found:
            found = value
    if found < 0:
        raise ValueError(f"{found} is below 0")
    return found
'''
# Notices all but a bound that is met exactly.
TESTS = """
import pytest
from things.numbers import largest

def test_largest():
    assert largest([1, 3, 2]) == 3
    assert largest([]) == 0
    with pytest.raises(ValueError):
        largest([], -1)
"""


def test_every_mutant_is_one_change():
    found = {(mutant.before, mutant.after) for mutant in mutants_of(TEXT)}
    assert found == {
        ("0", "1"),
        ("value > found", "value >= found"),
        ("if value > found:", "if not value > found:"),
        ("found < 0", "found <= 0"),
        ("if found < 0:", "if not found < 0:"),
        ("raise ValueError(f'{found} is below 0')", "pass"),
        ("return found", "return None"),
    }
    plain = ast.unparse(ast.parse(TEXT)).splitlines()
    for mutant in mutants_of(TEXT):
        lines = mutant.text.splitlines()
        assert sum(line not in plain for line in lines) <= 1
        assert mutant.function == "largest"
        assert mutant.before.rstrip(":") in TEXT.splitlines()[mutant.line - 1].replace('"', "'")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a + b", "a - b"),
        ("a and b", "a or b"),
        ("not a", "a"),
        ("-a", "a"),
        ("min(a)", "max"),
        ("a.amax(1)", "a.amin"),
        ("True", "False"),
        ("0.5", "1.0"),
        ("'a'", "'xa'"),
        ("a @ b", "a + b"),
        ("a in b", "a not in b"),
    ],
)
def test_each_kind_of_change(before, after):
    assert after in [mutant.after for mutant in mutants_of(f"x = {before}")]


@pytest.fixture
def things(tmp_path, monkeypatch):
    (tmp_path / "things").mkdir()
    (tmp_path / "things" / "__init__.py").touch()
    (tmp_path / "things" / "numbers.py").write_text(TEXT, encoding="utf-8")
    (tmp_path / "test_numbers.py").write_text(TESTS, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_tests_that_look_kill_and_others_do_not(things):
    found = measure("things/numbers.py", ["test_numbers.py"], root=things)
    lived = {(survivor["before"], survivor["after"]) for survivor in found["survivors"]}
    # Equal values are found alike.
    assert lived == {("value > found", "value >= found")}
    assert found["killed"] == found["run"] - 1 == found["mutants"] - 1
    assert found["share"] == found["killed"] / found["run"]
    # The file itself stays as it is.
    assert (things / "things" / "numbers.py").read_text("utf-8") == TEXT
    assert measure("things/numbers.py", ["test_numbers.py"], sample=1, root=things)["run"] == 1


def test_what_computes_the_same_does_not_count(monkeypatch):
    mutants = mutants_of(TEXT)
    outcomes = ["lived" if mutant.after == "value >= found" else "killed" for mutant in mutants]
    outcomes[0] = "endless"
    assert summarize("numbers.py", mutants, outcomes)["share"] == 1 - 1 / len(mutants)
    key = ("numbers.py", "largest", "value > found", "value >= found")
    monkeypatch.setattr(measure_mutation, "EQUIVALENT", {key: "equal values are found alike"})
    found = summarize("numbers.py", mutants, outcomes)
    assert found["share"] == 1
    assert found["equivalent"] == 1
    assert found["survivors"][0]["equivalent"] == "equal values are found alike"


def test_tests_that_fail_anyway_are_told(things):
    (things / "test_numbers.py").write_text("def test_a(): assert False", encoding="utf-8")
    with pytest.raises(ValueError, match="its tests fail as it is"):
        measure("things/numbers.py", ["test_numbers.py"], root=things)


def test_targets_are_there():
    for module, tests in TARGETS.items():
        assert (ROOT / module).is_file()
        assert all((ROOT / test).is_file() for test in tests)
        assert len(mutants_of((ROOT / module).read_text("utf-8"))) > 10


def test_an_unknown_module_takes_one_line(capsys):
    with pytest.raises(SystemExit):
        parse_options(["--modules", "nothing.py"])
    assert "nothing.py: no tests are known for it" in capsys.readouterr().err
