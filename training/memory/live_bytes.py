# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Bytes of tensors while a program runs, on any device, the meta device among them."""

import weakref
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


# What CUDA's caching allocator rounds every allocation up to.
BLOCK = 512


def storage_key(tensor: Tensor) -> int:
    """Tells storages apart while they live; on the meta device their addresses do not."""
    return tensor.untyped_storage()._cdata


class LiveBytes(TorchDispatchMode):
    """Follows the bytes of all tensors of one device that live, and their highest sum.

    Tensors are followed from the operation that makes them until the last reference has gone. What a kernel allocates
    for itself while it runs is not seen.

    Args:
        device (`torch.device` or `str`): The kind of device.
        tensors (`Iterable[Tensor]`): Tensors that are there already.
        block (`int`): Every storage is rounded up to a multiple of this.
    """

    def __init__(self, device: torch.device | str, tensors: Iterable[Tensor] = (), block: int = BLOCK) -> None:
        super().__init__()
        self.kind = torch.device(device).type
        self.block = block
        self.live = 0
        self.peak = 0
        self._known: set[int] = set()
        for tensor in tensors:
            self.follow(tensor)

    def follow(self, tensor: Tensor) -> None:
        """Follow a tensor's storage from now on."""
        key = storage_key(tensor)
        if tensor.device.type != self.kind or key in self._known:
            return
        storage = tensor.untyped_storage()
        size = -(-storage.nbytes() // self.block) * self.block
        self._known.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._release, key, size).atexit = False

    def _release(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live -= size

    def reset_peak(self) -> None:
        """Forget the highest sum so far."""
        self.peak = self.live

    def __torch_dispatch__(
        self, func: Callable, types: Iterable[type], args: tuple = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.follow(leaf)
        return result


class SavedBytes:
    """Bytes of the storages that a forward pass keeps for its backward pass, by the part that keeps them.

    A context manager around the forward pass. Each storage counts once, for the part that kept it first.

    Args:
        parts (`Mapping[str, nn.Module]`): Modules by the name of their part.
        excluded (`Iterable[Tensor]`): Tensors that are there anyway: weights, buffers, the batch.
    """

    def __init__(self, parts: Mapping[str, nn.Module], excluded: Iterable[Tensor] = ()) -> None:
        self.parts = parts
        self.excluded = {storage_key(tensor) for tensor in excluded}
        self.kept: dict[int, tuple[str, weakref.ref]] = {}
        self._stack: list[str] = []
        self._exit = ExitStack()

    def __enter__(self) -> "SavedBytes":
        for name, module in self.parts.items():
            for handle in (
                module.register_forward_pre_hook(lambda *_, name=name: self._stack.append(name)),
                module.register_forward_hook(lambda *_: self._stack.pop() and None, always_call=True),
            ):
                self._exit.callback(handle.remove)
        self._exit.enter_context(torch.autograd.graph.saved_tensors_hooks(self._pack, lambda tensor: tensor))
        return self

    def __exit__(self, *error: object) -> None:
        self._exit.close()

    def _pack(self, tensor: Tensor) -> Tensor:
        key = storage_key(tensor)
        known = key in self.kept and self.kept[key][1]() is not None
        if key not in self.excluded and not known:
            part = self._stack[-1] if self._stack else "losses"
            self.kept[key] = part, weakref.ref(tensor.untyped_storage())
        return tensor

    def by_part(self) -> dict[str, int]:
        """Bytes of the storages that still live, in the order in which the parts first kept one."""
        sizes: dict[str, int] = {}
        for part, reference in self.kept.values():
            storage = reference()
            if storage is not None:
                sizes[part] = sizes.get(part, 0) + storage.nbytes()
        return sizes


__all__ = ["BLOCK", "LiveBytes", "SavedBytes", "storage_key"]
