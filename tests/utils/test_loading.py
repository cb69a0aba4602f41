# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""A saved system comes back whole, or one error names it and what is wrong."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from ssgpa.utils.loading import load_partial_system, load_system

from ..tiny_systems import TINY_SYSTEMS, save_tiny


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("model"))


@pytest.mark.parametrize("name", TINY_SYSTEMS)
def test_a_saved_system_comes_back(name, tmp_path):
    model, processor = TINY_SYSTEMS[name]()
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    found, its_processor = load_system(str(tmp_path))
    assert type(found) is type(model)
    assert not found.training
    wanted = model.state_dict()
    assert all(torch.equal(value, wanted[key]) for key, value in found.state_dict().items())
    assert its_processor.to_dict() == processor.to_dict()


def drop_a_weight(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def reshape_a_weight(folder):
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"] = weights["lm_head.weight"][:-1].clone()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def pickle_the_weights(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def cut_the_weights(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def repeat_a_name(folder):
    """Two entries of one name in the header of the weights, the second of which shows the bytes of another."""
    path = folder / "model.safetensors"
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + size].rstrip()
    name, other = [name for name in json.loads(header) if name != "__metadata__"][:2]
    entry = json.dumps({name: json.loads(header)[other]})[1:-1].encode()
    header = header[:-1] + b"," + entry + b"}"
    path.write_bytes(len(header).to_bytes(8, "little") + header + content[8 + size :])


def grow_the_header(folder):
    """A header of 101 MB: its size is told, and it is there."""
    path = folder / "model.safetensors"
    with path.open("r+b") as file:
        file.write((101_000_000).to_bytes(8, "little"))
        file.truncate(101_000_008)


def make_a_folder(folder):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").mkdir()


def index(name):
    """Shards whose index says that one of them is somewhere else."""

    def edit(folder):
        names = [*load_file(folder / "model.safetensors")]
        (folder / "model.safetensors").rename(folder.parent / "elsewhere.safetensors")
        content = {"metadata": {}, "weight_map": dict.fromkeys(names, name)}
        (folder / "model.safetensors.index.json").write_text(json.dumps(content), encoding="utf-8")

    return edit


def edit_config(**changes):
    def edit(folder):
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), encoding="utf-8")

    return edit


BAD_MODELS = {
    "no folder": (shutil.rmtree, "there is no such folder"),
    "empty folder": (lambda folder: [file.unlink() for file in folder.iterdir()], "the folder holds no config.json"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors"),
    "no processor": (lambda folder: (folder / "processor_config.json").unlink(), "no processor_config.json"),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), ""),
    "missing weight": (drop_a_weight, "do not hold 1 of the model's weights, the first lm_head.weight"),
    "reshaped weight": (reshape_a_weight, "1 of the model's weights have another shape than the configuration says"),
    "cut weights": (cut_the_weights, ""),
    "pickled weights": (pickle_the_weights, "safetensors"),
    "empty weights": (lambda folder: (folder / "model.safetensors").write_bytes(b""), ""),
    "a folder for weights": (make_a_folder, ""),
    "header of 101 MB": (grow_the_header, ""),
    "a name twice": (repeat_a_name, ""),
    "shards elsewhere": (index("../elsewhere.safetensors"), "names '../elsewhere.safetensors'"),
    "pickled shards": (index("model.bin"), "names 'model.bin'"),
    "no shards": (index(None), "names None"),
    "broken tokenizer": (lambda folder: (folder / "tokenizer.json").write_text('{"model": {}}', "utf-8"), ""),
    "deep config": (
        lambda folder: (folder / "config.json").write_text("[" * 5000, "utf-8"),
        "config.json is not JSON",
    ),
    "broken config": (lambda folder: (folder / "config.json").write_text("{", encoding="utf-8"), "config.json"),
    "list config": (
        lambda folder: (folder / "config.json").write_text("[]", encoding="utf-8"),
        "config.json holds a list, not an object",
    ),
    "wrong type in config": (edit_config(fusion_layers="two"), "fusion_layers"),
    "other model": (edit_config(model_type="bert", architectures=["BertModel"]), ""),
    "unknown model": (edit_config(model_type="nobody-knows"), "nobody-knows"),
}


@pytest.mark.parametrize("kind", list(BAD_MODELS))
def test_bad_models_are_named(saved, tmp_path, kind):
    break_it, message = BAD_MODELS[kind]
    folder = tmp_path / "broken"
    shutil.copytree(saved, folder)
    break_it(folder)
    with pytest.raises(ValueError, match=r"^model .*broken: ") as error:
        load_system(str(folder))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_training_may_fill_gaps(saved, tmp_path):
    folder = tmp_path / "gap"
    shutil.copytree(saved, folder)
    drop_a_weight(folder)
    assert load_partial_system(str(folder))[2] == {"lm_head.weight"}
    reshape = load_file(folder / "model.safetensors")
    reshape["model.language_model.norm.weight"] = torch.ones(3)
    save_file(reshape, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="another shape"):
        load_partial_system(str(folder))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nobody", "an id on the Hub looks like owner/name"),
        ("./near/by", "an id on the Hub looks like owner/name"),
        ("a/b c", "a/b c"),
    ],
)
def test_what_cannot_be_an_id_is_refused_without_a_request(path, message):
    with pytest.raises(ValueError, match=r"^model ") as error:
        load_system(path)
    assert message in str(error.value)


def test_a_folder_has_no_revision(saved):
    with pytest.raises(ValueError, match="a revision belongs to an id on the Hub"):
        load_system(str(saved), "abc")


def test_a_mistyped_folder_is_told_at_once(tmp_path, monkeypatch):
    (tmp_path / "runs" / "typo").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ssgpa.utils.loading.can_ask_hub", None)
    with pytest.raises(ValueError, match=r"^model runs/tpyo: the folder runs has no folder tpyo") as error:
        load_system("runs/tpyo")
    assert "did you mean runs/typo?" in str(error.value)
    with pytest.raises(ValueError, match=r"the folder runs has no folder other\. If you mean the id on the Hub"):
        load_system("runs/other")


OFFLINE = """
import json, time
from ssgpa.data import load_prepared
from ssgpa.utils.loading import load_system

for load, words in ((load_system, ["runs/tpyo"]), (load_system, ["here/tpyo", "main"]), (load_prepared, [DATA])):
    start = time.monotonic()
    try:
        load(*words)
    except (ValueError, ConnectionError) as error:
        print(json.dumps([words[0], time.monotonic() - start, str(error)]))
"""
DATA = "hf://datasets/org/pairs"


@pytest.mark.parametrize("variables", [{"HF_ENDPOINT": "http://127.0.0.1:9"}, {"HF_HUB_OFFLINE": "1"}])
def test_an_id_fails_within_seconds_without_a_network(tmp_path, variables):
    """The libraries asked for 140 seconds, and 25 for data. With a revision, an id is meant, whatever lies here."""
    (tmp_path / "here").mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE.replace("DATA", repr(DATA))],
        env=kept | {"HF_HOME": str(tmp_path / "home")} | variables,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [name for name, _, _ in told] == ["runs/tpyo", "here/tpyo", DATA]
    for name, seconds, message in told:
        assert seconds < 10
        assert f"{name.removeprefix('hf://datasets/')} is not in the cache ({tmp_path / 'home'}" in message
        assert "cannot be reached" in message
        assert "\n" not in message
    assert [message.startswith(f"model {name}: ") for name, _, message in told] == [True, True, False]
