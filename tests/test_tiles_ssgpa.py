# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Large pairs tile by tile: where tiles lie, which have changed, how maps join."""

import copy
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset
from transformers import pipeline

from ssgpa.cli import commands as cli
from ssgpa.cli.commands import EMBEDDED
from ssgpa.image_utils_ssgpa import needed_size
from ssgpa.tiles_ssgpa import join_captions, lay_in, tile_boxes, tile_grid

from .tiny_systems import TINY_SYSTEMS


SAMPLES = EMBEDDED.parents[1] / "examples" / "pairs"
SHORT = {"max_new_tokens": 6, "num_beams": 2}
needs_checkpoint = pytest.mark.skipif(not EMBEDDED.is_dir(), reason="this copy holds no embedded checkpoint")


def noise(seed, width, height):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


class Rows(Dataset):
    """A data set that is read by index alone."""

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return self.rows[index]


@pytest.fixture(scope="module")
def pipe():
    model, processor = TINY_SYSTEMS["ssgpa"]()
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return pipeline("change-captioning", model=model, processor=processor, device="cpu")


@pytest.mark.parametrize("overlap", [0, 0.125, 0.9])
@pytest.mark.parametrize(("size", "grid"), [((100, 60), (3, 4)), ((17, 13), (13, 17)), ((40, 40), (1, 1))])
def test_tiles_cover_every_pixel_and_no_more(size, grid, overlap):
    seen = np.zeros(size[::-1], int)
    boxes = tile_boxes(size, grid, overlap)
    assert len(boxes) == grid[0] * grid[1]
    for left, top, right, bottom in boxes:
        assert 0 <= left < right <= size[0]
        assert 0 <= top < bottom <= size[1]
        seen[top:bottom, left:right] += 1
    assert seen.min() >= 1
    assert overlap or seen.max() == 1


def test_tiles_lie_at_the_same_place_of_images_of_other_sizes():
    small, large = tile_boxes((120, 80), (2, 3), 0.25), tile_boxes((480, 320), (2, 3), 0.25)
    assert [tuple(4 * edge for edge in box) for box in small] == large


@pytest.mark.parametrize("trained", [None, {"width": 40, "height": 80}])
def test_the_automatic_grid_shrinks_no_tile_by_more_than_the_training(pipe, trained):
    """Or by two, where the processor does not tell; what a tile takes of its neighbors counts."""
    model = needed_size(pipe.processor.image_processor)
    assert model == (32, 32)
    most = 64 if trained is None else 80
    processor = SimpleNamespace(trained_size=trained)
    for size in ((64, 64), (65, 64), (81, 300), (1000, 700), (12_000, 9_000)):
        grid = tile_grid("auto", size, model, processor)
        for left, top, right, bottom in tile_boxes(size, grid):
            assert max(right - left, bottom - top) <= most + 1  # edges are whole pixels
        # And no more tiles than that takes: with one less in a row, a tile between two others is larger.
        if grid[1] > 3:
            assert size[0] * 1.25 / (grid[1] - 1) > most
    assert tile_grid("auto", (64, 64), model, processor) == (1, 1)
    with pytest.raises(ValueError, match="does not tell its size"):
        tile_grid("auto", (64, 64), None)


def test_what_was_given_at_construction_holds_for_tiles(pipe):
    pair = (noise(0, 64, 64), noise(1, 64, 64))
    parts = {"model": pipe.model, "processor": pipe.processor, "device": "cpu"}
    own = pipeline("change-captioning", **parts, return_change_map=True, tiles=(1, 2), **SHORT)
    assert own(pair) == pipe(pair, return_change_map=True, tiles=(1, 2), **SHORT)
    two = pipeline("change-captioning", **parts, num_return_sequences=2, **SHORT)
    with pytest.raises(ValueError, match="one caption a tile"):
        two(pair, tiles=(1, 2))


def test_values_become_colors_once(pipe, monkeypatch):
    """Wherever the range is told: at construction, at the call, by the processor, or where the table was read."""
    counts = np.random.default_rng(0).integers(0, 3060, (2, 64, 64, 1), dtype=np.uint16)
    pair = [np.repeat(side, 3, -1) for side in counts]
    seen, prepare = [], type(pipe)._prepare

    def look(self, images, *rest):
        seen.append(self.processor.load_image(images[0]))
        return prepare(self, images, *rest)

    monkeypatch.setattr(type(pipe), "_prepare", look)
    told = {"value_range": (0, 3060)}
    parts = {"model": pipe.model, "processor": pipe.processor, "device": "cpu"}
    sensor = copy.deepcopy(pipe.processor)
    sensor.value_range = (0, 3060)
    ways = [
        lambda: pipe(pair, tiles=(1, 1), **told, **SHORT),
        lambda: pipeline("change-captioning", **parts, **told)(pair, tiles=(1, 1), **SHORT),
        lambda: pipeline("change-captioning", **parts | {"processor": sensor})(pair, tiles=(1, 1), **SHORT),
        lambda: pipe([pipe.processor.load_image(side, whole=True, **told) for side in pair], tiles=(1, 1), **SHORT),
        lambda: pipeline("change-captioning", **parts | {"processor": sensor})(
            [sensor.load_image(side, whole=True, value_range=(0, 3060)) for side in pair], tiles=(1, 1), **SHORT
        ),
    ]
    for way in ways:
        seen.clear()
        way()
        assert 100 < np.asarray(seen[0]).mean() < 150


def test_a_pair_too_small_for_its_tiles_costs_its_own_place(pipe):
    small, large = [(noise(seed, side, side), noise(seed + 1, side, side)) for seed, side in ((0, 8), (2, 64))]
    results = pipe([small, large], tiles=(9, 9), on_error="return", **SHORT)
    assert results[0] == [{"error": "An image of 8x8 pixels has no 9 rows and 9 columns of tiles."}]
    assert len(results[1][0]["tiles"]) == 81


def test_scoring_of_tiles_is_halved_too(pipe, monkeypatch):
    pair = (noise(0, 64, 64), noise(1, 64, 64))
    expected = pipe(pair, tiles=(2, 2), batch_size=4, **SHORT)
    score = type(pipe)._log_likelihood

    def short(self, pairs, captions):
        if len(pairs) > 1:
            raise torch.OutOfMemoryError("no room")
        return score(self, pairs, captions)

    monkeypatch.setattr(type(pipe), "_log_likelihood", short)
    found = pipe(pair, tiles=(2, 2), batch_size=4, **SHORT)
    pipe.fitting_batch_size = None
    for one, other in zip(found[0]["tiles"], expected[0]["tiles"], strict=True):
        assert one["change_score"] == pytest.approx(other["change_score"], abs=1e-3)


def test_tiles_of_any_collection(pipe):
    pairs = np.random.default_rng(0).integers(0, 256, (2, 2, 64, 64, 3), dtype=np.uint8)
    expected = [pipe(list(pair), tiles=(1, 2), **SHORT) for pair in pairs]
    assert pipe(pairs, tiles=(1, 2), **SHORT) == expected
    assert list(pipe(Rows(list(map(list, pairs))), tiles=(1, 2), **SHORT)) == expected


@pytest.mark.parametrize("tiles", [3, (2,), (0, 1), (1.5, 2), "all", (1, 2, 3), ("1", "2")])
def test_what_is_no_grid_is_refused(pipe, tiles):
    with pytest.raises(ValueError, match=r"`tiles` must be \(rows, columns\), from 1 on, or \"auto\"; got"):
        pipe((noise(0, 64, 64), noise(1, 64, 64)), tiles=tiles)


def test_each_tile_is_captioned_as_a_pair_of_its_own(pipe):
    before, after = noise(0, 90, 60), noise(1, 180, 120)
    result = pipe((before, after), tiles=(2, 3), batch_size=4, return_change_map=True, **SHORT)[0]
    assert [(tile["row"], tile["column"]) for tile in result["tiles"]] == [(r, c) for r in (1, 2) for c in (1, 2, 3)]
    stitched = {name: np.zeros(np.asarray(result[name]).shape) for name in ("change_map_before", "change_map")}
    for tile in result["tiles"]:
        pair = before.crop(tile["box_before"]), after.crop(tile["box_after"])
        alone = pipe(pair, return_change_map=True, **SHORT)[0]
        assert tile["generated_text"] == alone["generated_text"]
        for name, box in (("change_map_before", tile["box_before"]), ("change_map", tile["box_after"])):
            part = stitched[name][box[1] : box[3], box[0] : box[2]]
            np.maximum(part, np.asarray(alone[name]), out=part)
    for name, expected in stitched.items():
        np.testing.assert_allclose(np.asarray(result[name], float), expected, atol=1)
        assert expected.std() > 0
    assert result["overlay"].size == after.size
    assert result["overlay_before"].size == before.size


def test_the_score_is_the_likelihood_of_the_caption_over_that_without_a_change(pipe):
    """By the model's own loss, which is the mean over the caption's tokens."""
    before, after = noise(2, 40, 32), noise(3, 40, 32)
    caption = "the red cube has moved"

    def log_likelihood(pair):
        inputs = pipe.processor(images=[pair], suffix=[caption], return_tensors="pt")
        with torch.no_grad():
            output = pipe.model(**inputs)
        return -output.loss_parts["caption"].item() * (inputs["labels"] != -100).sum().item()

    expected = log_likelihood([before, after]) - log_likelihood([before, before])
    (score, still) = pipe.change_scores([(before, after), (before, before)], [caption, caption], batch_size=2)
    assert score == pytest.approx(expected, abs=1e-3)
    assert abs(expected) > 0.01
    assert still == pytest.approx(0, abs=1e-5)


def test_lines_are_those_of_the_changed_tiles():
    names = [("a", False), ("b", True), ("a", False), ("c", True)]
    tiles = [
        {"row": 1, "column": index, "generated_text": text, "changed": changed}
        for index, (text, changed) in enumerate(names, start=1)
    ]
    assert join_captions(tiles) == "row 1, column 2: b\nrow 1, column 4: c"
    assert join_captions(tile | {"changed": False} for tile in tiles) == "a"


def test_where_tiles_overlap_the_stronger_evidence_counts():
    canvas = Image.new("L", (4, 1))
    for value, box in ((100, (0, 0, 3, 1)), (60, (2, 0, 4, 1))):
        lay_in(canvas, Image.new("L", (box[2] - box[0], 1), value), box)
    assert np.asarray(canvas).tolist() == [[100, 100, 100, 60]]


def test_tiles_go_with_lists_streams_and_errors(pipe, tmp_path):
    pair = (noise(0, 64, 64), noise(1, 64, 64))
    expected = pipe(pair, tiles=(1, 2), **SHORT)
    broken = (tmp_path / "gone.png", pair[1])
    assert pipe([pair, broken], tiles=(1, 2), on_error="return", **SHORT) == [
        expected,
        [{"error": f"{tmp_path / 'gone.png'}: no such file."}],
    ]
    assert list(pipe((item for item in [pair, pair]), tiles=(1, 2), **SHORT)) == [expected, expected]
    with pytest.raises(FileNotFoundError):
        pipe([pair, broken], tiles=(1, 2))
    with pytest.raises(ValueError, match="one caption a tile"):
        pipe(pair, tiles=(1, 2), num_return_sequences=2)
    with pytest.raises(ValueError, match="64x64 pixels has no 65 rows"):
        pipe(pair, tiles=(65, 1))


@needs_checkpoint
def test_a_trained_model_tells_the_changed_tiles(tmp_path, monkeypatch, capsys, restored_logging):
    """Three scenes in one image."""
    names = ["add_1", "none_0", "drop_1"]
    monkeypatch.chdir(tmp_path)
    for side in ("before", "after"):
        canvas = Image.new("RGB", (720, 160))
        for index, name in enumerate(names):
            canvas.paste(Image.open(SAMPLES / f"{name}_{side}.png").convert("RGB"), (index * 240, 0))
        canvas.save(f"{side}.png")
    model = pipeline("change-captioning", model=str(EMBEDDED), device="cpu")
    result = model(("before.png", "after.png"), tiles=(1, 3), tile_overlap=0, batch_size=3, num_beams=1)[0]
    assert [tile["changed"] for tile in result["tiles"]] == [True, False, True]
    first, last = result["generated_text"].splitlines()
    assert first.startswith("row 1, column 1: ")
    assert last.startswith("row 1, column 3: ")
    capsys.readouterr()
    assert cli.main(["caption", "before.png", "after.png", "--tiles", "1x3", "--num-beams", "1", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert len(printed["tiles"]) == 3
    assert printed["caption"].splitlines()[-1].startswith("row 1, column 3: ")


@pytest.mark.parametrize("text", ["3", "ax2", "0x2", "3x", "2x2x2"])
def test_the_command_refuses_what_is_no_grid(text, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["caption", "a.png", "b.png", "--tiles", text])
    assert stop.value.code == 2
    assert "--tiles" in capsys.readouterr().err
