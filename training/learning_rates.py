# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Learning rates of their own for some of a model's parameters."""

import json
import re
from collections.abc import Iterable

import torch
from torch import nn


def parse_factors(text: str) -> dict[str, float]:
    """Read `learning_rate_factors`.

    Args:
        text (`str`): JSON mapping of regular expressions to factors.

    Returns:
        `dict[str, float]`: The same.

    Raises:
        ValueError: It is no such mapping; the error says why.
    """
    try:
        found = json.loads(text)
        factors = {pattern: float(factor) for pattern, factor in found.items()}
        for pattern in factors:
            re.compile(pattern)
    except (ValueError, RecursionError, TypeError, AttributeError, re.error) as error:
        raise ValueError(f"`learning_rate_factors` must map regular expressions to numbers: {error}.") from error
    if any(factor < 0 for factor in factors.values()):
        raise ValueError(f"`learning_rate_factors` must not be negative, got {factors}.")
    return factors


def scale_learning_rates(
    optimizer: torch.optim.Optimizer, named: Iterable[tuple[str, nn.Parameter]], factors: dict[str, float]
) -> None:
    """Split an optimizer's groups, so that parameters of certain names learn more slowly or faster.

    Args:
        optimizer (`torch.optim.Optimizer`): New, without a scheduler.
        named (`Iterable[tuple[str, nn.Parameter]]`): The model's parameters.
        factors (`dict[str, float]`): By regular expression, searched in the names; the first that matches counts.

    Raises:
        ValueError: An expression matches none of the parameters that train.
    """
    names = {id(parameter): name for name, parameter in named}
    unused = set(factors)
    groups = []
    for group in optimizer.param_groups:
        split: dict[float, list[nn.Parameter]] = {}
        for parameter in group["params"]:
            pattern = next((pattern for pattern in factors if re.search(pattern, names[id(parameter)])), None)
            unused.discard(pattern)
            split.setdefault(factors.get(pattern, 1.0), []).append(parameter)
        groups += [{**group, "params": part, "lr": group["lr"] * factor} for factor, part in split.items()]
    if unused:
        raise ValueError(f"`learning_rate_factors`: {sorted(unused)} match no parameter that trains.")
    optimizer.param_groups[:] = groups


__all__ = ["parse_factors", "scale_learning_rates"]
