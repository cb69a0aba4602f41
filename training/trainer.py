# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Transformers' Trainer with the parts of the loss in the log and evaluation by generated captions."""

import math
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from peft import PeftModel
from torch import Tensor, nn
from transformers import Trainer
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, speed_metrics

from ..metrics.report import build_report, light_rows
from ..metrics.trainer_metrics import report_metrics
from .decay import without_vectors
from .evaluation import rows_of_process, write_evaluation
from .generation import caption_rows
from .hints import LOSS_PREFIX, CellHints
from .lora import complete_checkpoint
from .pairs import EpochCallback
from .pixels import PixelNormalizer
from .samples import SampleCallback


class ChangeCaptioningTrainer(Trainer):
    """Trains any system of this package.

    Args:
        train_rows (`datasets.Dataset`, *optional*): The prepared training split, for the floors beside every score.
        change_type_of (`Callable`, *optional*): Reads the change type off a caption.
        hints (`CellHints`, *optional*): Training-only heads; they are optimised with the model and saved beside it.
        **kwargs: As for `Trainer`; `eval_dataset` is a prepared split, `processing_class` the processor.

    Raises:
        ValueError: `label_smoothing_factor` is set; `Trainer` would put its own loss in place of the model's.
    """

    def __init__(
        self,
        *args: Any,
        train_rows: Any = None,
        change_type_of: Callable[[str], str | None] | None = None,
        hints: CellHints | None = None,
        **kwargs: Any,
    ) -> None:
        if hints is not None:
            hints.attach(kwargs.get("model", args[0] if args else None))
        super().__init__(*args, **kwargs)
        if self.label_smoother is not None:
            raise ValueError(
                "`label_smoothing_factor` would replace the model's own losses; leave it at 0, and set the model "
                "configuration's `label_smoothing` if it has one."
            )
        self.add_callback(EpochCallback)
        if self.args.log_samples:
            self.add_callback(SampleCallback(self, self.args.log_samples, lambda: self._evaluated))
        self.hints = hints
        self.floor_rows = light_rows(train_rows) if train_rows is not None else None
        self.change_type_of = change_type_of
        self._evaluated: tuple[Any, dict[str, str]] | None = None
        self._sums: dict[str, float] = {}
        self._steps = 0.0
        self._step_pairs: list[str] = []

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """As `Trainer`'s, without what has one dimension (ours).

        It knows norms by their names, which not all towers follow, and would pull temperatures and thresholds to zero.
        """
        return without_vectors(super().get_decay_parameter_names(model), model)

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        inputs = super()._prepare_inputs(inputs)
        pixels = inputs.get("pixel_values")
        if pixels is not None and not pixels.is_floating_point():
            # Once more, for DeepSpeed's dtype.
            inputs["pixel_values"] = self._prepare_input(self._normalize(pixels))
        return inputs

    @cached_property
    def _normalize(self) -> PixelNormalizer:
        return PixelNormalizer(self.processing_class.image_processor)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor | tuple[Tensor, Any]:
        """The model's loss and any hints'; stops the run at the first value that is no number."""
        self._step_pairs += inputs.pop("pair_ids", [])
        if self.hints is not None and self.args.hint_steps:
            self.hints.scale = max(0.0, 1 - self.state.global_step / self.args.hint_steps)
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        # As Trainer does with the loss, which is a share of all processes' tokens.
        shared = self.args.average_tokens_across_devices and num_items_in_batch is not None
        factor = self.accelerator.num_processes if shared else 1
        parts = outputs.loss_parts or {}
        # Means over this micro-batch: they must not grow with the number of micro-batches in a step.
        share = 1 / self.current_gradient_accumulation_steps
        hints = {name: value * share for name, value in parts.items() if name.startswith(LOSS_PREFIX)}
        loss = loss + sum(hints.values())
        parts = {name: factor * part for name, part in parts.items()} | hints
        notes = {f"loss_parts/{name}": part for name, part in parts.items()}
        if outputs.get("fusion_gate") is not None:
            notes["fusion_gate"] = share * outputs.fusion_gate
        self._note(loss, notes, share)
        return (loss, outputs) if return_outputs else loss

    def _note(self, loss: Tensor, notes: dict[str, Tensor], share: float) -> None:
        values = {name: value.item() for name, value in notes.items()}
        self._check_finite("loss", loss.item(), values)
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._steps += share

    def _check_finite(self, what: str, value: float, detail: dict[str, float] | str = "") -> None:
        if not math.isfinite(value):
            raise FloatingPointError(
                f"The {what} is not finite at step {self.state.global_step + 1}: {detail or value}; pairs "
                f"{self._step_pairs}. Training stops; lower the learning rate or look at these pairs."
            )

    def _get_grad_norm(self, model: nn.Module, grad_norm: Tensor | float | None = None) -> Tensor | float:
        grad_norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        # Only fp16's loss scaler can skip such a step.
        if grad_norm is not None and not self.args.fp16:
            self._check_finite("gradient", float(grad_norm))
        self._step_pairs = []
        return grad_norm

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the parts of the loss, as `loss` means over the steps since the last log; they add up to it."""
        if "loss" in logs and self._steps:
            values = torch.tensor(list(self._sums.values()), device=self.args.device) / self._steps
            if self.args.world_size > 1:
                values = self.accelerator.reduce(values, "mean")
            logs |= dict(zip(self._sums, values.tolist(), strict=True))
            self._sums, self._steps = {}, 0.0
        super().log(logs, start_time)

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Caption the evaluation pairs, score the captions beside their floors, and write both down.

        Without METEOR, so that no evaluation starts Java, and without the search for the best constant caption.
        """
        start = time.time()
        rows = eval_dataset if eval_dataset is not None else self.eval_dataset
        captions = self._captions(rows)
        self._evaluated = rows, captions
        report = build_report(
            light_rows(rows),
            captions,
            self.floor_rows,
            self.change_type_of,
            seed=self.args.seed,
            all_constants=False,
        )
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in report_metrics(report).items()}
        metrics |= speed_metrics(metric_key_prefix, start, num_samples=len(rows))
        if self.is_world_process_zero():
            write_evaluation(report, captions, Path(self.args.output_dir), metric_key_prefix, self.state.global_step)
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _captions(self, rows: Any) -> dict[str, str]:
        share = rows_of_process(rows, self.args.process_index, self.args.world_size)
        captions = caption_rows(
            self.accelerator.unwrap_model(self.model),
            self.processing_class,
            share,
            batch_size=self.args.per_device_eval_batch_size,
            num_beams=self.args.generation_num_beams,
            max_new_tokens=self.args.generation_max_new_tokens,
        )
        return dict(gather_object(list(captions.items()))) if self.args.world_size > 1 else captions

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        super()._save(output_dir, state_dict)
        folder = Path(output_dir or self.args.output_dir)
        if isinstance(self.model, PeftModel) and self.args.should_save:
            complete_checkpoint(self.model, folder, state_dict)
        if self.hints is not None and self.args.should_save and folder.name.startswith(PREFIX_CHECKPOINT_DIR):
            self.hints.save(folder, state_dict)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        if self.hints is not None:
            self.hints.load(Path(resume_from_checkpoint))


__all__ = ["ChangeCaptioningTrainer"]
