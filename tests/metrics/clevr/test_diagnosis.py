# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
import json
from dataclasses import asdict
from itertools import product

import numpy as np
import pytest

from ssgpa.data.clevr_renderer.captions.sentences import change_captions, no_change_captions
from ssgpa.data.clevr_renderer.scene.changes import apply_change
from ssgpa.data.clevr_renderer.scene.geometry import CHANGE_TYPES, SHAPES, SIZES, advance, ground_directions
from ssgpa.data.clevr_renderer.scene.scenes import sample_scene
from ssgpa.metrics.clevr.diagnosis import diagnose, judge
from ssgpa.metrics.clevr.relations import merge_references, relation_verdict
from ssgpa.metrics.clevr.scenes import add_scenes
from ssgpa.metrics.clevr.templates import parse_caption
from ssgpa.metrics.report.build import build_report


def drawn_changes(count):
    """Scenes and their captions, without images."""
    generator = np.random.default_rng(3)
    for index in range(count):
        kind = CHANGE_TYPES[index % 5]
        before = sample_scene(generator, 1.5)
        changed = apply_change(before, kind, generator)
        if changed is not None:
            after, name = changed
            yield kind, before, after, name, change_captions(before, after, name, kind, generator)


def is_described(thing, attributes):
    return all(getattr(thing, name) == value for name, value in attributes.items())


def is_related(scene, target, relation, anchor):
    direction = ground_directions(scene.camera)[relation]
    return any(
        is_described(thing, anchor) and advance(thing.position, target.position, direction) > 0.2
        for thing in scene.objects
        if thing.id != target.id
    )


def test_captions_say_what_the_scene_holds():
    relations = 0
    for kind, before, after, name, captions in drawn_changes(100):
        scene = after if kind == "add" else before
        for caption in captions:
            parsed = parse_caption(caption)
            assert parsed.change_type == kind
            assert parsed.subject
            assert is_described(scene.find(name), parsed.subject), caption
            assert parsed.value == (getattr(after.find(name), kind) if kind in {"color", "material"} else None)
            if parsed.relation:
                relations += 1
                assert is_related(scene, scene.find(name), parsed.relation, parsed.anchor), caption
    assert relations > 50


def test_no_change_sentences():
    generator = np.random.default_rng(0)
    assert {parse_caption(text).change_type for text in no_change_captions(generator)} == {"none"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "moved",
        "the moved",
        "the red moved",
        "the red red cube moved",
        "red cube moved",
        "the cube red moved",
        "the cube turned",
        "the cube turned small",
        "the wooden cube moved",
        "the cube behind moved",
        "the cube that is the ball moved",
        "the cube behind the ball behind the cylinder moved",
        "a man walks",
    ],
)
def test_what_the_grammar_does_not_make(text):
    assert parse_caption(text) is None


def row(name, kind, *captions):
    return {"pair_id": name, "change_type": kind, "captions": list(captions)}


ROWS = [
    row("a", "color", "the small red cube turned blue", "the red metal block became blue"),
    row("b", "material", "the big ball changed to rubber", "the ball left of the small cube turned matte"),
    row(
        "c",
        "move",
        "the small green cube behind the ball moved",
        "the tiny green cube to the left of the cone is gone",
    ),
    row("d", "drop", "the gray thing is gone"),
    row("n", "none", "there is no change"),
]
CAPTIONS = [
    "the large red cube turned blue",
    "the ball on the left side of the tiny block became metallic",
    "the green block behind the matte sphere changed its location",
    "the grey thing vanished",
    "the red cube moved",
]


def test_rates_by_hand():
    found = diagnose(ROWS, CAPTIONS)
    assert found["pairs"] == 4
    # "cone" is not a word of the grammar, so that one of the seven captions of changed pairs is left out.
    assert found["references_parsed"] == 6 / 7
    assert found["captions_parsed"] == 3 / 4
    assert found["attributes"]["size"] == {"named": 1 / 4, "right": 0.0, "pairs": 1}
    assert found["attributes"]["color"] == {"named": 2 / 4, "right": 1.0, "pairs": 2}
    assert found["attributes"]["material"] == {"named": 0.0, "right": None, "pairs": 0}
    assert found["attributes"]["shape"] == {"named": 3 / 4, "right": 1.0, "pairs": 3}
    assert found["subject"] == 2 / 4
    assert found["new_value"] == {"color": 1.0, "material": 0.0}
    # One reference of c is not understood, so that nobody knows whether a relation is needed there.
    assert found["relations"] == {
        "used": 2,
        "confirmed": 1,
        "contradicted": 0,
        "open": 1,
        "needed": 0,
        "used_where_needed": 0,
        "confirmed_where_needed": 0,
    }
    assert found["scene"] is None


BEHIND = "the small green metal cube behind the red ball moved"


@pytest.mark.parametrize(
    ("caption", "verdict"),
    [
        ("the cube behind the ball moved", True),
        ("the cube that is behind the red thing moved", True),
        # The reference does not tell the ball's size, nor whether the cube is behind the cylinder.
        ("the cube behind the small red ball moved", None),
        ("the cube behind the cylinder moved", None),
        ("the cube left of the red ball moved", None),
        ("the cube in front of the red ball moved", False),
        ("the cube in front of the small red ball moved", False),
        # "The ball" may be another ball.
        ("the cube in front of the ball moved", None),
        ("the small green metal cube moved", None),
        ("the small green cube moved", False),
    ],
)
def test_what_references_tell_about_a_relation(caption, verdict):
    truth = merge_references([BEHIND])
    assert (truth.needs_relation, truth.explained) == (True, 1)
    assert relation_verdict(parse_caption(caption), truth) is verdict


def test_a_relation_is_needed_only_where_every_reference_has_one():
    assert not merge_references([BEHIND, "the green cube moved"]).needs_relation
    partly = merge_references([BEHIND, "somebody moved a cube"])
    assert (partly.needs_relation, partly.explained) == (False, 1)
    assert merge_references(["somebody moved a cube"]) is None
    assert relation_verdict(parse_caption("the cube moved"), merge_references(["the cube moved"])) is None


def record_of(kind, before, after, name):
    views = {
        view: {"camera": scene.camera, "objects": [asdict(thing) for thing in scene.objects]}
        for view, scene in (("default", before), ("semantic", after))
    }
    return {"change_type": kind, "changed_object": name, **views}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Rows with their scenes, read from a file as the renderer writes it."""
    rows, lines = [], []
    for index, (kind, before, after, name, captions) in enumerate(drawn_changes(150)):
        rows.append({**row(f"{index:06d}.png", kind, *captions), "scene_id": f"{index:06d}"})
        lines.append(json.dumps({"index": index, **record_of(kind, before, after, name)}) + "\n")
    path = tmp_path_factory.mktemp("scenes") / "scenes.jsonl"
    path.write_text("".join(lines), encoding="utf-8")
    return path, rows, add_scenes(rows, path)


def test_every_reference_holds_in_its_scene_and_singles_the_object_out(scenes):
    for record in scenes[2]:
        for text in record["captions"]:
            caption = parse_caption(text)
            assert record["scene"].singles_out(caption), text
            assert not caption.relation or record["scene"].relation_holds(caption), text


def test_what_references_call_certain_holds_in_the_scene(scenes):
    """Every caption of the grammar with two attributes at the anchor, said of every pair."""
    verdicts = []
    for record in filter(lambda record: record["captions"], scenes[2]):
        truth = merge_references(record["captions"])
        for phrase, size, shape in product(("left of", "right of", "behind", "in front of"), SIZES, SHAPES):
            caption = parse_caption(f"the thing {phrase} the {size} {shape} moved")
            verdict = relation_verdict(caption, truth)
            verdicts.append(verdict)
            assert verdict in {None, record["scene"].relation_holds(caption)}
    assert min(map(verdicts.count, (True, False, None))) > 20


def test_relations_are_needed_where_two_objects_look_alike(scenes):
    truths = [(record["scene"], merge_references(record["captions"])) for record in scenes[2] if record["captions"]]
    needed = [truth.needs_relation for scene, truth in truths if scene.needs_relation]
    assert needed
    assert all(needed)


def test_rates_by_scene(scenes):
    rows = [record for record in scenes[2] if record["captions"]]
    last = [record["captions"][-1] for record in rows]
    found = diagnose(rows, last)["scene"]
    assert found["pairs"] == found["singled_out"] == len(rows)
    assert found["relation_true"] == found["relation_used"] == sum(bool(parse_caption(text).relation) for text in last)
    blind = diagnose(rows, ["the thing moved"] * len(rows))["scene"]
    assert (blind["singled_out"], blind["relation_used"]) == (0, 0)
    swap = {" left of ": " right of ", " right of ": " left of ", " behind ": " in front of "}
    mirrored = list(last)
    for ours, other in swap.items():
        mirrored = [new if new != old else old.replace(ours, other) for new, old in zip(mirrored, last, strict=True)]
    turned = sum(new != old for new, old in zip(mirrored, last, strict=True))
    # From an anchor that is singled out, the opposite of a true relation is false.
    assert (
        diagnose(rows, mirrored)["scene"]["relation_true"] == found["relation_true"] - turned < found["relation_true"]
    )
    assert ("the only one", True) in judge(rows[0], last[0], set())


def test_scenes_of_other_data_are_refused(scenes, tmp_path):
    path, rows, _ = scenes
    with pytest.raises(ValueError, match=r"scenes\.jsonl holds other scenes.*1 pairs differ, first 'x'"):
        add_scenes([{**row("x", "move", "y"), "scene_id": "999999"}, *rows], path)
    wrong = tmp_path / "wrong.json"
    wrong.write_text('{"a": 1}\n', encoding="utf-8")
    with pytest.raises(ValueError, match=r"wrong\.json does not hold scenes"):
        add_scenes(rows, wrong)


def test_references_are_their_own_best_captions():
    rows = [
        row(str(index), kind, *captions) for index, (kind, *_, captions) in enumerate(drawn_changes(60)) if captions
    ]
    found = diagnose(rows, [record["captions"][-1] for record in rows])
    assert found["references_parsed"] == found["captions_parsed"] == found["subject"] == 1.0
    assert found["new_value"] == {"color": 1.0, "material": 1.0}
    assert found["relations"]["confirmed"] == found["relations"]["used"] > 0


def test_other_sets_are_not_diagnosed():
    assert diagnose([row("a", "color", "a man walks")], ["the red cube moved"]) is None
    assert diagnose([ROWS[-1], row("x", None, "the red cube moved")], ["x", "the red cube moved"]) is None


def test_the_report_holds_the_diagnosis():
    predictions = {record["pair_id"]: text.capitalize() + "." for record, text in zip(ROWS, CAPTIONS, strict=True)}
    assert build_report(ROWS, predictions)["diagnosis"] == diagnose(ROWS, CAPTIONS)
