# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""What a training run is put together from: its data, its system and its features, each refused where it cannot be."""

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, DatasetDict, IterableDataset
from transformers import PreTrainedModel, ProcessorMixin
from transformers.utils import logging

from ..data.augment import PairAugmentation
from ..data.decoding import describe_sources
from ..data.frames import PairFrames
from ..data.prepared import (
    HUB_PREFIX,
    aux_grid_of,
    is_prepared,
    load_prepared,
    reading_of,
    render_settings,
    scenes_of,
)
from ..data.retrieved import add_retrieved
from ..metrics.clevr.scenes import add_scene_column
from ..processing_ssgpa import SSGPAProcessor
from ..utils.files import write_json
from .arguments import AUXILIARY, ChangeCaptioningArguments, DataArguments, ModelArguments
from .auxiliary import AuxiliaryHeads
from .controls import GIVEN, NoChangeControls, check_control_settings
from .dataset import ImageCache, PairDataset, check_places
from .features import FeatureCache, fill_cache, open_cache
from .frames import make_frames
from .fresh_scenes import FreshSceneDataset, Orders, SceneSource
from .lora import is_over_base
from .mixing import MixedPairDataset, Mixture
from .positions import check_captions_fit, check_generation_fits, positions_of
from .streams import PairIterableDataset
from .systems import build_model, create_system, load_base, read_config, set_trainable
from .targets import Targets, Wordings, make_targets
from .word_tokenizer import unknown_words


logger = logging.get_logger(__name__)

# Settings of prepared training pairs.
WITH_PREPARED_PAIRS = (
    "streaming",
    "synthetic_data_dir",
    "retrieval_store",
    "feature_cache",
    "frames",
    "no_change_controls",
    "changed_only",
    "first_captions",
    "cache_images",
    "max_train_pairs",
)


def check_settings(
    model_arguments: ModelArguments, data_arguments: DataArguments, arguments: ChangeCaptioningArguments
) -> None:
    """Refuse settings that do not go together; let every process read its own share of a stream.

    Args:
        model_arguments (`ModelArguments`): Where the model comes from.
        data_arguments (`DataArguments`): What it learns from.
        arguments (`ChangeCaptioningArguments`): How it is trained; `accelerator_config` is set for a stream.

    Raises:
        ValueError: Two settings exclude each other; the error names them.
    """
    if model_arguments.quantization_config and not is_over_base(model_arguments):
        raise ValueError(
            "`quantization_config` needs `lora` or `save_trained_only`: no model in 4 bit is saved whole."
        )
    altering = [name for name in ("augment", "distractor_swap", "feature_cache") if getattr(data_arguments, name)]
    if data_arguments.frames and altering:
        raise ValueError(f"`frames` are made of a pair's images as they are prepared: leave out `{altering[0]}`.")
    if model_arguments.adapter_name_or_path and not is_over_base(model_arguments):
        raise ValueError(
            "`adapter_name_or_path` needs the `lora` or `save_trained_only` of the run that it comes from."
        )
    has_auxiliary_heads = any(getattr(arguments, name) for name in AUXILIARY)
    if is_over_base(model_arguments) and has_auxiliary_heads:
        raise ValueError("Auxiliary heads go with neither `lora` nor `save_trained_only`: they train from scratch.")
    if data_arguments.synthetic_data_dir and has_auxiliary_heads:
        raise ValueError("Auxiliary heads need the targets of every pair: they do not go with `synthetic_data_dir`.")
    if data_arguments.synthetic_data_dir and data_arguments.changed_only:
        raise ValueError("`changed_only` would change the share of `synthetic_data_dir`: leave one of them out.")
    if data_arguments.synthetic_share == 1 and data_arguments.max_train_pairs is not None:
        raise ValueError("`max_train_pairs` limits the real pairs, of which `synthetic_share` 1.0 takes none.")
    if data_arguments.synthetic_data_dir and data_arguments.retrieval_store:
        raise ValueError("`retrieval_store` knows the real pairs alone: it does not go with `synthetic_data_dir`.")
    check_control_settings(data_arguments)
    _check_scene_captions(data_arguments)
    _check_fresh_scenes(data_arguments, arguments)
    if data_arguments.streaming:
        _check_stream(data_arguments, arguments)
        arguments.accelerator_config.dispatch_batches = False


def _given(arguments: DataArguments, names: Sequence[str]) -> str | None:
    """The first of the settings that is switched on."""
    return next((name for name in names if getattr(arguments, name) not in (None, False, 0, [])), None)


def _check_scene_captions(data_arguments: DataArguments) -> None:
    made = _given(data_arguments, ("canonical_captions", "time_reversal"))
    other = _given(data_arguments, ("streaming", "synthetic_data_dir", "retrieval_store", "no_change_controls"))
    if made and other:
        raise ValueError(f"`{made}` makes captions of the scenes of one rendered set: leave out `{other}`.")


def _check_fresh_scenes(data_arguments: DataArguments, arguments: ChangeCaptioningArguments) -> None:
    if not data_arguments.fresh_scenes:
        return
    other = _given(data_arguments, WITH_PREPARED_PAIRS)
    if other:
        raise ValueError(f"`fresh_scenes` are rendered in place of the prepared training pairs: leave out `{other}`.")
    if arguments.max_steps < 1:
        raise ValueError("`fresh_scenes` have no end; say where to stop with --max_steps.")


def _check_stream(data_arguments: DataArguments, arguments: ChangeCaptioningArguments) -> None:
    if arguments.max_steps < 1:
        raise ValueError("--streaming has no end; say where to stop with --max_steps.")
    if data_arguments.distractor_swap or data_arguments.cache_images:
        raise ValueError("--streaming keeps no images: leave out --distractor_swap and --cache_images.")
    if data_arguments.changed_only:
        raise ValueError("--streaming leaves no pairs out: prepare the data without them, in place of --changed_only.")
    if data_arguments.synthetic_data_dir:
        raise ValueError("--streaming reads one set: leave out --synthetic_data_dir.")
    if data_arguments.retrieval_store:
        raise ValueError("--streaming reads no row beside another file: leave out --retrieval_store.")
    if data_arguments.feature_cache:
        raise ValueError("--streaming reads every image as it comes: leave out --feature_cache.")
    if data_arguments.max_train_pairs is not None:
        raise ValueError("--streaming reads whole files, shared out among workers: leave out --max_train_pairs.")


def load_splits(arguments: DataArguments) -> DatasetDict:
    """Load prepared data, or say how to make it; of a streamed training split, the texts alone.

    The validation pairs of a rendered set have their scenes with them, by which captions are judged.
    """
    data_dir = arguments.data_dir
    if not data_dir:
        raise ValueError("--data_dir is missing: a folder that examples/prepare_data.py wrote.")
    if not data_dir.startswith(HUB_PREFIX) and not is_prepared(Path(data_dir)):
        raise FileNotFoundError(
            f"{data_dir} is not a prepared folder. The head of the run's YAML file has the commands that make it; "
            f"`python examples/prepare_data.py --dataset NAME --source FOLDER --output_dir {data_dir}` prepares any."
        )
    splits = _read_splits(arguments)
    scenes = scenes_of(data_dir)
    if scenes is not None:
        splits["validation"] = add_scene_column(splits["validation"], scenes)
    return splits


def _read_splits(arguments: DataArguments) -> DatasetDict:
    data_dir = arguments.data_dir
    if not arguments.streaming:
        splits = load_prepared(data_dir)
        return add_retrieved(splits, arguments.retrieval_store) if arguments.retrieval_store else splits
    columns = ["pair_id", "captions", "change_type"]
    # Controls are told by unchanged pairs of their scene.
    columns += ["scene_id"] if arguments.no_change_controls else []
    texts = load_prepared(data_dir, streaming=True, columns=columns, splits=["train"])["train"]
    train = Dataset.from_list(list(texts), features=texts.features)
    return DatasetDict({"train": train, **load_prepared(data_dir, splits=["validation"])})


def first_rows(splits: DatasetDict, name: str, count: int | None) -> Dataset:
    """The first `count` rows of a split, or all; an empty split is an error."""
    if count is not None and count < 1:
        raise ValueError(f"A limit of {count} pairs leaves nothing of the {name} split.")
    if not len(splits[name]):
        raise ValueError(f"The {name} split is empty; prepare the data with more scenes or larger shares.")
    return splits[name] if count is None else splits[name].select(range(min(count, len(splits[name]))))


def source_rows(arguments: DataArguments, rows: Dataset) -> Dataset | IterableDataset:
    """The training rows with their images; of a streamed split, `rows` are the texts alone."""
    if not arguments.streaming:
        return rows
    return load_prepared(arguments.data_dir, streaming=True, splits=["train"])["train"]


def start_system(
    arguments: ModelArguments, splits: DatasetDict, more_captions: Sequence[str] = ()
) -> tuple[PreTrainedModel, SSGPAProcessor, set[str]]:
    """Load the system, or build it with a tokenizer of the training captions.

    Args:
        arguments (`ModelArguments`): Where it comes from.
        splits (`DatasetDict`): Prepared data.
        more_captions (`Sequence[str]`, *optional*): What is learned beside the captions of pairs.

    Returns:
        `tuple[PreTrainedModel, SSGPAProcessor, set[str]]`: The model, its processor, and the names of the weights that
        are random.

    Raises:
        ValueError: Neither or both of model and configuration are named, or random weights would stay frozen.
    """
    if bool(arguments.model_name_or_path) == bool(arguments.model_config):
        raise ValueError("Give either --model_name_or_path or --model_config; an empty one (--model_config=) is none.")
    if arguments.model_name_or_path:
        return load_base(arguments)
    if arguments.trainable != [".*"]:
        # Before billions of weights are drawn.
        with torch.device("meta"):
            model = build_model(read_config(arguments.model_config, arguments.config_overrides), arguments.model_class)
        set_trainable(model, arguments.trainable, {name for name, _ in model.named_parameters()})
    captions = (caption for row in splits["train"]["captions"] for caption in row)
    return create_system(arguments, chain(captions, more_captions))


def check_data_fits(
    model: PreTrainedModel,
    processor: SSGPAProcessor,
    rows: Dataset,
    data_arguments: DataArguments,
    arguments: ChangeCaptioningArguments,
) -> None:
    """Refuse captions that the model cannot learn; note in the processor how images are read.

    Args:
        model (`PreTrainedModel`): Its language model's positions bound the captions.
        processor (`SSGPAProcessor`): Its prompt goes before every caption; gets what `describe_sources` tells.
        rows (`Dataset`): The training rows.
        data_arguments (`DataArguments`): Where they come from; its `control_captions` are checked too.
        arguments (`ChangeCaptioningArguments`): How long the captions of an evaluation may be.

    Raises:
        ValueError: A caption does not fit, or an image cannot be decoded; the error names the pair, or
            `control_captions`. Or captions were
            retrieved, and the model reads none; or a stage that makes no captions is to be evaluated or published.
    """
    if data_arguments.retrieval_store and not model.config.reads_retrieved:
        raise ValueError(f"A {type(model).__name__} reads no retrieved captions: leave out --retrieval_store.")
    if model.config.reads_retrieved and not data_arguments.retrieval_store:
        logger.warning(
            f"{type(model).__name__} reads retrieved captions, and this run has none (--retrieval_store): what would "
            "read them stays as it is."
        )
    if data_arguments.captions_per_pair > 1 and not model.config.packs_captions:
        raise ValueError(f"A {type(model).__name__} reads one caption a row: set `captions_per_pair` to 1.")
    if not model.can_generate():
        _check_captionless(type(model).__name__, arguments)
    positions = positions_of(model.config)
    given = {"pair_id": GIVEN, "captions": data_arguments.control_captions}
    check_captions_fit(processor, chain(rows.select_columns(["pair_id", "captions"]), [given]), positions)
    check_generation_fits(processor, arguments.generation_max_new_tokens, positions)
    describe_sources(processor, source_rows(data_arguments, rows), reading_of(data_arguments.data_dir))


def _check_captionless(name: str, arguments: ChangeCaptioningArguments) -> None:
    """Refuse what needs captions of a stage that makes none."""
    for option, needs in (
        ("eval_strategy", arguments.eval_strategy != "no"),
        ("eval_on_start", arguments.eval_on_start),
        ("load_best_model_at_end", arguments.load_best_model_at_end),
        ("push_to_hub", arguments.push_to_hub),
    ):
        if needs:
            raise ValueError(f"A {name} makes no captions: it does not go with `{option}`.")


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
    if aux_heads is not None and model.get_auxiliary_features().tower is model.get_vision_encoder():
        raise ValueError("Auxiliary heads read the vision tower at every step: they do not go with `feature_cache`.")
    features = open_cache(data_arguments.feature_cache, model, processor, arguments)
    with arguments.main_process_first(local=False, desc="vision features"):
        images = ImageCache(rows, processor, cache=False).digests()
        count = fill_cache(features, images, model, processor, arguments)
    sys.stdout.write(f"Computed the vision features of {count:,} images.\n")
    return features


def pair_frames(
    arguments: DataArguments, rows: Dataset, model: PreTrainedModel, processor: SSGPAProcessor
) -> PairFrames | None:
    """What makes the frames of the training rows, checked against them.

    Args:
        arguments (`DataArguments`): `frames`.
        rows (`datasets.Dataset`): The training rows.
        model (`PreTrainedModel`): Its `frames_per_pair` says how many it takes.
        processor (`SSGPAProcessor`): Its `pair_layout` must leave the images apart.

    Returns:
        `PairFrames`: None where the model takes the two images.

    Raises:
        ValueError: Model, run and data do not agree.
    """
    frames = make_frames(arguments.frames, getattr(model, "frames_per_pair", None), type(model).__name__)
    if frames is None:
        return None
    if processor.pair_layout != "pair":
        raise ValueError(f"`frames` are no parts of one {processor.pair_layout} image: the model takes pairs apart.")
    frames.check(rows["pair_id"])
    return frames


def training_targets(arguments: DataArguments, rows: Dataset, seed: int) -> Targets:
    """The training rows with the captions that are learned in place of their references, where any are.

    Args:
        arguments (`DataArguments`): `canonical_captions`, `time_reversal` and `data_dir`.
        rows (`datasets.Dataset`): The training rows.
        seed (`int`): Seed of captions that are drawn.

    Raises:
        ValueError: The rows have no scenes.
    """
    wanted = arguments.canonical_captions or arguments.time_reversal
    scenes = scenes_of(arguments.data_dir) if wanted else None
    return make_targets(rows, scenes, arguments.canonical_captions, arguments.time_reversal, seed)


def training_pairs(
    arguments: DataArguments,
    rows: Dataset,
    processor: SSGPAProcessor,
    seed: int,
    features: FeatureCache | None = None,
    frames: PairFrames | None = None,
    mixture: Mixture | None = None,
    controls: NoChangeControls | None = None,
    wordings: Wordings | None = None,
) -> PairDataset | PairIterableDataset | FreshSceneDataset:
    """The training rows: at hand, streamed or rendered; with a mixture, real and synthetic ones; with controls."""
    augmentation = PairAugmentation.parse(arguments.augment) if arguments.augment else None
    if arguments.fresh_scenes:
        return FreshSceneDataset(
            SceneSource.parse(
                arguments.fresh_scenes,
                processor,
                aux_grid_of(arguments.data_dir),
                render_settings(arguments.data_dir),
            ),
            processor,
            Orders(arguments.distractor_swap, arguments.time_reversal),
            wordings,
            arguments.captions_per_pair,
            seed,
            check_places(augmentation, rows.column_names),
        )
    if not arguments.streaming:
        kind = PairDataset if mixture is None else partial(MixedPairDataset, mixture=mixture)
        return kind(
            rows,
            processor,
            captions_per_pair=arguments.captions_per_pair,
            distractor_swap=arguments.distractor_swap,
            cache=arguments.cache_images,
            seed=seed,
            augmentation=augmentation,
            features=features,
            changed_only=arguments.changed_only,
            frames=frames,
            first_captions=arguments.first_captions,
            controls=controls,
        )
    return PairIterableDataset(
        source_rows(arguments, rows),
        processor,
        arguments.captions_per_pair,
        arguments.shuffle_buffer,
        seed,
        augmentation=augmentation,
        frames=frames,
        first_captions=arguments.first_captions,
        controls=controls,
    )


def record_start(
    output_dir: Path,
    record: Mapping[str, Any],
    processor: ProcessorMixin,
    rows: Dataset,
    more_captions: Sequence[str] = (),
) -> None:
    """Write which parameters train, and tell how many, and which words of the captions the system cannot write.

    Args:
        output_dir (`Path`): The run's folder; it is made.
        record (`Mapping[str, Any]`): What `parameter_report` gives.
        processor (`ProcessorMixin`): Its tokenizer writes the captions.
        rows (`Dataset`): The training rows.
        more_captions (`Sequence[str]`, *optional*): What is learned beside their captions.
    """
    output_dir.mkdir(parents=True, exist_ok=True)
    write_json(output_dir / "trainable_parameters.json", record, indent=1)
    captions = chain((text for captions in rows["captions"] for text in captions), more_captions)
    found = unknown_words(processor.tokenizer, captions)
    if found:
        most = ", ".join(f"{word} ({count})" for word, count in list(found.items())[:10])
        more = f" and {len(found) - 10} more" if len(found) > 10 else ""
        sys.stdout.write(
            f"Warning: words of the captions that the tokenizer does not know: {most}{more}. They become <unk>.\n"
        )
    sys.stdout.write(f"Training {record['trainable']:,} of {record['parameters']:,} parameters.\n")
