# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Captions and change maps of a few pairs, shown at every evaluation wherever the run reports to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations import TensorBoardCallback

from ..data.decoding import load_pair, undecoded
from ..image_utils_ssgpa import concatenate
from ..metrics.report.build import light_rows
from ..metrics.report.gallery import choose_pairs
from ..pipeline_ssgpa import draw_change_map, draw_overlay
from .generation import change_maps


PLACES = ("tensorboard", "trackio", "wandb")
COLUMNS = ["pair", "caption", "references", "before | after"]
# Wider images are made smaller before they are logged.
MAX_SIDE = 320


@dataclass(frozen=True)
class Sample:
    """One pair as it is shown.

    Args:
        pair_id (`str`): The pair.
        caption (`str`): What the model says.
        references (`list[str]`): What people say.
        image (`PIL.Image.Image`): Before and after side by side, tinted with the evidence where the system has some.
    """

    pair_id: str
    caption: str
    references: list[str]
    image: Image.Image


def make_samples(model: Any, processor: Any, rows: Any, captions: dict[str, str], count: int) -> list[Sample]:
    """Choose pairs, as many of each change type as can be, and draw them; the same ones at every evaluation.

    Args:
        model (`PreTrainedModel`): The system; asked for its evidence if it has any.
        processor (`ProcessorMixin`): Its processor.
        rows (`datasets.Dataset`): The prepared split.
        captions (`dict[str, str]`): The model's caption of every row, by pair id.
        count (`int`): How many.

    Returns:
        `list[Sample]`: `count` of them, or one a row where there are fewer.
    """
    files = undecoded(rows)
    chosen = [files[index] for index in choose_pairs(light_rows(rows), count)]
    pairs = [load_pair(row, processor, whole=True) for row in chosen]
    maps = change_maps(model, processor, pairs) or [None] * len(pairs)
    samples = []
    for row, pair, cells in zip(chosen, pairs, maps, strict=True):
        images = list(pair)
        if cells is not None:
            sides = zip(pair, torch.from_numpy(cells), strict=True)
            images = [draw_overlay(image, draw_change_map(side, image.size)) for image, side in sides]
        for image in images:
            image.thumbnail((MAX_SIDE, MAX_SIDE))
        drawn = concatenate(*images, layout="horizontal")
        samples.append(Sample(row["pair_id"], captions[row["pair_id"]], list(row["captions"]), drawn))
    return samples


class SampleCallback(TrainerCallback):
    """Logs samples after every evaluation, to TensorBoard, Trackio and W&B as far as the run reports there.

    Args:
        trainer (`Trainer`): Its other callbacks hold the TensorBoard writer.
        count (`int`): Pairs to show.
        evaluated (`Callable`): Gives the rows that were last evaluated, and the captions by pair id.

    Raises:
        ValueError: `count` is below 0, or the run reports to no place that shows images.
    """

    def __init__(self, trainer: Any, count: int, evaluated: Callable[[], tuple[Any, dict[str, str]]]) -> None:
        if count < 0:
            raise ValueError(f"`log_samples` must be at least 0, got {count}.")
        if count and not set(PLACES) & set(trainer.args.report_to):
            named = ", ".join(trainer.args.report_to) or "none"
            raise ValueError(f"`log_samples` needs one of {', '.join(PLACES)} in `report_to`, which is {named}.")
        self.trainer, self.count, self.evaluated = trainer, count, evaluated

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Draw the samples on every process, since weights may be spread over them, and log them from the first."""
        model = self.trainer.accelerator.unwrap_model(self.trainer.model)
        samples = make_samples(model, self.trainer.processing_class, *self.evaluated(), self.count)
        if not state.is_world_process_zero:
            return
        writers = [
            callback.tb_writer
            for callback in self.trainer.callback_handler.callbacks
            if isinstance(callback, TensorBoardCallback) and callback.tb_writer is not None
        ]
        for writer in writers:
            for sample in samples:
                name, references = f"samples/{sample.pair_id}", "\n".join(f"- {text}" for text in sample.references)
                writer.add_text(name, f"**{sample.caption}**\n\n{references}", state.global_step)
                writer.add_image(name, np.asarray(sample.image), state.global_step, dataformats="HWC")
            writer.flush()
        for name in {"trackio", "wandb"}.intersection(args.report_to):
            write_table(import_module(name), samples, state.global_step)


def write_table(module: Any, samples: Sequence[Sample], step: int) -> None:
    """Log one table, a row a sample, as `samples`; Trackio and W&B name its parts alike.

    Args:
        module (`ModuleType`): `trackio` or `wandb`, whose run has been started.
        samples (`Sequence[Sample]`): What to show.
        step (`int`): The training step.
    """
    rows = [
        [sample.pair_id, sample.caption, "\n".join(sample.references), module.Image(sample.image)]
        for sample in samples
    ]
    module.log({"samples": module.Table(columns=COLUMNS, data=rows), "train/global_step": step})


__all__ = ["Sample", "SampleCallback", "make_samples", "write_table"]
