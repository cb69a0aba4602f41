# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Model cards for the Hub, from the template `hub_card.md`, the facts of a run and the results of an evaluation."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ..metrics.report.markdown import EMPTY, format_report
from ..pipeline_ssgpa import gives_evidence
from ..utils.markup import plain_markdown


TEMPLATE = Path(__file__).parents[1] / "hub_card.md"
TAGS = ("change-captioning", "image-difference-captioning")
# The Hub's id and the name of each metric.
METRICS = {
    "bleu_4": ("bleu", "BLEU-4"),
    "meteor": ("meteor", "METEOR 1.5"),
    "rouge_l": ("rouge", "ROUGE-L"),
    "cider": ("cider", "CIDEr-D"),
}
BLOCKS = {"changed": "changed pairs", "unchanged": "unchanged pairs", "total": "all pairs"}
SAMPLES = "samples"


@dataclass
class CardMetadata:
    """What a card tells beside the scores; everything has its place in a YAML file too.

    Attributes:
        license (`str`, *optional*): The license of the weights, by the Hub's names. By default Apache 2.0 where the
            weights come from no other checkpoint, else `other`.
        base_models (`list[str]`, *optional*): Ids of the checkpoints whose weights are in this one; empty where there
            are none, None where nobody has said.
        datasets (`list[str]`, *optional*, defaults to `[]`): Ids of the data sets on the Hub.
        data_name (`str`, *optional*): What the data of the scores are called.
        data_license (`str`, *optional*): License of the data.
        summary (`str`, *optional*): A sentence on what this checkpoint is.
        training (`str`, *optional*): How it was trained, in Markdown.
        limits (`list[str]`, *optional*, defaults to `[]`): What it cannot do, a sentence each.
        scores_note (`str`, *optional*): What the reader of the scores must know.
        tags (`list[str]`, *optional*, defaults to `[]`): More tags.
        num_parameters (`int`, *optional*): Parameters of the model.
    """

    license: str | None = None
    base_models: list[str] | None = None
    datasets: list[str] = field(default_factory=list)
    data_name: str | None = None
    data_license: str | None = None
    summary: str | None = None
    training: str | None = None
    limits: list[str] = field(default_factory=list)
    scores_note: str | None = None
    tags: list[str] = field(default_factory=list)
    num_parameters: int | None = None


@dataclass
class CardSample:
    """A pair that the card shows.

    Attributes:
        before (`Path`): File of the first image.
        after (`Path`): File of the second image.
        caption (`str`): What the model says of them.
    """

    before: Path
    after: Path
    caption: str

    def names(self, number: int) -> tuple[str, str]:
        """The names of the two files in the repository."""
        # An ending is part of the card's text.
        return tuple(f"{SAMPLES}/{number}_{side}{_ending_of(path)}" for side, path in self.sides())

    def sides(self) -> tuple[tuple[str, Path], tuple[str, Path]]:
        """Both images with what they are."""
        return ("before", Path(self.before)), ("after", Path(self.after))


def _ending_of(path: Path) -> str:
    return path.suffix if re.fullmatch(r"\.[A-Za-z0-9]+", path.suffix) else ""


def sample_files(samples: Sequence[CardSample]) -> dict[str, Path]:
    """The images of the samples by their names in the repository."""
    return {
        name: path
        for number, sample in enumerate(samples)
        for name, (_, path) in zip(sample.names(number), sample.sides(), strict=True)
    }


def eval_results(results: Mapping[str, Any], data_name: str) -> list[EvalResult]:
    """The scores as entries of the card's `model-index`, in the metrics' own units.

    Args:
        results (`Mapping[str, Any]`): The JSON of `examples/evaluate.py`.
        data_name (`str`): What the data are called.

    Returns:
        `list[EvalResult]`: One entry a metric and block of pairs; metrics without a score are left out.
    """
    return [
        EvalResult(
            task_type="image-to-text",
            task_name="Change captioning",
            dataset_type=re.sub(r"[^a-z0-9]+", "-", data_name.lower()).strip("-"),
            dataset_name=f"{data_name}, {title}",
            dataset_config=block,
            dataset_split=results["split"],
            metric_type=kind,
            metric_name=name,
            metric_value=round(results["scores"][block][key], 4),
        )
        for block, title in BLOCKS.items()
        for key, (kind, name) in METRICS.items()
        if results["scores"].get(block) and results["scores"][block].get(key) is not None
    ]


def card_data(
    repo_id: str,
    facts: CardMetadata,
    results: Mapping[str, Any] | None,
    samples: Sequence[CardSample],
    system: type | None = None,
) -> ModelCardData:
    """The front matter of the card."""
    name = repo_id.rpartition("/")[2]
    scores = {}
    if results is not None:
        metrics = list(dict.fromkeys(kind for kind, _ in METRICS.values()))
        scores = {"metrics": metrics, "eval_results": eval_results(results, facts.data_name or results["data"])}
    terms = {"license": facts.license or ("apache-2.0" if facts.base_models == [] else "other")}
    if terms["license"] == "other":
        terms |= {"license_name": "see-licenses", "license_link": "#licenses"}
    data = ModelCardData(
        model_name=name,
        library_name="transformers",
        pipeline_tag="image-text-to-text",
        language="en",
        base_model=facts.base_models or None,
        datasets=facts.datasets or None,
        tags=list(dict.fromkeys([*TAGS, *getattr(system, "card_tags", ()), *facts.tags])),
        **terms,
        **scores,
    )
    if samples:
        address = f"https://huggingface.co/{repo_id}/resolve/main/"
        data.widget = [
            {
                "example_title": f"{before} -> {after}",
                "src": address + after,
                "text": f"before: {address}{before}",
                "output": {"text": sample.caption},
            }
            for sample, (before, after) in ((sample, sample.names(n)) for n, sample in enumerate(samples))
        ]
    return data


def render_card(
    repo_id: str,
    facts: CardMetadata | None = None,
    results: Mapping[str, Any] | None = None,
    samples: Sequence[CardSample] = (),
    source: str | None = None,
    system: type | None = None,
) -> ModelCard:
    """Render the model card of a repository.

    Args:
        repo_id (`str`): `owner/name`.
        facts (`CardMetadata`, *optional*): What the card tells beside the scores.
        results (`Mapping[str, Any]`, *optional*): The JSON of `examples/evaluate.py`, for the scores beside their
            baselines and upper bounds.
        samples (`Sequence[CardSample]`, *optional*, defaults to `()`): Pairs to show; their files go along as
            `sample_files` names them.
        source (`str`, *optional*): The results' file, as the reader finds it.
        system (`type`, *optional*): Class of the model, which says the paper, its tags, and whether there are change
            maps.

    Returns:
        `ModelCard`: The card; huggingface_hub has parsed its front matter.

    Raises:
        ValueError: `repo_id` is no id, or the front matter could not be read back.
    """
    if repo_id.count("/") != 1:
        raise ValueError(f"{repo_id!r} is no id on the Hub, which looks like owner/name.")
    facts = facts or CardMetadata()
    table = EMPTY if results is None else format_report(results, source or "the file of results")
    return ModelCard.from_template(
        card_data(repo_id, facts, results, samples, system),
        template_path=str(TEMPLATE),
        repo_id=repo_id,
        name=repo_id.rpartition("/")[2],
        facts=facts,
        paper=getattr(system, "paper", None),
        has_maps=system is not None and gives_evidence(system),
        results=table,
        pairs=[(*sample.names(number), plain_markdown(sample.caption)) for number, sample in enumerate(samples)],
    )


__all__ = ["CardMetadata", "CardSample", "card_data", "eval_results", "render_card", "sample_files"]
