# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Where the change really is in a rendered set: boxes, object masks and moves, from `scenes.jsonl` (ours)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...checks import inner_file
from ...schema import NO_CHANGE
from ..caster.ray_caster import object_ids
from ..scene.geometry import camera_basis, focal_length
from ..scene.scenes import Scene, SceneObject
from .cells import COVERED, cell_of_pixels
from .layout import SCENES, SPLITS, image_name, read_scenes, read_splits
from .triples import Box


@dataclass(frozen=True)
class TruePair:
    """One pair with the ground truth of the renderer; points and moves are (row, column) in pixels.

    Args:
        pair_id (`str`): As in `readers.clevr_change.load_clevr_change`.
        change_type (`str`): "none" for the distractor.
        images (`tuple[Path, Path]`): Paths before and after.
        size (`tuple[int, int]`): Width and height of the images, in pixels.
        boxes (`tuple[Box | None, Box | None]`): [x, y, width, height] of the changed object's visible pixels before
            and after, None where it is absent.
        masks (`tuple[np.ndarray, np.ndarray]`): The same pixels, bool (height, width).
        object_shifts (`np.ndarray`): Moves of the unchanged objects' centers from before to after, (objects, 2) in
            pixels.
        own_move (`np.ndarray`, *optional*): Where the changed object's center is after, less where it would be if the
            camera alone had moved; None where it is not in both images.
    """

    pair_id: str
    change_type: str
    images: tuple[Path, Path]
    size: tuple[int, int]
    boxes: tuple[Box | None, Box | None]
    masks: tuple[np.ndarray, np.ndarray]
    object_shifts: np.ndarray
    own_move: np.ndarray | None


def project(scene: Scene, thing: SceneObject, size: tuple[int, int]) -> np.ndarray:
    """Pixel (row, column) that shows the center of an object, in an image of `size` (width, height)."""
    place, right, up, forward = camera_basis(scene.camera)
    ray = np.array([*thing.position, thing.radius]) - place
    across, along = np.array([ray @ right, -(ray @ up)]) / (ray @ forward) * focal_length(size[0])
    return np.array([size[1] / 2 + along, size[0] / 2 + across])


def covered_share(mask: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Share of each cell (rows, columns) that an object covers, from its pixels, bool (height, width)."""
    cells = cell_of_pixels(mask.shape, grid)
    area, covered = (np.bincount(kept, minlength=grid[0] * grid[1]) for kept in (cells.ravel(), cells[mask]))
    return (covered / area).reshape(grid)


def object_cells(mask: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Cells that show an object, by the rule of `cells.cell_targets`.

    Args:
        mask (`np.ndarray`): Its pixels, bool (height, width).
        grid (`tuple[int, int]`): Rows and columns.

    Returns:
        `np.ndarray`: Bool (rows, columns): Cells of which it covers a tenth, and the one of which it covers most.
    """
    share = covered_share(mask, grid)
    most = np.arange(share.size).reshape(grid) == share.argmax()
    return (share >= COVERED) | (most & (share > 0))


def _scene(record: dict[str, Any], view: str) -> Scene:
    names = [field.name for field in fields(SceneObject)]
    things = [{name: thing[name] for name in names} for thing in record[view]["objects"]]
    objects = tuple(SceneObject(**(thing | {"position": tuple(thing["position"])})) for thing in things)
    return Scene(objects, record["lights"], tuple(record[view]["camera"]))


def _true_pair(folder: Path, record: dict[str, Any], view: str) -> TruePair:
    same = view == "nonsemantic"
    changed = None if same else record["changed_object"]
    views = ("default", view)
    images = tuple(inner_file(folder, image_name(name, record["index"])) for name in views)
    with Image.open(images[0]) as image:
        size = image.size
    before, after = (_scene(record, name) for name in views)
    # The scene before from the camera of after: what moves in it moves with the camera.
    stayed = replace(before, camera=after.camera)
    kept = [thing for thing in before.objects if thing.id != changed]
    old, new = before.find(changed), after.find(changed)
    return TruePair(
        pair_id=f"{record['index']:06d}.png{'_n' * same}",
        change_type=NO_CHANGE if same else record["change_type"],
        images=images,
        size=size,
        boxes=tuple(
            next((tuple(thing["bbox"]) for thing in record[name]["objects"] if thing["id"] == changed), None)
            for name in views
        ),
        masks=tuple(object_ids(scene, size) == (-1 if same else changed) for scene in (before, after)),
        object_shifts=np.stack([project(stayed, thing, size) - project(before, thing, size) for thing in kept]),
        own_move=project(after, new, size) - project(stayed, old, size) if old and new else None,
    )


def read_true_pairs(folder: str | Path, split: str) -> Iterator[TruePair]:
    """Read the pairs of a rendered set with the renderer's ground truth.

    Args:
        folder (`str` or `Path`): What `examples/render_clevr_change.py` wrote. Masks are
            computed from the scenes, so it need not hold any.
        split (`str`): "train", "validation" or "test".

    Yields:
        `TruePair`: The changed pair and then the distractor of each scene.

    Raises:
        FileNotFoundError: The set was not rendered here: the release keeps no cameras and objects.
        ValueError: The split is empty, or a scene is missing or has several changes.
    """
    folder = Path(folder)
    scenes = folder / SCENES
    if not scenes.is_file():
        raise FileNotFoundError(f"{folder} has no {SCENES}; only examples/render_clevr_change.py writes one")
    records = read_scenes(scenes)
    wanted = read_splits(folder / SPLITS)[split]
    if not wanted:
        raise ValueError(f"{folder}: the split {split} holds no scenes")
    for index in wanted:
        if "changed_object" not in records.get(index, {}):
            raise ValueError(f"{scenes}: scene {index} is missing or has not just one changed object")
        for view in ("semantic", "nonsemantic"):
            yield _true_pair(folder, records[index], view)
