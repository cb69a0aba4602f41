# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Captions that are made of the scene for training: true, in one wording, forwards and backwards."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest

from ssgpa.data.clevr_renderer.dataset.layout import SCENES
from ssgpa.metrics.clevr.correctness import judge_caption
from ssgpa.metrics.clevr.scenes import ChangedScene, find_scenes
from ssgpa.metrics.clevr.templates import parse_caption
from ssgpa.metrics.clevr.wordings import PLAIN, canonical_caption, canonical_description
from ssgpa.metrics.corpus import ReferenceCorpus
from ssgpa.training.dataset import CHANGE_UNKNOWN, PairDataset
from ssgpa.training.targets import (
    INVERSE_TARGETS,
    INVERSE_TYPE,
    TARGETS,
    choose_unchanged,
    choose_wording,
    make_targets,
)

from ..metrics.clevr.test_diagnosis import drawn_changes, record_of


INVERSE = {"color": "color", "material": "material", "add": "drop", "drop": "add", "move": "move", "none": "none"}


@pytest.fixture(scope="module")
def scenes(rendered):
    return rendered / SCENES


@pytest.fixture(scope="module")
def drawn():
    """Scenes both ways, and their references."""
    found = []
    for kind, before, after, name, captions in drawn_changes(150):
        if captions:
            record = record_of(kind, before, after, name)
            both = ChangedScene.from_record(record), ChangedScene.from_record(record, inverse=True)
            found.append((kind, before, after, name, captions, *both))
    assert len(found) > 100
    return found


def test_the_inverse_is_the_change_between_swapped_images(drawn):
    for kind, before, after, name, _, _, inverse in drawn:
        swapped = ChangedScene.from_record(record_of(INVERSE[kind], after, before, name))
        assert inverse == swapped
        if kind in ("color", "material"):
            assert inverse.value == getattr(before.find(name), kind)
            assert inverse.changed[kind] == getattr(after.find(name), kind)


@pytest.mark.parametrize("backwards", [False, True])
def test_canonical_captions_are_correct_and_name_all_attributes(drawn, backwards):
    related = 0
    for *_, forwards, inverse in drawn:
        scene = inverse if backwards else forwards
        text = canonical_caption(scene)
        caption = parse_caption(text)
        assert len(caption.subject) == 4
        # A relation where, and only where, it is needed and one is enough.
        related += bool(caption.relation)
        assert bool(caption.relation) <= scene.needs_relation
        assert judge_caption(scene, text).is_correct or (scene.needs_relation and not caption.relation)
    assert related


def test_a_relation_is_to_the_nearest_object_that_tells(drawn):
    """Which one that is can be seen in the image, unlike the order in which the renderer keeps objects."""
    checked = 0
    for *_, scene, _ in drawn:
        target, told = canonical_description(scene)
        if not told.relation:
            continue
        name, anchor, _ = told.relation
        twins = [
            thing
            for thing in scene.objects
            if all(thing[key] == getattr(target, key) for key in ("shape", "size", "color", "material"))
        ]
        assert len(twins) > 1
        for other in scene.objects:
            if math.dist(other["position"], target.position) < math.dist(anchor.position, target.position) - 1e-9:
                text = canonical_caption(scene).replace(say_anchor(anchor), say_anchor(SimpleNamespace(**other)))
                relations = [text.replace(PLAIN.relations[name], PLAIN.relations[way]) for way in PLAIN.relations]
                unique = sum(
                    say_anchor(SimpleNamespace(**thing)) == say_anchor(SimpleNamespace(**other))
                    for thing in scene.objects
                )
                assert (
                    other in twins or unique > 1 or not any(judge_caption(scene, one).is_correct for one in relations)
                )
                checked += 1
    assert checked > 3


def say_anchor(thing):
    return " ".join(["the", *(PLAIN.words[getattr(thing, key)] for key in ("size", "color", "material", "shape"))])


def test_the_words_come_nearest_to_the_references(drawn):
    records = [{"captions": captions, "change_type": kind} for kind, _, _, _, captions, *_ in drawn]
    found = [scene for *_, scene, _ in drawn]
    chosen = choose_wording(records, found)
    corpus = ReferenceCorpus([record["captions"] for record in records])

    def score(wording):
        return corpus.score([canonical_caption(scene, wording) for scene in found])["cider"]

    assert score(chosen) > score(PLAIN)
    # What was chosen last has no better word beside it.
    for ending in ("changed its location", "is in a different location", "moved"):
        assert score(chosen) >= score(chosen._replace(endings={**chosen.endings, "move": ending}))


def test_unchanged_pairs_are_told_by_their_most_frequent_caption():
    records = [{"change_type": "none", "captions": [text]} for text in "caabb"]
    assert choose_unchanged([*records, {"change_type": "move", "captions": ["c", "c", "c"]}]) == "a"
    assert choose_unchanged([{"change_type": "move", "captions": ["c"]}]) is None


def test_rows_get_what_is_asked_for(splits, scenes):
    rows = splits["train"]
    assert make_targets(rows, None, False, False, 1).rows is rows
    canonical = make_targets(rows, scenes, True, False, 1)
    assert TARGETS in canonical.rows.column_names
    assert INVERSE_TYPE not in canonical.rows.column_names
    assert set(canonical.report["canonical_captions"]) == {
        "words",
        "relations",
        "endings",
        "unchanged",
    }
    assert {len(texts) for texts in canonical.rows[TARGETS]} == {1}
    drawn = make_targets(rows, scenes, False, True, 1)
    assert TARGETS not in drawn.rows.column_names
    assert drawn.report == {}
    backwards = find_scenes(
        rows.select_columns(["pair_id", "scene_id", "change_type"]).to_list(), scenes, inverse=True
    )
    for row, scene in zip(drawn.rows.remove_columns(["before", "after"]), backwards, strict=True):
        assert row[INVERSE_TYPE] == INVERSE[row["change_type"]]
        if scene is None:
            assert row[INVERSE_TARGETS] == row["captions"]
        else:
            assert all(judge_caption(scene, text).is_correct for text in row[INVERSE_TARGETS])
    assert make_targets(rows, scenes, False, True, 1).rows[INVERSE_TARGETS] == drawn.rows[INVERSE_TARGETS]


def test_scenes_are_needed_and_must_be_those_of_the_rows(splits, scenes, tmp_path):
    with pytest.raises(ValueError, match="prepared without"):
        make_targets(splits["train"], None, True, False, 1)
    records = [json.loads(line) for line in scenes.read_text("utf-8").splitlines()]
    path = tmp_path / SCENES
    path.write_text("".join(json.dumps({**record, "index": record["index"] + 1}) + "\n" for record in records))
    with pytest.raises(ValueError, match="other scenes than the data"):
        make_targets(splits["train"], path, False, True, 1)


def test_all_six_orders_of_a_scene_are_seen_with_their_captions(splits, scenes, make_system):
    rows = make_targets(splits["train"], scenes, True, True, 1).rows
    dataset = PairDataset(rows, make_system()[1], distractor_swap=True, cache=True)
    changed = next(index for index, kind in enumerate(rows["change_type"]) if kind in ("add", "drop"))
    still = int(dataset.unchanged[dataset.scene_numbers[changed]])
    names = {
        dataset.store(changed, "before").tobytes(): "default",
        dataset.store(changed, "after").tobytes(): "semantic",
        dataset.store(still, "after").tobytes(): "distractor",
    }
    kind = rows[changed]["change_type"]
    seen = {}
    for epoch in range(60):
        dataset.set_epoch(epoch)
        for index in (changed, still):
            item = dataset[index]
            order = tuple(names[image.astype(np.uint8).tobytes()] for image in item["images"])
            seen.setdefault(order, set()).add((item["change_type"], *item["captions"]))
            if "semantic" in order:
                place = order.index("semantic")
                # Of the distractor's image nobody knows where the change is.
                assert (item["cells"][1 - place] & CHANGE_UNKNOWN).any() == ("distractor" in order)
                assert not (item["cells"][place] & CHANGE_UNKNOWN).any()
    forwards, backwards = (kind, *rows[changed][TARGETS]), (INVERSE[kind], *rows[changed][INVERSE_TARGETS])
    same = ("none", *rows[still][TARGETS])
    assert seen == {
        ("default", "semantic"): {forwards},
        ("distractor", "semantic"): {forwards},
        ("semantic", "default"): {backwards},
        ("semantic", "distractor"): {backwards},
        ("default", "distractor"): {same},
        ("distractor", "default"): {same},
    }
