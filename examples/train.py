# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
# /// script
# requires-python = ">=3.11"
# dependencies = ["ssgpa[train]"]
# ///
"""Train a change captioning system.

One YAML file is one run; pairs on the command line override it:

    accelerate launch examples/train.py examples/configs/clevr_tiny.yaml
    accelerate launch examples/train.py examples/configs/clevr_tiny.yaml --learning_rate 5e-4 --output_dir runs/slower
    accelerate launch examples/train.py examples/configs/clevr_tiny.yaml --resume_from_checkpoint true
    accelerate launch examples/train.py examples/configs/clevr_tiny.yaml --push_to_hub --hub_model_id org/name
"""

import sys
from pathlib import Path
from typing import Any

from ssgpa.data.clevr_renderer.captions.sentences import change_type_of
from ssgpa.hub.training_run import publish_run
from ssgpa.training.arguments import ChangeCaptioningArguments, DataArguments, ModelArguments, parse_arguments
from ssgpa.training.auxiliary import auxiliary_heads_of
from ssgpa.training.collator import PairCollator
from ssgpa.training.controls import make_controls, report_controls
from ssgpa.training.lora import add_lora, is_over_base, report_adapter
from ssgpa.training.mixing import mix_pairs, report_pairs
from ssgpa.training.model_setup import prepare_training
from ssgpa.training.resuming import find_checkpoint, in_held_folder, set_seed
from ssgpa.training.run import (
    cached_features,
    check_data_fits,
    check_settings,
    first_rows,
    load_splits,
    pair_frames,
    record_start,
    start_system,
    training_pairs,
    training_targets,
)
from ssgpa.training.systems import parameter_report, trained_parameters
from ssgpa.training.trainer import ChangeCaptioningTrainer
from ssgpa.utils.console import report_error
from ssgpa.utils.loading import LIBRARY_ERRORS


@in_held_folder
def run(model_args: ModelArguments, data_args: DataArguments, args: ChangeCaptioningArguments) -> dict[str, Any]:
    """One training run, from data to the saved best model; returns its metrics."""
    set_seed(args.seed)
    checkpoint = find_checkpoint(args)
    check_settings(model_args, data_args, args)

    ########
    # Data
    ########
    splits = load_splits(data_args)
    train_rows, mixture = mix_pairs(data_args, first_rows(splits, "train", data_args.max_train_pairs), splits)
    splits["train"] = splits["train"] if mixture is None else train_rows  # the words of both
    controls = make_controls(data_args, train_rows)
    rows, words, told = training_targets(data_args, train_rows, args.seed)

    ########
    # Model
    ########
    model, processor, missing = start_system(model_args, splits, data_args.control_captions)
    check_data_fits(model, processor, train_rows, data_args, args)
    trainable = prepare_training(model, model_args, missing, args.device)
    aux_heads = auxiliary_heads_of(model, args, splits["validation"].column_names, model_args.model_name_or_path)
    features = cached_features(data_args, args, train_rows, model, processor, aux_heads)
    frames = pair_frames(data_args, train_rows, model, processor)
    if is_over_base(model_args):
        model = add_lora(model, model_args, trainable)
        trainable = trained_parameters(model)
    reports = report_pairs(mixture) | report_adapter(model_args) | report_controls(controls) | told
    record = parameter_report(model, trainable) | reports

    ##########
    # Training
    ##########
    pairs = training_pairs(data_args, rows, processor, args.seed, features, frames, mixture, controls, words)
    trainer = ChangeCaptioningTrainer(
        model=model,
        args=args,
        train_dataset=pairs,
        eval_dataset=first_rows(splits, "validation", data_args.max_eval_pairs),
        data_collator=PairCollator(processor, aux_heads is not None, False, data_args.pad_to_multiple_of),
        processing_class=processor,
        train_rows=train_rows,
        change_type_of=change_type_of,
        aux_heads=aux_heads,
    )
    if trainer.is_world_process_zero():
        record_start(Path(args.output_dir), record, processor, train_rows, data_args.control_captions)
    result = trainer.train(resume_from_checkpoint=checkpoint)

    ##################
    # Save and publish
    ##################
    trainer.save_folder(Path(args.output_dir) / "best")
    trainer.save_metrics("train", result.metrics)
    trainer.save_state()
    if args.push_to_hub and trainer.is_world_process_zero():
        print(f"Published {publish_run(trainer.hub_model_id, model_args, data_args, args, record).commit_url}")
    return result.metrics


def main(arguments: list[str] | None = None) -> int:
    """Train, and answer errors with one line on stderr and exit code 2."""
    try:
        run(*parse_arguments(arguments))
    except (OSError, ValueError, FloatingPointError, ImportError, *LIBRARY_ERRORS) as error:
        return report_error("train.py", error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
