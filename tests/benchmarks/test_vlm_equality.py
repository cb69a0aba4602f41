# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The equality of VLMs: a run of one family, what makes a check fail, and the table."""

import json
from importlib.metadata import version

import pytest
import torch

from ssgpa.benchmarks import measure_vlm_equality as program
from ssgpa.benchmarks.tables.vlm_equality_table import CHECKS, format_vlm_equality


def run(**differing):
    checks = dict.fromkeys(CHECKS, True)
    return {"families": {"llava": checks | differing}, "versions": {"torch": "2.0"}}


def test_table_names_versions_that_differ():
    runs = {"5.1": run(), "5.2": run(beams=False)}
    runs["5.2"]["families"]["smolvlm"] = dict.fromkeys(CHECKS, True)
    text = format_vlm_equality({"runs": runs, "steps": 2, "tokens": 8}, "it.json")
    assert "| llava | = | = | = | = on 5.1, differs on 5.2 | = |" in text
    assert "| smolvlm | not run on 5.1, = on 5.2 |" in text
    assert "Transformers 5.1 and 5.2" in text


def test_table_tells_how_far_gradients_are_apart():
    text = format_vlm_equality({"runs": {"5.1": run(checkpointing=3.4e-8)}, "steps": 2, "tokens": 8}, "it.json")
    assert "| llava | = | = | = | = | = | 3e-08 | = |" in text
    assert "| = | 0" not in format_vlm_equality({"runs": {"5.1": run(checkpointing=0.0)}, "steps": 2}, "it.json")


def test_table_shows_every_check():
    assert CHECKS.keys() == program.CHECKS.keys()


def test_one_family_is_checked_and_what_was_found_before_is_kept(tmp_path):
    output = tmp_path / "it.json"
    output.write_text(json.dumps({"runs": {"5.1": run()}}), encoding="utf-8")
    for check in ("float32", "change_map"):
        assert program.main(["--families", "llava", "--checks", check, "--output", str(output)]) == 0
    runs = json.loads(output.read_text("utf-8"))["runs"]
    assert runs.keys() == {"5.1", version("transformers")}
    assert runs[version("transformers")]["families"] == {"llava": {"float32": True, "change_map": True}}
    assert runs["5.1"] == run()


@pytest.mark.parametrize("check", ["float32", "greedy", "lora"])
def test_parts_that_change_something_are_found(check, monkeypatch):
    """The very checks fail where the parts do not begin as the identity."""

    def trained(vlm, family, **fields):
        return program.open_parts(untouched(vlm, family, **fields))

    untouched = program.wrap_vlm
    assert program.CHECKS[check]("llava")
    monkeypatch.setattr(program, "wrap_vlm", trained)
    assert not program.CHECKS[check]("llava")


@pytest.mark.parametrize("check", ["save_and_load", "thin_checkpoint"])
def test_models_that_come_back_otherwise_are_found(check, monkeypatch):
    def changed(load):
        def wrapped(*args, **kwargs):
            found = load(*args, **kwargs)
            model = found[0] if isinstance(found, tuple) else found
            with torch.no_grad():
                model.change_fusion_adapter.layers[0].up_proj.bias.add_(0.1)
            return found

        return wrapped

    if check == "save_and_load":
        door = type("Door", (), {"from_pretrained": staticmethod(changed(program.SSGPAForVLM.from_pretrained))})
        monkeypatch.setattr(program, "SSGPAForVLM", door)
    else:
        calls, load = [], program.load_system

        def second(path, **options):
            # The base is loaded first.
            calls.append(path)
            return changed(load)(path, **options) if len(calls) > 1 else load(path, **options)

        monkeypatch.setattr(program, "load_system", second)
    assert not program.CHECKS[check]("llava")


def test_program_tells_what_is_not_equal(tmp_path, monkeypatch, capsys):
    found = {"float32": True, "beams": False, "checkpointing": 2e-6, "lora": True}
    monkeypatch.setattr(program, "CHECKS", {name: lambda family, it=value: it for name, value in found.items()})
    assert program.main(["--families", "llava", "--output", str(tmp_path / "it.json")]) == 1
    assert "llava: not equal: beams, checkpointing\n" in capsys.readouterr().out
