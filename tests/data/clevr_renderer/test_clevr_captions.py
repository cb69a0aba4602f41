# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Captions against the released vocabulary and against a reading of them that knows nothing of the code under test."""

import json
import math

import numpy as np
import pytest

from ssgpa.data.clevr_renderer import change_type_of
from ssgpa.data.clevr_renderer.dataset.triples import draw_triple, triple_record


# The 72 words of the released vocabulary.
WORDS = """
    a added appeared as ball became been before behind big block blue brown change changed cube cyan cylinder
    difference different disappeared front gone gray green has identical in is its large left location longer made
    matte metal metallic missing modified moved newly no nothing object occurred of on placed purple red remains right
    rubber same scene scenes seem shiny side small sphere that the there thing tiny to turned two was yellow
"""
VOCABULARY = set(WORDS.split())
MEANING = {
    "large": ("size", "large"),
    "big": ("size", "large"),
    "small": ("size", "small"),
    "tiny": ("size", "small"),
    "metallic": ("material", "metal"),
    "metal": ("material", "metal"),
    "shiny": ("material", "metal"),
    "rubber": ("material", "rubber"),
    "matte": ("material", "rubber"),
    "cube": ("shape", "cube"),
    "block": ("shape", "cube"),
    "sphere": ("shape", "sphere"),
    "ball": ("shape", "sphere"),
    "cylinder": ("shape", "cylinder"),
} | {color: ("color", color) for color in ("gray", "red", "blue", "green", "brown", "purple", "cyan", "yellow")}
NOUNS = {"cube", "block", "sphere", "ball", "cylinder", "thing", "object"}
RELATIONS = {
    "to the left of": "left",
    "on the left side of": "left",
    "left of": "left",
    "to the right of": "right",
    "on the right side of": "right",
    "right of": "right",
    "behind": "behind",
    "in front of": "front",
}
VERBS = (" has ", " is ", " changed ", " turned ", " became ", " moved")


def read_phrase(phrase):
    """Attributes that "the small red thing" demands."""
    article, *words = phrase.split()
    assert article == "the", phrase
    assert words[-1] in NOUNS, phrase
    demands = [MEANING[word] for word in words if word not in ("thing", "object")]
    assert len(dict(demands)) == len(demands), phrase
    return dict(demands)


def ground_direction(camera, name):
    """Direction on the ground for a camera that looks at the origin."""
    length = math.hypot(camera[0], camera[1])
    away = (-camera[0] / length, -camera[1] / length)
    return {
        "behind": away,
        "front": (-away[0], -away[1]),
        "right": (away[1], -away[0]),
        "left": (-away[1], away[0]),
    }[name]


def strip(thing):
    """The object without its place in the image."""
    return {key: value for key, value in thing.items() if key != "bbox"}


def denoted(view, demands):
    return [thing for thing in view["objects"] if all(thing[key] == value for key, value in demands.items())]


def split_subject(caption):
    """Subject and ending, cut at the last verb."""
    caption = caption.replace(" that is ", " that_is ")
    cut = max(caption.rfind(verb) for verb in VERBS)
    return caption[:cut], caption[cut:].strip()


def resolve(caption, view):
    """Objects of a view that a caption's subject can mean, the demands on it, and whether it uses a relation."""
    subject, _ = split_subject(caption)
    for words, name in RELATIONS.items():
        left, found, right = subject.partition(f" {words} ")
        if not found:
            continue
        demands = read_phrase(left.removesuffix(" that_is"))
        anchors = denoted(view, read_phrase(right))
        assert len(anchors) == 1, caption
        x, y = ground_direction(view["camera"], name)
        ax, ay = anchors[0]["position"]
        return (
            [
                thing
                for thing in denoted(view, demands)
                if thing["id"] != anchors[0]["id"]
                and (thing["position"][0] - ax) * x + (thing["position"][1] - ay) * y > 0.2
            ],
            demands,
            True,
        )
    demands = read_phrase(subject)
    return denoted(view, demands), demands, False


@pytest.fixture(scope="module")
def records():
    return [json.loads(json.dumps(triple_record(draw_triple(11, index, (96, 64))))) for index in range(60)]


def test_subjects_denote_the_changed_object_alone(records):
    relations = direct = 0
    for record in records:
        view = record["semantic" if record["change_type"] == "add" else "default"]
        for caption in record["change_captions"]:
            found, demands, has_relation = resolve(caption, view)
            assert [thing["id"] for thing in found] == [record["changed_object"]], caption
            assert len(demands) == 4 if has_relation else len(demands) < 4, caption
            relations += has_relation
            direct += not has_relation
    assert 0.4 < relations / (relations + direct) < 0.7


def test_values_are_the_new_ones(records):
    for record in records:
        if record["change_type"] not in ("color", "material"):
            continue
        after = next(thing for thing in record["semantic"]["objects"] if thing["id"] == record["changed_object"])
        for caption in record["change_captions"]:
            kind = record["change_type"]
            assert MEANING[caption.split()[-1]] == (kind, after[kind]), caption


def test_vocabulary_counts_and_variety(records):
    assert len(VOCABULARY) == 72
    captions = [caption for record in records for caption in record["change_captions"]]
    sentences = [caption for record in records for caption in record["no_change_captions"]]
    assert {word for caption in captions + sentences for word in caption.split()} <= VOCABULARY
    assert max(len(caption.split()) for caption in captions) <= 22
    for record in records:
        assert len(set(record["no_change_captions"])) == 5
        assert len(set(record["change_captions"])) == len(record["change_captions"]) <= 7
    assert np.mean([len(record["change_captions"]) for record in records]) > 6.5
    related = [caption for caption in captions if any(f" {words} the" in caption for words in RELATIONS)]
    kept = sum(" that is " in caption for caption in related) / len(related)
    assert 0.35 < kept < 0.65


def test_change_type_of_every_caption(records):
    for record in records:
        assert {change_type_of(caption) for caption in record["change_captions"]} == {record["change_type"]}
        assert {change_type_of(caption) for caption in record["no_change_captions"]} == {"none"}


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("  The Red CUBE  became shiny. ", "material"),
        ("the red cube turned gray", "color"),
        ("the thing changed to metallic", "material"),
        ("the small ball moved", "move"),
        ("the small ball has moved", "move"),
        ("the small ball changed its location", "move"),
        ("the ball is no longer there", "drop"),
        ("the ball has been newly placed", "add"),
        ("There is no change", "none"),
        ("the red cube", None),
        ("the red cube turned", None),
        ("the red cube turned large", None),
        ("the red cube is red", None),
        ("red", None),
        ("", None),
    ],
)
def test_change_type_of(caption, expected):
    assert change_type_of(caption) == expected


def test_images_of_a_scene_obey_the_rules(records):
    for index, record in enumerate(records):
        assert record["change_type"] == ("color", "material", "add", "drop", "move")[index % 5]
        default = {thing["id"]: thing for thing in record["default"]["objects"]}
        semantic = {thing["id"]: thing for thing in record["semantic"]["objects"]}
        distractor = {thing["id"]: thing for thing in record["nonsemantic"]["objects"]}
        assert 3 <= len(default) <= 10
        assert {k: strip(v) for k, v in default.items()} == {k: strip(v) for k, v in distractor.items()}
        changed = record["changed_object"]
        for key in (default.keys() | semantic.keys()) - {changed}:
            assert strip(default[key]) == strip(semantic[key])
        assert (changed in default) == (record["change_type"] != "add")
        assert (changed in semantic) == (record["change_type"] != "drop")
        if record["change_type"] in ("color", "material"):
            differs = {key for key in strip(default[changed]) if default[changed][key] != semantic[changed][key]}
            assert differs == {record["change_type"]}
        if record["change_type"] == "move":
            assert math.dist(default[changed]["position"], semantic[changed]["position"]) >= 1.0


def test_gaps_between_objects(records):
    radius = {"large": 0.7, "small": 0.35}
    for record in records:
        for view in ("default", "semantic"):
            objects = record[view]["objects"]
            for i, one in enumerate(objects):
                assert max(map(abs, one["position"])) <= 3
                for other in objects[:i]:
                    gap = math.dist(one["position"], other["position"]) - radius[one["size"]] - radius[other["size"]]
                    assert gap >= 0.25 - 1e-9
                    for name in ("right", "behind"):
                        x, y = ground_direction(record["default"]["camera"], name)
                        dx, dy = (a - b for a, b in zip(one["position"], other["position"], strict=True))
                        assert abs(dx * x + dy * y) > 0.4 - 1e-9


def test_cameras_are_independent_around_the_nominal_one(records):
    nominal = np.array([7.4811, -6.5076, 5.3437])
    offsets = np.array(
        [[np.array(r[v]["camera"]) - nominal for v in ("default", "semantic", "nonsemantic")] for r in records]
    )
    assert np.abs(offsets).max() <= 1.5
    np.testing.assert_allclose(offsets.std(axis=0), 1.5 / math.sqrt(3), atol=0.2)
    correlation = np.corrcoef(offsets.reshape(len(records), -1).T)
    assert np.abs(correlation[np.triu_indices(9, 1)]).max() < 0.5
