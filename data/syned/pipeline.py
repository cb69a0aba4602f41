# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The whole augmentation: variants, their ranking, paraphrases, and the prepared folder made of them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from ...utils.files import holding_output, write_png
from .assembly import write_results
from .editing import edit_image, fit_image, load_editor
from .models import require_diffusers
from .originals import Original, digest, image_before, list_originals, load_originals
from .paraphrasing import draw_answer, load_chat, paraphrase
from .ranking import best_first, clip_similarities, load_clip
from .settings import SynedSettings
from .stages import Stage, item_seed, open_run
from .watermark import require_watermark


if TYPE_CHECKING:
    from datasets import DatasetDict


def _make_variants(
    pipe: Any, original: Original, dataset: DatasetDict, stage: Stage, settings: SynedSettings
) -> dict[str, Any]:
    edit = settings.edit
    before = fit_image(image_before(dataset, original), edit.resolution)
    seeds = [item_seed(settings.seed, "image", original.pair_id, number) for number in range(edit.variants)]
    try:
        variants = edit_image(pipe, before, original.instruction, seeds, edit)
    except FloatingPointError as error:
        raise FloatingPointError(f"pair {original.pair_id!r}: {error}") from error
    write_png(stage.path(original, "_before.png"), before)
    for number, variant in enumerate(variants):
        if variant is not None:
            write_png(stage.path(original, f"_{number}.png"), variant)
    return {"seeds": seeds, "flagged": [variant is None for variant in variants]}


def _open(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def _rank_variants(clip: Any, original: Original, stage: Stage, settings: SynedSettings) -> dict[str, Any]:
    flagged = stage.read(original)["flagged"]
    there = [number for number, flag in enumerate(flagged) if not flag]
    scores: dict[str, list[float | None]] = {settings.rank.by: [None] * len(flagged)}
    if there:
        before = _open(stage.path(original, "_before.png"))
        variants = [_open(stage.path(original, f"_{number}.png")) for number in there]
        values = clip_similarities(clip, before, variants, original.instruction)
        scores = {name: [None] * len(flagged) for name in values}
        for name, row in values.items():
            for number, value in zip(there, row, strict=True):
                scores[name][number] = value
    return {**scores, "best_first": best_first(scores[settings.rank.by], settings.rank.keep)}


def _paraphrase(chat: Any, original: Original, settings: SynedSettings) -> dict[str, Any]:
    part = settings.paraphrase
    seeds = [item_seed(settings.seed, "text", original.pair_id, number) for number in range(part.attempts)]
    instruction = original.instruction
    return paraphrase(lambda seed: draw_answer(chat, instruction, seed, part), instruction, part, seeds)


def _check_before_work(dataset: DatasetDict, settings: SynedSettings) -> None:
    if settings.image_splits:
        require_diffusers()
    if settings.edit.watermark:
        require_watermark()
    try:
        torch.empty(1, device=settings.device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {settings.device}: {str(error).splitlines()[0]}") from error
    for name, split in dataset.items():
        if name not in settings.image_splits and split.data["after"].null_count:
            raise ValueError(f"{name} has no images after; add it to image_splits, so that they are made")
    if not any(len(dataset[name]) for name in (*settings.image_splits, *settings.caption_splits)):
        raise ValueError("the splits named in image_splits and caption_splits are empty: there is nothing to make")


def make_syned(
    source: str | Path, folder: str | Path, settings: SynedSettings, progress: bool = True
) -> dict[str, Any]:
    """Augment images with one instruction each, or resume an earlier run with the same settings.

    After the Syned pipeline of the BLIP2IDC paper (arXiv 2412.15939, section on synthetic data): eight edited images
    of each training original, four paraphrases of each test instruction, validation as it is. What it leaves open is
    ours: sampler settings, sizes, what ranks, how answers are cleaned.

    Args:
        source (`str` or `Path`): See `originals.load_originals`.
        folder (`str` or `Path`): Gets `variants`, `ranking` and `paraphrases` (images and one record an original), and
            at the end `records.jsonl`, `manifest.json` and `prepared`, the folder that training reads.
        settings (`SynedSettings`): What to make.
        progress (`bool`, *optional*, defaults to `True`): Whether to show progress bars.

    Returns:
        `dict[str, Any]`: The manifest, see `assembly.write_results`.

    Raises:
        FileNotFoundError: If the source lacks a file.
        FileExistsError: If the folder holds something else, or another run writes to it.
        ImportError: If a package is missing, naming the extra.
        ValueError: For broken originals, a model that cannot be loaded, or a run begun with other settings.
    """
    folder = Path(folder)
    dataset = load_originals(source)
    originals = list_originals(dataset)
    _check_before_work(dataset, settings)
    with holding_output(folder):
        return _make(folder, dataset, originals, settings, progress)


def _make(
    folder: Path, dataset: DatasetDict, originals: list[Original], settings: SynedSettings, progress: bool
) -> dict[str, Any]:
    open_run(folder, {**settings.to_dict(), "originals": digest(dataset)})
    to_edit = [original for original in originals if original.split in settings.image_splits]
    to_rephrase = [original for original in originals if original.split in settings.caption_splits]
    stages = {name: Stage(folder / name) for name in ("variants", "ranking", "paraphrases")}

    variants = stages["variants"]
    make = partial(_make_variants, dataset=dataset, stage=variants, settings=settings)
    variants.run(to_edit, partial(load_editor, settings), make, progress)
    if settings.rank.by:
        rank = partial(_rank_variants, stage=variants, settings=settings)
        stages["ranking"].run(to_edit, partial(load_clip, settings), rank, progress)
    rephrase = partial(_paraphrase, settings=settings)
    stages["paraphrases"].run(to_rephrase, partial(load_chat, settings), rephrase, progress)
    return write_results(folder, dataset, originals, stages, settings)
