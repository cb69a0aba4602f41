# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
#
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

import torch
from datasets import Dataset, DatasetDict, IterableDataset
from transformers import PreTrainedModel, ProcessorMixin

from ssgpa.data import load_prepared
from ssgpa.data.augment import PairAugmentation
from ssgpa.data.clevr_renderer.captions.sentences import change_type_of
from ssgpa.data.decoding import describe_sources
from ssgpa.data.prepared import HUB_PREFIX, is_prepared, reading_of
from ssgpa.hub.training_run import publish_run
from ssgpa.processing_ssgpa import SSGPAProcessor
from ssgpa.training.arguments import ChangeCaptioningArguments, DataArguments, ModelArguments, parse_arguments
from ssgpa.training.auxiliary import AuxiliaryHeads, auxiliary_heads_of
from ssgpa.training.collator import PairCollator
from ssgpa.training.dataset import ImageCache, PairDataset
from ssgpa.training.features import FeatureCache, fill_cache, open_cache
from ssgpa.training.lora import add_lora
from ssgpa.training.model_setup import prepare_training
from ssgpa.training.positions import check_captions_fit, check_generation_fits, positions_of
from ssgpa.training.resuming import find_checkpoint, set_seed
from ssgpa.training.streams import PairIterableDataset
from ssgpa.training.systems import (
    build_model,
    create_system,
    load_base,
    parameter_report,
    read_config,
    set_trainable,
    trained_parameters,
)
from ssgpa.training.trainer import ChangeCaptioningTrainer
from ssgpa.training.word_tokenizer import unknown_words
from ssgpa.utils.console import report_error
from ssgpa.utils.files import write_json
from ssgpa.utils.loading import LIBRARY_ERRORS


def load_splits(arguments: DataArguments) -> DatasetDict:
    """Load prepared data, or say how to make it; of a streamed training split, the texts alone."""
    data_dir = arguments.data_dir
    if not data_dir:
        raise ValueError("--data_dir is missing: a folder that examples/prepare_data.py wrote.")
    if not data_dir.startswith(HUB_PREFIX) and not is_prepared(Path(data_dir)):
        raise FileNotFoundError(
            f"{data_dir} is not a prepared folder. Make one with `python examples/render_clevr_change.py --output_dir "
            "scenes/clevr --scenes 10000 --seed 1 --object_masks` and `python examples/prepare_data.py --dataset "
            f"clevr_change --source scenes/clevr --output_dir {data_dir} --aux_grid 8 12`."
        )
    if not arguments.streaming:
        return load_prepared(data_dir)
    columns = ["pair_id", "captions", "change_type"]
    texts = load_prepared(data_dir, streaming=True, columns=columns, splits=["train"])["train"]
    train = Dataset.from_list(list(texts), features=texts.features)
    return DatasetDict({"train": train, **load_prepared(data_dir, splits=["validation"])})


def cached_features(
    data_arguments: DataArguments,
    arguments: ChangeCaptioningArguments,
    rows: Dataset,
    model: PreTrainedModel,
    processor: SSGPAProcessor,
    aux_heads: AuxiliaryHeads | None,
) -> FeatureCache | None:
    """The vision features of the training images on disk, computed where they are not there yet."""
    if not data_arguments.feature_cache:
        return None
    if aux_heads is not None:
        raise ValueError("Auxiliary heads read the vision tower at every step: they do not go with `feature_cache`.")
    features = open_cache(data_arguments.feature_cache, model, processor, arguments)
    with arguments.main_process_first(local=False, desc="vision features"):
        images = ImageCache(rows, processor, cache=False).digests()
        count = fill_cache(features, images, model, processor, arguments)
    print(f"Computed the vision features of {count:,} images.")
    return features


def training_pairs(
    arguments: DataArguments,
    rows: Dataset,
    processor: SSGPAProcessor,
    seed: int,
    features: FeatureCache | None = None,
) -> PairDataset | PairIterableDataset:
    """The training rows, at hand or streamed."""
    augmentation = PairAugmentation.parse(arguments.augment) if arguments.augment else None
    if not arguments.streaming:
        return PairDataset(
            rows,
            processor,
            captions_per_pair=arguments.captions_per_pair,
            distractor_swap=arguments.distractor_swap,
            cache=arguments.cache_images,
            seed=seed,
            augmentation=augmentation,
            features=features,
            changed_only=arguments.changed_only,
        )
    stream = source_rows(arguments, rows)
    return PairIterableDataset(
        stream, processor, arguments.captions_per_pair, arguments.shuffle_buffer, seed, augmentation=augmentation
    )


def source_rows(arguments: DataArguments, rows: Dataset) -> Dataset | IterableDataset:
    """The training rows with their images; of a streamed split, `rows` are the texts alone."""
    if not arguments.streaming:
        return rows
    return load_prepared(arguments.data_dir, streaming=True, splits=["train"])["train"]


def check_streaming(data_arguments: DataArguments, arguments: ChangeCaptioningArguments) -> None:
    """Refuse what a stream cannot do; let every process read its own share of it."""
    if not data_arguments.streaming:
        return
    if arguments.max_steps < 1:
        raise ValueError("--streaming has no end; say where to stop with --max_steps.")
    if data_arguments.distractor_swap or data_arguments.cache_images:
        raise ValueError("--streaming keeps no images: leave out --distractor_swap and --cache_images.")
    if data_arguments.changed_only:
        raise ValueError("--streaming leaves no pairs out: prepare the data without them, in place of --changed_only.")
    if data_arguments.feature_cache:
        raise ValueError("--streaming reads every image as it comes: leave out --feature_cache.")
    if data_arguments.max_train_pairs is not None:
        raise ValueError("--streaming reads whole files, shared out among workers: leave out --max_train_pairs.")
    arguments.accelerator_config.dispatch_batches = False


def first_rows(splits: DatasetDict, name: str, count: int | None) -> Dataset:
    """The first `count` rows of a split, or all; an empty split is an error."""
    if count is not None and count < 1:
        raise ValueError(f"A limit of {count} pairs leaves nothing of the {name} split.")
    if not len(splits[name]):
        raise ValueError(f"The {name} split is empty; prepare the data with more scenes or larger shares.")
    return splits[name] if count is None else splits[name].select(range(min(count, len(splits[name]))))


def refuse_frozen_noise(arguments: ModelArguments) -> None:
    """Raise a `ValueError` where random weights would stay frozen, before billions of them are drawn."""
    with torch.device("meta"):
        model = build_model(read_config(arguments.model_config, arguments.config_overrides), arguments.model_class)
    set_trainable(model, arguments.trainable, {name for name, _ in model.named_parameters()})


def start_system(arguments: ModelArguments, splits: DatasetDict) -> tuple:
    """Load the system, or build it with a tokenizer of the training captions."""
    if bool(arguments.model_name_or_path) == bool(arguments.model_config):
        raise ValueError("Give either --model_name_or_path or --model_config; an empty one (--model_config=) is none.")
    if arguments.model_name_or_path:
        return load_base(arguments)
    if arguments.trainable != [".*"]:
        refuse_frozen_noise(arguments)
    captions = (caption for row in splits["train"]["captions"] for caption in row)
    return create_system(arguments, captions)


def tell_unknown_words(processor: ProcessorMixin, rows: Dataset) -> None:
    """Say which words of the training captions the system cannot write."""
    found = unknown_words(processor.tokenizer, (text for captions in rows["captions"] for text in captions))
    if found:
        most = ", ".join(f"{word} ({count})" for word, count in list(found.items())[:10])
        more = f" and {len(found) - 10} more" if len(found) > 10 else ""
        print(f"Warning: words of the captions that the tokenizer does not know: {most}{more}. They become <unk>.")


def run(
    model_arguments: ModelArguments, data_arguments: DataArguments, arguments: ChangeCaptioningArguments
) -> dict[str, Any]:
    """One training run, from data to the saved best model; returns its metrics."""
    set_seed(arguments.seed)
    checkpoint = find_checkpoint(arguments)
    over_base = bool(model_arguments.lora) or model_arguments.save_trained_only
    if model_arguments.quantization_config and not over_base:
        raise ValueError(
            "`quantization_config` needs `lora` or `save_trained_only`: no model in 4 bit is saved whole."
        )

    # Data and model
    check_streaming(data_arguments, arguments)
    splits = load_splits(data_arguments)
    train_rows = first_rows(splits, "train", data_arguments.max_train_pairs)
    model, processor, missing = start_system(model_arguments, splits)
    positions = positions_of(model.config)
    check_captions_fit(processor, train_rows.select_columns(["pair_id", "captions"]), positions)
    check_generation_fits(processor, arguments.generation_max_new_tokens, positions)
    describe_sources(processor, source_rows(data_arguments, train_rows), reading_of(data_arguments.data_dir))
    trainable = prepare_training(model, model_arguments, missing, arguments.device)
    record = parameter_report(model, trainable)
    aux_heads = auxiliary_heads_of(model, arguments, splits["validation"].column_names)
    features = cached_features(data_arguments, arguments, train_rows, model, processor, aux_heads)
    if over_base:
        if aux_heads is not None:
            raise ValueError(
                "Auxiliary heads go with neither `lora` nor `save_trained_only`: they train from scratch."
            )
        model = add_lora(model, model_arguments, trainable)
        record = parameter_report(model, trained_parameters(model))
    dataset = training_pairs(data_arguments, train_rows, processor, arguments.seed, features)

    # Training
    trainer = ChangeCaptioningTrainer(
        model=model,
        args=arguments,
        train_dataset=dataset,
        eval_dataset=first_rows(splits, "validation", data_arguments.max_eval_pairs),
        data_collator=PairCollator(
            processor,
            aux_targets=aux_heads is not None,
            normalize=False,
            pad_to_multiple_of=data_arguments.pad_to_multiple_of,
        ),
        processing_class=processor,
        train_rows=train_rows,
        change_type_of=change_type_of,
        aux_heads=aux_heads,
    )
    output_dir = Path(arguments.output_dir)
    if trainer.is_world_process_zero():
        output_dir.mkdir(parents=True, exist_ok=True)
        write_json(output_dir / "trainable_parameters.json", record, indent=1)
        tell_unknown_words(processor, train_rows)
        print(f"Training {record['trainable']:,} of {record['parameters']:,} parameters.")
    result = trainer.train(resume_from_checkpoint=checkpoint)

    # Save
    # As a call from within: the stock upload knows neither code nor pipeline nor baselines.
    trainer.save_model(str(output_dir / "best"), _internal_call=True)
    trainer.save_metrics("train", result.metrics)
    trainer.save_state()

    # Publish
    if arguments.push_to_hub and trainer.is_world_process_zero():
        commit = publish_run(trainer.hub_model_id, model_arguments, data_arguments, arguments, record)
        print(f"Published {commit.commit_url}")
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
