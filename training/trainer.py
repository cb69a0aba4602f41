# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Transformers' Trainer with the parts of the loss in the log and evaluation by generated captions."""

import copy
import inspect
import math
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from accelerate.utils import extract_model_from_parallel, gather_object
from peft import PeftModel
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import Trainer, TrainingArguments
from transformers.trainer_utils import (
    PREFIX_CHECKPOINT_DIR,
    PredictionOutput,
    SaveStrategy,
    rotate_checkpoints,
    speed_metrics,
)
from transformers.utils import logging

from ..metrics.report.build import build_report, light_rows
from ..metrics.trainer_metrics import report_metrics
from ..pipeline_ssgpa import is_out_of_memory
from ..system_ssgpa import ChangeCaptioningModelMixin
from ..utils.files import begin_folder, put_folder, temporary_name
from .arguments import AUTO_METRIC, option_of
from .auxiliary import LOSS_PREFIX, AuxiliaryHeads
from .collator import PairCollator
from .dataset import EpochCallback
from .evaluation import check_rows, evaluation_sets, rows_of_process, write_evaluation
from .generation import caption_rows
from .learning_rates import parse_factors, scale_learning_rates
from .lora import complete_checkpoint
from .muon import with_muon
from .pixels import PixelNormalizer
from .positions import check_batch_fits, positions_of
from .resuming import UNFINISHED, refuse_former_checkpoint
from .samples import SampleCallback
from .selection import PREFIX, Selection, choose_metric, is_tie, reachable_scores
from .termination import EXIT_CODE, TerminationCallback, ignore_termination


logger = logging.get_logger(__name__)

# What a stock Trainer reads and an evaluation by generated captions does not: ignored, it would be a surprise.
UNREAD = {
    "compute_metrics": "the captions that it generates are scored by `ssgpa.metrics`",
    "preprocess_logits_for_metrics": "captions are generated, and no logits are kept",
    "prediction_loss_only": "it generates captions and computes no loss",
    "bf16_full_eval": "it generates in the dtypes that the model has",
    "fp16_full_eval": "it generates in the dtypes that the model has",
}
REFUSED = {
    "label_smoothing_factor": "`label_smoothing_factor` would replace the model's own losses; leave it at 0, and set "
    "the model configuration's `label_smoothing` if it has one.",
    "compute_loss_func": "`compute_loss_func` would replace the model's own losses; leave it out.",
} | {
    name: f"Evaluation does not read `{name}`: {reason}. Leave it out; a stock Trainer with "
    "`metrics.trainer_metrics.build_compute_metrics` reads it."
    for name, reason in UNREAD.items()
}


class ChangeCaptioningTrainer(Trainer):
    """Trains any system of this package.

    Stock `TrainingArguments` do; what `ChangeCaptioningArguments` adds is then at its default. Rows of `PairDataset`
    reach `PairCollator` whole, whatever `remove_unused_columns` says.

    Args:
        model (`PreTrainedModel`): The system.
        args (`TrainingArguments`): The run's settings. A `metric_for_best_model` of `auto` is settled when training
            starts, see `ChangeCaptioningArguments`.
        train_rows (`datasets.Dataset`, *optional*): The prepared training split, for the baselines beside every score.
        change_type_of (`Callable`, *optional*): Reads the change type off a caption.
        aux_heads (`AuxiliaryHeads`, *optional*): Training-only heads; they are optimized with the model and saved
            beside it.
        **kwargs (`Any`, *optional*): As for `Trainer`; `eval_dataset` is a prepared split or a dict of such,
            `processing_class` the processor.

    Raises:
        ValueError: `label_smoothing_factor` or `compute_loss_func` is set, which `Trainer` would put in place of the
            model's own loss, or something that an evaluation by generated captions does not read.
    """

    def __init__(
        self,
        model: Any = None,
        args: TrainingArguments | None = None,
        *rest: Any,
        train_rows: Any = None,
        change_type_of: Callable[[str], str | None] | None = None,
        aux_heads: AuxiliaryHeads | None = None,
        **kwargs: Any,
    ) -> None:
        if aux_heads is not None:
            aux_heads.attach(model)
        if args is not None and args.metric_for_best_model == AUTO_METRIC:
            # What it becomes is a matter of this trainer's pairs; the caller may use the arguments again.
            args = copy.copy(args)
        settings = vars(getattr(model, "config", SimpleNamespace()))
        self._use_cache = {name: value for name, value in settings.items() if name == "use_cache"}
        super().__init__(model, args, *rest, **kwargs)
        for name, message in REFUSED.items():
            if getattr(self, name, None) or getattr(self.args, name, None):
                raise ValueError(message)
        penalty = option_of(self.args, "generation_repetition_penalty")
        if penalty not in (None, 1):
            # Checkpoints caption as they were evaluated.
            self.accelerator.unwrap_model(self.model).generation_config.repetition_penalty = penalty
        self.add_callback(EpochCallback)
        # After those that say what is due at a step.
        self._termination = TerminationCallback()
        self.add_callback(self._termination)
        if option_of(self.args, "log_samples"):
            self.add_callback(SampleCallback(self, self.args.log_samples, lambda: self._evaluated))
        self.aux_heads = aux_heads
        self.train_rows = train_rows
        self.change_type_of = change_type_of
        self._evaluated: tuple[Any, dict[str, str]] | None = None
        self._selection: Selection | None = None
        self._steps_down = False
        self._sums: dict[str, float] = {}
        self._steps = 0.0
        self._step_pairs: list[str] = []

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """As `Trainer`'s; with `lr_step_size`, the learning rate falls in steps.

        Args:
            num_training_steps (`int`): Of the whole run.
            optimizer (`torch.optim.Optimizer`, *optional*): By default the trainer's.
        """
        size = option_of(self.args, "lr_step_size")
        if size is None or self.lr_scheduler is not None:
            return super().create_scheduler(num_training_steps, optimizer)
        if size < 1:
            raise ValueError(f"`lr_step_size` must be at least 1, got {size}.")
        factor = option_of(self.args, "lr_step_factor")
        chosen = self.optimizer if optimizer is None else optimizer
        # Rates of the step's number alone: a `StepLR` would go on from where the run before has left them.
        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(chosen, lambda step: factor ** (step // size))
        self._steps_down = True
        return self.lr_scheduler

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """As `Trainer`'s; before the first step, choose the score of the best checkpoint or refuse one that cannot be.

        Raises:
            ChildProcessError: A process that loads pairs has ended.
            OSError: A checkpoint cannot be written; the error names it.
            SystemExit: SIGTERM came, and the checkpoint is saved.
            ValueError: No evaluation gives `metric_for_best_model`, or the set to evaluate is none.
        """
        with _telling_dead_workers():
            result = self._train(*args, **kwargs)
        step = self._termination.stopped_at
        if step is not None:
            if self.is_world_process_zero():
                logger.warning(
                    f"Terminated at step {step}: {PREFIX_CHECKPOINT_DIR}-{step} is saved, and a run with "
                    "--resume_from_checkpoint true goes on from there."
                )
            raise SystemExit(EXIT_CODE)
        return result

    def _train(self, *args: Any, **kwargs: Any) -> Any:
        if self._steps_down:
            # As `Trainer` does with schedules of its own: another run starts anew.
            self.lr_scheduler, self._steps_down = None, False
        wanted, self._selection = self.args.metric_for_best_model, None
        if wanted is None or self.args.eval_strategy == "no":
            # A run that evaluates nothing has no best step.
            self.args.metric_for_best_model = None if wanted == AUTO_METRIC else wanted
            return super().train(*args, **kwargs)
        sets = {
            prefix: (len(rows), reachable_scores(rows, self.train_rows, self.change_type_of))
            for prefix, rows in evaluation_sets(None, self.eval_dataset, PREFIX).items()
        }
        self._selection = choose_metric(wanted, sets)
        metric = self.args.metric_for_best_model = self._selection.metric
        tells = self.is_world_process_zero()
        if tells:
            logger.info(f"{metric} chooses the best checkpoint.")
        if tells and self._selection.is_still:
            logger.warning(f"{metric} cannot choose the best checkpoint: {self._selection.describe_still()}")
        result = super().train(*args, **kwargs)
        explanation = self._selection.explain_still(self.state.log_history)
        if tells and explanation:
            logger.warning(explanation)
        return result

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        """As `Trainer`'s, but a tie goes to the later step (ours): of equal scores, the one that learned longer."""
        best = self.state.best_metric
        better = super()._determine_best_metric(metrics, trial)
        if better or best is None or self._selection is None or not is_tie(metrics[self._selection.metric], best):
            return better
        if self.args.save_strategy != SaveStrategy.NO:
            self.state.best_global_step = self.state.global_step
        return True

    def _get_collator_with_removed_columns(self, data_collator: Callable, description: str | None = None) -> Callable:
        """`PairCollator` makes the model's inputs of all that a row has: nothing in it is unused."""
        if isinstance(data_collator, PairCollator):
            return data_collator
        return super()._get_collator_with_removed_columns(data_collator, description)

    def _remove_unused_columns(self, dataset: Any, description: str | None = None) -> Any:
        if isinstance(self.data_collator, PairCollator):
            return dataset
        return super()._remove_unused_columns(dataset, description)

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """As `Trainer`'s, without what has one dimension (ours): biases, norms and scalars, whatever they are called.

        It knows norms by their names, which not all towers follow, and would pull temperatures and thresholds to zero.
        """
        # What DeepSpeed shards counts by its whole shape. FSDP 1 has flattened all it shards by now: nothing is left.
        parameters = model.named_parameters(remove_duplicate=False)
        dimensions = {name: len(getattr(value, "ds_shape", value.shape)) for name, value in parameters}
        return [name for name in super().get_decay_parameter_names(model) if dimensions.get(name, 0) > 1]

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """As `Trainer`'s, with the rates and the Muon that the arguments ask for (ours).

        Args:
            model (`nn.Module`, *optional*): By default the trainer's own.

        Raises:
            ValueError: `learning_rate_factors` or `muon_learning_rate` does not go with model or optimizer.
        """
        factors, rate = (option_of(self.args, name) for name in ("learning_rate_factors", "muon_learning_rate"))
        if self.optimizer is not None:
            return super().create_optimizer(model)
        super().create_optimizer(model)
        model = self.model if model is None else model
        if factors:
            scale_learning_rates(self.optimizer, model.named_parameters(), parse_factors(factors))
        if rate is not None:
            self.optimizer = with_muon(self.optimizer, model, rate, self.args.learning_rate)
        return self.optimizer

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        check_batch_fits(inputs, self._positions)
        if not self._reads_scenes:
            inputs.pop("scene_ids", None)
        inputs = super()._prepare_inputs(inputs)
        pixels = inputs.get("pixel_values")
        if pixels is not None and not pixels.is_floating_point():
            # Once more, for DeepSpeed's dtype.
            inputs["pixel_values"] = self._prepare_input(self._normalize(pixels))
        return inputs

    @cached_property
    def _positions(self) -> int | None:
        return positions_of(self.model.config)

    @cached_property
    def _reads_scenes(self) -> bool:
        return "scene_ids" in inspect.signature(self._system.forward).parameters

    @cached_property
    def _normalize(self) -> PixelNormalizer:
        return PixelNormalizer(self._processor.image_processor)

    @property
    def _system(self) -> nn.Module:
        inner = extract_model_from_parallel(self.model, keep_torch_compile=False, recursive=True)
        return inner.get_base_model() if isinstance(inner, PeftModel) else inner

    @property
    def _processor(self) -> Any:
        if self.processing_class is None:
            raise ValueError("`processing_class` is missing: give the trainer the model's processor.")
        return self.processing_class

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor | tuple[Tensor, Any]:
        """The model's loss and any auxiliary heads'; stops the run at the first value that is no number."""
        self._step_pairs += inputs.pop("pair_ids", [])
        aux_steps = option_of(self.args, "aux_steps")
        if self.aux_heads is not None and aux_steps:
            self.aux_heads.scale = max(0.0, 1 - self.state.global_step / aux_steps)
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        # As Trainer does with the loss, which is a share of all processes' tokens.
        shared = self.args.average_tokens_across_devices and num_items_in_batch is not None
        factor = self.accelerator.num_processes if shared else 1
        parts = outputs.loss_parts or {}
        # Means over this micro-batch: they must not grow with the number of micro-batches in a step.
        share = 1 / self.current_gradient_accumulation_steps
        aux = {name: value * share for name, value in parts.items() if name.startswith(LOSS_PREFIX)}
        loss = loss + sum(aux.values())
        parts = {name: factor * part for name, part in parts.items()} | aux
        notes = {f"loss_parts/{name}": part for name, part in parts.items()}
        system = self._system
        if isinstance(system, ChangeCaptioningModelMixin):
            notes |= {name: share * value for name, value in system.training_notes(outputs).items()}
        values = {name: value.item() for name, value in notes.items()}
        self._check_finite("loss", loss.item(), values)
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._steps += share
        return (loss, outputs) if return_outputs else loss

    def training_step(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Tensor:
        """As `Trainer`'s; where memory runs out, the error tells the batch and what needs less.

        Args:
            model (`nn.Module`): The model.
            inputs (`dict[str, Any]`): The collator's batch.
            *args (`Any`, *optional*): As for `Trainer`.
            **kwargs (`Any`, *optional*): As for `Trainer`.
        """
        pairs, ids = len(inputs.get("pair_ids", ())), inputs.get("input_ids")
        try:
            return super().training_step(model, inputs, *args, **kwargs)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            tokens = "" if ids is None else f" and {ids.shape[-1]} tokens a row"
            # The library's words stay: by them `auto_find_batch_size` knows the error.
            raise torch.OutOfMemoryError(
                f"{' '.join(str(error).split())} The batch has {pairs} pairs{tokens}: take a smaller "
                "`per_device_train_batch_size` with more `gradient_accumulation_steps`, `gradient_checkpointing` "
                "or examples/configs/24gb.yaml. docs/memory.md tells what each needs."
            ) from error

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
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = PREFIX
    ) -> dict[str, float]:
        """Caption the evaluation pairs, score the captions beside their baselines, and write both down.

        Without METEOR, so that no evaluation starts Java, and without the search for the best constant caption.

        Args:
            eval_dataset (`datasets.Dataset`, `dict` or `str`, *optional*): A prepared split in place of the trainer's
                own; a dict of such, each evaluated under `eval_NAME`; or the name of one in the trainer's dict.
            ignore_keys (`list[str]`, *optional*): Not read: no outputs of the model are gathered.
            metric_key_prefix (`str`): Before the scores' names.

        Returns:
            `dict[str, float]`: The scores of `metrics.trainer_metrics.report_metrics`, and the time. There is no loss.

        Raises:
            ValueError: There is no set, or it is no prepared split with pairs.
        """
        found: dict[str, float] = {}
        for prefix, rows in evaluation_sets(eval_dataset, self.eval_dataset, metric_key_prefix).items():
            start = time.time()
            captions = self._captions(rows)
            self._evaluated = rows, captions
            if self._selection is not None:
                self._selection.note_captions(prefix, captions)
            report = self._report(rows, captions)
            metrics = {f"{prefix}_{name}": value for name, value in report_metrics(report).items()}
            metrics |= speed_metrics(prefix, start, num_samples=len(rows))
            if self.is_world_process_zero():
                write_evaluation(report, captions, Path(self.args.output_dir), prefix, self.state.global_step)
            self.log(metrics)
            self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
            found |= metrics
        return found

    def _report(self, rows: Any, captions: dict[str, str]) -> dict[str, Any]:
        baselines = light_rows(self.train_rows) if self.train_rows is not None else None
        return build_report(
            light_rows(rows), captions, baselines, self.change_type_of, seed=self.args.seed, all_constants=False
        )

    def predict(
        self, test_dataset: Any, ignore_keys: list[str] | None = None, metric_key_prefix: str = "test"
    ) -> PredictionOutput:
        """Caption pairs, and score the captions where there are references.

        Args:
            test_dataset (`datasets.Dataset`): A prepared split; without the columns `captions` and `change_type` it is
                captioned and not scored.
            ignore_keys (`list[str]`, *optional*): Not read: no outputs of the model are gathered.
            metric_key_prefix (`str`): Before the scores' names.

        Returns:
            `PredictionOutput`: `predictions`, one caption a pair as a string, in the order of the rows; `label_ids`,
            a list of references a pair, or None; `metrics`, as of `evaluate`. Nothing is written.

        Raises:
            ValueError: It is no prepared split with pairs.
        """
        start = time.time()
        scored = not {"captions", "change_type"} - set(getattr(test_dataset, "column_names", None) or ())
        check_rows(test_dataset, metric_key_prefix, scored)
        captions = self._captions(test_dataset)
        metrics: dict[str, float] = {}
        references = None
        if scored:
            found = report_metrics(self._report(test_dataset, captions))
            metrics = {f"{metric_key_prefix}_{name}": value for name, value in found.items()}
            references = np.empty(len(test_dataset), dtype=object)
            references[:] = list(test_dataset["captions"])
        metrics |= speed_metrics(metric_key_prefix, start, num_samples=len(test_dataset))
        self.control = self.callback_handler.on_predict(self.args, self.state, self.control, metrics)
        ordered = [captions[name] for name in test_dataset["pair_id"]]
        return PredictionOutput(predictions=np.array(ordered), label_ids=references, metrics=metrics)

    def _captions(self, rows: Any) -> dict[str, str]:
        share = rows_of_process(rows, self.args.process_index, self.args.world_size)
        captions = caption_rows(
            self.accelerator.unwrap_model(self.model),
            self._processor,
            share,
            batch_size=self.args.per_device_eval_batch_size,
            num_beams=option_of(self.args, "generation_num_beams"),
            max_new_tokens=option_of(self.args, "generation_max_new_tokens"),
        )
        return dict(gather_object(list(captions.items()))) if self.args.world_size > 1 else captions

    @contextmanager
    def _own_use_cache(self) -> Iterator[None]:
        """The config's `use_cache` as it was: `Trainer` turns it off for as long as it trains, not for captioning."""
        settings = vars(getattr(self.model, "config", SimpleNamespace()))
        training = settings.pop("use_cache", None)
        settings.update(self._use_cache)
        try:
            yield
        finally:
            settings["use_cache"] = training

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        folder = Path(output_dir or self.args.output_dir)
        with self._own_use_cache():
            super()._save(output_dir, state_dict)
            if isinstance(self.model, PeftModel) and self.args.should_save:
                complete_checkpoint(self.model, folder, state_dict)
        if self.aux_heads is not None and self.args.should_save and folder.name.startswith(PREFIX_CHECKPOINT_DIR):
            self.aux_heads.save(folder, state_dict)

    def get_train_dataloader(self) -> DataLoader:
        """As `Trainer`'s; its processes do not end before the run when SIGTERM goes to all of them."""
        loader = super().get_train_dataloader()
        if self.args.dataloader_num_workers:
            # Accelerate's loaders wrap the one that starts the processes.
            inner = getattr(loader, "base_dataloader", loader)
            inner.worker_init_fn = partial(ignore_termination, inner.worker_init_fn)
        return loader

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """As `Trainer`'s, but older ones are removed by their steps, and one that cannot be written is no checkpoint.

        `Trainer` goes by the time of change: with a clock that was set back, it would remove the newest.
        """
        if trial is not None:
            # A search for settings has folders of its own.
            super()._save_checkpoint(model, trial)
            return
        folder = Path(self.args.output_dir)
        whole = folder / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        if self.args.should_save:
            whole.mkdir(parents=True, exist_ok=True)
            (whole / UNFINISHED).touch()
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            super()._save_checkpoint(model, trial)
        except (OSError, RuntimeError, SafetensorError) as error:
            if self.args.should_save:
                # What is left of it would take the room that the next one needs.
                shutil.rmtree(whole, ignore_errors=True)
            raise OSError(
                f"{whole}: cannot be written ({str(error).splitlines()[0]}); earlier checkpoints are as they were: go "
                "on from the last one with --resume_from_checkpoint true."
            ) from error
        finally:
            self.args.save_total_limit = limit
        if self.args.should_save:
            (whole / UNFINISHED).unlink()
            rotate_checkpoints(str(folder), limit, self.state.best_model_checkpoint, use_mtime=False)

    def save_folder(self, folder: Path) -> None:
        """Save model and processor as a folder that is there whole or not at all.

        Args:
            folder (`Path`): Where to; an earlier one is replaced.

        Raises:
            OSError: It cannot be written; the error names it.
        """
        if self.args.should_save:
            begin_folder(folder)
        self.accelerator.wait_for_everyone()
        temporary = folder.with_name(temporary_name(folder.name))
        try:
            # As a call from within: the stock upload knows neither code nor pipeline nor baselines.
            self.save_model(str(temporary), _internal_call=True)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise OSError(f"{folder}: cannot be written ({str(error).splitlines()[0]}).") from error
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            put_folder(temporary, folder)
        self.accelerator.wait_for_everyone()

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        refuse_former_checkpoint(Path(resume_from_checkpoint), getattr(self._system, "former_names", {}))
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        if self.aux_heads is not None:
            self.aux_heads.load(Path(resume_from_checkpoint))


@contextmanager
def _telling_dead_workers() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        raise ChildProcessError(
            f"A process that loads pairs has ended ({' '.join(str(error).split())}), perhaps for want of memory: go "
            "on with --resume_from_checkpoint true and, if so, fewer `dataloader_num_workers`."
        ) from error


__all__ = ["ChangeCaptioningTrainer"]
