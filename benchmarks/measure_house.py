# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Measures how easy the code is to read and to take over, at any revision.

python benchmarks/measure_house.py --before baeede8 --output benchmarks/results/house.json
python benchmarks/measure_house.py --revision v0.1.0 --output house.json

Every Python file counts but tests and what lies in hidden folders. The revision is the working tree unless one is
named. Nothing is imported: figures come from the syntax trees.

- A branch is an `if`, `elif`, loop, `except`, conditional expression, `and` or `or`, that of functions inside a
  function included. The linter holds ruff's C901, which counts neither operators nor conditional expressions, at ten.
- A function is single-use if its name is read exactly once, as a name or as an attribute, in all files. Names that are
  never read do not count: they are called from outside, or by a framework.
- An import is one of a module of this package, wherever in the file it stands. The longest chain is the longest path
  along imports, in modules; modules of one cycle count as one.
- A room is a folder at the top; the modules at the root are one too, and so is a package of its own. `__init__.py` and
  `__main__.py` of a whole package are its doors, through which one comes from outside, and no part of a room.
"""

import argparse
import ast
import statistics
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from ssgpa.benchmarks.revisions import ROOT, commit_of, lay_out
from ssgpa.utils.console import OneLineParser, report_error
from ssgpa.utils.results import library_versions, write_results


PACKAGE = "ssgpa"
SKIPPED = {"tests", "build", "dist"}
WORKING_TREE = "working tree"
MANY_BRANCHES, FEW_LINES = 10, 40
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
BRANCHES = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.IfExp, ast.BoolOp)
Graph = Mapping[str, set[str]]


@dataclass(frozen=True)
class Module:
    """A file: its dotted name, its place below the root, its number of lines and its syntax tree."""

    name: str
    place: Path
    lines: int
    tree: ast.Module

    @property
    def room(self) -> str:
        """What the module lies in; see the top of this file."""
        package, *inside = self.name.split(".")
        if not inside or inside == ["__main__"]:
            return "doors"
        if package != PACKAGE:
            return package
        return self.place.parts[0] if len(self.place.parts) > 1 else "root"


def read_modules(root: Path) -> dict[str, Module]:
    """The modules of a tree whose root is the package, by name.

    Args:
        root (`Path`): Of the tree; `package-dir` in its pyproject.toml names folders that are packages of their own.

    Returns:
        `dict[str, Module]`: In the order of their files.
    """
    project = root / "pyproject.toml"
    settings = tomllib.loads(project.read_text(encoding="utf-8")) if project.is_file() else {}
    folders = settings.get("tool", {}).get("setuptools", {}).get("package-dir", {})
    own = {Path(folder).parts: name for name, folder in folders.items() if folder != "."}
    modules = {}
    for path in sorted(root.rglob("*.py")):
        place = path.relative_to(root)
        if SKIPPED.intersection(place.parts) or any(part.startswith(".") for part in place.parts):
            continue
        parts = place.parent.parts if place.name == "__init__.py" else place.with_suffix("").parts
        depth = next((len(folder) for folder in own if parts[: len(folder)] == folder), 0)
        name = ".".join((own[parts[:depth]] if depth else PACKAGE, *parts[depth:]))
        text = path.read_text(encoding="utf-8")
        modules[name] = Module(name, place, len(text.splitlines()), ast.parse(text, str(place)))
    return modules


def imports_of(module: Module, modules: Mapping[str, Module]) -> set[str]:
    """Names of the package's modules that a module imports, at the top, in functions or for type checkers alone."""
    found = set()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = node.module or ""
            if node.level:
                # A package's own file is one level nearer to what it imports.
                up = node.level - (module.place.name == "__init__.py")
                above = module.name.split(".")[: -up or None]
                start = ".".join([*above, *filter(None, [node.module])])
            for alias in node.names:
                name = f"{start}.{alias.name}"
                found.add(name if name in modules else start)
    return (found & modules.keys()) - {module.name}


def measure_functions(modules: Collection[Module]) -> dict[str, float]:
    """Lengths, branches and docstrings of functions, and how many names are used once."""
    nodes = [node for module in modules for node in ast.walk(module.tree)]
    functions = [node for node in nodes if isinstance(node, FUNCTIONS)]
    lengths = sorted(function.end_lineno - function.lineno + 1 for function in functions)
    # What a module or a class offers: no functions in functions, and none with an underscore.
    offered = [child for node in nodes if isinstance(node, ast.Module | ast.ClassDef) for child in node.body]
    public = [child for child in offered if isinstance(child, FUNCTIONS) and not child.name.startswith("_")]
    branches = [sum(isinstance(node, BRANCHES) for node in ast.walk(function)) for function in functions]
    read = Counter(
        node.id if isinstance(node, ast.Name) else node.attr
        for node in nodes
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load)
    )
    used = {function.name for function in functions if read[function.name] and not function.name.endswith("__")}
    return {
        "functions": len(functions),
        "function_lines_median": statistics.median(lengths),
        "function_lines_p90": lengths[int(0.9 * (len(lengths) - 1))],
        "function_lines_longest": lengths[-1],
        "many_branches": statistics.mean(count > MANY_BRANCHES for count in branches),
        "documented": statistics.mean(ast.get_docstring(function) is not None for function in functions),
        "public_documented": statistics.mean(ast.get_docstring(function) is not None for function in public),
        "single_use": statistics.mean(read[name] == 1 for name in used),
    }


def cycles_of(graph: Graph) -> list[list[str]]:
    """Strongly connected components of more than one node, each sorted."""
    reached: dict[str, set[str]] = {}
    for start in graph:
        seen, waiting = set(), [start]
        while waiting:
            waiting += graph[waiting.pop()] - seen
            seen.update(waiting)
        reached[start] = seen
    # Who reaches another and is reached again lies with it on a cycle.
    found = {
        tuple(sorted({start, *(other for other in reached[start] if start in reached[other])})) for start in graph
    }
    return sorted(list(cycle) for cycle in found if len(cycle) > 1)


def longest_chain(graph: Graph) -> list[str]:
    """The longest path along the arrows; a cycle is one node, named by the first of its members."""
    first = {name: cycle[0] for cycle in cycles_of(graph) for name in cycle}
    merged: dict[str, set[str]] = {}
    for name, targets in graph.items():
        node = first.get(name, name)
        merged.setdefault(node, set()).update({first.get(target, target) for target in targets} - {node})
    chains: dict[str, list[str]] = {}
    for node in TopologicalSorter(merged).static_order():
        chains[node] = [node, *max((chains[target] for target in sorted(merged[node])), key=len, default=[])]
    return max((chains[node] for node in sorted(chains)), key=len)


def measure_imports(modules: Mapping[str, Module]) -> dict[str, Any]:
    """Importers, the longest chain, and cycles among modules and among rooms."""
    graph = {name: imports_of(module, modules) for name, module in modules.items()}
    importers = Counter(target for targets in graph.values() for target in targets)
    once = [name for name, module in modules.items() if importers[name] == 1 and module.place.name != "__init__.py"]
    rooms: dict[str, set[str]] = {module.room: set() for module in modules.values()}
    for name, targets in graph.items():
        rooms[modules[name].room] |= {modules[target].room for target in targets} - {modules[name].room}
    cycles, room_cycles = cycles_of(graph), cycles_of(rooms)
    return {
        "one_importer": len(once),
        "short_with_one_importer": [name for name in once if modules[name].lines < FEW_LINES],
        "longest_chain": longest_chain(graph),
        "cycles": cycles,
        "modules_in_cycles": sum(map(len, cycles)),
        "room_cycles": room_cycles,
        "rooms_in_cycles": sum(map(len, room_cycles)),
    }


def measure_tree(root: Path) -> dict[str, Any]:
    """All figures of the tree below a root."""
    modules = read_modules(root)
    return {
        "files": len(modules),
        "lines": sum(module.lines for module in modules.values()),
        **measure_functions(modules.values()),
        "root_files": sum(len(module.place.parts) == 1 for module in modules.values()),
        **measure_imports(modules),
    }


def measure(revision: str) -> dict[str, Any]:
    """All figures of a revision, which is told as a commit."""
    if revision == WORKING_TREE:
        return {"revision": revision, **measure_tree(ROOT)}
    commit = commit_of(revision)
    with tempfile.TemporaryDirectory() as folder:
        return {"revision": commit, **measure_tree(lay_out(commit, Path(folder) / "tree") / "ssgpa")}


def main(arguments: list[str] | None = None) -> int:
    """Measure, and answer errors with one line on stderr and exit code 2."""
    parser = OneLineParser(prog="measure_house.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--revision", default=WORKING_TREE, help="a commit; by default the working tree")
    parser.add_argument("--before", metavar="REVISION", help="an older commit, to be measured beside it")
    parser.add_argument("--output", required=True, type=Path, help="JSON file for the figures")
    options = parser.parse_args(arguments)
    try:
        before = {"before": measure(options.before)} if options.before else {}
        write_results(options.output, {**before, "after": measure(options.revision), "versions": library_versions()})
    except (OSError, ValueError, SyntaxError) as error:
        return report_error("measure_house.py", error)
    sys.stdout.write(f"Wrote {options.output}.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
