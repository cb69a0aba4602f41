# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Imports lead downward: no folder imports a higher one, no modules import each other, root modules only siblings."""

import ast
import sys
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path

import grimp
import pytest


ROOT = Path(__file__).resolve().parents[1]
# From low to high; what stands side by side imports nothing of each other. "command" is the package of the command
# line's words, which is read before `ssgpa` is; "root" are the `*_ssgpa.py`; "doors" lead in from outside.
LAYERS = (
    {"command"},
    {"root"},
    {"vlm"},
    {"utils"},
    {"data"},
    {"metrics"},
    {"baselines"},
    {"training"},
    {"hub"},
    {"cli"},
    {"doors"},
    {"benchmarks"},
    {"tests"},
)
HEIGHT = {room: height for height, rooms in enumerate(LAYERS) for room in rooms}
DOORS = {"ssgpa", "ssgpa.__main__", "ssgpa_command"}
# What a checkpoint loaded as remote code finds installed.
LIBRARIES = {"torch", "transformers", "numpy", "PIL", "huggingface_hub", "safetensors", *sys.stdlib_module_names}


def room_of(module):
    """The room of a module; a folder that `LAYERS` does not name is an error where its height is looked up."""
    package, *inside = module.split(".")
    if module in DOORS:
        return "doors"
    if package == "ssgpa_command":
        return "command"
    return "root" if inside[0].endswith("_ssgpa") else inside[0]


def arrows_of(graph):
    """All direct imports, those in functions and for type checkers among them."""
    return [
        (importer, imported)
        for importer in sorted(graph.modules)
        for imported in sorted(graph.find_modules_directly_imported_by(importer))
    ]


def wrong_arrows(graph):
    """Imports of a higher room, or of another room at the same height."""
    wrong = []
    for importer, imported in arrows_of(graph):
        above, below = room_of(importer), room_of(imported)
        if above != below and HEIGHT[above] <= HEIGHT[below]:
            wrong.append(f"{importer} imports {imported}")
    return wrong


def cycle_of(graph):
    """The modules of one circle, or none."""
    try:
        TopologicalSorter({name: graph.find_modules_directly_imported_by(name) for name in graph.modules}).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def foreign_imports(text, siblings):
    """Imports in a module's text that remote code would not find."""
    foreign = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            foreign += [alias.name for alias in node.names if alias.name.split(".")[0] not in LIBRARIES]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module] if node.module else [alias.name for alias in node.names]
            if node.level == 1:
                foreign += [f".{name}" for name in names if name not in siblings]
            elif node.level or node.module.split(".")[0] not in LIBRARIES:
                foreign.append("." * node.level + names[0])
    return foreign


@pytest.fixture(scope="module")
def graph():
    """The import graph of this checkout, without the second name of the command's package."""
    found = grimp.build_graph("ssgpa", "ssgpa_command", cache_dir=None)
    for module in [name for name in found.modules if name.startswith("ssgpa.cli.entry")]:
        found.remove_module(module)
    return found


def made_up(*arrows):
    graph = grimp.ImportGraph()
    for importer, imported in arrows:
        for module in (importer, imported):
            graph.add_module(module)
        graph.add_import(importer=importer, imported=imported)
    return graph


def test_no_arrow_runs_upward(graph):
    assert wrong_arrows(graph) == []


def test_no_modules_import_each_other(graph):
    assert cycle_of(graph) == []


def test_the_graph_holds_every_room_and_hidden_imports(graph):
    """A graph that lacks something would pass everything."""
    assert {room_of(module) for module in graph.modules} >= HEIGHT.keys() - {"baselines"}
    arrows = set(arrows_of(graph))
    # In a function, absolute, and relative.
    assert ("ssgpa", "ssgpa.hub.model_card") in arrows
    assert ("ssgpa_command", "ssgpa.cli.commands") in arrows
    assert ("ssgpa.utils.console", "ssgpa_command.arguments") in arrows
    assert ("ssgpa.modeling_ssgpa", "ssgpa.configuration_ssgpa") in arrows


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("ssgpa.data.card", "ssgpa.metrics.corpus"),
        ("ssgpa.utils.files", "ssgpa.data.schema"),
        ("ssgpa.vlm.starting", "ssgpa.utils.loading"),
        ("ssgpa.modeling_ssgpa", "ssgpa.utils.files"),
        ("ssgpa.modeling_ssgpa", "ssgpa.vlm.modeling_ssgpa_vlm"),
        ("ssgpa.training.trainer", "ssgpa.hub.publish"),
        ("ssgpa.baselines.scorer.modeling", "ssgpa.training.trainer"),
        ("ssgpa.hub.publish", "ssgpa"),
        ("ssgpa_command.arguments", "ssgpa.utils.console"),
        ("ssgpa.cli.commands", "ssgpa_command"),
    ],
)
def test_an_arrow_upward_is_told(importer, imported):
    allowed = ("ssgpa.training.trainer", "ssgpa.data.card")
    assert wrong_arrows(made_up(allowed, (importer, imported))) == [f"{importer} imports {imported}"]


def test_a_circle_is_told():
    names = ("ssgpa.data.a", "ssgpa.data.b", "ssgpa.data.c")
    assert set(cycle_of(made_up(*zip(names, (*names[1:], names[0]), strict=True)))) == set(names)
    assert cycle_of(made_up(*pairwise(names))) == []


def test_a_folder_without_a_layer_is_told():
    with pytest.raises(KeyError, match="attic"):
        wrong_arrows(made_up(("ssgpa.attic.old", "ssgpa.data.card")))


@pytest.mark.parametrize("path", sorted(ROOT.glob("*_ssgpa.py")), ids=lambda path: path.stem)
def test_root_modules_import_siblings_and_libraries_alone(path):
    """They are loaded as remote code, where neither this package nor its folders are there."""
    siblings = {path.stem for path in ROOT.glob("*_ssgpa.py")}
    assert foreign_imports(path.read_text(encoding="utf-8"), siblings) == []


@pytest.mark.parametrize(
    ("line", "foreign"),
    [
        ("import torch.nn, os.path", []),
        ("from . import losses_ssgpa", []),
        ("from .losses_ssgpa import ContrastLoss", []),
        ("import ssgpa.data", ["ssgpa.data"]),
        ("def late():\n    from ssgpa.losses_ssgpa import ContrastLoss", ["ssgpa.losses_ssgpa"]),
        ("from .data import pairs", [".data"]),
        ("from .losses_ssgpa.parts import some", [".losses_ssgpa.parts"]),
        ("from . import data", [".data"]),
        ("from ..losses_ssgpa import some", ["..losses_ssgpa"]),
        ("if TYPE_CHECKING:\n    import datasets", ["datasets"]),
    ],
)
def test_a_foreign_import_is_told(line, foreign):
    assert foreign_imports(line, {"losses_ssgpa"}) == foreign
