# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Values of a few tensors on the meta device, for models that ask for them.

VLMs look where their image tokens are, how many rows an image has, or which images are black. On the meta device no
tensor has values, and such a question is an error.
"""

import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map


INDEXED = (torch.ops.aten.index.Tensor, torch.ops.aten.index_put.default, torch.ops.aten.index_put_.default)


def is_meta(value: Any) -> bool:
    """Whether a value is a tensor on the meta device."""
    return isinstance(value, Tensor) and value.device.type == "meta"


def has_values(func: Callable) -> bool:
    """Whether an operation's result follows from its arguments: it is neither left open nor drawn."""
    return "empty" not in func.__name__ and torch.Tag.nondeterministic_seeded not in func.tags


class _AskedBeforeDispatch(TorchFunctionMode):
    """Answers what never comes to an operation: lists of values, and tensors made of lists."""

    def __init__(self, known: "KnownValues") -> None:
        super().__init__()
        self.known = known

    def __torch_function__(
        self, func: Callable, types: Iterable[type], args: tuple = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is Tensor.tolist and is_meta(args[0]):
            value = self.known.of(args[0])
            return func(args[0] if value is None else value)
        if func is torch.tensor and str(kwargs.get("device")) == "meta":
            data = tree_map(lambda leaf: self.known.of(leaf) if is_meta(leaf) else leaf, args[0])
            return func(data, *args[1:], **kwargs | {"device": "cpu"}).to("meta")
        return func(*args, **kwargs)


class KnownValues(TorchDispatchMode):
    """Keeps beside a tensor on the meta device one on the CPU with its values, as long as they follow from known ones.

    Known are the tensors that are given, constants that a model makes, and what is computed of these alone: an
    operation that reads a weight has no values. Enter it inside modes that count; these see the meta device alone.

    Args:
        values (`Mapping[Tensor, Tensor]`, *optional*): Tensors on the meta device, and their values.
    """

    def __init__(self, values: Mapping[Tensor, Tensor] | None = None) -> None:
        super().__init__()
        self._values: dict[int, tuple[weakref.ref, Tensor]] = {}
        self._asked = _AskedBeforeDispatch(self)
        for tensor, value in (values or {}).items():
            self._keep(tensor, value)

    def __enter__(self) -> "KnownValues":
        self._asked.__enter__()
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self._asked.__exit__(*error)

    def _keep(self, tensor: Tensor, value: Tensor) -> None:
        key = id(tensor)
        self._values[key] = weakref.ref(tensor, lambda _: self._values.pop(key, None)), value

    def of(self, tensor: Tensor) -> Tensor | None:
        """The values of a tensor on the meta device, where they are known."""
        found = self._values.get(id(tensor))
        return found[1] if found is not None and found[0]() is tensor else None

    def __torch_dispatch__(
        self, func: Callable, types: Iterable[type], args: tuple = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        empty = [leaf for leaf in tree_leaves((args, kwargs)) if is_meta(leaf)]
        if not empty and str(kwargs.get("device")) != "meta":
            return func(*args, **kwargs)
        known = None
        if has_values(func) and all(self.of(leaf) is not None for leaf in empty):
            known = self._compute(func, args, kwargs)
            if not any(isinstance(leaf, Tensor) for leaf in tree_leaves(known)):
                return known  # a number that somebody asked for
        if func in INDEXED:
            args = (args[0], self._places(args[1]), *args[2:])
        try:
            result = func(*args, **kwargs)
        except (RuntimeError, NotImplementedError):
            # How large the result is depends on the values.
            if known is None:
                raise
            result = tree_map(lambda leaf: leaf.to("meta") if isinstance(leaf, Tensor) else leaf, known)
        if known is not None:
            for leaf, value in zip(tree_leaves(result), tree_leaves(known), strict=True):
                if is_meta(leaf):
                    self._keep(leaf, value)
        return result

    def _compute(self, func: Callable, args: tuple, kwargs: dict[str, Any]) -> Any:
        """The same operation on values."""
        args, kwargs = tree_map(lambda leaf: self.of(leaf) if is_meta(leaf) else leaf, (args, kwargs))
        return func(*args, **kwargs | ({"device": torch.device("cpu")} if "device" in kwargs else {}))

    def _places(self, indices: Iterable[Tensor | None]) -> list[Tensor | None]:
        """Indices, each mask of known values as the places that it stands for."""
        places: list[Tensor | None] = []
        for index in indices:
            value = self.of(index) if is_meta(index) and index.dtype == torch.bool else None
            places += [index] if value is None else [part.to("meta") for part in value.nonzero(as_tuple=True)]
        return places


__all__ = ["KnownValues"]
