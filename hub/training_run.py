# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""A finished run on the Hub: what was saved, with a card that tells how it was trained and how well it does."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import CommitInfo
from transformers.utils import GENERATION_CONFIG_NAME

from ..training.arguments import AUXILIARY, ChangeCaptioningArguments, DataArguments, ModelArguments
from ..utils.results import read_results, write_results
from .model_card import CardMetadata
from .publish import publish_folder, read_facts


SCORES_NOTE = (
    "These are scores on the validation pairs by which the checkpoint was chosen, which flatters it. Score it on "
    "pairs that the run has not seen (`examples/evaluate.py`) before you compare it with anything."
)
RESULTS = "card_results.json"


def facts_of_run(
    model: ModelArguments, data: DataArguments, run: ChangeCaptioningArguments, steps: int, sizes: Mapping[str, Any]
) -> CardMetadata:
    """What the card tells: the file of facts where one is given, and the run's own settings where it says nothing.

    Args:
        model (`ModelArguments`): Where the model came from.
        data (`DataArguments`): What it learned from.
        run (`ChangeCaptioningArguments`): The settings of the training.
        steps (`int`): Steps that were taken.
        sizes (`Mapping[str, Any]`): The run's record: counts of `parameters` and `trainable` ones, and what was mixed.

    Returns:
        `CardMetadata`: The facts.

    Raises:
        ValueError: The file of facts is wrong; the error names it.
    """
    facts = read_facts(Path(run.card_metadata)) if run.card_metadata else CardMetadata()
    if facts.base_models is None and not model.model_name_or_path:
        facts.base_models = []
    pairs = run.per_device_train_batch_size * run.gradient_accumulation_steps * run.world_size
    start = f"From `{model.model_name_or_path}`" if model.model_name_or_path else "From random weights"
    if model.adapter_name_or_path:
        start += f" and what `{model.adapter_name_or_path}` had trained over it"
    controls = sizes.get("no_change_controls")
    mixed = f" {100 * controls['rate']:.1f} % of the pairs became controls without a change." if controls else ""
    aux = [name for name in AUXILIARY if getattr(run, name)]
    told = f" During training the data told it more than captions do ({', '.join(aux)})." if aux else ""
    facts.training = facts.training or (
        f"{start}, by `examples/train.py`: {steps:,} steps of {pairs} pairs with {data.captions_per_pair} caption(s) "
        f"each from `{Path(data.data_dir).name}`{_synthetic(data, sizes)}, "
        f"{sizes['trainable']:,} of {sizes['parameters']:,} parameters "
        f"trained, learning rate {run.learning_rate:g} ({run.lr_scheduler_type}), weight decay {run.weight_decay:g}, "
        f"seed {run.seed}.{mixed}{told}"
    )
    facts.data_name = facts.data_name or Path(data.data_dir).name
    facts.scores_note = facts.scores_note or SCORES_NOTE
    return facts


def _synthetic(data: DataArguments, sizes: Mapping[str, Any]) -> str:
    """What the card tells of synthetic pairs among the others."""
    pairs = sizes.get("pairs")
    if pairs is None:
        return ""
    return f" and, {100 * pairs['share']:.1f} % of the pairs, synthetic ones of `{data.synthetic_data_dir}`"


def results_of_run(
    state: Mapping[str, Any], repo_id: str, data: DataArguments, run: ChangeCaptioningArguments
) -> Path | None:
    """Write the scores of the checkpoint that was saved as the best, in the form of `examples/evaluate.py`.

    Args:
        state (`Mapping[str, Any]`): The trainer's state at the end.
        repo_id (`str`): What the scores' row is called.
        data (`DataArguments`): What it was scored on.
        run (`ChangeCaptioningArguments`): How captions were made, and where the run's files are.

    Returns:
        `Path`: The file; None where the run was not evaluated.
    """
    output_dir = Path(run.output_dir)
    step = state.get("best_global_step") or state["global_step"]
    evaluation = output_dir / "evaluations" / f"eval-{step:06d}.json"
    if not evaluation.is_file():
        return None
    record = read_results(evaluation)
    del record["captions"]
    decoding = {"num_beams": run.generation_num_beams, "max_new_tokens": run.generation_max_new_tokens}
    penalty = run.generation_repetition_penalty
    # Without one of its own, the run captioned with that of the model that it started from.
    penalty = _penalty(output_dir / "best") if penalty == 1 else penalty
    if penalty not in (None, 1):
        decoding["repetition_penalty"] = penalty
    facts = {"model": repo_id, "data": Path(data.data_dir).name, "split": "validation", "decoding": decoding}
    write_results(output_dir / RESULTS, {**facts, **record})
    return output_dir / RESULTS


def _penalty(folder: Path) -> float | None:
    """The repetition penalty that a checkpoint captions with; None where it says nothing."""
    path = folder / GENERATION_CONFIG_NAME
    return json.loads(path.read_text(encoding="utf-8")).get("repetition_penalty") if path.is_file() else None


def publish_run(
    repo_id: str, model: ModelArguments, data: DataArguments, run: ChangeCaptioningArguments, sizes: Mapping[str, Any]
) -> CommitInfo:
    """Upload the best checkpoint of a finished run.

    Args:
        repo_id (`str`): `owner/name`.
        model (`ModelArguments`): Where the model came from.
        data (`DataArguments`): What it learned from.
        run (`ChangeCaptioningArguments`): The settings of the training, with those of the Hub.
        sizes (`Mapping[str, Any]`): Counts of `parameters` and `trainable` ones.

    Returns:
        `CommitInfo`: The commit.

    Raises:
        ValueError: The file of facts is wrong; the error names it.
    """
    output_dir = Path(run.output_dir)
    state = json.loads((output_dir / "trainer_state.json").read_text(encoding="utf-8"))
    results = results_of_run(state, repo_id, data, run)
    return publish_folder(
        output_dir / "best",
        repo_id,
        facts_of_run(model, data, run, state["global_step"], sizes),
        results,
        private=run.hub_private_repo,
        token=run.hub_token,
        revision=run.hub_revision,
    )


__all__ = ["facts_of_run", "publish_run", "results_of_run"]
