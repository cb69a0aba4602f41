# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Variants of an image by InstructPix2Pix, each from a seed of its own."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

from .models import model_facts, naming, require_diffusers, source, torch_dtype
from .settings import MULTIPLE, EditSettings, SynedSettings
from .watermark import add_watermark


def edited_size(width: int, height: int, resolution: int) -> tuple[int, int]:
    """Width and height, multiples of 64, that hold about resolution ** 2 pixels in nearly the same shape."""
    scale = resolution / math.sqrt(width * height)
    return tuple(max(1, round(length * scale / MULTIPLE)) * MULTIPLE for length in (width, height))


def fit_image(image: Image.Image, resolution: int) -> Image.Image:
    """Resize to `edited_size`; what sticks out on two sides is cut off, so that nothing is stretched."""
    size = edited_size(*image.size, resolution)
    return ImageOps.fit(image, size, method=Image.Resampling.LANCZOS)


def load_editor(settings: SynedSettings) -> tuple[Any, dict[str, Any]]:
    """Load the editor with an Euler ancestral scheduler.

    Returns:
        `tuple[Any, dict[str, Any]]`: The pipeline, and what its images depend on.

    Raises:
        ValueError: If it cannot be loaded, is no InstructPix2Pix, or lacks the safety checker; the error names it.
    """
    diffusers = require_diffusers()
    edit = settings.edit
    checker = {} if edit.safety_checker else {"safety_checker": None, "requires_safety_checker": False}
    with naming(edit.model):
        pipe = diffusers.StableDiffusionInstructPix2PixPipeline.from_pretrained(
            edit.model, dtype=torch_dtype(settings), **source(edit), **checker
        )
        channels, wanted = pipe.unet.config.in_channels, 2 * pipe.vae.config.latent_channels
        if channels != wanted:
            raise ValueError(f"its UNet reads {channels} channels, an InstructPix2Pix editor's reads {wanted}")
        if edit.safety_checker and pipe.safety_checker is None:
            raise ValueError("it holds no safety checker; pass --no-safety_checker to go without")
        pipe.scheduler = diffusers.EulerAncestralDiscreteScheduler.from_config(pipe.scheduler.config)
        pipe.set_progress_bar_config(disable=True)
        return pipe.to(settings.device), model_facts(edit, str(pipe.unet.config.get("_name_or_path")))


def edit_image(
    pipe: Any, image: Image.Image, instruction: str, seeds: list[int], edit: EditSettings
) -> list[Image.Image | None]:
    """Variants of one image.

    Args:
        pipe (`Any`): What `load_editor` gives.
        image (`Image.Image`): The original, RGB, as `fit_image` gives it.
        instruction (`str`): What to change.
        seeds (`list[int]`): One a variant. The noise is drawn on the CPU, whatever the device.
        edit (`EditSettings`): How to edit.

    Returns:
        `list[Image.Image | None]`: One image a seed, of the original's size; None where the safety checker flagged it.

    Raises:
        FloatingPointError: If an image holds values that are no numbers.
    """
    variants: list[Image.Image | None] = []
    for start in range(0, len(seeds), edit.batch_size):
        batch = seeds[start : start + edit.batch_size]
        output = pipe(
            prompt=[instruction] * len(batch),
            image=[image] * len(batch),
            num_inference_steps=edit.steps,
            guidance_scale=edit.guidance,
            image_guidance_scale=edit.image_guidance,
            generator=[torch.Generator("cpu").manual_seed(seed) for seed in batch],
            output_type="np",
        )
        flags = output.nsfw_content_detected or [False] * len(batch)
        for array, flagged in zip(output.images, flags, strict=True):
            if flagged:
                variants.append(None)
                continue
            if not np.isfinite(array).all():
                raise FloatingPointError("the editor's image holds values that are no numbers; try --dtype float32")
            variant = Image.fromarray((array * 255).round().astype(np.uint8))
            variants.append(add_watermark(variant, edit.watermark) if edit.watermark else variant)
    return variants
