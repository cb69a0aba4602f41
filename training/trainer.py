# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Transformers' Trainer with the parts of the loss in the log and evaluation by generated captions."""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from accelerate.utils import gather_object
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import Trainer
from transformers.trainer_utils import speed_metrics
from transformers.utils import logging

from ..metrics.report import build_report, collapse_alarm, format_table, light_rows
from .generation import caption_rows
from .hints import CellHints


logger = logging.get_logger(__name__)

HINTS_FILE = "training_hints.safetensors"
HINTS_NAME = "training_hints"


class ChangeCaptioningTrainer(Trainer):
    """Trains any system of this package.

    Args:
        train_rows (`datasets.Dataset`, *optional*): The prepared training split, for the floors beside every score.
        change_type_of (`Callable`, *optional*): Reads the change type off a caption.
        hints (`CellHints`, *optional*): Training-only heads; they are optimised with the model and saved beside it.
        **kwargs: As for `Trainer`; `eval_dataset` is a prepared split, `processing_class` the processor.
    """

    def __init__(
        self,
        *args: Any,
        train_rows: Any = None,
        change_type_of: Callable[[str], str | None] | None = None,
        hints: CellHints | None = None,
        **kwargs: Any,
    ):
        model = kwargs.get("model", args[0] if args else None)
        if hints is not None:
            hints.watch(model)
            model.add_module(HINTS_NAME, hints)
        super().__init__(*args, **kwargs)
        self.hints = hints
        self.floor_rows = light_rows(train_rows) if train_rows is not None else None
        self.change_type_of = change_type_of
        self._sums: dict[str, float] = {}
        self._micro_batches = 0

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, **kwargs: Any
    ) -> Tensor | tuple[Tensor, Any]:
        """The model's loss and any hints'; stops the run at the first value that is no number."""
        pair_ids = inputs.pop("pair_ids", None)
        cells, change_types = inputs.pop("cells", None), inputs.pop("change_types", None)
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, **kwargs)
        parts = dict(outputs.loss_parts or {})
        if self.hints is not None and cells is not None:
            # Means over this micro-batch: they must not grow with the number of micro-batches in a step.
            share = 1 / self.current_gradient_accumulation_steps
            hints = {name: value * share for name, value in self._hint_losses(cells, change_types).items()}
            loss = loss + sum(hints.values())
            parts |= hints
        self._note(loss, parts, pair_ids, outputs.get("fusion_gate"))
        return (loss, outputs) if return_outputs else loss

    def _hint_losses(self, cells: Tensor, change_types: list[str]) -> dict[str, Tensor]:
        if self.args.hint_steps:
            self.hints.scale = max(0.0, 1 - self.state.global_step / self.args.hint_steps)
        return self.hints.losses(cells, change_types)

    def _note(self, loss: Tensor, parts: dict[str, Tensor], pair_ids: list[str] | None, gate: Tensor | None) -> None:
        values = {name: value.item() for name, value in parts.items()}
        if not math.isfinite(loss.item()):
            raise FloatingPointError(
                f"The loss is not finite at step {self.state.global_step + 1}: {values}; pairs {pair_ids}. Training "
                "stops; lower the learning rate or look at these pairs."
            )
        if gate is not None:
            values["fusion_gate"] = gate.item() / self.current_gradient_accumulation_steps
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._micro_batches += 1

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the mean of every part of the loss since the last log, a step's worth each."""
        if "loss" in logs and self._micro_batches:
            steps = self._micro_batches / self.args.gradient_accumulation_steps
            logs |= {f"loss_parts/{name}": round(value / steps, 4) for name, value in self._sums.items()}
            self._sums, self._micro_batches = {}, 0
        super().log(logs, start_time)

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Caption the evaluation pairs, score the captions beside their floors, and write both down."""
        start = time.time()
        rows = eval_dataset if eval_dataset is not None else self.eval_dataset
        captions = self._captions(rows)
        report = build_report(light_rows(rows), captions, self.floor_rows, self.change_type_of, seed=self.args.seed)
        metrics = self._metrics(report, metric_key_prefix)
        metrics |= speed_metrics(metric_key_prefix, start, num_samples=len(rows))
        if self.is_world_process_zero():
            self._write_evaluation(report, captions, metric_key_prefix)
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _captions(self, rows: Any) -> dict[str, str]:
        share = rows.shard(self.args.world_size, self.args.process_index) if self.args.world_size > 1 else rows
        captions = caption_rows(
            self.accelerator.unwrap_model(self.model),
            self.processing_class,
            share,
            batch_size=self.args.per_device_eval_batch_size,
            num_beams=self.args.generation_num_beams,
            max_new_tokens=self.args.generation_max_new_tokens,
        )
        return dict(gather_object(list(captions.items()))) if self.args.world_size > 1 else captions

    @staticmethod
    def _metrics(report: dict[str, Any], prefix: str) -> dict[str, float]:
        metrics = {f"{prefix}_distinct_captions": report["distinct_captions"]}
        for block in ("total", "changed", "unchanged"):
            for key in ("bleu_4", "rouge_l", "cider"):
                if report["scores"][block]:
                    metrics[f"{prefix}_{block}_{key}"] = report["scores"][block][key]
        metrics |= {f"{prefix}_no_change_on_{name}": rate for name, rate in report["no_change_rate"].items()}
        if report["change_type_accuracy"]:
            metrics[f"{prefix}_change_type_accuracy"] = report["change_type_accuracy"]["changed"]
        return metrics

    def _write_evaluation(self, report: dict[str, Any], captions: dict[str, str], prefix: str) -> None:
        logger.warning(f"Evaluation at step {self.state.global_step}\n{format_table(report)}")
        alarm = collapse_alarm(report)
        if alarm:
            logger.warning(alarm)
        folder = Path(self.args.output_dir) / "evaluations"
        folder.mkdir(parents=True, exist_ok=True)
        record = {"step": self.state.global_step, **report, "collapse_alarm": alarm, "captions": captions}
        text = json.dumps(record, indent=1, ensure_ascii=False)
        (folder / f"{prefix}-{self.state.global_step:06d}.json").write_text(text, encoding="utf-8")

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        """Save the model without the hints' heads, and those beside it for a resumed run."""
        if self.hints is None:
            return super()._save(output_dir, state_dict)
        state_dict = self.model.state_dict() if state_dict is None else state_dict
        own = {name: tensor for name, tensor in state_dict.items() if not name.startswith(f"{HINTS_NAME}.")}
        super()._save(output_dir, own)
        if self.args.should_save:
            folder = Path(output_dir or self.args.output_dir)
            save_file({name: tensor.contiguous() for name, tensor in self.hints.state_dict().items()}, folder / HINTS_FILE)
        return None

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        if self.hints is not None:
            path = Path(resume_from_checkpoint) / HINTS_FILE
            if not path.is_file():
                raise FileNotFoundError(f"{path} is missing: the checkpoint was written by a run without hints.")
            self.hints.load_state_dict(load_file(path))


def parameter_report(model: nn.Module, trainable: dict[str, int]) -> dict[str, Any]:
    """Sizes for the run's record: all parameters, the trainable ones, and their names."""
    total = sum(parameter.numel() for parameter in model.parameters())
    return {"parameters": total, "trainable": sum(trainable.values()), "names": sorted(trainable)}


__all__ = ["ChangeCaptioningTrainer", "parameter_report"]
