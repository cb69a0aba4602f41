# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Saved systems on the Hub, with a card that tells how they were made and how well they do."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from huggingface_hub import CommitInfo

from ..pipeline_ssgpa import ChangeCaptioningPipeline
from ..utils.loading import load_system
from ..utils.results import read_results
from ..utils.yaml_files import load_yaml
from .model_card import CardMetadata, CardSample, render_card, sample_files


def read_facts(path: Path) -> CardMetadata:
    """Read what a card tells beside the scores.

    Args:
        path (`Path`): YAML with the fields of `CardMetadata`.

    Returns:
        `CardMetadata`: The facts.

    Raises:
        ValueError: The file is no YAML of these fields; the error names it.
        ImportError: PyYAML is missing.
    """
    values = load_yaml(path)
    known = [item.name for item in fields(CardMetadata)]
    unknown = sorted({*map(str, values)} - {*known}) if isinstance(values, dict) else [type(values).__name__]
    if unknown:
        raise ValueError(f"{path}: {unknown[0]} is none of a card's facts: {', '.join(known)}.")
    return CardMetadata(**values)


def publish_folder(
    path: str | Path,
    repo_id: str,
    facts: CardMetadata | str | Path | None = None,
    results: str | Path | None = None,
    pairs: Sequence[tuple[str | Path, str | Path]] = (),
    **options: Any,
) -> CommitInfo:
    """Upload a saved system: weights, processor, pipeline, code, and a card with its scores.

    Args:
        path (`str` or `Path`): Folder of the system.
        repo_id (`str`): `owner/name`.
        facts (`CardMetadata`, `str` or `Path`, *optional*): What the card tells beside the scores, or a YAML file of
            it.
        results (`str` or `Path`, *optional*): JSON file that `examples/evaluate.py` wrote.
        pairs (`Sequence[tuple[str | Path, str | Path]]`, *optional*, defaults to `()`): Files of (before, after) that
            the card shows with the model's own captions.
        **options (`Any`, *optional*): For the model's `push_to_hub`, for example `private=True`.

    Returns:
        `CommitInfo`: The commit.

    Raises:
        ValueError: A file is not what it should be; the error names it.
    """
    model, processor = load_system(str(path))
    facts = read_facts(Path(facts)) if isinstance(facts, str | Path) else facts or CardMetadata()
    facts.num_parameters = model.num_parameters()
    report = read_results(results) if results is not None else None
    pipe = ChangeCaptioningPipeline(model, processor=processor, task="change-captioning")
    samples = [
        CardSample(Path(before), Path(after), pipe((before, after))[0]["generated_text"]) for before, after in pairs
    ]
    card = render_card(repo_id, facts, report, samples, str(results), type(model))
    return model.push_to_hub(repo_id, processor=processor, card=card, files=sample_files(samples), **options)


__all__ = ["publish_folder", "read_facts"]
