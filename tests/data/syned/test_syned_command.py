# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The command: its settings are the options', its errors take one line."""

import json
import shlex
import sys
from pathlib import Path

import pytest

from ssgpa.data.prepared import load_prepared
from ssgpa.data.syned import SynedSettings

from ...scripts import load_script


EXAMPLE = Path(__file__).parents[3] / "examples" / "make_syned.py"


@pytest.fixture(scope="module")
def command():
    return load_script(EXAMPLE)


def test_defaults_are_those_of_the_library(command):
    options = command.parse_arguments(shlex.split("--source s --output_dir o --seed 3"))
    assert command.to_settings(options) == SynedSettings(seed=3)
    options = command.parse_arguments(shlex.split("--source s --output_dir o --seed 3 --rank_by none"))
    assert command.to_settings(options).rank.by is None


def test_a_run_from_the_command_line(command, source, settings, capsys, tmp_path):
    words = f"""--source {source} --output_dir {tmp_path / "out"} --seed 5 --editor {settings.edit.model}
        --chat_model {settings.paraphrase.model} --clip {settings.rank.model} --rank_by image_image --keep 1
        --variants 2 --dtype bfloat16 --resolution 64 --steps 1
        --no-safety-checker --paraphrases 20 --attempts 1 --max_new_tokens 16"""
    assert command.main(shlex.split(words)) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == f"{tmp_path / 'out'}/prepared: 3 train, 1 validation, 2 test"
    assert printed[1].startswith("paraphrases missing after all attempts: test-0 (")
    assert len(load_prepared(tmp_path / "out" / "prepared")["train"]) == 3
    saved = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))["settings"]
    assert (saved["edit"]["safety_checker"], saved["rank"]["by"], saved["paraphrase"]["count"]) == (
        False,
        "image_image",
        20,
    )


ERRORS = {
    "--guidance 99": "guidance must be between 1 and 30, not 99.0",
    "--seed -1": "seed must be between 0 and",
    "--editor nowhere/at-all": "model nowhere/at-all: ",
    "--device cuda:99": "device cuda:99: ",
    "--device abacus": "device abacus: ",
    "--image_splits train test --caption_splits --source missing": "missing holds neither",
    "--dtype int8": "argument --dtype: invalid choice",
    "--variants many": "argument --variants: invalid int value",
}


@pytest.mark.parametrize("words", ERRORS)
def test_errors_take_one_line(words, command, source, capsys, tmp_path, monkeypatch):
    pytest.importorskip("diffusers", reason='needs diffusers: pip install "ssgpa[syned]"')
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    try:
        code = command.main([*shlex.split(f"--source {source} --output_dir out --seed 0"), *shlex.split(words)])
    except SystemExit as error:
        code = error.code
    printed = capsys.readouterr()
    assert (code, printed.out) == (2, "")
    assert printed.err.count("\n") == 1
    assert "make_syned.py: error: " in printed.err or ": error: argument" in printed.err
    assert ERRORS[words] in printed.err
    assert not Path("out/prepared").exists()


@pytest.mark.parametrize(
    ("package", "words", "advice"),
    [
        ("diffusers", "", 'pip install "ssgpa[syned]"'),
        ("datasets", "", 'pip install "ssgpa[data]"'),
        ("imwatermark", "--watermark made", "pip install invisible-watermark"),
    ],
)
def test_a_missing_package_is_named(package, words, advice, command, source, capsys, tmp_path, monkeypatch):
    if package == "imwatermark":
        pytest.importorskip("diffusers", reason='needs diffusers: pip install "ssgpa[syned]"')
    monkeypatch.setitem(sys.modules, package, None)
    options = f"--source {source} --output_dir {tmp_path / 'out'} --seed 0 {words}"
    assert command.main(shlex.split(options)) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("make_syned.py: error: ")
    assert error.endswith(advice)
    assert not (tmp_path / "out").exists()
