# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Which parameters weight decay is for."""

from collections.abc import Iterable

from torch import nn


def without_vectors(names: Iterable[str], model: nn.Module) -> list[str]:
    """Leave out parameters of one dimension: biases, norms and scalars, whatever they are called (ours).

    Args:
        names (`Iterable[str]`): Names of parameters, shared ones by each of their names.
        model (`nn.Module`): Whose they are. What DeepSpeed shards counts by its whole shape. FSDP 1 has flattened all
            it shards by the time it is asked, and nothing is left.

    Returns:
        `list[str]`: The others.
    """
    parameters = model.named_parameters(remove_duplicate=False)
    shapes = {name: getattr(value, "ds_shape", value.shape) for name, value in parameters}
    return [name for name in names if len(shapes.get(name, ())) > 1]


__all__ = ["without_vectors"]
