# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The rendered folder: its layout, its bytes whatever the workers and interruptions, and its errors."""

import hashlib
import json
import math
from collections import Counter
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssgpa.data.clevr_renderer import render_dataset
from ssgpa.data.clevr_renderer.dataset import rendering, triple_set
from ssgpa.data.clevr_renderer.dataset.triple_set import balanced_splits

from ...scripts import load_script


ROOT = Path(__file__).parents[3]
TYPES = ("color", "material", "add", "drop", "move")


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_layout(rendered):
    names = {
        f"{folder}/CLEVR_{view}_{index:06d}.png"
        for folder, view in (("images", "default"), ("sc_images", "semantic"), ("nsc_images", "nonsemantic"))
        for index in range(8)
    }
    names |= {f"object_masks/{view}_{i:06d}.png" for view in ("default", "semantic", "nonsemantic") for i in range(8)}
    names |= {"change_captions.json", "no_change_captions.json", "splits.json", "type_mapping.json"}
    names |= {"change_captions_with_bbox.json", "scenes.jsonl", "render_settings.json"}
    names |= {"change_captions_by_IOU.json", "iou_sorted.txt"}
    assert set(contents(rendered)) == names
    types = json.loads((rendered / "type_mapping.json").read_text(encoding="utf-8"))
    assert types == {kind: [f"{i:06d}.png" for i in range(8) if i % 5 == number] for number, kind in enumerate(TYPES)}
    splits = json.loads((rendered / "splits.json").read_text(encoding="utf-8"))
    assert sorted(chain(*splits.values())) == list(range(8))
    assert {name: len(ids) for name, ids in splits.items()} == {"train": 4, "val": 2, "test": 2}
    for name, count in (("change_captions.json", 7), ("no_change_captions.json", 5)):
        captions = json.loads((rendered / name).read_text(encoding="utf-8"))
        assert list(captions) == [f"CLEVR_default_{i:06d}.png" for i in range(8)]
        assert max(map(len, captions.values())) == count


def test_masks_boxes_and_records_agree(rendered):
    boxes = json.loads((rendered / "change_captions_with_bbox.json").read_text(encoding="utf-8"))
    records = [json.loads(line) for line in (rendered / "scenes.jsonl").read_text(encoding="utf-8").splitlines()]
    for record in records:
        found = {}
        for view in ("default", "semantic", "nonsemantic"):
            mask = Image.open(rendered / "object_masks" / f"{view}_{record['index']:06d}.png")
            assert mask.mode == "L"
            ids = np.asarray(mask)
            assert set(np.unique(ids)) - {255} == {thing["id"] for thing in record[view]["objects"]}
            for thing in record[view]["objects"]:
                assert (ids == thing["id"]).sum() >= math.ceil(200 * 96 * 64 / (480 * 320))
                x, y, width, height = thing["bbox"]
                inside = ids[y : y + height, x : x + width] == thing["id"]
                assert inside.sum() == (ids == thing["id"]).sum()
                assert inside.any(axis=0)[[0, -1]].all()
                assert inside.any(axis=1)[[0, -1]].all()
                found[view, thing["id"]] = thing["bbox"]
        expected = {
            "bbox_before": found.get(("default", record["changed_object"])),
            "bbox_after": found.get(("semantic", record["changed_object"])),
        }
        assert boxes[str(record["index"])] == expected


def test_two_workers_and_more_scenes_give_the_same(rendered, small_settings, tmp_path):
    two = render_dataset(tmp_path / "two", small_settings, workers=2, progress=False)
    assert contents(two) == contents(rendered)
    fewer = render_dataset(tmp_path / "fewer", replace(small_settings, scenes=3), progress=False)
    whole = contents(rendered)
    images = {name: data for name, data in contents(fewer).items() if name.endswith(".png")}
    assert len(images) == 18
    assert all(whole[name] == data for name, data in images.items())


def test_resumed_after_an_interruption(rendered, small_settings, tmp_path, monkeypatch):
    folder = tmp_path / "set"
    real = rendering.write_png

    def fail_late(path, image, *rest):
        if path.name == "CLEVR_semantic_000003.png":
            raise KeyboardInterrupt
        real(path, image, *rest)

    monkeypatch.setattr(rendering, "write_png", fail_late)
    with pytest.raises(KeyboardInterrupt):
        render_dataset(folder, small_settings, progress=False)
    assert not (folder / "change_captions.json").exists()
    drawn = []
    draw = triple_set.draw_triple
    monkeypatch.setattr(rendering, "write_png", real)
    monkeypatch.setattr(
        triple_set, "draw_triple", lambda seed, index, *rest: drawn.append(index) or draw(seed, index, *rest)
    )
    (folder / "images" / "CLEVR_default_000001.png").unlink()
    render_dataset(folder, small_settings, progress=False)
    assert drawn == [1, 3, 4, 5, 6, 7]
    assert contents(folder) == contents(rendered)


def test_killed_while_it_wrote_its_first_file(small_settings, tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / ".render_settings.json.tmp").write_text('{"sce', encoding="utf-8")
    names = contents(render_dataset(folder, replace(small_settings, scenes=1), progress=False))
    assert "render_settings.json" in names
    assert not [name for name in names if name.endswith(".tmp")]


def test_finished_set_is_mended(rendered, small_settings, copied):
    for name in ("sc_images/CLEVR_semantic_000002.png", "object_masks/default_000004.png", "splits.json"):
        (copied / name).unlink()
    render_dataset(copied, small_settings, progress=False)
    assert contents(copied) == contents(rendered)


def test_other_settings_and_foreign_folders_are_refused(small_settings, copied, tmp_path):
    before = contents(copied)
    with pytest.raises(ValueError, match=r"copied was begun with other settings: seed 7 there, 8 here"):
        render_dataset(copied, replace(small_settings, seed=8), progress=False)
    with pytest.raises(ValueError, match="scenes 8 there, 9 here"):
        render_dataset(copied, replace(small_settings, scenes=9), progress=False)
    with pytest.raises(ValueError, match="cameras None there, chained here"):
        render_dataset(copied, replace(small_settings, cameras="chained"), progress=False)
    assert contents(copied) == before
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(FileExistsError, match="foreign"):
        render_dataset(foreign, small_settings, progress=False)
    with pytest.raises(FileExistsError, match="thesis"):
        render_dataset(foreign / "thesis.txt", small_settings, progress=False)
    (copied / "render_settings.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"render_settings\.json is damaged"):
        render_dataset(copied, small_settings, progress=False)


# What version 0.1.0 wrote for these settings: the start of each file's SHA-256, and of all images' pixels in turn.
RECORDED = {
    "change_captions.json": "a80686d0d530ee7b",
    "change_captions_with_bbox.json": "2dffcc4122012eb6",
    "no_change_captions.json": "cfa36f9048db79a7",
    "render_settings.json": "34152b97b9459d76",
    "scenes.jsonl": "6e52b4347fc3d501",
    "splits.json": "14f09cb0f7c0fe6d",
    "type_mapping.json": "e172b1b7feb12870",
    "images": "d09147d1fbdec144",
}


def test_defaults_write_what_they_always_wrote(rendered):
    pytest.importorskip("numba")
    hashes = {name: hashlib.sha256() for name in RECORDED}
    for path in sorted(rendered.rglob("*")):
        if path.suffix == ".png":
            hashes["images"].update(np.asarray(Image.open(path)).tobytes())
        elif path.name in hashes and path.is_file():
            hashes[path.name].update(path.read_bytes())
    assert {name: found.hexdigest()[:16] for name, found in hashes.items()} == RECORDED


def test_overlaps_grade_the_test_split(rendered):
    """The mean box overlap, from the masks; moved objects are left out."""
    overlaps = json.loads((rendered / "change_captions_by_IOU.json").read_text(encoding="utf-8"))
    assert list(overlaps) == [str(index) for index in range(8)]
    for index, overlap in overlaps.items():
        masks = [
            np.asarray(Image.open(rendered / "object_masks" / f"{view}_{int(index):06d}.png"))
            for view in ("default", "semantic")
        ]
        record = json.loads((rendered / "scenes.jsonl").read_text(encoding="utf-8").splitlines()[int(index)])
        skipped = record["changed_object"] if record["change_type"] in ("move", "add", "drop") else None
        found = []
        for name in {thing["id"] for thing in record["default"]["objects"]} - {skipped}:
            filled = []
            for mask in masks:
                rows, columns = np.nonzero(mask == name)
                box = np.zeros(mask.shape, dtype=bool)
                box[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
                filled.append(box)
            found.append((filled[0] & filled[1]).sum() / (filled[0] | filled[1]).sum())
        assert overlap == pytest.approx(np.mean(found))
    test = json.loads((rendered / "splits.json").read_text(encoding="utf-8"))["test"]
    lines = [line.split("\t") for line in (rendered / "iou_sorted.txt").read_text(encoding="utf-8").splitlines()]
    assert sorted(int(name.removesuffix(".png")) for name, _ in lines) == test
    assert [value for _, value in lines] == sorted(f"{overlaps[str(index)]:.6f}" for index in test)


def test_splits_of_the_full_set_hold_as_many_of_each_type():
    splits = balanced_splits(40_000, 0, (0.85, 0.05, 0.1))
    counts = {name: Counter(index % 5 for index in ids) for name, ids in splits.items()}
    expected = {"train": 6800, "val": 400, "test": 800}
    assert counts == {name: dict.fromkeys(range(5), count) for name, count in expected.items()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scenes": 0}, "scenes"),
        ({"seed": -1}, "seed"),
        ({"size": (960, 640)}, "size"),
        ({"size": (96, 8)}, "size"),
        ({"camera_jitter": -0.1}, "camera_jitter"),
        ({"camera_jitter": float("nan")}, "camera_jitter"),
        ({"splits": (0.5, 0.1, 0.1)}, "splits"),
        ({"splits": (1.2, -0.1, -0.1)}, "splits"),
        ({"backend": "cuda"}, "backend"),
        ({"layout": "coco"}, "layout"),
        ({"cameras": "fixed"}, "cameras"),
        ({"light_jitter": 4.0}, "light_jitter"),
        ({"changes": (0, 1)}, "changes"),
        ({"changes": (3, 2)}, "changes"),
        ({"changes": (1, 5)}, "changes"),
        ({"layout": "clevr_dc", "changes": (2, 2), "scenes": 6}, "changes"),
        ({"layout": "clevr_dc", "scenes": 8}, "scenes"),
    ],
)
def test_settings_out_of_range_are_named(small_settings, change, message):
    with pytest.raises(ValueError, match=f"^{message} must"):
        replace(small_settings, **change)


@pytest.mark.parametrize("scenes", [7, 100, 2003])
def test_splits_are_balanced(scenes):
    splits = balanced_splits(scenes, 5, (0.85, 0.05, 0.1))
    assert sorted(chain(*splits.values())) == list(range(scenes))
    assert len(splits["val"]) == max(1, round(scenes * 0.05))
    assert len(splits["test"]) == max(1, round(scenes * 0.1))
    for ids in splits.values():
        counts = Counter(index % 5 for index in ids)
        assert max(counts.values()) - min(counts.get(kind, 0) for kind in range(5)) <= 1
    assert splits == balanced_splits(scenes, 5, (0.85, 0.05, 0.1))
    assert splits != balanced_splits(scenes, 6, (0.85, 0.05, 0.1))


def test_command_line(rendered, tmp_path, capsys):
    example = load_script("render_clevr_change")
    options = "--scenes 8 --seed 7 --size 96 64 --splits 0.5 0.25 0.25 --object_masks"
    arguments = options.split()
    assert example.main([*arguments, "--output_dir", str(tmp_path / "set")]) == 0
    assert contents(tmp_path / "set") == contents(rendered)
    capsys.readouterr()
    assert example.main([*arguments[:-1], "--output_dir", str(tmp_path / "set")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "object_masks" in error
    with pytest.raises(SystemExit) as stop:
        example.main(["--scenes", "many"])
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
