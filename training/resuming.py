# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Where a run starts: its seed, and the checkpoint that it goes on from."""

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

from safetensors import safe_open
from transformers import set_seed
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from ..utils.files import holding_output
from .arguments import ChangeCaptioningArguments


# Where earlier versions kept the auxiliary heads.
FORMER_HEADS = "training_hints.safetensors"
# What a run leaves behind and a new one would write over.
CHECKPOINTS = f"{PREFIX_CHECKPOINT_DIR}-*"
RUN_FILES = (CHECKPOINTS, "best", "trainer_state.json")
# In a checkpoint as long as it is written; `Trainer` uploads nothing that begins with an underscore.
UNFINISHED = "_unfinished"


def is_json(path: Path) -> bool:
    """Whether a JSON file was written to its end."""
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return False
    return True


@contextmanager
def held_run(arguments: ChangeCaptioningArguments) -> Iterator[None]:
    """Keep other runs from the output folder, and clear away what a killed one left there unfinished.

    Args:
        arguments (`ChangeCaptioningArguments`): `output_dir`; the process that writes holds it for all of them.

    Raises:
        FileExistsError: Another run writes to the folder.
    """
    if arguments.process_index != 0:
        yield
        return
    folder = Path(arguments.output_dir)
    with holding_output(folder):
        for mark in sorted(folder.glob(f"{CHECKPOINTS}/{UNFINISHED}")):
            # It would count among those that `save_total_limit` keeps.
            shutil.rmtree(mark.parent)
        yield


def in_held_folder(run: Callable[..., Any]) -> Callable[..., Any]:
    """Let a run go on in a folder that no other run writes to, see `held_run`.

    Args:
        run (`Callable`): Takes arguments of the model, of the data, and of training, which name the folder.
    """

    @wraps(run)
    def held(model_args: Any, data_args: Any, args: ChangeCaptioningArguments) -> Any:
        with held_run(args):
            return run(model_args, data_args, args)

    return held


def whole_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run that were written to their end, in the order of their steps."""
    # The state is written last.
    found = [path.parent for path in folder.glob(f"{CHECKPOINTS}/trainer_state.json") if is_json(path)]
    found = [path for path in found if path.name.rpartition("-")[2].isdecimal() and not (path / UNFINISHED).exists()]
    return sorted(found, key=lambda path: int(path.name.rpartition("-")[2]))


def find_checkpoint(arguments: ChangeCaptioningArguments) -> str | None:
    """The checkpoint to resume from; `true` means the newest whole one of the output folder.

    Args:
        arguments (`ChangeCaptioningArguments`): `resume_from_checkpoint` and `output_dir`.

    Returns:
        `str`: A folder, or None for a new run.

    Raises:
        FileExistsError: A new run would write over an earlier one's files.
        FileNotFoundError: There is no whole checkpoint.
    """
    value, folder = arguments.resume_from_checkpoint, Path(arguments.output_dir)
    whole = whole_checkpoints(folder)
    if value is None or value.lower() == "false":
        left = [name for pattern in RUN_FILES for name in sorted(path.name for path in folder.glob(pattern))]
        if left:
            raise FileExistsError(
                f"{folder} holds {left[0]} of an earlier run: go on with --resume_from_checkpoint true, or choose "
                "another --output_dir."
            )
        return None
    if value.lower() != "true":
        return value
    if not whole:
        raise FileNotFoundError(f"{folder} holds no whole checkpoint to resume from.")
    return str(whole[-1])


def refuse_former_checkpoint(folder: Path, former_names: Mapping[str, str]) -> None:
    """Refuse to resume from a checkpoint of an earlier version, of which a `Trainer` would leave weights out.

    Args:
        folder (`Path`): The checkpoint.
        former_names (`Mapping[str, str]`): The system's, as regular expressions.

    Raises:
        ValueError: A weight or the auxiliary heads have their former name there.
    """
    found = [FORMER_HEADS] if (folder / FORMER_HEADS).is_file() else []
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "pt") as weights:
            names = weights.keys()
        found += [name for name in names if any(re.search(former, name) for former in former_names)]
    if found:
        raise ValueError(
            f"{folder} was written by an earlier version, under other names ({found[0]}): a run cannot be resumed "
            "from it. Finish the run with that version, or start a new one from it with `model_name_or_path`."
        )


__all__ = [
    "find_checkpoint",
    "held_run",
    "in_held_folder",
    "is_json",
    "refuse_former_checkpoint",
    "set_seed",
    "whole_checkpoints",
]
