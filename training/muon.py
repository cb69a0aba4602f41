# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Muon for hidden matrices and AdamW for the rest, both of torch, as one optimizer."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn


# Smaller ones are no matrices whose directions could be evened out.
SMALLEST_SIDE = 8


def matrices_of(model: nn.Module) -> set[int]:
    """Identities of the parameters that Muon takes: weights of hidden linear and convolutional layers that train.

    Embeddings and the language modeling head, whose rows belong to single tokens, are left to AdamW, as are queries,
    positions and all else that is no layer's weight, and matrices with a side below 8.

    Args:
        model (`nn.Module`): The model.
    """
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    get_head = getattr(model, "get_output_embeddings", lambda: None)
    head = get_head()
    words = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    words |= {id(head.weight)} if head is not None else set()
    found = set()
    for module in model.modules():
        weight = getattr(module, "weight", None)
        if not isinstance(module, kinds) or id(weight) in words or not weight.requires_grad:
            continue
        if min(weight.shape[0], weight[0].numel()) >= SMALLEST_SIDE:
            found.add(id(weight))
    return found


class MuonWithAdamW(torch.optim.Optimizer):
    """`torch.optim.Muon` on matrices and `torch.optim.AdamW` on all other parameters.

    A convolution's kernel counts as a matrix of its output channels. Rates are those of the groups, so that schedules
    and `learning_rate_factors` act on both.

    Args:
        groups (`Iterable[dict[str, Any]]`): Groups as AdamW takes them, with `params`, `lr` and what else it knows.
        matrices (`set[int]`): Identities of the parameters for Muon, see `matrices_of`.
        rate (`float`): Muon's learning rate where AdamW's is `base_rate`, in proportion elsewhere.
        base_rate (`float`): AdamW's learning rate, of the run.
        momentum (`float`, *optional*, defaults to 0.95): Muon's.
        weight_decay (`float`, *optional*, defaults to 0.01): Muon's.

    Raises:
        ValueError: No parameter is a matrix, or a matrix does not lie in one piece.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        matrices: set[int],
        rate: float,
        base_rate: float,
        momentum: float = 0.95,
        weight_decay: float = 0.01,
    ) -> None:
        others, hidden, self.pairs = [], [], []
        for group in groups:
            others.append({**group, "params": [value for value in group["params"] if id(value) not in matrices]})
            own = [value for value in group["params"] if id(value) in matrices]
            flat = [self._flat(value) for value in own]
            self.pairs += list(zip(own, flat, strict=True))
            # A group without matrices stays, so that groups are numbered alike in every run.
            hidden.append({"params": flat, "lr": group["lr"] * rate / base_rate if base_rate else rate})
        if not self.pairs:
            raise ValueError("`muon_learning_rate`: the model trains no matrices that Muon could take.")
        self.parts = [
            torch.optim.AdamW([group for group in others if group["params"]]),
            torch.optim.Muon(
                [group for group in hidden if group["params"]], momentum=momentum, weight_decay=weight_decay
            ),
        ]
        super().__init__([{"params": [value for value, _ in self.pairs]}], {})
        # The very groups of both, so that a schedule that changes their rates changes them there.
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    @staticmethod
    def _flat(value: nn.Parameter) -> nn.Parameter:
        """The parameter's own memory as a matrix."""
        if not value.is_contiguous():
            raise ValueError("Muon takes matrices that lie in one piece; make the model's weights contiguous.")
        return nn.Parameter(value.detach().view(len(value), -1))

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients.

        Args:
            set_to_none (`bool`, *optional*, defaults to `True`): As for every optimizer.
        """
        for value, flat in self.pairs:
            flat.grad = None
            if value.grad is not None:
                value.grad = None if set_to_none else torch.zeros_like(value)
        self.parts[0].zero_grad(set_to_none)

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        """Take a step with both.

        Args:
            closure (`Callable`, *optional*): Computes the loss anew.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for value, flat in self.pairs:
            flat.grad = None if value.grad is None else value.grad.reshape(flat.shape)
        for part in self.parts:
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """State of both, AdamW's first."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what `state_dict` gave.

        Args:
            state_dict (`dict[str, Any]`): Of a run with the same groups.

        Raises:
            ValueError: It is another optimizer's.
        """
        states = state_dict.get("parts")
        if states is None or len(states) != len(self.parts):
            raise ValueError("The checkpoint's optimizer is no Muon with AdamW: it was written by another run.")
        for part, state in zip(self.parts, states, strict=True):
            part.load_state_dict(state)
        self.param_groups = [group for part in self.parts for group in part.param_groups]


def with_muon(optimizer: torch.optim.Optimizer, model: nn.Module, rate: float, base_rate: float) -> MuonWithAdamW:
    """The same groups with Muon for their matrices.

    Args:
        optimizer (`torch.optim.Optimizer`): A new AdamW.
        model (`nn.Module`): The model.
        rate (`float`): Muon's learning rate.
        base_rate (`float`): AdamW's.

    Returns:
        `MuonWithAdamW`: Both.

    Raises:
        ValueError: The optimizer is no AdamW of torch, or the model has no matrices that train.
    """
    if type(optimizer) is not torch.optim.AdamW:
        raise ValueError(
            f"`muon_learning_rate` goes beside torch's AdamW, not beside {type(optimizer).__name__}: leave `optim` at "
            "its default, and train without DeepSpeed and FSDP."
        )
    if rate <= 0:
        raise ValueError(f"`muon_learning_rate` must be positive, got {rate}.")
    return MuonWithAdamW(optimizer.param_groups, matrices_of(model), rate, base_rate)


__all__ = ["MuonWithAdamW", "matrices_of", "with_muon"]
