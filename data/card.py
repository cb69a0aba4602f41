# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The card of a prepared data set: what the Hub shows, and where `datasets.load_dataset` finds the files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from huggingface_hub import DatasetCardData

from ..utils.markup import plain_markdown
from .findings import Findings, count_table
from .reading import Source


if TYPE_CHECKING:
    from datasets import DatasetDict


TASKS = ["image-to-text"]
COLUMN_NOTES = (
    "- `pair_id`: the pair's name; `scene_id`: the same for pairs that show one scene\n"
    "- `before`, `after`: the images, as they were released\n"
    "- `captions`: references, at least one\n"
    '- `change_type`: "none" where nothing changed, null where unknown'
)


def card_metadata(source: Source, dataset: DatasetDict, license: str) -> str:
    """The YAML block of the card.

    Args:
        source (`Source`): The data set.
        dataset (`DatasetDict`): What was prepared; empty splits are left out, since they have no file.
        license (`str`): Identifier as the Hub knows it.
    """
    from datasets import DatasetInfo, SplitDict, SplitInfo
    from datasets.info import DatasetInfosDict

    counts = {split: len(rows) for split, rows in dataset.items() if len(rows)}
    files = [{"split": split, "path": f"data/{split}-*.parquet"} for split in counts]
    data = DatasetCardData(
        language=[source.language] if source.language else None,
        license=license,
        pretty_name=source.title,
        task_categories=TASKS,
        tags=["change-captioning"],
        configs=[{"config_name": "default", "data_files": files}],
    )
    splits = SplitDict()
    for split, count in counts.items():
        splits.add(SplitInfo(split, num_examples=count))
    features = next(iter(dataset.values())).features
    DatasetInfosDict({"default": DatasetInfo(features=features, splits=splits)}).to_dataset_card_data(data)
    return data.to_yaml()


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return [f"## {title}", "", *lines, ""] if any(lines) else []


def write_card(source: Source, dataset: DatasetDict, findings: Findings, license: str | None = None) -> str:
    """The text of `README.md`.

    Args:
        source (`Source`): The data set.
        dataset (`DatasetDict`): What was prepared.
        findings (`Findings`): What the reader noticed.
        license (`str`, *optional*): Overrides that of the release.
    """
    rows: Mapping[str, int] = {split: len(part) for split, part in dataset.items()}
    license = license or source.license
    about = [source.about, "", f"Source: {source.url}" if source.url else "", f"License: {license}."]
    if license == "unknown":
        about.append("The release names no license; ask its authors before you pass the data on.")
    lines = [
        "---",
        card_metadata(source, dataset, license).strip(),
        "---",
        "",
        f"# {source.title}, prepared for change captioning",
        "",
        *about,
        "",
        *_section("Columns", [COLUMN_NOTES]),
        *_section("Counts", count_table(rows, findings, source.counts, source.total)),
        *_section("What was noticed", [f"- {plain_markdown(line)}" for line in findings.lines()]),
        *_section("Citation", ["```bibtex", source.citation, "```"] if source.citation else []),
    ]
    return "\n".join(lines).rstrip() + "\n"
