# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""What the source must not hold: secrets, calls that run what they read, snippets that trust what may change."""

import ast
import re
import shutil
import subprocess
from pathlib import Path

import pytest


ROOT = Path(__file__).parents[2]
SKIPPED = {".git", ".venv", "build", "dist", "site", "runs", "__pycache__", ".ruff_cache", ".pytest_cache"}
# What secrets look like. The parts are joined here, so that this file is not found.
SECRETS = {
    "private key": r"-----BEGIN [A-Z ]*PRIVATE " + "KEY-----",
    "token of Hugging Face": r"\bhf_" + "[A-Za-z0-9]{30,}",
    "token of GitHub": r"\b(gh[pousr]_" + r"[A-Za-z0-9]{30,}|github_pat_" + "[A-Za-z0-9_]{40,})",
    "key of AWS": r"\b(AKIA|ASIA)" + "[A-Z0-9]{16}\\b",
    "key of Google": r"\bAIza" + "[A-Za-z0-9_-]{35}",
    "token of PyPI": r"\bpypi-" + "AgEI[A-Za-z0-9_-]{20,}",
    "token of Slack": r"\bxox" + "[abpors]-[A-Za-z0-9-]{20,}",
    "key of OpenAI": r"\bsk-" + "[A-Za-z0-9_-]{32,}",
    "key of Weights & Biases": r"(?i)wandb_api_key\W+" + "[0-9a-f]{40}",
    "password in an address": r"[a-z]+://[^/\s:@{}<>]+:" + r"[^/\s:@{}<>]{6,}@[a-z0-9.-]+\.[a-z]{2,}",
}


def files():
    """The files of the repository: those that git knows, or all where there is no git."""
    git = shutil.which("git")
    if git and (ROOT / ".git").exists():
        listed = subprocess.run([git, "-C", str(ROOT), "ls-files", "-z"], capture_output=True, check=True).stdout
        return [ROOT / name for name in listed.decode().split("\0") if name and (ROOT / name).is_file()]
    return [path for path in ROOT.rglob("*") if path.is_file() and not SKIPPED & set(path.relative_to(ROOT).parts)]


def sources():
    return [path for path in files() if path.suffix == ".py" and path.relative_to(ROOT).parts[0] != "tests"]


def test_no_file_holds_a_secret():
    known = {name: re.compile(pattern.encode()) for name, pattern in SECRETS.items()}
    found = []
    for path in files():
        content = path.read_bytes()
        found += [f"{path.relative_to(ROOT)}: {name}" for name, pattern in known.items() if pattern.search(content)]
    assert found == []


@pytest.mark.parametrize("name", SECRETS)
def test_the_search_finds_secrets(name):
    made = {
        "private key": "-----BEGIN RSA PRIVATE " + "KEY-----",
        "token of Hugging Face": "hf_" + "a1B2" * 9,
        "token of GitHub": "ghp_" + "a1B2" * 9,
        "key of AWS": "AKIA" + "A1B2" * 4,
        "key of Google": "AIza" + "a1B2c" * 7,
        "token of PyPI": "pypi-" + "AgEI" + "a1B2" * 9,
        "token of Slack": "xoxb-" + "1234-" * 6,
        "key of OpenAI": "sk-" + "a1B2" * 9,
        "key of Weights & Biases": "WANDB_API_KEY=" + "0a1b" * 10,
        "password in an address": "https://me:" + "secret123@example.org/x",
    }[name]
    assert re.search(SECRETS[name], f"x = '{made}'")


def called(node):
    return ast.unparse(node.func)


def keyword(node, name):
    return next((item.value for item in node.keywords if item.arg == name), None)


def faults(path):
    """Calls in a file that would run what they read."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name, where = called(node), f"{path.relative_to(ROOT)}:{node.lineno}"
        if name in ("eval", "exec", "pickle.load", "pickle.loads", "yaml.load", "yaml.unsafe_load", "marshal.loads"):
            yield f"{where}: {name}"
        if name == "os.system" or ast.unparse(keyword(node, "shell") or ast.Constant(False)) != "False":
            yield f"{where}: a shell"
        if name == "torch.load" and ast.unparse(keyword(node, "weights_only") or ast.Constant(None)) != "True":
            yield f"{where}: torch.load without weights_only=True"
        if name.endswith("extractall") and ast.unparse(keyword(node, "filter") or ast.Constant(None)) != "'data'":
            yield f"{where}: extractall without filter='data'"
        if ast.unparse(keyword(node, "trust_remote_code") or ast.Constant(None)) == "True":
            yield f"{where}: trusts remote code"
        if ast.unparse(keyword(node, "allow_pickle") or ast.Constant(None)) == "True":
            yield f"{where}: allows pickles"


def test_nothing_runs_what_it_reads():
    assert len(sources()) > 200
    assert [fault for path in sources() for fault in faults(path)] == []


def test_the_check_finds_what_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    (tmp_path / "x.py").write_text(
        "eval(x)\nyaml.load(x)\ntorch.load(x)\ntorch.load(x, weights_only=False)\nrun(x, shell=True)\n"
        "f.extractall(x)\nA.from_pretrained(x, trust_remote_code=True)\nnp.load(x, allow_pickle=True)\n"
        "torch.load(x, weights_only=True)\nf.extractall(x, filter='data')\nrun(x, shell=False)\n",
        encoding="utf-8",
    )
    assert [int(fault.split(":")[1]) for fault in faults(tmp_path / "x.py")] == list(range(1, 9))


TRUST = "trust_remote_code=True"


def call_around(text, place):
    """The parentheses around a place in a text, with all that is in them."""
    start, depth = place, 1
    while start and depth:
        start -= 1
        depth += {")": 1, "(": -1}.get(text[start], 0)
    end, depth = place, 1
    while end < len(text) and depth:
        depth += {"(": 1, ")": -1}.get(text[end], 0)
        end += 1
    return text[start:end]


def snippets():
    """Calls in documents and docstrings that trust the code of a repository."""
    for path in files():
        if path.suffix == ".md" or (path.suffix == ".py" and path.relative_to(ROOT).parts[0] != "tests"):
            text = path.read_text("utf-8")
            for match in re.finditer(TRUST, text):
                yield path.relative_to(ROOT).as_posix(), call_around(text, match.start())


def test_every_snippet_that_trusts_code_pins_a_revision():
    found = list(snippets())
    assert {"hub_card.md", "docs/hub.md"} <= {path for path, _ in found}
    assert [(path, call) for path, call in found if "revision=" not in call] == []


def test_a_call_is_found_whole():
    text = f"f(1)\ng(h(2), {TRUST}, k(3), revision='x') + m(4)"
    assert call_around(text, text.index(TRUST)) == f"(h(2), {TRUST}, k(3), revision='x')"
