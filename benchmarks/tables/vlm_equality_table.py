# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Lays out the JSON of `measure_vlm_equality.py` as the table in docs/vlm.md."""

from collections.abc import Mapping
from typing import Any


CHECKS = {
    "float32": "float32",
    "bfloat16": "bfloat16",
    "greedy": "greedy",
    "beams": "3 beams",
    "lora": "under LoRA",
    "checkpointing": "checkpointing",
    "save_and_load": "save and load",
    "thin_checkpoint": "thin checkpoint",
    "change_map": "change map",
}


def tell(found: bool | float | None) -> str:
    """What a check found: `=`, a difference as a number, or words."""
    if found is None:
        return "not run"
    if isinstance(found, bool):
        return "=" if found else "differs"
    return "=" if found == 0 else f"{found:.0e}"


def cell(runs: Mapping[str, Any], family: str, check: str) -> str:
    """What a check found on all versions, once where all found the same."""
    found = {version: tell(run["families"].get(family, {}).get(check)) for version, run in runs.items()}
    if len(set(found.values())) == 1:
        return next(iter(found.values()))
    return ", ".join(f"{text} on {version}" for version, text in found.items())


def format_vlm_equality(report: Mapping[str, Any], source: str) -> str:
    """One row a family.

    Args:
        report (`Mapping[str, Any]`): The JSON of `benchmarks/measure_vlm_equality.py`.
        source (`str`): The file it came from, as the reader finds it.

    Returns:
        `str`: Markdown: a table and the lines that belong to it.
    """
    runs = report["runs"]
    families = sorted({family for run in runs.values() for family in run["families"]})
    lines = [f"| family | {' | '.join(CHECKS.values())} |", f"|---{'|:---:' * len(CHECKS)}|"]
    lines += [f"| {family} | {' | '.join(cell(runs, family, check) for check in CHECKS)} |" for family in families]
    torch = ", ".join(sorted({run["versions"]["torch"] for run in runs.values()}))
    facts = (
        f"`=` is equal in every bit, on Transformers {' and '.join(runs)} with PyTorch {torch}, on a CPU. Logits in "
        "float32 and in bfloat16, captions greedily and by 3 beams, and logits under LoRA are compared with those of "
        "the plain VLM, before training, for two pairs with prompts of different length. Checkpointing is compared by "
        "all gradients with a step without it, and a number is the largest difference as a share of the largest "
        "gradient; a saved model, and a thin checkpoint after "
        f"{report['steps']} steps of training, by logits and change map with the model that was saved. Change maps "
        f"lie in [0, 1] on grids coarser and finer than the VLM's. Tiny models of random weights. From `{source}`."
    )
    return "\n".join([*lines, "", facts])
