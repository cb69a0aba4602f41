# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The processes of `accelerate launch` or `torchrun` that share one table: one deals the rows out, and writes."""

import os
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed


Result = TypeVar("Result")
NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class FirstProcessError(RuntimeError):
    """The first process has ended, or told the others to end; it says why itself."""


class ProcessGroup:
    """The processes that a launcher started, over all machines; one alone without a launcher.

    They send each other rows and captions, never tensors, so that it makes no difference what the model runs on.

    Attributes:
        count: How many there are.
        rank: Which this is, from 0 on.
    """

    def __init__(self) -> None:
        launched = all(os.environ.get(name) for name in NEEDED)
        self.count = int(os.environ["WORLD_SIZE"]) if launched else 1
        self.rank = int(os.environ["RANK"]) if launched else 0

    @property
    def is_first(self) -> bool:
        """Whether this is the process that reads the table and writes."""
        return self.rank == 0

    @property
    def device(self) -> str | None:
        """This process's own GPU; None where there is one process, or no GPU."""
        if self.count == 1 or not torch.cuda.is_available():
            return None
        return f"cuda:{int(os.environ.get('LOCAL_RANK', 0)) % torch.cuda.device_count()}"

    def __enter__(self) -> "ProcessGroup":
        if self.count > 1:
            torch.distributed.init_process_group("gloo")
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        # After an error the others may wait for this process; they learn of its end, not of a farewell.
        if self.count > 1 and kind is None:
            torch.distributed.destroy_process_group()

    def first(self, work: Callable[[], Result]) -> Result | None:
        """Let the first process do something that the others depend on.

        Args:
            work (`Callable[[], Result]`): What it does.

        Returns:
            `Result`: Its result; None in the other processes.

        Raises:
            FirstProcessError: In the other processes, where the first one failed.
        """
        if self.count == 1:
            return work()
        done = [False]
        try:
            result = work() if self.is_first else None
            done = [self.is_first]
        finally:
            with _ended_first(self.is_first):
                torch.distributed.broadcast_object_list(done)
        if not done[0]:
            raise FirstProcessError
        return result

    def deal(self, shares: Sequence[Any] | None = None) -> Any:
        """Give each process its share.

        Args:
            shares (`Sequence[Any]`, *optional*): One a process; None in all but the first.

        Returns:
            `Any`: This process's.

        Raises:
            FirstProcessError: In the other processes, where the first one has ended.
        """
        if self.count == 1:
            return shares[0]
        share = [None]
        with _ended_first(self.is_first):
            torch.distributed.scatter_object_list(share, shares)
        return share[0]

    def collect(self, result: Any) -> list[Any]:
        """Bring the results of all processes to the first one, in their order.

        Args:
            result (`Any`): This process's.

        Returns:
            `list[Any]`: All of them; nothing in the other processes.

        Raises:
            FirstProcessError: In the other processes, where the first one has ended.
            RuntimeError: In the first process, where another one has ended.
        """
        if self.count == 1:
            return [result]
        results = [None] * self.count if self.is_first else None
        with _ended_first(self.is_first):
            torch.distributed.gather_object(result, results)
        return results or []


@contextmanager
def _ended_first(is_first: bool) -> Any:
    try:
        yield
    except RuntimeError as error:
        if is_first:
            raise RuntimeError(
                "another process has ended, see its message above. The same command goes on where it stopped."
            ) from error
        raise FirstProcessError from error
