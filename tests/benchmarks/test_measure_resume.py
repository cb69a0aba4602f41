# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The proof that killed runs are taken up finds what differs, and kills what it says it kills."""

import hashlib
import json
import os
import signal

import pytest

from ssgpa.benchmarks import measure_resume


def test_folders_that_differ_are_told_apart(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name / "images").mkdir(parents=True)
        (tmp_path / name / "images" / "0.png").write_bytes(b"image")
        (tmp_path / name / "splits.json").write_bytes(b"{}")
    one, other = (measure_resume.hashes(tmp_path / name) for name in ("one", "other"))
    assert one["images/0.png"] == hashlib.sha256(b"image").hexdigest()
    assert measure_resume.compare(one, other)["identical"]
    (tmp_path / "other" / "images" / "0.png").write_bytes(b"Image")
    (tmp_path / "other" / ".splits.json.tmp").write_bytes(b"{")
    verdict = measure_resume.compare(one, measure_resume.hashes(tmp_path / "other"))
    assert not verdict["identical"]
    assert verdict["files"] == [2, 3]
    assert verdict["first_different"] == [".splits.json.tmp", "images/0.png"]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")
def test_a_killed_run_is_measured(tmp_path, monkeypatch, capsys):
    signals = []
    kill = os.killpg
    monkeypatch.setattr(os, "killpg", lambda group, number: signals.append(number) or kill(group, number))
    output = tmp_path / "resume.json"
    arguments = f"--output {output} --scenes 40 --size 96 64".split()
    assert measure_resume.main(arguments) == 0
    found = json.loads(output.read_text(encoding="utf-8"))
    assert found["verdict"]["identical"]
    # Three images a scene, nine files about the set.
    assert found["verdict"]["files"] == [40 * 3 + 9] * 2
    assert 20 <= found["killed"]["scenes_recorded"] < 40
    assert found["command"].startswith("python examples/render_clevr_change.py --scenes 40")
    assert signals == [signal.SIGKILL]
    monkeypatch.setattr(measure_resume, "PROGRAM", "examples/missing.py")
    capsys.readouterr()
    assert measure_resume.main(arguments) == 2
    assert "ended with code" in capsys.readouterr().err
