# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
#
# /// script
# dependencies = ["ssgpa[train]"]
# ///
"""Train a change captioning system.

One YAML file is one run; pairs on the command line override it:

    accelerate launch examples/train.py examples/configs/clevr_tiny.yaml
    accelerate launch examples/train.py examples/configs/clevr_tiny.yaml --learning_rate 5e-4 --output_dir runs/slower
    accelerate launch examples/train.py examples/configs/clevr_tiny.yaml --resume_from_checkpoint true
"""

import json
import sys
from pathlib import Path

from transformers import set_seed
from transformers.trainer_utils import get_last_checkpoint

from ssgpa.data import load_prepared
from ssgpa.data.clevr_change.captions import change_type_of
from ssgpa.training.arguments import DataArguments, ModelArguments, parse_arguments
from ssgpa.training.hints import hints_of
from ssgpa.training.pairs import PairCollator, PairDataset
from ssgpa.training.systems import create_system, load_system, set_trainable
from ssgpa.training.trainer import ChangeCaptioningTrainer, parameter_report


def start_system(model_arguments: ModelArguments, splits: dict) -> tuple:
    """Load the system, or build it with a tokenizer of the training captions."""
    if model_arguments.model_name_or_path:
        return load_system(model_arguments)
    captions = (caption for row in splits["train"]["captions"] for caption in row)
    return create_system(model_arguments, captions)


def limit(split: object, count: int | None) -> object:
    """The first `count` rows of a split, or all."""
    return split if count is None else split.select(range(min(count, len(split))))


def checkpoint_to_resume(value: str | None, output_dir: str) -> str | None:
    """`true` means the newest checkpoint of the output folder, and it must be there."""
    if value is None or value.lower() == "false":
        return None
    if value.lower() != "true":
        return value
    last = get_last_checkpoint(output_dir) if Path(output_dir).is_dir() else None
    if last is None:
        raise FileNotFoundError(f"{output_dir}: no checkpoint to resume from.")
    return last


def run(model_arguments: ModelArguments, data_arguments: DataArguments, arguments: object) -> None:
    """One training run, from data to the saved best model."""
    set_seed(arguments.seed)
    resume = checkpoint_to_resume(arguments.resume_from_checkpoint, arguments.output_dir)

    # Data and model
    splits = load_prepared(data_arguments.data_dir)
    model, processor, missing = start_system(model_arguments, splits)
    trainable = set_trainable(model, model_arguments.trainable, missing)
    train_rows = limit(splits["train"], data_arguments.max_train_pairs)
    hints = hints_of(model, arguments, train_rows.column_names)
    dataset = PairDataset(
        train_rows,
        processor,
        captions_per_pair=data_arguments.captions_per_pair,
        distractor_swap=data_arguments.distractor_swap,
        cache=data_arguments.cache_pictures,
        seed=arguments.seed,
    )

    # Training
    trainer = ChangeCaptioningTrainer(
        model=model,
        args=arguments,
        train_dataset=dataset,
        eval_dataset=limit(splits["validation"], data_arguments.max_eval_pairs),
        data_collator=PairCollator(processor, visual_hints=hints is not None),
        processing_class=processor,
        train_rows=train_rows,
        change_type_of=change_type_of,
        hints=hints,
    )
    output_dir = Path(arguments.output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    record = json.dumps(parameter_report(model, trainable), indent=1)
    (output_dir / "trainable_parameters.json").write_text(record, encoding="utf-8")
    result = trainer.train(resume_from_checkpoint=resume)

    # Save
    trainer.save_model(str(output_dir / "best"))
    trainer.save_metrics("train", result.metrics)
    trainer.save_state()


if __name__ == "__main__":
    try:
        run(*parse_arguments())
    except (FileNotFoundError, FileExistsError, ValueError, FloatingPointError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
