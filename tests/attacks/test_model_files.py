# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Checkpoints that bring code, or claim to be larger than any machine: refused, and nothing of them has run."""

import json
import runpy
from contextlib import nullcontext, suppress

import pytest
import torch

from ssgpa.baselines.clip4idc.conversion_clip4idc import convert_official
from ssgpa.utils.loading import load_system

from ..tiny_systems import TINY_SYSTEMS
from .bad_files import TRACE, evil_module, evil_pickle, evil_torch_file, header_bomb, lying_header


@pytest.fixture
def folder(tmp_path):
    for part in TINY_SYSTEMS["ssgpa"]():
        part.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def change(path, **fields):
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | fields), encoding="utf-8")


def check_refused(folder, message=""):
    with pytest.raises(ValueError, match=message) as caught:
        load_system(str(folder))
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (folder / TRACE).exists()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.bin", "model.pt"])
def test_pickled_weights_are_not_read(folder, name):
    (folder / "model.safetensors").unlink()
    evil_torch_file(folder / name, folder / TRACE)
    check_refused(folder)


def test_pickled_weights_under_the_name_of_safe_ones_are_not_read(folder):
    (folder / "model.safetensors").write_bytes(evil_pickle(folder / TRACE))
    check_refused(folder)


@pytest.mark.parametrize(
    ("file", "field"),
    [
        ("config.json", {"AutoConfig": "evil.EvilConfig", "AutoModelForImageTextToText": "evil.EvilConfig"}),
        ("processor_config.json", {"AutoProcessor": "evil.EvilConfig"}),
        ("tokenizer_config.json", {"AutoTokenizer": ["evil.EvilConfig", None]}),
    ],
)
def test_code_of_a_repository_is_not_run(folder, file, field):
    """A known system is loaded by the package's own classes or refused, an unknown one refused."""
    evil_module(folder / "evil.py", folder / TRACE)
    change(folder / file, auto_map=field)
    refused = suppress(ValueError) if file != "config.json" else nullcontext()
    with refused:
        assert type(load_system(str(folder))[0]).__module__.startswith("ssgpa.")
    assert not (folder / TRACE).exists()
    change(folder / "config.json", model_type="evil", architectures=["EvilModel"])
    check_refused(folder)


@pytest.mark.parametrize("make", [header_bomb, lying_header])
def test_a_file_that_claims_to_be_huge_is_refused(folder, make):
    make(folder / "model.safetensors")
    check_refused(folder)


def test_a_configuration_of_a_huge_model_is_refused(folder):
    """Its weights are not there, so that no memory is taken for them."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    change(folder / "config.json", text_config=config["text_config"] | {"intermediate_size": 2**40})
    check_refused(folder)


def test_a_resumed_run_unpickles_nothing_but_tensors(tmp_path):
    """What `Trainer` reads of a checkpoint, it reads with torch's restricted unpickler."""
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        evil_torch_file(tmp_path / name, tmp_path / TRACE)
        with pytest.raises(Exception, match=r"[Ww]eights.only|Unsupported"):
            torch.load(tmp_path / name, weights_only=True)
    assert not (tmp_path / TRACE).exists()


def test_converters_unpickle_nothing_but_tensors(tmp_path):
    """The authors' files are pickles; what is more than tensors in them is refused."""
    evil_torch_file(tmp_path / "theirs.bin", tmp_path / TRACE)
    with pytest.raises(ValueError, match=r"theirs\.bin"):
        convert_official(tmp_path / "theirs.bin")
    assert not (tmp_path / TRACE).exists()


def test_payloads_would_act(tmp_path):
    """Or the tests above prove nothing."""
    evil_torch_file(tmp_path / "weights.bin", tmp_path / TRACE)
    torch.load(tmp_path / "weights.bin", weights_only=False)
    assert (tmp_path / TRACE).exists()
    evil_module(tmp_path / "evil.py", tmp_path / "imported")
    runpy.run_path(str(tmp_path / "evil.py"))
    assert (tmp_path / "imported").exists()
