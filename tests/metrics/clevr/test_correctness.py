# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Correctness of captions: scenes made by hand, whose captions were judged by hand, and rendered ones."""

import json

import numpy as np
import pytest

from ssgpa.data.clevr_renderer.captions.grammar import NO_CHANGE
from ssgpa.data.clevr_renderer.captions.sentences import no_change_captions
from ssgpa.data.clevr_renderer.captions.viewpoint_captions import viewpoint_captions
from ssgpa.metrics.bootstrap import compare_systems
from ssgpa.metrics.clevr.correctness import build_judges, judge_caption
from ssgpa.metrics.clevr.oracles import CANONICAL, FOUR, FRESH, NEEDED, SHORTEST, oracle_captions
from ssgpa.metrics.clevr.part_rates import describe_correctness
from ssgpa.metrics.clevr.scenes import SCENE, ChangedScene
from ssgpa.metrics.report.build import build_report, format_intervals, format_table
from ssgpa.metrics.report.gallery import describe_pairs
from ssgpa.metrics.report.markdown import format_report, format_summary
from ssgpa.metrics.report.tables import baselines_table, correctness_table, scores_table
from ssgpa.metrics.trainer_metrics import report_metrics

from .test_diagnosis import drawn_changes, record_of


# Seen from above, behind is up:
#
#                                 3 sphere
#     2 sphere
#                 0 LARGE cube    1 small cube
#
#                 4 cylinder
DIRECTIONS = {"left": (-1.0, 0.0), "right": (1.0, 0.0), "behind": (0.0, 1.0), "front": (0.0, -1.0)}
OBJECTS = [
    {"id": 0, "size": "large", "color": "red", "material": "metal", "shape": "cube", "position": [0.0, 0.0]},
    {"id": 1, "size": "small", "color": "red", "material": "metal", "shape": "cube", "position": [2.0, 0.1]},
    {"id": 2, "size": "large", "color": "blue", "material": "rubber", "shape": "sphere", "position": [-2.0, 1.0]},
    {"id": 3, "size": "large", "color": "blue", "material": "rubber", "shape": "sphere", "position": [2.0, 2.0]},
    {"id": 4, "size": "small", "color": "green", "material": "rubber", "shape": "cylinder", "position": [0.0, -2.0]},
]
LARGE_CUBE, SMALL_CUBE, SPHERE, CYLINDER = 0, 1, 2, 4


def scene_of(target, kind, value=None):
    return ChangedScene(OBJECTS, target, DIRECTIONS, kind, value)


MOVED = scene_of(LARGE_CUBE, "move")
GONE = scene_of(SPHERE, "drop")
NEW = scene_of(SMALL_CUBE, "add")
PURPLE = scene_of(CYLINDER, "color", "purple")
MATTE = scene_of(SMALL_CUBE, "material", "rubber")

BY_HAND = [
    (MOVED, "the large red metal cube moved", True),
    (MOVED, "the big red shiny block is in a different location", True),
    # Direct references leave attributes out, as long as no other object fits.
    (MOVED, "the large cube moved", True),
    (MOVED, "the large red thing changed its location", True),
    (MOVED, "the big metallic object moved", True),
    (MOVED, "the red cube moved", False),
    (MOVED, "the cube moved", False),
    (MOVED, "the thing moved", False),
    # One attribute wrong.
    (MOVED, "the small red metal cube moved", False),
    (MOVED, "the large blue metal cube moved", False),
    (MOVED, "the large red rubber cube moved", False),
    (MOVED, "the large red metal sphere moved", False),
    # Another change, or none.
    (MOVED, "the large red metal cube has disappeared", False),
    (MOVED, "the large red metal cube has been added", False),
    (MOVED, "the large red metal cube turned blue", False),
    (MOVED, "there is no change", False),
    # One relation.
    (MOVED, "the red cube left of the small red metal cube moved", True),
    (MOVED, "the red cube that is to the left of the tiny metal block moved", True),
    (MOVED, "the red cube right of the small red metal cube moved", False),
    (MOVED, "the large red metal cube right of the small red metal cube moved", False),
    # Both red cubes are behind the cylinder.
    (MOVED, "the red cube behind the green cylinder moved", False),
    (MOVED, "the large red cube behind the green cylinder moved", True),
    # There is no such anchor.
    (MOVED, "the large red metal cube behind the yellow cylinder moved", False),
    (MOVED, "the large red metal cube behind the large green cylinder moved", False),
    # No side at all: the cylinder is straight in front.
    (MOVED, "the large red metal cube on the left side of the green cylinder moved", False),
    # Two anchors fit, and it is enough that one of them stands there.
    (MOVED, "the large red metal cube in front of the large blue sphere moved", True),
    (MOVED, "the large red metal cube left of the large blue sphere moved", True),
    (MOVED, "the red thing left of the metal thing moved", True),
    # No sentences of the grammar.
    (MOVED, "large red metal cube moved", False),
    (MOVED, "the large red metal cube was moved", False),
    (MOVED, "the cube behind the cylinder behind the sphere moved", False),
    (MOVED, "", False),
    # Phrases of CLEVR-DC.
    (MOVED, "the cube that is both behind the green cylinder and left of the small cube moved", True),
    (MOVED, "the cube that is both behind the green cylinder and right of the small cube moved", False),
    (MOVED, "the thing that is both behind the green cylinder and left of the blue sphere moved", False),
    (MOVED, "the other cube the same color as the small cube moved", True),
    (MOVED, "the other thing that is the same material as the small cube moved", True),
    (MOVED, "the other thing the same size as the blue sphere moved", False),
    # The two spheres are alike but for their places.
    (GONE, "the large blue rubber sphere is gone", False),
    (GONE, "the large blue rubber ball left of the large red cube has disappeared", True),
    (GONE, "the ball behind the large red cube is missing", False),
    (GONE, "the blue ball in front of the blue ball is no longer there", True),
    (GONE, "the blue ball to the left of the small red cube is gone", True),
    (GONE, "the large blue rubber ball left of the large red cube moved", False),
    (NEW, "the small red cube has appeared", True),
    (NEW, "the tiny metal thing right of the large cube in the after image has been newly placed", True),
    (NEW, "the small red cube is gone", False),
    (NEW, "the small thing has been added", False),
    (PURPLE, "the small green rubber cylinder changed to purple", True),
    (PURPLE, "the cylinder became purple", True),
    (PURPLE, "the green object turned purple", True),
    (PURPLE, "the cylinder turned green", False),
    (PURPLE, "the cylinder turned rubber", False),
    (PURPLE, "the purple cylinder changed to purple", False),
    (PURPLE, "the small rubber thing left of the small cube became purple", True),
    (MATTE, "the small cube turned matte", True),
    (MATTE, "the small shiny block became rubber", True),
    (MATTE, "the small cube turned shiny", False),
    (MATTE, "the small matte cube turned rubber", False),
]


@pytest.mark.parametrize(("scene", "text", "right"), BY_HAND)
def test_captions_judged_by_hand(scene, text, right):
    assert judge_caption(scene, text).is_correct is right


@pytest.mark.parametrize("text", NO_CHANGE)
def test_no_change_in_many_words(text):
    rows = [pair("a", MOVED), {"pair_id": "b", "change_type": "none", "captions": ["nothing at all happened"]}]
    changed, unchanged = build_judges(rows, {"nothing at all happened"})
    assert (changed(text), unchanged(text)) == (False, True)
    assert unchanged("nothing at all happened")
    assert not unchanged("the large cube moved")
    # A sentence that neither the grammar nor a reference has.
    assert not unchanged("it is all the same")


def test_what_is_wrong_is_named():
    parts = judge_caption(MOVED, "the small red metal sphere behind the yellow cylinder is gone").parts
    wrong = {name for name, right in parts.items() if not right}
    assert wrong == {"change", "size", "shape", "relation", "only"}
    assert parts["color"]
    assert parts["material"]
    assert judge_caption(MOVED, "there is no change").parts == {"change": False, "only": False}


def pair(name, scene, *captions):
    captions = captions or ("the large red metal cube moved", "the large cube is in a different location")
    return {"pair_id": name, "change_type": scene.change_type, "captions": list(captions), SCENE: scene}


HAND_ROWS = [
    pair("a", MOVED),
    pair("b", PURPLE, "the cylinder became purple", "the green thing turned purple"),
    pair("c", MATTE, "the small cube turned matte", "the small metal cube became rubber"),
    {"pair_id": "n", "change_type": "none", "captions": ["there is no change", "nothing has changed"]},
    {"pair_id": "m", "change_type": "none", "captions": ["there is no change", "nothing was modified"]},
]
SAID = {
    "a": "The large cube left of the small cube moved.",
    "b": "the large cylinder became purple",
    "c": "the small cube is gone",
    "n": "The scene remains the same.",
    "m": "the small cube is gone",
}


@pytest.fixture(scope="module")
def report():
    return build_report(HAND_ROWS, SAID, HAND_ROWS)


def test_rates_by_hand(report):
    scores = report["scores"]
    assert scores["changed"]["correct"] == pytest.approx(1 / 3)
    assert scores["unchanged"]["correct"] == pytest.approx(1 / 2)
    assert scores["total"]["correct"] == pytest.approx(2 / 5)
    assert {kind: block["correct"] for kind, block in scores["by_type"].items()} == {
        "color": 0.0,
        "material": 0.0,
        "move": 1.0,
    }
    found = report["correctness"]
    assert (found["pairs"], found["captions_parsed"]) == (3, 1.0)
    assert (found["references"], found["references_correct"]) == (6, 1.0)
    rates = {name: (rate["captions"], rate["right"]) for name, rate in found["parts"]["changed"].items()}
    assert rates == {
        "change": (3, pytest.approx(2 / 3)),
        "shape": (3, 1.0),
        "color": (0, None),
        "material": (0, None),
        "size": (3, pytest.approx(2 / 3)),
        "relation": (1, 1.0),
        "only": (3, pytest.approx(2 / 3)),
    }
    assert found["parts"]["color"]["size"]["right"] == 0.0
    low, high = found["parts"]["changed"]["change"]["interval"]
    assert 0 <= low < 2 / 3 < high <= 1
    low, high = scores["changed"]["intervals"]["correct"]
    assert 0 <= low < 1 / 3 < high <= 1


def test_baselines_and_bounds_are_judged_too(report):
    assert report["upper_bounds"]["one reference against the others"]["changed"]["correct"] == 1.0
    constant = report["baselines"]['always "there is no change"']
    assert (constant["changed"]["correct"], constant["total"]["correct"]) == (0.0, pytest.approx(2 / 5))


def test_tables_show_it(report):
    table = format_table(report).splitlines()
    columns = ["B4", "METEOR", "ROUGE-L", "CIDEr-D", "correct"]
    assert table[1].split() == [*columns, "|", *columns]
    system = next(line.split() for line in table if line.startswith("system "))
    assert (system[5], system[-1]) == ("40.0", "33.3")
    assert sum(line.startswith("oracle: ") for line in table) == 5
    assert "unchanged right: 50.0 %" in table
    assert "change 66.7 % of 3" in next(line for line in table if line.startswith("of the changed pairs, right"))
    assert "correct 33.3 [" in format_intervals(report)
    results = {"model": "m", "split": "test", "decoding": {"num_beams": 1}, **report}
    markdown = format_report(results, "x.json")
    assert "| BLEU-4 / ROUGE-L / CIDEr, x 100 | correct, changed |" in markdown
    assert "| **m** | 33.3 % (" in markdown
    assert "Unchanged right: 50.0 % (" in markdown
    assert "| color | 1 | 0.0 % (0.0 to 0.0) |" in markdown
    summary = format_summary(results, "x.json").splitlines()
    assert summary[0] == "| changed pairs, x 100 | correct | BLEU-4 | ROUGE-L | CIDEr-D |"
    ends = [float(line.split(" | ")[-1].rstrip(" |")) for line in summary if line.startswith("| oracle: ")]
    cider = [100 * blocks["changed"]["cider"] for blocks in report["oracles"].values()]
    assert ends == [pytest.approx(min(cider), abs=0.06), pytest.approx(max(cider), abs=0.06)]
    assert "<th>correct</th>" in scores_table(results)
    assert "changed: correct" in baselines_table(results)
    assert "66.7 of 3" in correctness_table(results)


def test_trainers_log_it(report):
    found = report_metrics(report)
    assert found["changed_correct"] == pytest.approx(1 / 3)
    assert found["unchanged_right"] == pytest.approx(1 / 2)
    assert found["size_right"] == pytest.approx(2 / 3)
    assert "color_right" not in found


def test_nothing_is_said_without_scenes(report):
    rows = [{name: value for name, value in row.items() if name != SCENE} for row in HAND_ROWS]
    plain = build_report(rows, SAID, rows)
    assert plain["correctness"] is plain["oracles"] is None
    assert "correct" not in json.dumps({name: plain[name] for name in ("scores", "baselines", "upper_bounds")})
    assert "correct" not in format_table(plain) + format_intervals(plain)
    assert not [name for name in report_metrics(plain) if name.endswith(("correct", "_right"))]
    results = {"model": "m", "split": "test", "decoding": {"num_beams": 1}, **plain}
    shown = scores_table(results) + baselines_table(results) + correctness_table(results)
    assert "correct" not in shown
    assert "| changed pairs, x 100 | BLEU-4 |" in format_summary(results, "x")
    assert "| changed | unchanged | all pairs |" in format_report(results, "x").splitlines()[0]
    assert "oracle" not in shown + format_report(results, "x") + format_summary(results, "x")
    # The other figures are what they were.
    for block in ("total", "changed"):
        ours = {name: value for name, value in report["scores"][block].items() if name not in {"correct", "intervals"}}
        assert ours == {name: value for name, value in plain["scores"][block].items() if name != "intervals"}


def test_scenes_must_tell_the_truth_of_all_pairs():
    assert build_judges(HAND_ROWS) is not None
    assert build_judges([*HAND_ROWS, {**HAND_ROWS[0], SCENE: None}]) is None
    assert build_judges([*HAND_ROWS, {"pair_id": "x", "change_type": None, "captions": ["a"]}]) is None
    # References in other words, or of another scene.
    assert build_judges([pair("a", MOVED, "somebody pushed a box", "the large cube moved")]) is None
    assert build_judges([pair("a", MOVED, "the small cube moved")]) is None
    assert build_judges([row for row in HAND_ROWS if row["change_type"] == "none"]) is None


def test_two_systems_are_compared_by_it():
    theirs = {**SAID, "b": "the cylinder became purple", "m": "there is no change"}
    found = compare_systems(HAND_ROWS, SAID, theirs, draws=50)
    assert found["total"]["correct"]["difference"] == pytest.approx(-2 / 5)
    assert found["changed"]["correct"]["theirs"] == pytest.approx(2 / 3)
    rows = [{name: value for name, value in row.items() if name != SCENE} for row in HAND_ROWS]
    assert "correct" not in compare_systems(rows, SAID, theirs, draws=50)["total"]


@pytest.fixture(scope="module")
def rendered_rows():
    """Changed pairs with scenes and captions as the renderer draws them."""
    rows = []
    for index, (kind, before, after, name, captions) in enumerate(drawn_changes(160)):
        scene = ChangedScene.from_record(record_of(kind, before, after, name))
        if captions:
            rows.append(pair(f"{index:06d}.png", scene, *captions))
    return rows


def test_all_references_of_rendered_scenes_are_correct(rendered_rows):
    texts = [(row[SCENE], text) for row in rendered_rows for text in row["captions"]]
    assert len(texts) > 1000
    assert [text for scene, text in texts if not judge_caption(scene, text).is_correct] == []


def test_references_of_other_viewpoints_are_correct():
    generator = np.random.default_rng(11)
    count = 0
    for kind, before, after, name, _ in drawn_changes(120):
        scene = ChangedScene.from_record(record_of(kind, before, after, name))
        texts = viewpoint_captions(before, after, name, kind, generator)
        count += len(texts)
        assert [text for text in texts if not judge_caption(scene, text).is_correct] == []
    assert count > 500


def test_random_captions_of_the_right_type_are_rarely_correct(rendered_rows):
    generator = np.random.default_rng(2)
    by_type = {}
    for row in rendered_rows:
        by_type.setdefault(row["change_type"], []).append(row)
    draws = [(row, generator.permutation(by_type[row["change_type"]])[:5]) for row in rendered_rows]
    hits = [
        judge_caption(row[SCENE], other["captions"][-1]).is_correct
        for row, others in draws
        for other in others
        if other is not row
    ]
    assert len(hits) > 600
    assert np.mean(hits) < 0.06


def test_gallery_and_correctness_agree(rendered_rows):
    rows = rendered_rows[:60]
    generator = np.random.default_rng(4)
    said = {
        row["pair_id"]: row["captions"][0] if index % 3 else rows[generator.integers(60)]["captions"][-1]
        for index, row in enumerate(rows)
    }
    cards = describe_pairs(rows, said)
    assert [card["right"] for card in cards] == [
        judge_caption(row[SCENE], said[row["pair_id"]]).is_correct for row in rows
    ]


def test_oracles_know_the_scene(rendered_rows):
    captions = oracle_captions(rendered_rows, seed=1)
    assert captions == oracle_captions(rendered_rows, seed=1)
    assert captions[FRESH] != oracle_captions(rendered_rows, seed=2)[FRESH]
    for name in (FRESH, SHORTEST, NEEDED, CANONICAL):
        wrong = [
            text
            for row, text in zip(rendered_rows, captions[name], strict=True)
            if not judge_caption(row[SCENE], text).is_correct
        ]
        assert wrong == [], name
    for index, row in enumerate(rendered_rows):
        verdict = judge_caption(row[SCENE], captions[FOUR][index])
        assert verdict.is_correct is not row[SCENE].needs_relation
        assert len(verdict.caption.subject) == 4
        related = "relation" in judge_caption(row[SCENE], captions[NEEDED][index]).parts
        assert related is row[SCENE].needs_relation
        assert len(captions[SHORTEST][index].split()) <= len(captions[NEEDED][index].split())


def test_wording_alone_moves_cider(rendered_rows):
    said = {row["pair_id"]: row["captions"][0] for row in rendered_rows}
    oracles = build_report(rendered_rows, said)["oracles"]
    cider = {name: blocks["changed"]["cider"] for name, blocks in oracles.items()}
    assert cider[CANONICAL] > cider[NEEDED] > cider[SHORTEST]
    assert all(blocks["total"] is None for blocks in oracles.values())


def test_oracles_of_other_viewpoints_use_their_grammar():
    generator = np.random.default_rng(5)
    rows = []
    for index, (kind, before, after, name, _) in enumerate(drawn_changes(40)):
        scene = ChangedScene.from_record(record_of(kind, before, after, name))
        captions = viewpoint_captions(before, after, name, kind, generator)
        if captions:
            rows.append(pair(str(index), scene, *captions))
    fresh = oracle_captions(rows)[FRESH]
    assert any(" both " in text or " the same " in text for text in fresh)
    assert all(judge_caption(row[SCENE], text).is_correct for row, text in zip(rows, fresh, strict=True))


def test_scenes_survive_as_text(rendered_rows):
    for row in rendered_rows[:5]:
        again = ChangedScene.from_json(row[SCENE].to_json())
        assert again.singles_out is not None
        for text in row["captions"]:
            assert judge_caption(again, text).is_correct
            assert judge_caption(again, text).parts == judge_caption(row[SCENE], text).parts


def test_scenes_as_the_public_generator_writes_them():
    """Its JSON has no ids, places as `3d_coords`, and the directions of its camera."""
    keep = ("size", "color", "material", "shape")
    things = [{**{name: thing[name] for name in keep}, "3d_coords": [*thing["position"], 0.7]} for thing in OBJECTS]
    directions = {name: [2 * value for value in vector] + [0.0] for name, vector in DIRECTIONS.items()}
    directions |= {"above": [0.0, 0.0, 1.0], "below": [0.0, 0.0, -1.0]}
    after = [dict(thing) for thing in things]
    after[CYLINDER]["color"] = "purple"
    record = {
        "index": 0,
        "change_type": "color",
        "changed_object": CYLINDER,
        "default": {"objects": things, "directions": directions},
        "semantic": {"objects": after, "directions": directions},
    }
    scene = ChangedScene.from_record(record)
    for truth, text, right in BY_HAND:
        if truth is PURPLE:
            assert judge_caption(scene, text).is_correct is right
    moved = ChangedScene.from_record({**record, "change_type": "move", "changed_object": LARGE_CUBE})
    for truth, text, right in BY_HAND:
        if truth is MOVED:
            assert judge_caption(moved, text).is_correct is right


def test_parts_of_captions_that_say_nothing():
    rows = [pair("a", MOVED), pair("b", GONE, "the ball left of the large cube is gone")]
    found = describe_correctness(rows, ["no words of the grammar", "there is no change"], draws=20)
    assert found["captions_parsed"] == 0.5
    rates = found["parts"]["changed"]
    assert (rates["change"]["right"], rates["only"]["right"]) == (0.0, 0.0)
    assert rates["shape"] == {"captions": 0, "right": None, "interval": None}


def test_no_change_sentences_of_the_renderer():
    texts = no_change_captions(np.random.default_rng(0))
    (judge, *_) = build_judges([{"pair_id": "n", "change_type": "none", "captions": texts}, pair("a", MOVED)])
    assert all(map(judge, texts))
