# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Change one thing in a module at a time, and see whether its tests notice.

Usage: `python benchmarks/measure_mutation.py [--modules transport_ssgpa.py ...] [--sample 60] [--output FILE]`.

A mutant is a module with one operator, number, condition, keyword or statement changed. It is killed by a test that
fails or does not end; those that live are listed with their line. Texts of errors, docstrings and annotations are left
alone. The libraries are imported once; every mutant runs in a process of its own that is split off from there. The
file that is measured is not touched: the process compiles it from the changed text.
"""

import argparse
import ast
import copy
import importlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

import numpy as np

from ssgpa.utils.console import OneLineParser, positive, report_error
from ssgpa.utils.results import library_versions, write_results


ROOT = Path(__file__).resolve().parents[1]
OUTPUT = ROOT / "benchmarks" / "results" / "mutation.json"
# By module, the tests that are to notice.
TARGETS: dict[str, list[str]] = {
    "transport_ssgpa.py": ["tests/test_transport_ssgpa.py"],
    "losses_ssgpa.py": ["tests/test_losses_ssgpa.py"],
    "metrics/corpus.py": ["tests/metrics/change_captioning/test_scores.py", "tests/metrics/test_bootstrap.py"],
    "metrics/change_captioning/scoring.py": ["tests/metrics/change_captioning/test_scores.py"],
    "metrics/change_captioning/text.py": [
        "tests/metrics/change_captioning/test_tokenization.py",
        "tests/metrics/test_languages.py",
    ],
    "data/readers/custom_pairs.py": [
        "tests/data/readers/test_custom_pairs.py",
        "tests/data/test_pair_table.py",
        "tests/data/readers/test_readers.py",
    ],
    "data/readers/spot_the_diff.py": ["tests/data/readers/test_sets.py", "tests/data/readers/test_readers.py"],
    "data/readers/clevr_change.py": ["tests/data/clevr_renderer/test_clevr_reader.py"],
}
# Imported once, before processes are split off; nothing of the package.
LIBRARIES = ("torch", "transformers.pipelines", "datasets", "peft", "numpy", "PIL.Image", "pandas", "pycocoevalcap")
# Mutants that compute the same, or differ in what nobody can see: (module, function, before, after) and why.
EQUIVALENT: dict[tuple[str, str, str, str], str] = {
    ("transport_ssgpa.py", "", "1e-37", "2e-37"): "any floor does that lies far below every sum that carries mass",
}

COMPARED = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
COMPUTED = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.MatMult: ast.Add,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
NAMED = {"min": "max", "max": "min", "any": "all", "all": "any", "amax": "amin", "amin": "amax"}


class Mutant(NamedTuple):
    """One change: where, what it was and is, and the whole text."""

    line: int
    function: str
    before: str
    after: str
    text: str


def _skipped(node: ast.AST, field: str) -> bool:
    """What is left alone: annotations, texts of errors, and what is exported."""
    if field in {"annotation", "returns", "decorator_list"} or (isinstance(node, ast.Raise) and field == "exc"):
        return True
    # Where a fault is named: `where = f"..."` is the text of an error too.
    return isinstance(node, ast.JoinedStr) and field == "values"


def _places(node: ast.AST, function: str = "") -> Iterator[tuple[ast.AST, str, int | None, ast.AST, str]]:
    """Every part that may change: its parent, field and index there, itself, and the function around it."""
    for field, value in ast.iter_fields(node):
        if _skipped(node, field):
            continue
        for index, item in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if not isinstance(item, ast.AST) or _is_text(item):
                continue
            yield node, field, index, item, function
            inner = isinstance(item, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef)
            yield from _places(item, f"{function}.{item.name}".lstrip(".") if inner else function)


def _is_text(node: ast.AST) -> bool:
    """A docstring, or the list of what is exported."""
    if isinstance(node, ast.Assign):
        return any(isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets)
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _operators(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        yield ast.Compare(node.left, [COMPARED[type(node.ops[0])]()], node.comparators)
    elif isinstance(node, ast.BinOp) and type(node.op) in COMPUTED:
        yield ast.BinOp(node.left, COMPUTED[type(node.op)](), node.right)
    elif isinstance(node, ast.AugAssign) and type(node.op) in COMPUTED:
        yield ast.AugAssign(node.target, COMPUTED[type(node.op)](), node.value)
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        yield node.operand


def _values(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.Constant):
        value = node.value
        if isinstance(value, bool):
            yield ast.Constant(not value)
        elif isinstance(value, int):
            yield ast.Constant(value + 1)
        elif isinstance(value, float):
            yield ast.Constant(2 * value or 1.0)
        elif isinstance(value, str) and value:
            yield ast.Constant(f"x{value}")
    elif isinstance(node, ast.Name) and node.id in NAMED:
        yield ast.Name(NAMED[node.id], node.ctx)
    elif isinstance(node, ast.Attribute) and node.attr in NAMED:
        yield ast.Attribute(node.value, NAMED[node.attr], node.ctx)


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.If | ast.While | ast.IfExp):
        other = copy.copy(node)
        other.test = ast.UnaryOp(ast.Not(), node.test)
        yield other
    elif isinstance(node, ast.Return) and node.value is not None:
        yield ast.Return(ast.Constant(None))
    elif isinstance(node, ast.Raise | ast.Expr):
        yield ast.Pass()
    elif isinstance(node, ast.Break | ast.Continue):
        yield ast.Continue() if isinstance(node, ast.Break) else ast.Break()


def _changes(node: ast.AST) -> list[ast.AST]:
    return [*_operators(node), *_values(node), *_statements(node)]


def _shown(node: ast.AST) -> str:
    """The first line of a part's text."""
    return ast.unparse(ast.fix_missing_locations(copy.deepcopy(node))).splitlines()[0][:160]


def mutants_of(text: str) -> list[Mutant]:
    """All mutants of a module.

    Args:
        text (`str`): The module.

    Returns:
        `list[Mutant]`: In the order of the text.
    """
    tree, found = ast.parse(text), []
    for parent, field, index, node, function in list(_places(tree)):
        for change in _changes(node):
            before = getattr(parent, field)
            changed = change if index is None else [*before[:index], change, *before[index + 1 :]]
            setattr(parent, field, changed)
            mutated = ast.unparse(ast.fix_missing_locations(copy.deepcopy(tree)))
            setattr(parent, field, before)
            found.append(Mutant(getattr(node, "lineno", 0), function, _shown(node), _shown(change), mutated))
    return found


def _compile_as(path: Path, text: str) -> None:
    """Let this process import a file as if it had another text, under whatever name it is imported."""
    original = SourceFileLoader.get_code

    def get_code(loader: SourceFileLoader, name: str) -> CodeType | None:
        if Path(loader.path).resolve() == path:
            return loader.source_to_code(text.encode(), str(path))
        return original(loader, name)

    SourceFileLoader.get_code = get_code


def _run_tests(tests: list[str]) -> int:
    import pytest

    options = ["-x", "-q", "-p", "no:cacheprovider", "--no-header", "--disable-warnings"]
    return int(pytest.main([*options, *tests]))


def run_mutant(path: Path, text: str, tests: list[str], limit: float) -> str:
    """Run the tests of a module as if it had another text, in a process split off from this one.

    Args:
        path (`Path`): The module.
        text (`str`): Its text.
        tests (`list[str]`): Files of tests.
        limit (`float`): Seconds after which it counts as endless.

    Returns:
        `str`: `"lived"`, `"killed"`, or `"endless"`.
    """
    child = os.fork()
    if child == 0:
        code = 1
        try:
            quiet = os.open(os.devnull, os.O_WRONLY)
            os.dup2(quiet, 1)
            os.dup2(quiet, 2)
            os.setsid()
            _compile_as(path, text)
            code = _run_tests(tests)
        finally:
            os._exit(0 if code == 0 else 1)
    end = time.monotonic() + limit
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return "lived" if status == 0 else "killed"
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "endless"


def measure(
    module: str, tests: list[str], sample: int | None = None, seed: int = 0, root: Path = ROOT
) -> dict[str, Any]:
    """Count a module's mutants that its tests notice.

    Args:
        module (`str`): Path of the module in the repository.
        tests (`list[str]`): Files of tests that are to notice.
        sample (`int`, *optional*): So many of the mutants, drawn by `seed`; by default all.
        seed (`int`, *optional*, defaults to 0): Of the sample.
        root (`Path`, *optional*): Of the repository.

    Returns:
        `dict[str, Any]`: Counts, the share that was killed, without those that are equivalent, and the survivors.

    Raises:
        ValueError: The tests fail without any change.
    """
    path = (root / module).resolve()
    text, files = path.read_text(encoding="utf-8"), [str(root / test) for test in tests]
    begun = time.monotonic()
    if run_mutant(path, text, files, 3600) != "lived":
        raise ValueError(f"{module}: its tests fail as it is; mend them first.")
    limit = 30 + 5 * (time.monotonic() - begun)
    every = mutants_of(text)
    chosen = every
    if sample is not None and sample < len(every):
        drawn = np.random.default_rng(seed).choice(len(every), sample, replace=False)
        chosen = [every[index] for index in sorted(drawn.tolist())]
    outcomes = [run_mutant(path, mutant.text, files, limit) for mutant in chosen]
    return {"tests": tests, "mutants": len(every), **summarize(module, chosen, outcomes)}


def summarize(module: str, chosen: list[Mutant], outcomes: list[str]) -> dict[str, Any]:
    """Count what was killed, and list what was not.

    Args:
        module (`str`): Path of the module in the repository.
        chosen (`list[Mutant]`): The mutants that ran.
        outcomes (`list[str]`): Of `run_mutant`, one each.

    Returns:
        `dict[str, Any]`: `run`, `killed`, `equivalent`, `share` of those that are not equivalent, and `survivors`.
    """
    lived = [mutant for mutant, outcome in zip(chosen, outcomes, strict=True) if outcome == "lived"]
    survivors = [
        {
            "line": mutant.line,
            "function": mutant.function,
            "before": mutant.before,
            "after": mutant.after,
            "equivalent": EQUIVALENT.get((module, mutant.function, mutant.before, mutant.after)),
        }
        for mutant in lived
    ]
    counted = len(chosen) - sum(survivor["equivalent"] is not None for survivor in survivors)
    killed = len(chosen) - len(lived)
    return {
        "run": len(chosen),
        "killed": killed,
        "equivalent": len(chosen) - counted,
        "share": killed / counted if counted else None,
        "survivors": survivors,
    }


def parse_options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = OneLineParser(description=__doc__.splitlines()[0])
    parser.add_argument("--modules", nargs="+", default=list(TARGETS), help="by default all")
    parser.add_argument("--sample", type=positive, help="so many mutants of each module; by default all")
    parser.add_argument("--minimum", type=float, default=0.85, help="share that must be killed (default: 0.85)")
    parser.add_argument("--output", type=Path, default=OUTPUT, help=f"default: {OUTPUT.relative_to(ROOT)}")
    options = parser.parse_args(arguments)
    unknown = [module for module in options.modules if module not in TARGETS]
    if unknown:
        parser.error(f"{unknown[0]}: no tests are known for it; there are {', '.join(TARGETS)}.")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Measure, write after every module, and end with 1 where too few mutants are killed."""
    options = parse_options(arguments)
    try:
        for library in LIBRARIES:
            importlib.import_module(library)
        modules: dict[str, Any] = {}
        for module in options.modules:
            modules[module] = found = measure(module, TARGETS[module], options.sample)
            write_results(options.output, {"versions": library_versions(), "modules": modules})
            sys.stdout.write(f"{module}: {found['killed']} of {found['run']} killed\n")
    except (OSError, ValueError) as error:
        return report_error("measure_mutation.py", error)
    return int(any((found["share"] or 1) < options.minimum for found in modules.values()))


if __name__ == "__main__":
    sys.exit(main())
