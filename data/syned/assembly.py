# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""From the records of a run to its prepared folder, its manifest and its list of what was made."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...utils.extras import require_datasets
from ...utils.files import write_json, write_json_lines
from ...utils.results import library_versions
from ..prepared import write_prepared
from ..schema import COLUMNS, pair_features
from .originals import Original
from .settings import SynedSettings
from .stages import Stage


if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict


PREPARED = "prepared"
SEED_RULE = "first 63 bits of the SHA-256 of the JSON [seed, 'image' or 'text', pair_id, variant or attempt]"


def _record(original: Original, stages: dict[str, Stage], settings: SynedSettings) -> dict[str, Any]:
    """All that was made of one original."""
    record: dict[str, Any] = {"pair_id": original.pair_id, "split": original.split}
    record["instruction"] = original.instruction
    if original.split in settings.image_splits:
        variants = stages["variants"].read(original)
        there = [number for number, flag in enumerate(variants["flagged"]) if not flag]
        ranking = stages["ranking"].read(original) if settings.rank.by else {"best_first": there}
        record |= {"variants": variants, "ranking": ranking, "kept": sorted(ranking["best_first"])}
    if original.split in settings.caption_splits:
        record["paraphrasing"] = stages["paraphrases"].read(original)
    return record


def _captions(record: dict[str, Any]) -> list[str]:
    return [record["instruction"], *record.get("paraphrasing", {}).get("paraphrases", [])]


def _edited_split(
    split: Dataset, originals: list[Original], records: list[dict[str, Any]], variants: Stage
) -> Dataset:
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    rows = split.select_columns(["scene_id", "change_type"])
    for original, record, row in zip(originals, records, rows, strict=True):
        before = str(variants.path(original, "_before.png"))
        for number in record["kept"]:
            after = str(variants.path(original, f"_{number}.png"))
            pair_id = f"{original.pair_id}_v{number}"
            values = (pair_id, row["scene_id"], before, after, _captions(record), row["change_type"])
            for name, value in zip(COLUMNS, values, strict=True):
                columns[name].append(value)
    return require_datasets().Dataset.from_dict(columns, features=pair_features())


def _assemble(
    dataset: DatasetDict,
    originals: list[Original],
    records: list[dict[str, Any]],
    stages: dict[str, Stage],
    settings: SynedSettings,
) -> DatasetDict:
    made = dict(dataset)
    pairs = zip(originals, records, strict=True)
    for name, group in groupby(pairs, key=lambda pair: pair[0].split):
        own, theirs = map(list, zip(*group, strict=True))
        if name in settings.image_splits:
            made[name] = _edited_split(dataset[name], own, theirs, stages["variants"])
        elif name in settings.caption_splits:
            captions, feature = list(map(_captions, theirs)), pair_features()["captions"]
            made[name] = dataset[name].remove_columns("captions").add_column("captions", captions, feature=feature)
    return type(dataset)(made)


def _manifest(
    dataset: DatasetDict, records: list[dict[str, Any]], stages: dict[str, Stage], settings: SynedSettings
) -> dict[str, Any]:
    short = {record["pair_id"]: record["paraphrasing"]["missing"] for record in records if "paraphrasing" in record}
    flagged = {record["pair_id"]: sum(record["variants"]["flagged"]) for record in records if "variants" in record}
    return {
        "settings": settings.to_dict(),
        "seeds": SEED_RULE,
        "models": {name: stage.model() for name, stage in stages.items()},
        "versions": library_versions(),
        "rows": {name: len(split) for name, split in dataset.items()},
        "missing_paraphrases": {name: count for name, count in short.items() if count},
        "flagged_variants": {name: count for name, count in flagged.items() if count},
    }


def write_results(
    folder: Path,
    dataset: DatasetDict,
    originals: list[Original],
    stages: dict[str, Stage],
    settings: SynedSettings,
) -> dict[str, Any]:
    """Write `records.jsonl`, `manifest.json` and the prepared folder of a run whose stages are done.

    A variant is the pair PAIR_v0, PAIR_v1, ... of its original's scene and change type, so that all variants stay in
    the original's split; its image before is the original as the editor saw it, of the same size.

    Args:
        folder (`Path`): The folder of the run.
        dataset (`DatasetDict`): The originals.
        originals (`list[Original]`): Their list.
        stages (`dict[str, Stage]`): The stages by name.
        settings (`SynedSettings`): What was made.

    Returns:
        `dict[str, Any]`: The manifest: settings, models with commit and versions, rows a split, `missing_paraphrases`
        and `flagged_variants` by pair.
    """
    records = [_record(original, stages, settings) for original in originals]
    made = _assemble(dataset, originals, records, stages, settings)
    manifest = _manifest(made, records, stages, settings)
    write_prepared(made, folder / PREPARED, {"dataset": "syned", "syned": manifest}, overwrite=True)
    write_json_lines(folder / "records.jsonl", records)
    write_json(folder / "manifest.json", manifest, indent=2)
    return manifest
