# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""What no file of the package or its programs does: run code out of data, or read files in ways that could."""

import ast
from pathlib import Path

import pytest


ROOT = Path(__file__).resolve().parents[1]
FILES = [
    path
    for path in sorted(ROOT.rglob("*.py"))
    if path.relative_to(ROOT).parts[0] not in {"tests", "build", ".venv", "site"}
]
# Calls that run what they are given, or make objects of any kind out of a file.
RUNNING = {"eval", "exec", "compile", "os.system", "os.popen", "pickle.load", "pickle.loads", "marshal.loads"}
RUNNING |= {"yaml.load", "yaml.full_load", "yaml.unsafe_load", "torch.jit.load", "joblib.load", "dill.load"}


def called(node: ast.Call) -> str:
    """What a call names, `a.b` at the most."""
    function = node.func
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
        return f"{function.value.id}.{function.attr}"
    return function.id if isinstance(function, ast.Name) else ""


def faults_of(text: str) -> list[str]:
    """Calls in a module's text that are not to be there."""
    faults = []
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call):
            continue
        name = called(node)
        given = {word.arg: getattr(word.value, "value", None) for word in node.keywords}
        if name in RUNNING or given.get("shell") is True:
            faults.append(f"{name} runs what it is given")
        if name == "torch.load" and given.get("weights_only") is not True:
            faults.append("torch.load without weights_only=True")
        if name in {"np.load", "numpy.load"} and given.get("allow_pickle"):
            faults.append("np.load of pickles")
        if given.get("trust_remote_code") is True:
            faults.append("remote code is trusted")
        if given.get("use_safetensors") is False:
            faults.append("weights that are no safetensors")
    return faults


def test_no_file_runs_data():
    assert len(FILES) > 100
    found = {str(path.relative_to(ROOT)): faults_of(path.read_text("utf-8")) for path in FILES}
    assert {path: faults for path, faults in found.items() if faults} == {}


@pytest.mark.parametrize(
    "line",
    [
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "yaml.load(file)",
        "pickle.loads(content)",
        "eval(text)",
        "subprocess.run(text, shell=True)",
        "np.load(path, allow_pickle=True)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
        "AutoModel.from_pretrained(name, use_safetensors=False)",
    ],
)
def test_what_would_is_found(line):
    assert len(faults_of(line)) == 1


def test_yaml_and_pickles_are_read_in_one_place():
    """Where a damaged file is named, whatever the library raises."""
    for call, place in (("yaml.safe_load", "utils/yaml_files.py"), ("torch.load", "conversion_ssgpa.py")):
        found = [str(path.relative_to(ROOT)) for path in FILES if f"{call}(" in path.read_text("utf-8")]
        package = [path for path in found if not path.startswith(("benchmarks", "examples"))]
        assert package == [place]
