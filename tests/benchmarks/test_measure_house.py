# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""What is measured of the code: on a small package with known figures, on this one, and in the stored file."""

import json
import shutil
from itertools import pairwise
from pathlib import Path
from textwrap import dedent

import grimp
import pytest

from ssgpa.benchmarks import measure_house
from ssgpa.benchmarks.tables.house_table import ROWS, format_house


ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "house.json"
FILES = {
    "pyproject.toml": '[tool.setuptools]\npackage-dir = { ssgpa = ".", door = "cli/entry" }\n',
    "__init__.py": "from .model_ssgpa import run\n",
    "model_ssgpa.py": '''\
        """Imports a sibling."""
        from .parts_ssgpa import twice

        def run(value):
            """Documented."""
            return twice(twice(value))
        ''',
    "parts_ssgpa.py": """\
        def twice(value):
            return 2 * _same(value)

        def _same(value):
            return value
        """,
    "utils/__init__.py": "",
    "utils/text.py": "def unused(): pass\n",
    "data/__init__.py": "",
    # A circle of two modules, one of whose arrows hides in a function and the other behind TYPE_CHECKING.
    "data/rows.py": """\
        from typing import TYPE_CHECKING
        from ..utils import text
        if TYPE_CHECKING:
            import ssgpa.data.tables

        def many(a, b):
            def inner():
                return [1 for x in a if x and b]
            for x in a:
                while b:
                    try:
                        b = 1 if a else 2
                    except OSError:
                        pass
                    if a or b:
                        return inner()
                    elif a:
                        return 1
                    elif b:
                        return 2
                    elif a and b:
                        return 3
            return 4
        """,
    "data/tables.py": """\
        def load():
            \"\"\"Documented.\"\"\"
            from .rows import many
            return many
        """,
    "metrics/__init__.py": "",
    # A circle of rooms without one of modules.
    "metrics/score.py": "from ssgpa.data import tables\n",
    "data/card.py": "from ..metrics import bounds\n",
    "metrics/bounds.py": "",
    "cli/entry/__init__.py": "from .words import parse\n\n\ndef start():\n    from ssgpa.metrics import score\n",
    "cli/entry/words.py": "def parse():\n    pass\n",
    "tests/test_rows.py": "from ssgpa.utils.text import unused\nunused()\n",
    ".hidden/file.py": "x = 1\n",
}


def write(folder, **changes):
    for name, text in (FILES | changes).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(dedent(text), encoding="utf-8")
    return folder


@pytest.fixture
def figures(tmp_path):
    return measure_house.measure_tree(write(tmp_path))


def test_files_and_functions_are_counted(figures):
    assert (figures["files"], figures["root_files"]) == (14, 3)
    assert figures["lines"] == 49
    assert figures["functions"] == 9
    assert figures["function_lines_median"] == 2
    assert figures["function_lines_longest"] == 18
    # 11 in `many`: two loops, an except, a conditional expression, four `if` and `elif`, three operators.
    assert figures["many_branches"] == 1 / 9
    assert figures["documented"] == 2 / 9
    assert figures["public_documented"] == 2 / 7
    # `twice` is read twice, `inner`, `many` and `_same` once; the rest is called from outside.
    assert figures["single_use"] == 3 / 4


def test_imports_are_followed(figures):
    assert figures["cycles"] == [["ssgpa.data.rows", "ssgpa.data.tables"]]
    assert figures["room_cycles"] == [["data", "metrics"]]
    assert (figures["modules_in_cycles"], figures["rooms_in_cycles"]) == (2, 2)
    assert figures["longest_chain"] == ["door", "ssgpa.metrics.score", "ssgpa.data.rows", "ssgpa.utils.text"]
    once = {"model_ssgpa", "parts_ssgpa", "utils.text", "data.rows", "metrics.score", "metrics.bounds"}
    assert set(figures["short_with_one_importer"]) == {"door.words", *(f"ssgpa.{name}" for name in once)}
    assert figures["one_importer"] == len(once) + 1


def test_a_module_grows_out_of_the_short_ones(tmp_path):
    found = measure_house.measure_tree(write(tmp_path, **{"metrics/bounds.py": "x = 1\n" * 40}))
    assert "ssgpa.metrics.bounds" not in found["short_with_one_importer"]
    assert found["one_importer"] == 7


def test_a_circle_of_three_is_one_and_a_chain_goes_through_it():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"d", "e"}, "d": {"b"}, "e": set(), "f": set()}
    assert measure_house.cycles_of(graph) == [["b", "c", "d"]]
    assert measure_house.longest_chain(graph) == ["a", "b", "e"]


def test_the_import_graph_is_the_one_that_grimp_finds():
    """Another reader of syntax trees; it leaves out folders without `__init__.py`, and reads more than we do."""
    other = grimp.build_graph("ssgpa", "ssgpa_command", cache_dir=None)
    modules = measure_house.read_modules(ROOT)
    names = {name for name in modules if not name.startswith(("ssgpa.examples.", "ssgpa.docs."))}
    # The tests, and the command's own package under a second name.
    more = ("ssgpa.tests", "ssgpa.cli.entry")
    assert names == {name for name in other.modules if not name.startswith(more)}
    for name in names:
        found = measure_house.imports_of(modules[name], modules)
        assert found == other.find_modules_directly_imported_by(name), name


@pytest.mark.skipif(shutil.which("git") is None or not (ROOT / ".git").exists(), reason="no history")
def test_a_revision_is_measured_as_it_was(tmp_path, capsys):
    output = tmp_path / "house.json"
    assert measure_house.main(["--revision", "HEAD", "--output", str(output)]) == 0
    report = json.loads(output.read_text("utf-8"))
    assert report["after"]["files"] > 100
    assert len(report["after"]["revision"]) == 40
    assert "before" not in report
    capsys.readouterr()
    assert measure_house.main(["--revision", "no-such", "--output", str(output)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_stored_figures_are_those_of_a_house_without_circles():
    stored = json.loads(RESULTS.read_text("utf-8"))
    assert stored["after"]["cycles"] == stored["after"]["room_cycles"] == []
    assert stored["before"]["cycles"]
    assert stored["before"]["room_cycles"]
    assert set(stored["after"]) == set(stored["before"]) == {"revision", *(name for name, _ in ROWS.values())}


def test_the_table_has_a_column_for_each_side():
    stored = json.loads(RESULTS.read_text("utf-8"))
    lines = format_house(stored, "x.json").splitlines()
    assert lines[0] == f"| | {stored['before']['revision'][:12]} | working tree |"
    assert "| cycles of imports | 1 | 0 |" in lines
    assert f"| functions | {stored['before']['functions']:,} | {stored['after']['functions']:,} |" in lines
    assert "| | working tree |" in format_house({"after": stored["after"]}, "x.json")


def test_each_module_of_the_longest_chain_imports_the_next():
    modules = measure_house.read_modules(ROOT)
    chain = measure_house.measure_imports(modules)["longest_chain"]
    assert all(after in measure_house.imports_of(modules[name], modules) for name, after in pairwise(chain))
