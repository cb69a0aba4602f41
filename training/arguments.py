# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""What a run is made of: one YAML file, overridden by the command line."""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from transformers import HfArgumentParser, TrainingArguments

from ssgpa_command.arguments import print_any_sign

from ..utils.yaml_files import load_yaml


# The score that chooses the best checkpoint is chosen by what the evaluated pairs have.
AUTO_METRIC = "auto"
# Weights of training-only heads.
AUXILIARY = ("aux_attributes", "aux_objects", "aux_counterpart", "aux_changed", "aux_type")
# On the command line a list cannot be empty.
NONE = ["none"]
# What arguments were called.
FORMER_NAMES = {f"hint_{name}": f"aux_{name}" for name in ("attributes", "changed", "type", "steps")}
FORMER_NAMES |= {"cache_pictures": "cache_images", "card_facts": "card_metadata"}


@dataclass
class ModelArguments:
    """Where the model comes from and which part of it trains.

    Args:
        model_name_or_path (`str`, *optional*): A saved system to go on from, or a VLM, which gets adapter and
            alignment.
        revision (`str`, *optional*): Its commit, for an id on the Hub.
        model_config (`str`, *optional*): A configuration JSON to start from random weights; then `image_size` gives
            the image size and a word tokenizer is built from the training captions.
        model_class (`str`, *optional*): Class path of a variant, e.g. of `ssgpa.benchmarks.variants.ablations`; by
            default the class that the configuration's model type stands for.
        config_overrides (`str`, *optional*): JSON mapping of the configuration's sizes and rates to other values; a
            plain mapping in a YAML file.
        tokenizer (`str`, *optional*): Folder or ID[@REVISION] of the tokenizer of a model started from a
            configuration; by default one of the training captions' words.
        image_processor (`str`, *optional*): Folder or ID[@REVISION] of its image processor; by default one that
            resizes whole images to `image_size`.
        image_size (`list[int]`): Height and width of what a model started from a configuration reads.
        prompt (`str`, *optional*): Prompt of a model started from a configuration; by default that of the system's way
            to take images.
        instruction (`str`, *optional*): What a plain VLM that the run starts from is asked of both images; by default
            `ssgpa.vlm.starting.INSTRUCTION`.
        attn_implementation (`str`, *optional*): `eager`, `sdpa`, ...; by default the library's choice.
        trainable (`list[str]`): Regular expressions; a parameter whose name one of them matches is trained. `none`
            alone is an empty list: with `lora`, its matrices train alone.
        lora (`str`, *optional*): JSON mapping of options of PEFT's `LoraConfig`, `target_modules` among them; a plain
            mapping in a YAML file. What `trainable` matches trains in full beside it.
        adapter_name_or_path (`str`, *optional*): Folder of a checkpoint with the same `lora` and `trainable` over the
            same base; the run goes on from what was trained there, with data and rate of its own.
        save_trained_only (`bool`): Save no more than what was trained, and the base's name; with `lora` that is so
            anyway.
        frozen_dtype (`str`, *optional*): `bfloat16`, `float16` or `float32`, for what is frozen; what trains is then
            kept in float32. By default all dtypes stay as they were loaded.
        checkpointing (`list[str]`): Regular expressions; layers whose name one of them matches are recomputed in the
            backward pass. `none` alone is an empty list.
        quantization_config (`str`, *optional*): JSON mapping of `BitsAndBytesConfig`'s arguments, in 4 bit, for frozen
            layers; a plain mapping in a YAML file.
        quantized (`list[str]`): Regular expressions; frozen linear layers whose name one of them matches are quantized
            where `quantization_config` is set. By default those of the language model.
    """

    model_name_or_path: str | None = None
    revision: str | None = None
    model_config: str | None = None
    model_class: str | None = None
    config_overrides: str | None = None
    tokenizer: str | None = None
    image_processor: str | None = None
    image_size: list[int] = field(default_factory=lambda: [224, 224])
    prompt: str | None = None
    instruction: str | None = None
    attn_implementation: str | None = None
    trainable: list[str] = field(default_factory=lambda: [".*"])
    lora: str | None = None
    adapter_name_or_path: str | None = None
    save_trained_only: bool = False
    frozen_dtype: str | None = None
    checkpointing: list[str] = field(default_factory=list)
    quantization_config: str | None = None
    quantized: list[str] = field(default_factory=list)


@dataclass
class DataArguments:
    """What the model learns from.

    Args:
        data_dir (`str`): A folder written by `examples/prepare_data.py`, or `hf://datasets/ORG/NAME[@REVISION]`.
        synthetic_data_dir (`str`, *optional*): A second prepared set, such as Syned's, whose training pairs are mixed
            in; evaluation sees the first one alone.
        synthetic_share (`float`, *optional*): Share of every epoch's pairs that is synthetic. Real pairs come once an
            epoch, synthetic ones in turn; with 1, these alone. By default every synthetic pair comes once too.
        captions_per_pair (`int`): Captions of a pair learned in one step; they share the pair's visual tokens. More
            than one takes an attention implementation that reads 4-D masks, `eager` or `sdpa`.
        distractor_swap (`bool`): Let the distractor image stand in for the image before, with probability 0.5.
            Sides in captions are those of the image before; how often that matters tells
            `data/clevr_renderer/README.md`.
        canonical_captions (`bool`): Learn one caption a pair in one choice of words, in place of the references: four
            attributes, and a relation where these fit another object too. Rendered sets only; the words are those
            whose captions come nearest to the training references. What they are is in the run's
            `trainable_parameters.json`.
        time_reversal (`bool`): With probability 0.5, the pair from after to before, with captions of that change.
            Rendered sets only.
        fresh_scenes (`str`, *optional*): Train on scenes that are rendered as they are needed, every one once, in
            place of the prepared training pairs: JSON mapping of the renderer's options, `seed` among them; a plain
            mapping in a YAML file. The prepared data says which auxiliary targets there are, and validates.
            `dataloader_num_workers` share the rendering out. Needs `max_steps`.
        first_captions (`bool`): Learn the first captions of every pair in every epoch; by default they are drawn anew.
        changed_only (`bool`): Leave pairs without a change out of training; with `distractor_swap` their images still
            stand in.
        no_change_controls (`float`): Probability that a row becomes, for an epoch, a control in which nothing has
            changed: one of its images on both sides, altered as `ssgpa.data.controls.HarmlessChanges` does.
        control_captions (`list[str]`): What controls are told by; by default the captions of unchanged training pairs,
            of the row's scene where it has one.
        frames (`str`, *optional*): What makes the frames of a pair for a model that takes other ones than before and
            after: JSON mapping of `class`, the class path of a `ssgpa.data.frames.PairFrames`, and that class's
            options; a plain mapping in a YAML file.
        augment (`list[str]`): Alterations of training images with their probabilities, e.g. `blur=0.3 jpeg=0.3`; see
            `ssgpa.data.augment.PairAugmentation`. Evaluation never alters images.
        cache_images (`bool`): Decode and resize every image once and keep it in memory as 8-bit.
        streaming (`bool`): Read the training rows one after the other, without end; needs `max_steps`.
        shuffle_buffer (`int`): Rows among which a streamed run draws the next one.
        feature_cache (`str`, *optional*): Folder for what a frozen vision tower makes of every image; computed once,
            read in every run with the same tower and images.
        pad_to_multiple_of (`int`, *optional*): Pad training rows to such lengths, so that fewer shapes occur.
        retrieval_store (`str`, *optional*): JSON file of captions that were retrieved for every pair of the data, by
            `examples/make_retrieval_store.py`; for systems that read such.
        max_train_pairs (`int`, *optional*): Use that many training pairs only, synthetic ones not counted.
        max_eval_pairs (`int`, *optional*): Evaluate on that many validation pairs only.
    """

    data_dir: str = ""
    synthetic_data_dir: str | None = None
    synthetic_share: float | None = None
    captions_per_pair: int = 1
    distractor_swap: bool = False
    canonical_captions: bool = False
    time_reversal: bool = False
    fresh_scenes: str | None = None
    first_captions: bool = False
    changed_only: bool = False
    no_change_controls: float = 0.0
    control_captions: list[str] = field(default_factory=list)
    frames: str | None = None
    augment: list[str] = field(default_factory=list)
    cache_images: bool = False
    streaming: bool = False
    shuffle_buffer: int = 256
    feature_cache: str | None = None
    pad_to_multiple_of: int | None = None
    retrieval_store: str | None = None
    max_train_pairs: int | None = None
    max_eval_pairs: int | None = None


@dataclass
class ChangeCaptioningArguments(TrainingArguments):
    """Transformers' TrainingArguments and what evaluation by generation and training-only heads need.

    Args:
        metric_for_best_model (`str`): The score of the evaluation that chooses the best checkpoint. `auto` is
            `eval_changed_correct` where the scenes of the pairs are known (rendered sets), `eval_changed_cider` where
            changed pairs and their types are, else `eval_total_cider`, or `eval_total_rouge_l` where CIDEr could only
            be 0, as for one pair alone. Of equal scores the later step's is the best.
        learning_rate_factors (`str`, *optional*): JSON mapping of regular expressions to factors of `learning_rate`
            for the parameters whose names they match, the first that does; a plain mapping in a YAML file.
        muon_learning_rate (`float`, *optional*): Train hidden matrices by Muon with this rate, all else by AdamW with
            `learning_rate`; the schedule acts on both. Without it AdamW trains everything.
        lr_step_size (`int`, *optional*): Steps after which the learning rate is multiplied by `lr_step_factor`, again
            and again; takes the place of `lr_scheduler_type`.
        lr_step_factor (`float`): That factor.
        generation_num_beams (`int`): Beams of the evaluation during training.
        generation_max_new_tokens (`int`): Longest caption of the evaluation during training.
        generation_repetition_penalty (`float`): Penalty there of tokens that a caption has already, saved with the
            checkpoints; 1 is what the model has.
        log_samples (`int`): Pairs whose captions and change maps are logged at every evaluation, to those of
            TensorBoard, Trackio and W&B that `report_to` names; 0 logs none.
        aux_attributes (`float`): Weight of the renderer's attributes of every cell; 0 switches it off.
        aux_objects (`float`): Weight of the renderer's attributes of every object, read off the mean of its cells; 0
            switches it off.
        aux_counterpart (`float`): Weight of the attributes of every cell's counterpart, the same cell of the other
            image, read off the compared images: what makes a model from random weights look there at all; 0 switches
            it off.
        aux_changed (`float`): Weight of the renderer's changed cells; 0 switches it off.
        aux_type (`float`): Weight of the change type; 0 switches it off.
        aux_steps (`int`, *optional*): Steps after which the auxiliary targets' weight has fallen to zero; by default
            they stay.
        hub_strategy (`str`): When `push_to_hub` uploads; `end` is once, as a whole. The others also send checkpoints
            before, which have no code.
        card_metadata (`str`, *optional*): YAML file of what the model card tells beside the scores, with
            `push_to_hub`.
    """

    remove_unused_columns: bool = field(default=False)
    metric_for_best_model: str | None = field(default=AUTO_METRIC)
    hub_strategy: str = field(default="end")
    learning_rate_factors: str | None = None
    muon_learning_rate: float | None = None
    lr_step_size: int | None = None
    lr_step_factor: float = 0.1
    generation_num_beams: int = 1
    generation_max_new_tokens: int = 40
    generation_repetition_penalty: float = 1.0
    log_samples: int = 0
    aux_attributes: float = 0.0
    aux_objects: float = 0.0
    aux_counterpart: float = 0.0
    aux_changed: float = 0.0
    aux_type: float = 0.0
    aux_steps: int | None = None
    card_metadata: str | None = None


class RunArguments(NamedTuple):
    """What a run is made of.

    Attributes:
        model (`ModelArguments`): Where the model comes from and what of it trains.
        data (`DataArguments`): What it learns from.
        training (`ChangeCaptioningArguments`): How.
    """

    model: ModelArguments
    data: DataArguments
    training: ChangeCaptioningArguments


def option_of(arguments: TrainingArguments, name: str) -> Any:
    """An option of `ChangeCaptioningArguments`; its default where the arguments are Transformers' own.

    Args:
        arguments (`TrainingArguments`): The run's.
        name (`str`): A field of `ChangeCaptioningArguments`.
    """
    value = getattr(arguments, name, None)
    return ChangeCaptioningArguments.__dataclass_fields__[name].default if value is None else value


class RunParser(HfArgumentParser):
    """The parser of a run's arguments, whose errors are exceptions."""

    def error(self, message: str) -> NoReturn:
        """Raise what argparse found; its message names the argument."""
        raise ValueError(message)


def yaml_to_arguments(path: str | Path) -> list[str]:
    """Turn a flat YAML file into command line arguments, so that the same parser converts both.

    Args:
        path (`str` or `Path`): The YAML file: `name: value`, one level, lists and mappings allowed as values; null
            leaves an argument at its default. `base: FILE` names a YAML file beside it whose values hold where this
            one says nothing; mappings are merged.

    Returns:
        `list[str]`: `["--name=value", ...]`, and `["--name", "value", "value", ...]` for lists.

    Raises:
        FileNotFoundError: No such file.
        ValueError: The file is no mapping of names to values, or its bases go round in a circle.
    """
    words: list[str] = []
    for name, value in read_yaml(Path(path)).items():
        if name == "help":
            raise ValueError(f"{path}: unknown `help`; ask for it on the command line.")
        if isinstance(value, list):
            words += [f"--{name}", *(str(item) for item in value)]
        elif value is not None:
            # With the sign of equality, a value that starts with a dash is no name.
            words.append(f"--{name}={json.dumps(value) if isinstance(value, dict) else value}")
    return words


def read_yaml(path: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Values of a run's YAML file and of the bases that it names.

    Args:
        path (`Path`): The file.
        seen (`tuple[Path, ...]`, *optional*): Files that have named it as their base.

    Returns:
        `dict[str, Any]`: By name; mappings of file and base are merged.

    Raises:
        FileNotFoundError: No such file.
        ValueError: As for `yaml_to_arguments`.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such configuration file.")
    if path.resolve() in seen:
        raise ValueError(f"{path}: is its own `base`.")
    values = load_yaml(path)
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise ValueError(f"{path}: a configuration maps names to values, `name: value`.")
    base = values.pop("base", None)
    if base is None:
        return values
    merged = read_yaml(path.parent / str(base), (*seen, path.resolve()))
    for name, value in values.items():
        both = isinstance(value, dict) and isinstance(merged.get(name), dict)
        merged[name] = merged[name] | value if both else value
    return merged


def parse_arguments(arguments: list[str] | None = None) -> RunArguments:
    """Read `CONFIG.yaml [--name value ...]`; the command line wins.

    Raises:
        FileNotFoundError: No such YAML file.
        ValueError: No YAML file comes first, or an argument is unknown or cannot be converted; the error names it.
    """
    print_any_sign()
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = RunParser((ModelArguments, DataArguments, ChangeCaptioningArguments), allow_abbrev=False)
    if arguments[:1] in (["--help"], ["-h"]):
        parser.parse_args(arguments)
    if not arguments or not arguments[0].endswith((".yaml", ".yml")):
        raise ValueError("The first argument is the run's YAML file, e.g. examples/configs/clevr_tiny.yaml.")
    words = yaml_to_arguments(arguments[0]) + arguments[1:]
    try:
        *parsed, unknown = parser.parse_args_into_dataclasses(
            words, return_remaining_strings=True, look_for_args_file=False
        )
    except (ArithmeticError, AttributeError, LookupError, TypeError, RecursionError) as error:
        # Where Transformers' own checks of an argument expect another kind of value.
        raise ValueError(f"{arguments[0]}: {type(error).__name__}: {' '.join(str(error).split())}") from error
    if unknown:
        names = [word.removeprefix("--").partition("=")[0].replace("-", "_") for word in unknown]
        renamed = [f"`{name}` is now `{FORMER_NAMES[name]}`" for name in names if name in FORMER_NAMES]
        advice = f" {'; '.join(renamed)}." if renamed else ""
        raise ValueError(f"Unknown in {arguments[0]} or on the command line: {' '.join(unknown)}.{advice}")
    return RunArguments(*parsed)
