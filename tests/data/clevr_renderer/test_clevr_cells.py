# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Cell targets against the masks, cell by cell and pixel by pixel."""

import json

import numpy as np
import pytest
from PIL import Image

from ssgpa.data.clevr_renderer.dataset.cells import add_cell_targets, cell_targets
from ssgpa.data.readers.clevr_change import load_clevr_change


SHAPES = ["cube", "sphere", "cylinder"]
COLORS = ["gray", "red", "blue", "green", "brown", "purple", "cyan", "yellow"]
ORDER = [*SHAPES, *COLORS, "rubber", "metal", "large", "small"]


def expected_targets(mask, objects, changed, rows, columns):
    height, width = mask.shape
    pixels = {}
    for y in range(height):
        for x in range(width):
            pixels.setdefault((y * rows // height) * columns + x * columns // width, []).append(mask[y, x])
    targets = [0] * (rows * columns)
    for thing in objects:
        counts = [pixels[cell].count(thing["id"]) for cell in range(rows * columns)]
        most = counts.index(max(counts))
        for cell, count in enumerate(counts):
            if 10 * count >= len(pixels[cell]) or cell == most:
                for key in ("shape", "color", "material", "size"):
                    targets[cell] |= 1 << ORDER.index(thing[key])
                if thing["id"] == changed:
                    targets[cell] |= 1 << 15
    return targets


@pytest.mark.parametrize("grid", [(8, 12), (5, 7)])
def test_aux_heads_follow_the_masks(rendered, grid):
    records = [json.loads(line) for line in (rendered / "scenes.jsonl").read_text(encoding="utf-8").splitlines()]
    dataset = add_cell_targets(load_clevr_change(rendered), rendered, grid)
    changed_cells = 0
    for row in dataset["train"]:
        record = records[int(row["scene_id"])]
        same = row["change_type"] == "none"
        for column, view in (("before_cells", "default"), ("after_cells", "nonsemantic" if same else "semantic")):
            mask = np.asarray(Image.open(rendered / "object_masks" / f"{view}_{record['index']:06d}.png")).tolist()
            changed = None if same else record["changed_object"]
            assert row[column] == expected_targets(np.array(mask), record[view]["objects"], changed, *grid)
            shows = any(value >> 15 for value in row[column])
            absent = {"add": "before_cells", "drop": "after_cells"}.get(row["change_type"])
            assert shows == (not same and column != absent)
            changed_cells += shows
    assert changed_cells


def test_objects_tell_their_attributes_and_their_pixels_in_every_cell(rendered):
    rows, columns = 5, 7
    records = [json.loads(line) for line in (rendered / "scenes.jsonl").read_text(encoding="utf-8").splitlines()]
    dataset = add_cell_targets(load_clevr_change(rendered), rendered, (rows, columns))
    seen = 0
    for row in dataset["train"]:
        record = records[int(row["scene_id"])]
        mask = np.asarray(Image.open(rendered / "object_masks" / f"default_{record['index']:06d}.png"))
        found = np.reshape(row["before_objects"], (-1, 1 + rows * columns))
        visible = [thing for thing in record["default"]["objects"] if (mask == thing["id"]).any()]
        assert len(found) == len(visible)
        for (bits, *pixels), thing in zip(found.tolist(), visible, strict=True):
            assert bits == sum(1 << ORDER.index(thing[key]) for key in ("shape", "color", "material", "size"))
            counts = [0] * (rows * columns)
            for y, x in zip(*np.nonzero(mask == thing["id"]), strict=True):
                counts[(y * rows // mask.shape[0]) * columns + x * columns // mask.shape[1]] += 1
            assert pixels == counts
            seen += 1
    assert seen > 10


def test_small_and_hidden_objects():
    ids = np.full((20, 20), 255, dtype=np.uint8)
    ids[3, 3:5] = 1
    small = {"id": 1, "shape": "sphere", "color": "red", "material": "metal", "size": "small"}
    hidden = small | {"id": 2, "shape": "cube"}
    bits = 1 << 1 | 1 << 4 | 1 << 12 | 1 << 14
    assert cell_targets(ids, [small, hidden], [], (2, 2)) == [bits, 0, 0, 0]
    assert cell_targets(ids, [small, hidden], [1], (1, 1)) == [bits | 1 << 15]
    with pytest.raises(ValueError, match="21 x 2 cells"):
        cell_targets(ids, [small], [], (21, 2))


def test_masks_are_needed(copied):
    (copied / "scenes.jsonl").unlink()
    with pytest.raises(FileNotFoundError, match="--object_masks"):
        add_cell_targets(load_clevr_change(copied), copied, (4, 4))
