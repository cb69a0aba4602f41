# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""SIGTERM, as a cluster sends it before it takes a machine away: the run saves a checkpoint and ends."""

import math
import signal
from contextlib import suppress
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.utils import logging


logger = logging.get_logger(__name__)

# What a shell tells of a program that SIGTERM ended.
EXIT_CODE = 128 + signal.SIGTERM


class TerminationCallback(TrainerCallback):
    """Saves and stops after the step at which SIGTERM came; a second one ends the process at once.

    An evaluation that is due at this step, or under way, is finished first: the resumed run does not repeat it.

    Attributes:
        stopped_at: The step that was saved; None as long as no signal has ended the run.
    """

    def __init__(self) -> None:
        self.stopped_at: int | None = None
        self._saved_at: int | None = None
        self._asked = False
        self._before: Any = None
        self._kept: dict[str, Any] = {}

    def _ask(self, *_: object) -> None:
        self._asked = True
        signal.signal(signal.SIGTERM, self._before)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Listen to the signal."""
        self.stopped_at, self._saved_at, self._asked, self._before = None, None, False, None
        if getattr(args, "enable_jit_checkpoint", False):
            # Transformers' own way to do so.
            return
        # Only the main thread may.
        with suppress(ValueError):
            # What is no handler of Python's cannot be put back.
            self._before = signal.getsignal(signal.SIGTERM) or signal.SIG_DFL
            signal.signal(signal.SIGTERM, self._ask)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Listen no more, and leave the arguments as they were."""
        for name, value in self._kept.items():
            setattr(args, name, value)
        self._kept = {}
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)
            self._before = None

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Stop after this step, or with the end of the epoch where that is now."""
        if state.global_step >= state.max_steps or not self._is_asked(args):
            return
        control.should_training_stop = True
        self.stopped_at = state.global_step
        # At its end, `Trainer` would load the best checkpoint, and might leave no other.
        self._kept = {name: getattr(args, name) for name in ("load_best_model_at_end", "save_total_limit")}
        args.load_best_model_at_end, args.save_total_limit = False, None
        if not _ends_epoch(state):
            control.should_save = True

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Save here if the epoch has come to its end; it has not where the run was stopped within it."""
        if self.stopped_at is None:
            return
        if _ends_epoch(state):
            control.should_save = control.should_save or self._saved_at != state.global_step
        else:
            control.should_save = control.should_evaluate = control.should_log = False

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Remember the step, whose checkpoint need not be written twice."""
        self._saved_at = state.global_step

    def _is_asked(self, args: TrainingArguments) -> bool:
        """Whether any process was asked; all must stop at one step."""
        if args.world_size == 1:
            return self._asked
        asked = torch.tensor([float(self._asked)], device=args.device)
        torch.distributed.all_reduce(asked, torch.distributed.ReduceOp.MAX)
        return bool(asked.item())


def _ends_epoch(state: TrainerState) -> bool:
    return state.epoch is not None and math.isclose(state.epoch, round(state.epoch), abs_tol=1e-6)


def ignore_termination(start: Any, worker: int) -> None:
    """Begin a process that loads pairs: a signal to the whole process group must leave it to the last step.

    Args:
        start (`Callable`, *optional*): What else a worker begins with.
        worker (`int`): Its number.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if start is not None:
        start(worker)


__all__ = ["EXIT_CODE", "TerminationCallback", "ignore_termination"]
