# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Two revisions beside each other, in a repository of two commits."""

import json
import shutil
import subprocess

import pytest

from ssgpa.benchmarks import compare_revisions, revisions


pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="no git")

# Imports itself as the package, to show whose files run.
PROGRAM = """
import argparse, json, ssgpa
parser = argparse.ArgumentParser()
for name in ("config", "output", "batch_size", "steps"):
    parser.add_argument("--" + name)
parser.add_argument("--bf16", action="store_true")
options = parser.parse_args()
assert open(options.config).read() == "{}" and options.bf16
rate = ssgpa.RATE * int(options.batch_size)
generation = {"beams_5": {"captions_per_second": ssgpa.RATE ** 2}}
training = {"pairs_per_second": {"ssgpa": rate, "without_alignment": 0}}
json.dump({"training": training, "generation": generation}, open(options.output, "w"))
"""


@pytest.fixture
def repository(tmp_path, monkeypatch):
    root = tmp_path / "repository"
    (root / "benchmarks").mkdir(parents=True)
    (root / "benchmarks" / "measure_throughput.py").write_text(PROGRAM, encoding="utf-8")
    (root / compare_revisions.CONFIG).parent.mkdir(parents=True)
    (root / compare_revisions.CONFIG).write_text("{}", encoding="utf-8")
    git = ["git", "-C", str(root), "-c", "user.name=A", "-c", "user.email=a@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    for rate in (2, 3):
        (root / "__init__.py").write_text(f"RATE = {rate}\n", encoding="utf-8")
        subprocess.run([*git, "add", "-A"], check=True)
        subprocess.run([*git, "commit", "-qm", f"Run at {rate}"], check=True)
    monkeypatch.setattr(revisions, "ROOT", root)
    return root


def same(ratio):
    return {"ratio": ratio, "ratio_low": ratio, "ratio_high": ratio}


def run(output, *options):
    return compare_revisions.main(["--output", str(output), "--turns", "2", "--batch_size", "5", *options])


def test_each_revision_measures_itself(repository, tmp_path, capsys):
    output = tmp_path / "out.json"
    assert run(output, "--before", "HEAD~1") == 0
    report = json.loads(output.read_text(encoding="utf-8"))
    assert report["figures"]["training_pairs_per_second"] == {"before": 10, "after": 15, **same(1.5)}
    assert report["figures"]["captions_per_second_beams_5"] == {"before": 4, "after": 9, **same(2.25)}
    assert len(report["turns"]) == 2
    assert len(report["commits"]["before"]) == 40
    assert report["commits"]["before"] != report["commits"]["after"]
    assert "training_pairs_per_second: 10.0 -> 15.0, ratio 1.50" in capsys.readouterr().out


def test_what_goes_wrong_is_said(repository, tmp_path, capsys):
    assert run(tmp_path / "out.json", "--before", "nowhere") == 2
    assert "git rev-parse" in capsys.readouterr().err
    (repository / "benchmarks" / "measure_throughput.py").write_text("raise SystemExit('worn out')", encoding="utf-8")
    git = ["git", "-C", str(repository), "-c", "user.name=A", "-c", "user.email=a@example.org"]
    subprocess.run([*git, "commit", "-qam", "Break it"], check=True)
    assert run(tmp_path / "out.json", "--before", "HEAD~1") == 2
    assert "worn out" in capsys.readouterr().err
    program = PROGRAM.replace('"training": training, ', "")
    (repository / "benchmarks" / "measure_throughput.py").write_text(program, encoding="utf-8")
    subprocess.run([*git, "commit", "-qam", "Tell less"], check=True)
    assert run(tmp_path / "out.json", "--before", "HEAD") == 2
    assert "'training' is missing" in capsys.readouterr().err
    assert not (tmp_path / "out.json").exists()
