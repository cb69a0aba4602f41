# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Language, time zone and clock of the machine change nothing of what the programs write."""

import csv
import json
import os
import shutil
import subprocess
import sys

import pytest

from .kills import ROOT


EXAMPLES = ROOT / "examples"
# Python reads it before any program: a clock that stands ten years back and jumps between two looks at it.
CLOCK = """
import time
_time, _jumps = time.time, [0]
def _jumping():
    _jumps[0] += 1
    return _time() - 3.2e8 - 7200 * (_jumps[0] % 3)
time.time = _jumping
time.time_ns = lambda: int(_jumping() * 1e9)
"""
# One process for all programs, as most of its time goes into imports.
WORK = """
import runpy, sys
from ssgpa.cli.commands import main as caption
place, pairs = sys.argv[1:3]
def run(name, words):
    sys.argv = [name, *words.split()]
    try:
        runpy.run_path(f"examples/{name}.py", run_name="__main__")
    except SystemExit as end:
        assert not end.code, (name, end.code)
run("render_clevr_change", f"--output_dir {place}/set --scenes 6 --seed 3 --size 96 64")
run("prepare_data", f"--dataset clevr_change --source {place}/set --output_dir {place}/prepared")
words = f"caption --pairs {pairs} --output {place}/captions.jsonl --quiet --batch-size 4 --num-beams 1"
assert caption(words.split()) == 0
model = "checkpoints/ssgpa-clevr-tiny"
fast = "--num_beams 1 --max_new_tokens 8 --no_meteor --tokenizer nltk"
run("evaluate", f"--model {model} --data {place}/prepared --split train --output {place}/results.json {fast}")
print("\\u0131\\u015f\\u0130 \\u524d caf\\u00e9")
"""


def written(place):
    """Bytes of the files by name; of the results, what is not a time."""
    found = {}
    for path in sorted(place.rglob("*")):
        name = path.relative_to(place).as_posix()
        if path.is_file() and not name.startswith(("home/", ".")) and "/." not in name and ".lock" not in name:
            found[name] = path.read_bytes()
    results = json.loads(found.pop("results.json"))
    for name in ("throughput", "data"):
        del results[name]
    # What the captions depend on names the files' times.
    first, _, rest = found.pop("results.predictions.jsonl").partition(b"\n")
    assert "settings" in json.loads(first)
    del found["captions.settings.json"]
    return {**found, "results": results, "captions": rest}


def turkish(folder, charmap):
    """A Turkish locale of this machine's sources; None where there are none."""
    tool = shutil.which("localedef")
    name = f"tr_TR.{charmap}"
    if tool is None:
        return None
    command = [tool, "--no-archive", "-i", "tr_TR", "-f", charmap, str(folder / name)]
    made = subprocess.run(command, capture_output=True, check=False)
    return {"LC_ALL": name, "LOCPATH": str(folder)} if made.returncode in (0, 1) and (folder / name).exists() else None


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("surroundings")
    pairs = sorted((EXAMPLES / "pairs").glob("*_before.png"))[:4]
    with (folder / "pairs.csv").open("w", encoding="utf-8", newline="") as file:
        rows = [(f"\u0131\u015f\u0130 \u524d {path.stem}", path, path) for path in pairs]
        csv.writer(file).writerows([("pair_id", "before", "after"), *rows])
    (folder / "clock").mkdir()
    (folder / "clock" / "sitecustomize.py").write_text(CLOCK, encoding="utf-8")

    def call(name, **environment):
        place = folder / name
        place.mkdir()
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("LC_", "LANG", "PYTHONUTF8"))}
        paths = os.pathsep.join(filter(None, [environment.pop("PYTHONPATH", ""), os.environ.get("PYTHONPATH", "")]))
        kept |= {"HF_HOME": str(place / "home"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
        command = [sys.executable, "-c", WORK, str(place), str(folder / "pairs.csv")]
        done = subprocess.run(command, env={**kept, **environment}, cwd=ROOT, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode(errors="replace")[-4000:]
        return written(place), done.stdout

    call.folder = folder
    call.plain = call("plain", LC_ALL="C.UTF-8")
    return call


CASES = {
    "C": {"LC_ALL": "C"},
    "C, and no UTF-8 mode": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "Turkish": "UTF-8",
    "Turkish, as it was written once": "ISO-8859-9",
    "a clock that jumps, in another time zone": {"LC_ALL": "C.UTF-8", "TZ": "Asia/Kathmandu", "PYTHONPATH": "clock"},
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_surroundings_change_nothing(work, case):
    """Every file is the same to the byte, and what is printed is at worst written with escapes."""
    environment = CASES[case]
    if isinstance(environment, str):
        environment = turkish(work.folder, environment)
        if environment is None:
            pytest.skip("this machine cannot make a Turkish locale")
    if environment.get("PYTHONPATH"):
        environment = environment | {"PYTHONPATH": str(work.folder / environment["PYTHONPATH"])}
    found, printed = work(case.replace(" ", "_"), **environment)
    wanted, told = work.plain
    assert found.keys() == wanted.keys()
    assert [name for name in found if found[name] != wanted[name]] == []
    assert told.decode("utf-8").splitlines()[-1] == "\u0131\u015f\u0130 \u524d caf\u00e9"
    assert printed
