# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Versions of the libraries: the lock, the ceilings, and every private name of a library that is used."""

import ast
import copy
import importlib
import inspect
import re
import subprocess
import sys
import tomllib
import warnings
from importlib.metadata import PackageNotFoundError, distribution
from operator import attrgetter
from pathlib import Path

import pytest
import torch
import transformers
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image
from torch import nn

import ssgpa
from ssgpa import compatibility_ssgpa
from ssgpa.training.trainer import ChangeCaptioningTrainer

from .tiny_systems import TINY_SYSTEMS


ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PAGE = (ROOT / "docs" / "compatibility.md").read_text("utf-8")
LOCK = [
    Requirement(line.split("#")[0])
    for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    if line.split("#")[0].strip()
]
PLATFORMS = [
    {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64"},
    {"sys_platform": "darwin", "platform_system": "Darwin", "platform_machine": "arm64"},
    {"sys_platform": "win32", "platform_system": "Windows", "platform_machine": "AMD64"},
]
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]

# Private methods of the libraries that are replaced or called, with their parameters. Where one changes, read what is
# built on it, then mend this table and docs/compatibility.md.
METHODS = {
    "transformers.generation:GenerationMixin._prepare_multimodal_encoder_kwargs_for_generation": [
        "self, model_kwargs"
    ],
    "transformers:PreTrainedModel._init_weights": ["self, module"],
    "transformers:PreTrainedModel._from_config": ["config, **kwargs"],
    "transformers:ProcessorMixin._merge_kwargs": ["self, ModelProcessorKwargs, tokenizer_init_kwargs, **kwargs"],
    "transformers:ProcessorMixin._process_images": ["self, images, **kwargs"],
    "transformers:Pipeline._sanitize_parameters": ["self, **pipeline_parameters"],
    "transformers:Pipeline._forward": ["self, input_tensors, **forward_parameters"],
    "transformers:Trainer._determine_best_metric": ["self, metrics, trial"],
    "transformers:Trainer._get_collator_with_removed_columns": ["self, data_collator, description"],
    "transformers:Trainer._remove_unused_columns": ["self, dataset, description"],
    "transformers:Trainer._prepare_inputs": ["self, inputs"],
    "transformers:Trainer._prepare_input": ["self, data"],
    "transformers:Trainer._get_grad_norm": ["self, model, grad_norm"],
    "transformers:Trainer._save": ["self, output_dir, state_dict"],
    "transformers:Trainer._save_checkpoint": ["self, model, trial"],
    "transformers:Trainer._load_from_checkpoint": ["self, resume_from_checkpoint, model"],
}
# Private attributes and modules: that they are there.
NAMES = [
    "transformers:PreTrainedModel._auto_class",
    "transformers:PreTrainedModel._can_compile_fullgraph",
    "transformers:PreTrainedModel._can_record_outputs",
    "transformers:PreTrainedModel._hf_peft_config_loaded",
    "transformers:PreTrainedModel._keys_to_ignore_on_load_unexpected",
    "transformers:PreTrainedModel._keys_to_ignore_on_save",
    "transformers:PreTrainedModel._no_split_modules",
    "transformers:PreTrainedModel._skip_keys_device_placement",
    "transformers:PreTrainedModel._supports_attention_backend",
    "transformers:PreTrainedModel._supports_flash_attn",
    "transformers:PreTrainedModel._supports_flex_attn",
    "transformers:PreTrainedModel._supports_sdpa",
    "transformers:PreTrainedModel._tied_weights_keys",
    "transformers:PreTrainedModel._tp_plan",
    "transformers:PreTrainedConfig._attn_implementation",
    "transformers:Pipeline._load_feature_extractor",
    "transformers:Pipeline._load_image_processor",
    "transformers:Pipeline._load_processor",
    "transformers:Pipeline._load_tokenizer",
    "torch:ops.aten._scaled_dot_product_efficient_attention",
    "torch:ops.aten._scaled_dot_product_flash_attention",
    "torch.utils._python_dispatch:TorchDispatchMode",
    "torch.utils._pytree:tree_leaves",
    "torch.utils._pytree:tree_map",
    "peft.utils.constants:DUMMY_TARGET_MODULES",
    "datasets.table:embed_table_storage",
    "datasets.info:DatasetInfosDict",
]
# Found on objects only: modules, storages, modules on which `gradient_checkpointing_enable` was called, and loaded
# models.
ON_OBJECTS = {"_forward_pre_hooks", "_non_persistent_buffers_set", "_cdata", "_gradient_checkpointing_func"}
ON_OBJECTS |= {"_weight_conversions"}
# Private to this repository, or Python's own.
# Python documents the last three, of named tuples.
NOT_OF_A_LIBRARY = {"_shared", "_abc_impl", "_asdict", "_fields", "_replace"}


def find(name):
    module, _, path = name.partition(":")
    return attrgetter(path)(importlib.import_module(module))


def last(name):
    return name.rpartition(":")[2].rpartition(".")[2]


LISTED = {last(name) for name in (*METHODS, *NAMES)} | ON_OBJECTS


def sources():
    """The code of the package and of the programs around it."""
    paths = [path for path in ROOT.rglob("*.py") if own_code(path.relative_to(ROOT))]
    return [ast.parse(path.read_text("utf-8")) for path in paths]


def own_code(path):
    return path.parts[0] not in {"tests", "build", "runs"} and not any(part.startswith(".") for part in path.parts)


def is_private(name):
    return name.startswith("_") and not name.startswith("__")


def defined(node):
    """The names that a piece of code gives to something of its own."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        return [node.id]
    if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and isinstance(node.value, ast.Name):
        return [node.attr] if node.value.id == "self" else []
    return []


def borrowed(node):
    """The names that a piece of code takes from something."""
    if isinstance(node, ast.Attribute):
        return [node.attr]
    if isinstance(node, ast.ImportFrom):
        names = [alias.name for alias in node.names]
        private = any(map(is_private, (node.module or "").split(".")))
        return [f"_{name}" if private and not is_private(name) else name for name in names]
    return []


@pytest.mark.parametrize("name", METHODS)
def test_private_methods_take_what_they_took(name):
    parameters = inspect.signature(find(name)).parameters.values()
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    assert ", ".join(stars.get(item.kind, "") + item.name for item in parameters) in METHODS[name]


@pytest.mark.parametrize("name", NAMES)
def test_private_names_are_there(name):
    find(name)


def test_private_names_on_objects_are_there():
    assert isinstance(nn.Module()._non_persistent_buffers_set, set)
    module = nn.Linear(1, 1)
    assert not module._forward_pre_hooks
    module.register_forward_pre_hook(lambda *_: None)
    assert module._forward_pre_hooks
    assert isinstance(torch.zeros(1).untyped_storage()._cdata, int)
    model, _ = TINY_SYSTEMS["ssgpa"]()
    assert not hasattr(model, "_weight_conversions")
    again = type(model).from_pretrained(None, config=model.config, state_dict=model.state_dict())
    assert isinstance(again._weight_conversions, list)
    model.gradient_checkpointing_enable()
    assert callable(model.model.alignment._gradient_checkpointing_func)


def test_no_other_private_name_of_a_library_is_used():
    nodes = [node for tree in sources() for node in ast.walk(tree)]
    own = {name for node in nodes for name in defined(node)}
    taken = {name for node in nodes for name in borrowed(node) if is_private(name)}
    assert taken - own - NOT_OF_A_LIBRARY <= LISTED | {f"_{name}" for name in LISTED}


def overridden(cls):
    """Private names that classes of this package replace in classes of a library."""
    own = [base for base in cls.__mro__ if base.__module__.startswith("ssgpa")]
    foreign = [base for base in cls.__mro__ if not base.__module__.startswith("ssgpa")]
    names = {name for base in own for name in vars(base) if is_private(name)}
    return {name for name in names if any(name in vars(base) for base in foreign)} - NOT_OF_A_LIBRARY


@pytest.mark.parametrize("system", TINY_SYSTEMS)
def test_no_other_private_method_is_replaced(system):
    model, processor = TINY_SYSTEMS[system]()
    classes = [type(model), type(model.base_model), type(model.config), type(processor)]
    for cls in [*classes, ssgpa.ChangeCaptioningPipeline, ChangeCaptioningTrainer]:
        assert overridden(cls) <= LISTED, cls


def test_the_page_tells_of_each_private_name():
    assert [name for name in sorted(LISTED) if f"`{name}`" not in PAGE] == []
    assert [last(name) for name in NAMES if f"`{last(name)}`" not in PAGE] == []


def test_versions_of_transformers_are_those_that_pip_accepts():
    wanted = next(Requirement(line) for line in PROJECT["project"]["dependencies"] if line.startswith("transformers"))
    tested = compatibility_ssgpa.TESTED_TRANSFORMERS
    assert all(wanted.specifier.contains(f"{version}.0") for version in tested)
    first, last_one = (version.split(".") for version in (tested[0], tested[-1]))
    assert not wanted.specifier.contains(f"{first[0]}.{int(first[1]) - 1}.9")
    assert not wanted.specifier.contains(f"{last_one[0]}.{int(last_one[1]) + 1}.0")
    assert len(tested) == int(last_one[1]) - int(first[1]) + 1


@pytest.fixture
def warnings_of_ours(monkeypatch):
    told = []
    monkeypatch.setattr(compatibility_ssgpa.logger, "warning_once", told.append)
    return told


def test_an_untested_version_is_told_in_one_line(warnings_of_ours):
    for version in ("5.23.0", "5.23.1", "5.24.0", "5.24.0.dev0"):
        compatibility_ssgpa.warn_if_untested(version)
    assert warnings_of_ours == []
    compatibility_ssgpa.warn_if_untested("5.25.0")
    assert warnings_of_ours == [
        "SSGPA is tested with transformers 5.23 and 5.24, not with 5.25.0: if something fails, install "
        '"transformers==5.24.*".'
    ]


def test_loading_tells_of_an_untested_version_and_goes_on(tmp_path):
    """Once, however many models are loaded; in a process of its own, where nothing was told yet."""
    model, _ = TINY_SYSTEMS["ssgpa"]()
    model.save_pretrained(tmp_path)
    code = (
        "import sys; from ssgpa import compatibility_ssgpa; compatibility_ssgpa.TESTED_TRANSFORMERS = ('5.0', '5.1')\n"
        "from transformers import AutoModelForImageTextToText as Auto\n"
        "Auto.from_pretrained(sys.argv[1]); print(len(Auto.from_pretrained(sys.argv[1]).state_dict()))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"{len(model.state_dict())}\n"), done.stderr
    assert (
        done.stderr.count(f"SSGPA is tested with transformers 5.0 and 5.1, not with {transformers.__version__}") == 1
    )


def test_keys_and_values_have_both_names(recwarn):
    """The old name, as callers from before 5.24 use it, and the new one, which tells of nothing."""
    model, processor = TINY_SYSTEMS["ssgpa"]()
    model.eval()
    images = [[Image.new("RGB", (32, 32), "gray"), Image.new("RGB", (32, 32), "teal")]]
    inputs = processor(images=images, return_tensors="pt")
    with torch.no_grad():
        first = model(**inputs, use_cache=True)
        cache = first[compatibility_ssgpa.CACHE]
        step = {"input_ids": inputs["input_ids"][:, -1:], "use_cache": True}
        new = model(**step, cache=copy.deepcopy(cache)).logits
        assert not [warning for warning in recwarn if "cache" in str(warning.message)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            old = model(**step, past_key_values=copy.deepcopy(cache)).logits
    assert torch.equal(new, old)


def requirements(extras):
    """What pyproject asks for, with what extras that name other extras bring along."""
    lines = [*PROJECT["project"]["dependencies"]]
    seen = set()
    pending = list(extras)
    while pending:
        extra = pending.pop()
        if extra in seen:
            continue
        seen.add(extra)
        for line in PROJECT["project"]["optional-dependencies"][extra]:
            wanted = Requirement(line)
            if canonicalize_name(wanted.name) == "ssgpa":
                pending += wanted.extras
            else:
                lines.append(line)
    return [Requirement(line) for line in lines]


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("platform", PLATFORMS, ids=lambda platform: platform["sys_platform"])
def test_the_lock_pins_what_pyproject_asks_for(platform, python):
    place = default_environment() | platform | {"python_version": python, "python_full_version": f"{python}.1"}
    pins = {}
    for pin in LOCK:
        if pin.marker is None or pin.marker.evaluate(place):
            assert canonicalize_name(pin.name) not in pins, f"{pin.name} is pinned twice"
            pins[canonicalize_name(pin.name)] = pin.specifier
    for wanted in requirements(PROJECT["project"]["optional-dependencies"]):
        if wanted.marker is None or wanted.marker.evaluate(place):
            pin = pins.get(canonicalize_name(wanted.name))
            assert pin is not None, f"{wanted.name} is not in constraints.txt: run `make lock`"
            version = str(pin).removeprefix("==")
            assert wanted.specifier.contains(version), f"constraints.txt has {wanted.name} {version}: run `make lock`"


def test_every_line_of_the_lock_is_a_pin():
    assert all(len(pin.specifier) == 1 and str(pin.specifier).startswith("==") for pin in LOCK)


def test_the_lock_holds_what_the_installed_packages_need():
    """Not only what pyproject names: a requirement's requirements move too."""
    pinned = {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in LOCK}
    pending, seen, missing = [wanted.name for wanted in requirements(["test"])], set(), set()
    while pending:
        name = canonicalize_name(pending.pop())
        if name in seen:
            continue
        seen.add(name)
        try:
            needs = distribution(name).requires or []
        except PackageNotFoundError:
            continue
        if distribution(name).version.partition("+")[0] not in {pinned.get(name), "0.0"} and name in pinned:
            pytest.skip(f"{name} {distribution(name).version} is installed, and not the lock's {pinned[name]}")
        missing |= {name} - pinned.keys()
        for line in needs:
            wanted = Requirement(line)
            if wanted.marker is None or wanted.marker.evaluate({"extra": ""}):
                pending.append(wanted.name)
    assert missing == set()


def test_readme_installs_by_the_lock():
    text = (ROOT / "README.md").read_text("utf-8")
    installs = [line for line in re.split(r"\n|&&", text) if re.search(r"pip install (-e )?\"?\.", line)]
    assert len(installs) > 2
    assert [line for line in installs if "-c constraints.txt" not in line] == []
    torch_pin = next(str(pin) for pin in LOCK if pin.name == "torch")
    assert f"pip install {torch_pin} " in text
