# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Whether a caption is true of the rendered scene: its relation, and the object it singles out (ours)."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...data.clevr_renderer.captions.sentences import RELATION_THRESHOLD
from ...data.clevr_renderer.scene.geometry import advance, ground_directions
from .templates import ATTRIBUTES, ParsedCaption


SCENE = "scene"
VALUE_TYPES = ("color", "material")
# What a change is from after to before.
INVERSE_TYPES = {"color": "color", "material": "material", "add": "drop", "drop": "add", "move": "move"}
# The two views of a changed pair, in sets of CLEVR-Change's layout and of CLEVR-DC's.
PAIR_VIEWS = (("default", "semantic"), ("before", "after"))
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class ChangedScene:
    """The scene that captions of one pair describe: after an addition, else before the change.

    Args:
        objects (`Sequence[Mapping[str, Any]]`): Records with the four attributes, `id` and `position`, the place on
            the ground.
        target (`int`): Id of the changed object.
        directions (`Mapping[str, Sequence[float]]`): Unit vectors on the ground for "left", "right", "behind" and
            "front", as the camera sees them.
        change_type (`str`): "color", "material", "add", "drop" or "move".
        value (`str`, *optional*): The new color or material.
    """

    objects: Sequence[Mapping[str, Any]]
    target: int
    directions: Mapping[str, Sequence[float]]
    change_type: str
    value: str | None = None

    @classmethod
    def from_record(cls, record: Mapping[str, Any], inverse: bool = False) -> "ChangedScene":
        """Read a record of one changed pair.

        Args:
            record (`Mapping[str, Any]`): A line of the renderer's `scenes.jsonl`: `change_type`, `changed_object` (an
                id) and two views, "default" and "semantic" or "before" and "after". A view has `objects` and `camera`,
                or, as CLEVR's generator writes its scenes, `directions` and objects with `3d_coords`; objects without
                `id` are numbered in their order.
            inverse (`bool`, *optional*, defaults to `False`): Read the change from the second view to the first.

        Returns:
            `ChangedScene`: The scene.

        Raises:
            KeyError: Something is missing.
        """
        before, after = next(names for names in PAIR_VIEWS if names[0] in record or names == PAIR_VIEWS[-1])
        kind, target = record["change_type"], record["changed_object"]
        if inverse:
            before, after, kind = after, before, INVERSE_TYPES[kind]
        described = record[after if kind == "add" else before]
        value = None
        if kind in VALUE_TYPES:
            value = _object(_read_objects(record[after]), target)[kind]
        objects = _read_objects(described)
        _object(objects, target)
        return cls(objects, target, _read_directions(described), kind, value)

    @classmethod
    def from_json(cls, text: str) -> "ChangedScene":
        """Read what `to_json` wrote."""
        return cls(**json.loads(text))

    def to_json(self) -> str:
        """Write all of it as one line."""
        return json.dumps(asdict(self))

    @property
    def changed(self) -> Mapping[str, Any]:
        """The changed object."""
        return _object(self.objects, self.target)

    def relation_holds(self, caption: ParsedCaption) -> bool:
        """Return whether the changed object has the caption's relations to objects that fit their anchors.

        Args:
            caption (`ParsedCaption`): A caption with a relation.

        Returns:
            `bool`: Whether all that the caption says of its relations is true of the scene.
        """
        return self._stands(self.changed, caption)

    def singles_out(self, caption: ParsedCaption) -> bool:
        """Return whether the caption describes the changed object and no other.

        Args:
            caption (`ParsedCaption`): A caption.

        Returns:
            `bool`: Whether attributes and relations leave one object, the right one.
        """
        fitting = [thing for thing in self.objects if _fits(thing, caption.subject)]
        fitting = [thing for thing in fitting if self._stands(thing, caption)]
        return [thing["id"] for thing in fitting] == [self.target]

    @property
    def needs_relation(self) -> bool:
        """Whether another object has the same four attributes."""
        wanted = {name: self.changed[name] for name in ATTRIBUTES}
        return sum(_fits(thing, wanted) for thing in self.objects) > 1

    def _stands(self, thing: Mapping[str, Any], caption: ParsedCaption) -> bool:
        if caption.shared:
            anchors = self._anchors(thing, caption.anchor or {})
            return any(anchor[caption.shared] == thing[caption.shared] for anchor in anchors)
        told = [(caption.relation, caption.anchor or {})] if caption.relation else []
        return all(self._lies(thing, name, anchor) for name, anchor in [*told, *filter(None, [caption.second])])

    def _lies(self, thing: Mapping[str, Any], relation: str, anchor: Mapping[str, str]) -> bool:
        direction = self.directions[relation]
        return any(
            advance(other["position"], thing["position"], direction) > RELATION_THRESHOLD
            for other in self._anchors(thing, anchor)
        )

    def _anchors(self, thing: Mapping[str, Any], anchor: Mapping[str, str]) -> list[Mapping[str, Any]]:
        return [other for other in self.objects if other["id"] != thing["id"] and _fits(other, anchor)]


def _object(objects: Sequence[Mapping[str, Any]], name: int) -> Mapping[str, Any]:
    found = next((thing for thing in objects if thing["id"] == name), None)
    if found is None:
        raise KeyError(f"object {name}")
    return found


def _read_objects(view: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "id": thing.get("id", number),
            **{name: thing[name] for name in ATTRIBUTES},
            "position": list((thing["position"] if "position" in thing else thing["3d_coords"])[:2]),
        }
        for number, thing in enumerate(view["objects"])
    ]


def _read_directions(view: Mapping[str, Any]) -> dict[str, Sequence[float]]:
    if "directions" not in view:
        return ground_directions(tuple(view["camera"]))
    found = {name: view["directions"][name][:2] for name in ("left", "right", "behind", "front")}
    return {name: [value / math.hypot(*vector) for value in vector] for name, vector in found.items()}


def _fits(thing: Mapping[str, Any], attributes: Mapping[str, str]) -> bool:
    return all(thing[name] == value for name, value in attributes.items())


def read_changed_scenes(path: Path, inverse: bool = False) -> dict[int, ChangedScene]:
    """Read the scenes of a rendered set, by their numbers.

    Args:
        path (`Path`): The renderer's `scenes.jsonl`, see `ChangedScene.from_record`.
        inverse (`bool`, *optional*, defaults to `False`): Read all changes from after to before.

    Returns:
        `dict[int, ChangedScene]`: Scenes in which one object changed; those with none or several are left out.

    Raises:
        ValueError: If the file is no such list.
    """
    try:
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        single = [record for record in records if "changes" not in record and record["change_type"] != "none"]
        return {record["index"]: ChangedScene.from_record(record, inverse) for record in single}
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} does not hold scenes of the renderer (scenes.jsonl).") from error


def find_scenes(rows: Sequence[Mapping[str, Any]], path: Path, inverse: bool = False) -> list[ChangedScene | None]:
    """Find the rendered scene of each changed pair.

    Args:
        rows (`Sequence[Mapping[str, Any]]`): Records of a rendered split with `pair_id`, `change_type` and, where
            known, `scene_id`; without it the scene's number is the one that `pair_id` begins with.
        path (`Path`): The renderer's `scenes.jsonl`.
        inverse (`bool`, *optional*, defaults to `False`): Find the scenes of the changes from after to before.

    Returns:
        `list[ChangedScene | None]`: One a row; None where nothing changed or the type of change is not known.

    Raises:
        ValueError: If the file is no such list, or lacks the scene of a pair, or has another change for it.
    """
    scenes = read_changed_scenes(path, inverse)
    found, wrong = [], []
    for row in rows:
        kind, number = row["change_type"], _NUMBER.match(row.get("scene_id") or row["pair_id"])
        scene = scenes.get(int(number[0])) if number and kind not in {None, "none"} else None
        found.append(scene)
        wanted = INVERSE_TYPES.get(kind, kind) if inverse else kind
        if kind not in {None, "none"} and (scene is None or scene.change_type != wanted):
            wrong.append(row["pair_id"])
    if wrong:
        raise ValueError(f"{path} holds other scenes than the data: {len(wrong)} pairs differ, first {wrong[0]!r}.")
    return found


def add_scenes(rows: Sequence[Mapping[str, Any]], path: Path) -> list[dict[str, Any]]:
    """Add the rendered scene to each changed pair.

    Args:
        rows (`Sequence[Mapping[str, Any]]`): As for `find_scenes`.
        path (`Path`): The renderer's `scenes.jsonl`.

    Returns:
        `list[dict[str, Any]]`: New records; those of changed pairs have a `ChangedScene` under "scene".

    Raises:
        ValueError: As `find_scenes`.
    """
    scenes = find_scenes(rows, path)
    return [{**row, SCENE: scene} if scene else dict(row) for row, scene in zip(rows, scenes, strict=True)]


def add_scene_column(split: Any, path: Path) -> Any:
    """Add the rendered scenes to a prepared split, for all that scores its rows.

    Args:
        split (`datasets.Dataset`): With the columns of `data.schema.pair_features`.
        path (`Path`): The renderer's `scenes.jsonl`.

    Returns:
        `datasets.Dataset`: The split with a column "scene" of JSON, null where nothing changed;
        `report.build.light_rows` reads it.

    Raises:
        ValueError: As `find_scenes`.
    """
    from datasets import Value

    rows = split.select_columns(["pair_id", "scene_id", "change_type"]).to_list()
    texts = [scene and scene.to_json() for scene in find_scenes(rows, path)]
    return split.add_column(SCENE, texts, feature=Value("string"))


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
