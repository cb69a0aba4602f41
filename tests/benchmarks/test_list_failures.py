# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Faults of captions, each made on purpose."""

import json
from pathlib import Path

import pytest

from ssgpa.benchmarks.tables.failures_table import format_failures
from ssgpa.data.clevr_renderer.dataset.layout import SCENES
from ssgpa.data.prepared import write_prepared
from ssgpa.data.readers.clevr_change import load_clevr_change
from ssgpa.metrics.clevr.scenes import SCENE, ChangedScene
from ssgpa.metrics.clevr.wordings import canonical_caption

from ..metrics.clevr.test_correctness import DIRECTIONS, GONE, MATTE, MOVED, OBJECTS, PURPLE, SPHERE
from ..scripts import load_script


ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def program():
    return load_script(ROOT / "benchmarks" / "list_failures.py")


FAULTS = [
    (MOVED, "the large red metallic cube moved", None),
    (MOVED, "there is no change", "says that nothing changed"),
    (MOVED, "the cube has quite moved", "the grammar does not make such a sentence"),
    (MOVED, "the large red metallic cube has disappeared", "another type of change"),
    (PURPLE, "the small green matte cylinder turned blue", "another new value"),
    (MOVED, "the large red metallic sphere moved", "shape wrong"),
    (MOVED, "the small blue metallic cube moved", "color and size wrong"),
    (MOVED, "the large red metallic cube right of the small red metallic cube moved", "the relation does not hold"),
    (MOVED, "the red cube moved", "fits another object too"),
    (GONE, "the large blue matte sphere is gone", "fits another object too"),
]


@pytest.mark.parametrize(("scene", "text", "fault"), FAULTS, ids=[text for _, text, _ in FAULTS])
def test_the_first_fault_counts(program, scene, text, fault):
    rows = [{"pair_id": "a", "change_type": scene.change_type, SCENE: scene}, {"pair_id": "b", "change_type": "none"}]
    found = program.list_failures(rows, {"a": text, "b": "nothing has changed"}, 5)
    assert found["pairs"] == 1
    assert found["faults"] == ({} if fault is None else {fault: 1})
    assert found["faults_by_type"] == {scene.change_type: found["faults"]}
    assert [failure["fault"] for failure in found["listed"]] == list(found["faults"])


def test_tables_hold_every_fault_and_trait(program):
    rows = [
        {"pair_id": str(place), "change_type": scene.change_type, SCENE: scene}
        for place, (scene, *_) in enumerate(FAULTS)
    ]
    captions = {str(place): text for place, (_, text, _) in enumerate(FAULTS)}
    text = format_failures(program.list_failures(rows, captions, 2), "failures.json")
    assert "| fits another object too | 2 | 0 | 1 | 1 |" in text
    assert "| first fault | captions | color | drop | move |" in text
    assert "| it is a cube | 78 % | 80 % |" in text
    assert "9 of 10 captions of changed pairs are not correct. From `failures.json`, which lists the first 2" in text


def test_traits_are_shares_of_scenes(program):
    found = program.shares([MOVED, MATTE, GONE, PURPLE])
    assert found["the changed object is small"] == 0.5
    assert found["it is a cube"] == 0.5
    assert found["it is metal"] == 0.5
    # Two red cubes differ in size alone.
    assert found["another object differs in one attribute"] == 0.5
    assert found["another object has the same four attributes"] == 0.25
    assert canonical_caption(ChangedScene(OBJECTS, SPHERE, DIRECTIONS, "drop")).endswith("has disappeared")


def test_from_files_to_a_file(program, rendered, tmp_path, capsys, own_cache):
    prepared = write_prepared(load_clevr_change(rendered), tmp_path / "prepared", scenes=rendered / SCENES)
    bare = write_prepared(load_clevr_change(rendered), tmp_path / "bare")
    names = json.loads((rendered / "splits.json").read_text("utf-8"))["test"]
    rows = [
        {"pair_id": f"{name:06d}.png{end}", "caption": "there is no change"} for name in names for end in ("", "_n")
    ]
    said = tmp_path / "said.jsonl"
    said.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    words = ["--predictions", str(said), "--output", str(tmp_path / "failures.json"), "--data"]
    assert program.main([*words, str(prepared)]) == 0
    found = json.loads((tmp_path / "failures.json").read_text("utf-8"))
    assert found["faults"] == {"says that nothing changed": len(names)}
    assert f"{len(names)} of {len(names)} captions are not correct" in capsys.readouterr().out
    assert program.main([*words, str(bare)]) == 2
    assert "prepared without the renderer's scenes" in capsys.readouterr().err
