# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Whether a caption is true of the rendered scene: its relation, and the object it singles out (ours)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...data.clevr_renderer.captions.sentences import RELATION_THRESHOLD
from ...data.clevr_renderer.scene.geometry import advance, ground_directions
from .templates import ATTRIBUTES, ParsedCaption


SCENE = "scene"


@dataclass(frozen=True)
class ChangedScene:
    """The scene that captions of one pair describe: after an addition, else before the change.

    Args:
        objects (`Sequence[Mapping[str, Any]]`): Records of `scenes.jsonl`, with the four attributes, `id` and
            `position`.
        target (`int`): Id of the changed object.
        camera (`Sequence[float]`): Place of the camera, from which left, right, behind and front are seen.
    """

    objects: Sequence[Mapping[str, Any]]
    target: int
    camera: Sequence[float]

    def relation_holds(self, caption: ParsedCaption) -> bool:
        """Return whether the changed object has the caption's relation to any object that fits its anchor.

        Args:
            caption (`ParsedCaption`): A caption with a relation.

        Returns:
            `bool`: Whether the relation is true of the scene.
        """
        return self._stands(next(thing for thing in self.objects if thing["id"] == self.target), caption)

    def singles_out(self, caption: ParsedCaption) -> bool:
        """Return whether the caption describes the changed object and no other.

        Args:
            caption (`ParsedCaption`): A caption.

        Returns:
            `bool`: Whether attributes and relation leave one object, the right one.
        """
        fitting = [thing for thing in self.objects if _fits(thing, caption.subject)]
        if caption.relation:
            fitting = [thing for thing in fitting if self._stands(thing, caption)]
        return [thing["id"] for thing in fitting] == [self.target]

    @property
    def needs_relation(self) -> bool:
        """Whether another object has the same four attributes."""
        target = next(thing for thing in self.objects if thing["id"] == self.target)
        return sum(_fits(thing, {name: target[name] for name in ATTRIBUTES}) for thing in self.objects) > 1

    def _stands(self, thing: Mapping[str, Any], caption: ParsedCaption) -> bool:
        direction = ground_directions(tuple(self.camera))[caption.relation]
        return any(
            advance(anchor["position"], thing["position"], direction) > RELATION_THRESHOLD
            for anchor in self.objects
            if anchor["id"] != thing["id"] and _fits(anchor, caption.anchor or {})
        )


def _fits(thing: Mapping[str, Any], attributes: Mapping[str, str]) -> bool:
    return all(thing[name] == value for name, value in attributes.items())


def add_scenes(rows: Sequence[Mapping[str, Any]], path: Path) -> list[dict[str, Any]]:
    """Add the rendered scene to each changed pair.

    Args:
        rows (`Sequence[Mapping[str, Any]]`): Records of a rendered split with `pair_id`, `scene_id` and `change_type`.
        path (`Path`): The renderer's `scenes.jsonl`.

    Returns:
        `list[dict[str, Any]]`: New records; those of changed pairs have a `ChangedScene` under "scene".

    Raises:
        ValueError: If the file is no such list, or lacks the scene of a pair, or has another change for it.
    """
    try:
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        found = {}
        for record in records:
            view = record["semantic" if record["change_type"] == "add" else "default"]
            scene = ChangedScene(view["objects"], record["changed_object"], view["camera"])
            found[f"{record['index']:06d}"] = record["change_type"], scene
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} does not hold scenes of the renderer (scenes.jsonl).") from error
    changed = [row for row in rows if row["change_type"] not in {None, "none"}]
    wrong = [row["pair_id"] for row in changed if found.get(row["scene_id"], ("",))[0] != row["change_type"]]
    if wrong:
        raise ValueError(f"{path} holds other scenes than the data: {len(wrong)} pairs differ, first {wrong[0]!r}.")
    names = {row["pair_id"] for row in changed}
    return [{**row, SCENE: found[row["scene_id"]][1]} if row["pair_id"] in names else dict(row) for row in rows]


def scene_rates(cases: Sequence[tuple[ChangedScene, ParsedCaption | None]]) -> dict[str, int]:
    """Count the captions that are true of their scenes.

    Args:
        cases (`Sequence[tuple[ChangedScene, ParsedCaption | None]]`): The scene of a pair, and its caption (None where
            the grammar does not explain it).

    Returns:
        `pairs`, `singled_out`, `relation_used`, of these `relation_true`; `relation_needed` (another object has the
        same four attributes), of these `true_where_needed` and `singled_out_where_needed`.
    """
    said = [(scene, caption) for scene, caption in cases if caption and caption.subject]
    used = [(scene, caption) for scene, caption in cases if caption and caption.relation]
    right = [scene for scene, caption in said if scene.singles_out(caption)]
    true = [scene for scene, caption in used if scene.relation_holds(caption)]
    return {
        "pairs": len(cases),
        "singled_out": len(right),
        "relation_used": len(used),
        "relation_true": len(true),
        "relation_needed": sum(scene.needs_relation for scene, _ in cases),
        "used_where_needed": sum(scene.needs_relation for scene, _ in used),
        "true_where_needed": sum(scene.needs_relation for scene in true),
        "singled_out_where_needed": sum(scene.needs_relation for scene in right),
    }
