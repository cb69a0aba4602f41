# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Where a run starts: its seed, and the checkpoint that it goes on from."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

from safetensors import safe_open
from transformers import set_seed
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from .arguments import ChangeCaptioningArguments


# Where earlier versions kept the auxiliary heads.
FORMER_HEADS = "training_hints.safetensors"
# What a run leaves behind and a new one would write over.
RUN_FILES = (f"{PREFIX_CHECKPOINT_DIR}-*", "best", "trainer_state.json")


def is_json(path: Path) -> bool:
    """Whether a JSON file was written to its end."""
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return False
    return True


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
    # The state is written last.
    states = folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*/trainer_state.json")
    whole = [path.parent for path in states if is_json(path)]
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
    return str(max(whole, key=lambda path: int(path.name.rpartition("-")[2])))


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


__all__ = ["find_checkpoint", "is_json", "refuse_former_checkpoint", "set_seed"]
