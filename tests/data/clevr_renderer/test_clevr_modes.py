# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""What the options beside the defaults draw: cameras, lights, several changes, pairs in CLEVR-DC's layout."""

import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from ssgpa.data.clevr_renderer import RenderSettings, change_type_of, render_dataset
from ssgpa.data.clevr_renderer.caster.looks import NOMINAL as NOMINAL_LOOK
from ssgpa.data.clevr_renderer.dataset.cells import add_cell_targets
from ssgpa.data.clevr_renderer.dataset.pair_set import block_splits
from ssgpa.data.clevr_renderer.dataset.rendering import look_of
from ssgpa.data.clevr_renderer.dataset.triples import draw_triple, triple_record
from ssgpa.data.clevr_renderer.scene.cameras import PRESETS, Views
from ssgpa.data.readers.clevr_change import load_clevr_change
from ssgpa.data.readers.clevr_dc import load_clevr_dc
from ssgpa.metrics.clevr.correctness import build_judges
from ssgpa.metrics.clevr.scenes import SCENE, add_scene_column, find_scenes
from ssgpa.metrics.report.build import light_rows

from ...scripts import load_script
from .test_clevr_captions import MEANING, VOCABULARY, denoted, ground_direction, read_phrase, resolve
from .test_clevr_writer import contents


SIZE = (96, 64)
NOMINAL = np.array([7.4811, -6.5076, 5.3437])
VIEWS = ("default", "semantic", "nonsemantic")
PAIR_TYPES = ("color", "material", "add", "drop", "move", "none")


def drawn(seed, count, **options):
    return [json.loads(json.dumps(triple_record(draw_triple(seed, index, SIZE, **options)))) for index in range(count)]


def test_chained_cameras_move_from_the_first_one():
    preset = PRESETS["as_code"]
    records = drawn(2, 20, views=Views(preset.cameras, preset.jitter))
    cameras = np.array([[record[view]["camera"] for view in VIEWS] for record in records])
    steps = cameras[:, 1:] - cameras[:, :1]
    assert np.abs(cameras[:, 0] - NOMINAL).max() <= 1.0
    assert 0.8 < np.abs(steps).max() <= 1.0
    assert np.abs(cameras[:, 1:] - NOMINAL).max() > 1.0


def test_cameras_anywhere_go_around_the_scene():
    generator = np.random.default_rng(0)
    cameras = np.array([Views("anywhere", 0.0).first_camera(generator) for _ in range(400)])
    quarters = np.floor(np.arctan2(cameras[:, 1], cameras[:, 0]) / (math.pi / 2))
    assert (np.bincount((quarters + 2).astype(int)) > 70).all()
    assert np.hypot(cameras[:, 0], cameras[:, 1]).min() >= 6.5


def test_lights_move_on_request_only():
    for record in drawn(2, 2):
        assert "view_lights" not in record
    for record in drawn(2, 4, views=Views(light_jitter=0.5)):
        default, *others = (np.array(list(record["view_lights"][view].values())) for view in VIEWS)
        assert default.tolist() == list(record["lights"].values())
        for lights in others:
            assert 0.1 < np.abs(lights - default).max() <= 0.5


@pytest.fixture(scope="module")
def several():
    return drawn(4, 30, counts=(2, 4))


def test_several_changes_touch_different_objects(several):
    assert [len(record["changes"]) for record in several] == [2] * 5 + [3] * 5 + [4] * 5 + [2] * 5 + [3] * 5 + [4] * 5
    seen = set()
    for index, record in enumerate(several):
        changes = {change["object_id"]: change["change_type"] for change in record["changes"]}
        assert len(changes) == len(record["changes"])
        assert record["changes"][0]["change_type"] == PAIR_TYPES[index % 5]
        seen |= set(changes.values())
        before = {thing["id"]: thing for thing in record["default"]["objects"]}
        after = {thing["id"]: thing for thing in record["semantic"]["objects"]}
        for name in before.keys() | after.keys():
            one, two = ({k: v for k, v in side.get(name, {}).items() if k != "bbox"} for side in (before, after))
            differs = {key for key in one if one[key] != two[key]} if one and two else {"add" if two else "drop"}
            differs = {"move" if key == "position" else key for key in differs}
            assert differs == ({changes[name]} if name in changes else set())
    assert seen == set(PAIR_TYPES[:5])


def test_a_caption_of_several_changes_tells_each_once(several):
    for record in several:
        kinds = sorted(change["change_type"] for change in record["changes"])
        assert len(record["change_captions"]) >= 5
        for caption in record["change_captions"]:
            sentences = caption.split(". ")
            assert sorted(map(change_type_of, sentences)) == kinds
            told = []
            for sentence in sentences:
                view = record["semantic" if change_type_of(sentence) == "add" else "default"]
                found, _, _ = resolve(sentence, view)
                told += [thing["id"] for thing in found]
            assert sorted(told) == sorted(change["object_id"] for change in record["changes"])


def test_a_set_of_several_changes_is_read_with_its_aux_heads(tmp_path):
    settings = RenderSettings(scenes=5, seed=1, size=SIZE, splits=(0.4, 0.2, 0.4), object_masks=True, changes=(2, 3))
    folder = render_dataset(tmp_path / "set", settings, progress=False)
    dataset = add_cell_targets(load_clevr_change(folder), folder, (8, 12))
    rows = [row for split in dataset.values() for row in split]
    assert {row["change_type"] for row in rows} == {None, "none"}
    assert all(". " in caption for row in rows if row["change_type"] is None for caption in row["captions"])
    for row in rows:
        marked = any(cell >> 15 & 1 for cell in row["before_cells"] + row["after_cells"])
        assert marked == (row["change_type"] is None)
    # Nobody judges captions of several changes.
    assert find_scenes(rows, folder / "scenes.jsonl") == [None] * len(rows)
    judged = add_scene_column(dataset["train"], folder / "scenes.jsonl")
    assert build_judges(light_rows(judged)) is None


@pytest.fixture(scope="module")
def pair_settings():
    return RenderSettings(
        scenes=60, seed=3, size=SIZE, splits=(0.5, 0.2, 0.3), layout="clevr_dc", cameras="anywhere", camera_jitter=0.0
    )


@pytest.fixture(scope="module")
def pairs(pair_settings, tmp_path_factory):
    return render_dataset(tmp_path_factory.mktemp("dc") / "set", pair_settings, progress=False)


@pytest.fixture(scope="module")
def pair_records(pairs):
    captions = json.loads((pairs / "captions.json").read_text(encoding="utf-8"))
    lines = (pairs / "scenes.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    assert [str(record["index"]) for record in records] == list(captions)
    return [record | {"captions": captions[str(record["index"])]} for record in records]


def test_pairs_lie_in_the_released_layout(pairs, pair_records):
    names = {f"{side}/{index}.png" for side in ("bef", "aft") for index in range(60)}
    assert set(contents(pairs)) == names | {"captions.json", "split.json", "scenes.jsonl", "render_settings.json"}
    assert [record["change_type"] for record in pair_records] == [kind for kind in PAIR_TYPES for _ in range(10)]
    assert Image.open(pairs / "aft" / "59.png").size == SIZE
    split = json.loads((pairs / "split.json").read_text(encoding="utf-8"))
    assert split["train"][:6] == [0, 1, 2, 3, 4, 10]
    assert split["val"] == [block + i for block in range(0, 60, 10) for i in (5, 6)]
    assert split["test"] == [block + i for block in range(0, 60, 10) for i in (7, 8, 9)]


def test_a_set_of_any_size_is_read_with_its_types(pairs, pair_records, tmp_path):
    """The release's reader tells types by blocks of ids, whose size the renderer's settings give."""
    splits = load_clevr_dc(pairs)
    types = {row["pair_id"]: row["change_type"] for rows in splits.values() for row in rows}
    assert types == {str(record["index"]): record["change_type"] for record in pair_records}
    folder = shutil.copytree(pairs, tmp_path / "set")
    (folder / "render_settings.json").write_text('{"scenes": 61}', encoding="utf-8")
    with pytest.raises(ValueError, match=r"render_settings\.json: `scenes` must be a multiple of 6, found 61"):
        load_clevr_dc(folder)


def test_captions_of_pairs_are_judged_by_their_scenes(pairs):
    judged = add_scene_column(load_clevr_dc(pairs)["train"], pairs / "scenes.jsonl")
    rows = light_rows(judged)
    assert [SCENE in row for row in rows] == [row["change_type"] != "none" for row in rows]
    judges = build_judges(rows)
    assert all(judge(text) for judge, row in zip(judges, rows, strict=True) for text in row["captions"])
    others = [rows[index - 6]["captions"] for index in range(len(rows))]
    assert not all(judge(text) for judge, texts in zip(judges, others, strict=True) for text in texts)


def test_splits_of_a_full_set_are_the_released_ones():
    split = block_splits(48_000, (0.85, 0.05, 0.1))
    assert {name: len(ids) for name, ids in split.items()} == {"train": 40_800, "val": 2400, "test": 4800}
    assert [ids[0] for ids in split.values()] == [0, 6800, 7200]
    assert [ids[-1] for ids in split.values()] == [46_799, 47_199, 47_999]


def test_pairs_do_not_depend_on_the_workers(pair_settings, tmp_path):
    settings = replace(pair_settings, scenes=6, object_masks=True)
    one, two = (render_dataset(tmp_path / str(count), settings, workers=count, progress=False) for count in (1, 2))
    assert contents(one) == contents(two)
    assert (one / "object_masks" / "aft_5.png").is_file()


def places(words, view, last=True):
    """Objects that "left of the red cube" or "both ... and ..." leaves, by the camera's own directions."""
    names = {"left": "left", "right": "right", "behind": "behind", "front": "front"}
    found = view["objects"]
    for part in words.removeprefix("both ").split(" and "):
        relation, _, anchor = (
            part.partition(" the ")
            if not part.startswith(("to the", "on the"))
            else (part[:20].partition(" of ")[0], "", part.partition(" of the ")[2])
        )
        direction = next(names[word] for word in relation.split() if word in names)
        anchors = denoted(view, read_phrase(f"the {anchor}"))
        assert len(anchors) == 1, words
        x, y = ground_direction(view["camera"], direction)
        ax, ay = anchors[0]["position"]
        found = [
            thing
            for thing in found
            if thing["id"] != anchors[0]["id"]
            and (thing["position"][0] - ax) * x + (thing["position"][1] - ay) * y > 0.2
        ]
    return found


def read_subject(text, view):
    """Family and objects of a subject of a pair's caption."""
    text = text.removesuffix(" in the after image").replace(" that is", "")
    if text.startswith("the other "):
        noun, _, rest = text.partition(" the same ")
        attribute, _, anchor = rest.partition(" as ")
        anchors = denoted(view, read_phrase(anchor))
        assert len(anchors) == 1, text
        alike = [thing for thing in view["objects"] if thing[attribute] == anchors[0][attribute]]
        demands = read_phrase(noun.replace("the other", "the"))
        assert attribute not in demands, text
        return "alike", [t for t in denoted({"objects": alike}, demands) if t["id"] != anchors[0]["id"]]
    words = text.split()
    noun = next(
        number
        for number, word in enumerate(words)
        if MEANING.get(word, ("", ""))[0] == "shape" or word in ("thing", "object")
    )
    demands = read_phrase(" ".join(words[: noun + 1]))
    rest = " ".join(words[noun + 1 :])
    family = "both" if rest.startswith("both ") else "relation" if rest else "direct"
    return family, denoted({"objects": places(rest, view) if rest else view["objects"]}, demands)


def test_captions_of_pairs_denote_the_changed_object(pair_records):
    families, words = {}, set()
    for record in pair_records:
        assert len(record["captions"]) == 5
        for caption in record["captions"]:
            words |= set(caption.split())
            assert change_type_of(caption) == record["change_type"], caption
            if record["change_type"] == "none":
                continue
            view = record["after" if record["change_type"] == "add" else "before"]
            subject = caption.replace(" that is", "")
            cut = max(subject.rfind(verb) for verb in (" has ", " is ", " changed ", " turned ", " became ", " moved"))
            family, found = read_subject(subject[:cut], view)
            families[family] = families.get(family, 0) + 1
            assert [thing["id"] for thing in found] == [record["changed_object"]], caption
    assert families.keys() == {"direct", "relation", "both", "alike"}
    assert min(families.values()) > 20
    extra = {"other", "both", "and", "after", "image", "size", "color", "material", "shape"}
    assert extra <= words <= VOCABULARY | extra


def test_objects_of_pairs_show_from_both_sides(pair_records):
    for record in pair_records:
        for side in ("before", "after"):
            assert all(thing["bbox"] for thing in record[side]["objects"])


def test_command_line_presets(tmp_path, monkeypatch):
    example = load_script("render_clevr_change")
    asked = []
    monkeypatch.setattr(example, "render_dataset", lambda folder, settings, workers: asked.append(settings) or folder)
    start = ["--output_dir", str(tmp_path), "--scenes", "12", "--seed", "0"]
    for options in ("", "--cameras as_code", "--layout clevr_dc", "--changes 2 4 --camera_jitter 0.5"):
        assert example.main([*start, *options.split()]) == 0
    plain = RenderSettings(scenes=12, seed=0)
    assert asked == [
        plain,
        replace(plain, cameras="chained", camera_jitter=1.0),
        replace(plain, layout="clevr_dc", cameras="anywhere", camera_jitter=0.0),
        replace(plain, changes=(2, 4), camera_jitter=0.5),
    ]


def looks(record, view):
    return [(thing["shape"], thing["size"], thing["color"], thing["material"]) for thing in record[view]["objects"]]


def has_twin(record):
    view = "semantic" if record["change_type"] == "add" else "default"
    places = {thing["id"]: place for place, thing in enumerate(record[view]["objects"])}
    found = looks(record, view)
    return found.count(found[places[record["changed_object"]]]) > 1


def test_twins_are_there_on_request():
    plain = drawn(2, 60)
    assert sum(map(has_twin, plain)) < 12
    every = drawn(2, 20, twins=1.0)
    assert all(map(has_twin, every))
    assert [record["change_type"] for record in every] == [record["change_type"] for record in plain[:20]]
    some = drawn(2, 60, twins=0.5)
    assert 20 < sum(map(has_twin, some)) < 45
    # The scenes that were not chosen are as they were.
    assert 15 < sum(record == other for record, other in zip(plain, some, strict=True)) < 45
    # Their captions need a relation.
    words = {word for caption in every[0]["change_captions"] for word in caption.split()}
    assert words & {"left", "right", "behind", "front"}


def test_twins_of_pairs_are_refused():
    with pytest.raises(ValueError, match=r"twins must be 0 in the layout clevr_dc, not 0\.5"):
        RenderSettings(scenes=6, seed=0, layout="clevr_dc", twins=0.5)
    with pytest.raises(ValueError, match=r"twins must be a share between 0 and 1, not 1\.5"):
        RenderSettings(scenes=6, seed=0, twins=1.5)


def test_a_share_of_the_scenes_has_looks_of_its_own():
    settings = RenderSettings(scenes=200, seed=3, random_look=0.3)
    every = RenderSettings(scenes=200, seed=3, random_look=1.0)
    own = [index for index in range(200) if look_of(settings, index) != NOMINAL_LOOK]
    assert 35 < len(own) < 85
    assert all(look_of(settings, index) == look_of(every, index) for index in own)
