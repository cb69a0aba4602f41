# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Damaged files of runs, models and results: read, or refused by one error of ours that names them.

Images, tables and captions have theirs in `test_images_fuzz.py`, `data/test_table_fuzz.py` and
`metrics/test_fuzz_captions.py`.
"""

import io
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given
from safetensors.torch import save

from ssgpa.baselines.clip4idc import conversion_clip4idc
from ssgpa.baselines.finer_mllm import conversion_finer_mllm
from ssgpa.baselines.procap import conversion_procap
from ssgpa.baselines.scorer import conversion_scorer
from ssgpa.baselines.vir_vlfm import conversion_vir_vlfm
from ssgpa.hub.publish import read_facts
from ssgpa.metrics.predictions import read_captions
from ssgpa.training.arguments import parse_arguments
from ssgpa.training.systems import read_config
from ssgpa.utils.loading import load_system
from ssgpa.utils.results import read_results

from ..tiny_systems import TINY_SYSTEMS
from .damage import cases, corpus, damaged, little_memory


ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "examples" / "configs"
FEW, MANY = 60, 10_000
slow = pytest.mark.slow


def texts(*paths: Path) -> list[bytes]:
    return [path.read_bytes() for path in paths]


FACTS = b"license: apache-2.0\ntraining: a few steps\nsummary: short\nbase_models: [a/b]\nlimits: |\n  none\n"
RESULTS = b'{"model": "m", "data": "d", "split": "test", "scores": {"total": {"cider": 1.0, "items": 2}}}\n'
CAPTIONS = b'{"pair_id": "a", "caption": "b"}\n{"pair_id": "c", "caption": "d"}\n'
WORDS = b'{"<NULL>": 0, "<UNK>": 1, "<START>": 2, "<END>": 3, "the": 4, "cube": 5}'
TOKENS = (
    b'{"[PAD]": 0, "[CLS]": 1, "[SEP]": 2, "[VID]": 3, "[BOS]": 4, "[EOS]": 5, "[UNK]": 6, "[MASK]": 7, "cube": 8}'
)
# By name: what reads a file, what the file is called, and whole ones.
FILES = {
    "run": (lambda path: parse_arguments([str(path)]), "run.yaml", texts(*sorted(CONFIGS.rglob("*.yaml")))),
    "facts": (read_facts, "facts.yaml", [FACTS]),
    "model": (
        read_config,
        "model.json",
        texts(*sorted(CONFIGS.rglob("models/*.json")), *sorted(ROOT.glob("*/**/tiny.json"))),
    ),
    "results": (read_results, "results.json", [RESULTS]),
    "captions": (read_captions, "captions.jsonl", [CAPTIONS]),
    "scorer-words": (conversion_scorer.convert_vocabulary, "words.json", [WORDS]),
    "procap-words": (conversion_procap.convert_vocabulary, "words.json", [TOKENS]),
}


def attempt(name: str, content: bytes, folder: Path) -> str:
    """ "read" or "refused"; whatever else happens is told as it is."""
    read, file, _ = FILES[name]
    path = folder / file
    path.write_bytes(content)
    try:
        with little_memory():
            read(path)
    except (ValueError, OSError, ImportError) as error:
        told = str(error).strip()
    else:
        return "read"
    assert told, content
    # Transformers' own words about an argument of a run name the argument.
    if name != "run":
        assert str(path) in told
        assert "\n" not in told
    return "refused"


@pytest.fixture
def folder(tmp_path):
    # Runs name others as their bases.
    shutil.copytree(CONFIGS, tmp_path / "configs")
    return tmp_path / "configs"


@pytest.mark.parametrize("count", [FEW, pytest.param(MANY, marks=slow)])
@pytest.mark.parametrize("name", FILES)
def test_damaged_files_are_read_or_refused_by_name(name, count, folder):
    outcomes = []

    @cases(count)
    @given(damaged(FILES[name][2] + corpus(name)))
    def look(content):
        outcomes.append(attempt(name, content, folder))

    look()
    # Neither a damage that damages nothing nor, among thousands, one that leaves nothing.
    assert outcomes.count("refused") >= count / 100
    assert count < MANY or outcomes.count("read") >= count / 1000


@pytest.mark.parametrize("name", FILES)
def test_whole_files_are_read(name, folder):
    read, file, seeds = FILES[name]
    for content in seeds:
        (folder / file).write_bytes(content)
        if name != "run":
            assert read(folder / file) is not None


@pytest.mark.parametrize("name", FILES)
def test_what_once_was_a_fault_is_refused(name, folder):
    assert [attempt(name, content, folder) for content in corpus(name)] == ["refused"] * len(corpus(name))


def pickled(value: object, zipped: bool = True) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


STATE = {"model.weight": torch.ones(2, 3), "bias": torch.zeros(2, dtype=torch.int64)}
WHOLE = {
    ".pth": [pickled(STATE), pickled(STATE, zipped=False), pickled({"model": STATE}), pickled([STATE]), pickled(3)],
    ".safetensors": [save(STATE)],
}
# What reads the files of other authors, whole ones of which are larger than these.
IMPORTERS = {
    "clip4idc": conversion_clip4idc.convert_official,
    "finer_mllm": conversion_finer_mllm.convert_official,
    "procap": conversion_procap.read_tensors,
    "scorer": conversion_scorer.convert_official,
    "torchvision": conversion_scorer.convert_torchvision,
    "vir_vlfm": conversion_vir_vlfm.read_official,
}


def attempt_to_import(read, path: Path) -> str:
    try:
        with little_memory():
            read(path)
    except (ValueError, OSError) as error:
        told = str(error)
    else:
        return "read"
    assert str(path) in told
    return "refused"


@pytest.mark.parametrize("count", [FEW // 3, pytest.param(MANY, marks=slow)])
@pytest.mark.parametrize("suffix", WHOLE)
@pytest.mark.parametrize("name", IMPORTERS)
def test_damaged_weights_of_others_are_refused_by_name(name, suffix, count, tmp_path):
    path, outcomes = tmp_path / f"weights{suffix}", []

    @cases(count)
    @given(damaged(WHOLE[suffix] + corpus(f"weights{suffix}")))
    def look(content):
        path.write_bytes(content)
        outcomes.append(attempt_to_import(IMPORTERS[name], path))

    look()
    assert "refused" in outcomes


@pytest.mark.parametrize("name", IMPORTERS)
def test_what_is_no_state_of_a_model_is_refused_by_name(name, tmp_path):
    others = (pickled([STATE]), pickled(3), pickled({"a": {"b": 1}}), pickled({1: torch.ones(1)}), b"", b"{")
    for content in (*others, *corpus("weights.pth"), *corpus("weights.safetensors")):
        for suffix in WHOLE:
            (tmp_path / f"weights{suffix}").write_bytes(content)
            assert attempt_to_import(IMPORTERS[name], tmp_path / f"weights{suffix}") == "refused"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A saved system, and a folder for damaged copies of it."""
    folder = tmp_path_factory.mktemp("fuzz") / "system"
    for part in TINY_SYSTEMS["ssgpa"]():
        part.save_pretrained(folder)
    (folder / "whole").mkdir()
    return folder


def attempt_to_load(folder: Path) -> str:
    try:
        with little_memory():
            load_system(str(folder))
    except ValueError as error:
        told = str(error)
    else:
        return "read"
    assert told.startswith(f"model {folder}: ")
    assert len(told) > len(f"model {folder}: ")
    assert "\n" not in told
    return "refused"


# The first bytes of the weights are their names, shapes and places; 0 damages the whole file.
SYSTEM_FILES = {
    "config.json": None,
    "generation_config.json": None,
    "processor_config.json": None,
    "tokenizer.json": None,
    "tokenizer_config.json": None,
    "model.safetensors": 4000,
}


@pytest.mark.parametrize("count", [FEW // 6, pytest.param(MANY, marks=slow)])
@pytest.mark.parametrize("name", SYSTEM_FILES)
def test_damaged_systems_are_loaded_or_refused_by_name(name, count, saved):
    path = saved / name
    whole = path.read_bytes()
    outcomes = []

    @cases(count)
    @given(damaged([whole, *corpus(name)], SYSTEM_FILES[name]))
    def look(content):
        path.write_bytes(content)
        outcomes.append(attempt_to_load(saved))

    try:
        look()
    finally:
        path.write_bytes(whole)
    # Settings of `generate` have defaults.
    assert "refused" in outcomes or name == "generation_config.json"
    assert attempt_to_load(saved) == "read"


@pytest.mark.parametrize("name", SYSTEM_FILES)
def test_what_once_broke_loading_is_refused(name, saved):
    path = saved / name
    whole = path.read_bytes()
    try:
        for content in corpus(name):
            path.write_bytes(content)
            assert attempt_to_load(saved) == "refused", content
    finally:
        path.write_bytes(whole)
