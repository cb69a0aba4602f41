# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Settings of an augmented set, saved in its folder so that a run can only be resumed with the same ones."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field

from ..schema import SPLITS


# Raised whenever the same settings give other images or captions than before.
FORMAT = 1
MULTIPLE = 64
RANKINGS = ("image_text", "image_image")
DTYPES = ("float32", "float16", "bfloat16")


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not math.isfinite(value) or not low <= value <= high:
        raise ValueError(f"{name} must be between {low} and {high}, not {value}")


@dataclass(frozen=True)
class EditSettings:
    """How images are edited.

    The paper names InstructPix2Pix fine-tuned on MagicBrush and eight variants, and no sampler settings: steps and
    guidance are those of the port's example, the size is InstructPix2Pix's.

    Args:
        model (`str`, *optional*, defaults to `'vinesmsuic/magicbrush-ema'`): Folder or id of a
            `StableDiffusionInstructPix2PixPipeline`.
        revision (`str`, *optional*): Commit, for an id.
        variants (`int`, *optional*, defaults to `8`): Edited images an original, 1 to 64.
        resolution (`int`, *optional*, defaults to `512`): Edited images have about resolution ** 2 pixels; a multiple
            of 64 from 64 to 2048.
        steps (`int`, *optional*, defaults to `20`): Denoising steps, 1 to 1000.
        guidance (`float`, *optional*, defaults to `7.0`): Weight of the instruction, above 1 and up to 30.
        image_guidance (`float`, *optional*, defaults to `1.5`): Weight of the original image, 1 to 10.
        batch_size (`int`, *optional*, defaults to `8`): Variants of one original in one call; other sizes may differ
            in the last bits.
        safety_checker (`bool`, *optional*, defaults to `True`): Whether the model's safety checker looks at what was
            made; what it flags is left out.
        watermark (`str`, *optional*): Text of an invisible watermark, up to 32 bytes; None for none. A captioner could
            learn to see it.

    Raises:
        ValueError: For a value out of range, naming it.
    """

    model: str = "vinesmsuic/magicbrush-ema"
    revision: str | None = None
    variants: int = 8
    resolution: int = 512
    steps: int = 20
    guidance: float = 7.0
    image_guidance: float = 1.5
    batch_size: int = 8
    safety_checker: bool = True
    watermark: str | None = None

    def __post_init__(self) -> None:
        _check_range("variants", self.variants, 1, 64)
        _check_range("resolution", self.resolution, MULTIPLE, 2048)
        if self.resolution % MULTIPLE:
            raise ValueError(f"resolution must be a multiple of {MULTIPLE}, not {self.resolution}")
        _check_range("steps", self.steps, 1, 1000)
        _check_range("guidance", self.guidance, 1, 30)
        if self.guidance <= 1:
            raise ValueError("guidance must be above 1: at 1 the editor ignores both guidances")
        _check_range("image_guidance", self.image_guidance, 1, 10)
        _check_range("batch_size", self.batch_size, 1, 64)
        if self.watermark is not None:
            _check_range("bytes of the watermark", len(self.watermark.encode()), 1, 32)


@dataclass(frozen=True)
class RankSettings:
    """How the variants of an original are ranked; the model and both similarities are ours, the paper names neither.

    Args:
        model (`str`, *optional*, defaults to `'openai/clip-vit-base-patch32'`): Folder or id of a `CLIPModel`.
        revision (`str`, *optional*): Commit, for an id.
        by (`str`, *optional*, defaults to `'image_text'`): "image_text", the cosine of edited image and instruction;
            "image_image", that of edited and original image; None to rank nothing.
        keep (`int`, *optional*): How many of the best to keep; None for all, as in the paper.

    Raises:
        ValueError: For a value out of range, naming it.
    """

    model: str = "openai/clip-vit-base-patch32"
    revision: str | None = None
    by: str | None = "image_text"
    keep: int | None = None

    def __post_init__(self) -> None:
        if self.by is not None and self.by not in RANKINGS:
            raise ValueError(f"rank_by must be one of {', '.join(RANKINGS)} or none, not {self.by!r}")
        if self.keep is not None:
            _check_range("keep", self.keep, 1, 64)
            if self.by is None:
                raise ValueError("keep needs a ranking: name one by rank_by")


@dataclass(frozen=True)
class ParaphraseSettings:
    """How instructions are put in other words.

    Model, temperature and `top_p` are the paper's, whose script asks once, for no number; the rest is ours.

    Args:
        model (`str`, *optional*, defaults to `'meta-llama/Llama-2-7b-chat-hf'`): Folder or id of a chat language model
            with a chat template.
        revision (`str`, *optional*): Commit, for an id.
        count (`int`, *optional*, defaults to `4`): Paraphrases an instruction, 1 to 20.
        attempts (`int`, *optional*, defaults to `5`): Answers drawn until the count is met, 1 to 100.
        temperature (`float`, *optional*, defaults to `0.6`): Of sampling, above 0 and up to 5.
        top_p (`float`, *optional*, defaults to `0.9`): Share of the probability that is sampled from, above 0 and up
            to 1.
        max_new_tokens (`int`, *optional*, defaults to `256`): Length of an answer, 8 to 4096 tokens.

    Raises:
        ValueError: For a value out of range, naming it.
    """

    model: str = "meta-llama/Llama-2-7b-chat-hf"
    revision: str | None = None
    count: int = 4
    attempts: int = 5
    temperature: float = 0.6
    top_p: float = 0.9
    max_new_tokens: int = 256

    def __post_init__(self) -> None:
        _check_range("paraphrases", self.count, 1, 20)
        _check_range("attempts", self.attempts, 1, 100)
        _check_range("temperature", self.temperature, 0.01, 5)
        _check_range("top_p", self.top_p, 0.01, 1)
        _check_range("max_new_tokens", self.max_new_tokens, 8, 4096)


@dataclass(frozen=True)
class SynedSettings:
    """Everything but the originals that an augmented set depends on.

    Args:
        seed (`int`): Seed of the set; an item's own seeds depend on it and on the item's name alone.
        image_splits (`tuple[str, ...]`, *optional*, defaults to `('train',)`): Splits whose images after are replaced
            by variants; the paper's training part.
        caption_splits (`tuple[str, ...]`, *optional*, defaults to `('test',)`): Splits whose captions get paraphrases;
            the paper's test part.
        device (`str`, *optional*, defaults to `'cpu'`): Where the models run, such as "cpu" or "cuda".
        dtype (`str`, *optional*, defaults to `'float32'`): Of all models' weights: "float32", "float16" or "bfloat16".
        edit (`EditSettings`, *optional*): How images are edited.
        rank (`RankSettings`, *optional*): How variants are ranked.
        paraphrase (`ParaphraseSettings`, *optional*): How instructions are put in other words.

    Raises:
        ValueError: For a value out of range, naming it.
    """

    seed: int
    image_splits: tuple[str, ...] = ("train",)
    caption_splits: tuple[str, ...] = ("test",)
    device: str = "cpu"
    dtype: str = "float32"
    edit: EditSettings = field(default_factory=EditSettings)
    rank: RankSettings = field(default_factory=RankSettings)
    paraphrase: ParaphraseSettings = field(default_factory=ParaphraseSettings)

    def __post_init__(self) -> None:
        _check_range("seed", self.seed, 0, 2**63)
        unknown = [name for name in (*self.image_splits, *self.caption_splits) if name not in SPLITS]
        if unknown:
            raise ValueError(f"splits must be among {', '.join(SPLITS)}, not {', '.join(unknown)}")
        if not self.image_splits and not self.caption_splits:
            raise ValueError("image_splits and caption_splits are both empty: there is nothing to make")
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, not {self.dtype!r}")
        if self.rank.keep is not None and self.rank.keep > self.edit.variants:
            raise ValueError(f"keep must not exceed the {self.edit.variants} variants, not {self.rank.keep}")

    def to_dict(self) -> dict:
        """The settings as JSON keeps them."""
        return json.loads(json.dumps({"format": FORMAT, **asdict(self)}))
