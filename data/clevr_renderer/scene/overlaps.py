# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""How far the viewpoint moves: the overlap of boxes before and after, CLEVR-Change's measure of difficulty.

The release gives one number a scene and not its formula. In it, moved objects do not lower the number; so ours is the
mean intersection over union of the boxes of all objects that are in both images at the same place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def box_overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Intersection over union of two boxes [x, y, width, height]."""
    widths = [min(one[i] + one[i + 2], other[i] + other[i + 2]) - max(one[i], other[i]) for i in (0, 1)]
    shared = max(widths[0], 0) * max(widths[1], 0)
    return shared / (one[2] * one[3] + other[2] * other[3] - shared)


def view_overlap(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> float:
    """Mean overlap of the objects of two views, as `scenes.jsonl` lists them; 0 if none stayed where it was."""
    places = {thing["id"]: thing for thing in after}
    stayed = [(thing, places[thing["id"]]) for thing in before if thing["id"] in places]
    overlaps = [box_overlap(one["bbox"], two["bbox"]) for one, two in stayed if one["position"] == two["position"]]
    return sum(overlaps) / len(overlaps) if overlaps else 0.0


def sorted_overlaps(overlaps: dict[int, float], indices: list[int]) -> str:
    """The text of `iou_sorted.txt`: name, tab, overlap, one scene a line, the hardest first."""
    order = sorted(indices, key=lambda index: (overlaps[index], index))
    return "".join(f"{index:06d}.png\t{overlaps[index]:.6f}\n" for index in order)
