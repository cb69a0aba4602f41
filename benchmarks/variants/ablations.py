# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""SSGPA with a mechanism taken out or replaced, so that the model itself has no switches.

A run takes one by its class path: `model_class: ssgpa.benchmarks.variants.ablations.SSGPAWithoutAlignment`. What is a
number in the configuration is no class here. All of them are ours: the paper publishes no ablation that could be
rebuilt.
"""

import copy
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...alignment_ssgpa import ChangeFusionAdapterLayer, GlobalPartTransportAlignment
from ...configuration_ssgpa import SSGPAConfig
from ...modeling_ssgpa import SSGPAForConditionalGeneration
from ...transport_ssgpa import log_sinkhorn


class NoAlignment(nn.Module):
    """Stands where the alignment stood; matches nothing and writes nothing back."""

    def __init__(self, config: SSGPAConfig) -> None:
        super().__init__()

    def forward(self, hidden_states: Tensor) -> tuple[Tensor, None, None]:
        """Return the states (batch, 2, 1 + patches, width) as they came, no evidence and no matching features."""
        return hidden_states, None, None


def without_dustbin(log_plan: Tensor) -> Tensor:
    """Add an empty dustbin to the logarithm of a plan (batch, patches, patches) of mass 1/2."""
    return F.pad(log_plan, (0, 1, 0, 1), value=float("-inf"))


class FullyMatchedAlignment(GlobalPartTransportAlignment):
    """An alignment without a dustbin: every patch is matched, so that only residual and motion tell of a change."""

    def matches(self, log_plan: Tensor, transport: Tensor, marginals: Tensor) -> tuple[Tensor, Tensor]:
        """All of each patch's mass (batch, 2, patches), and where it goes (batch, 2, patches, patches)."""
        inner = log_plan[:, :-1, :-1]
        weights = torch.stack([inner, inner.transpose(1, 2)], 1).softmax(-1)
        return torch.ones_like(marginals), weights


class SoftmaxAlignment(FullyMatchedAlignment):
    """Softmax attention between the patches in place of transport: no marginals to keep, no dustbin."""

    def plan(self, cosine: Tensor, marginals: Tensor) -> Tensor:
        """A joint softmax, whose rows and columns are the two directions' attention once they are normalized."""
        scores = cosine / self.epsilon
        return without_dustbin(scores - scores.logsumexp((1, 2), keepdim=True) - torch.log(scores.new_tensor(2.0)))


class BalancedTransportAlignment(FullyMatchedAlignment):
    """Transport that must match every patch, changed ones too."""

    def plan(self, cosine: Tensor, marginals: Tensor) -> Tensor:
        """Entropic transport between the patches' marginals."""
        log_marginals = (marginals / 2).log()
        plan = log_sinkhorn(cosine / self.epsilon, log_marginals[:, 0], log_marginals[:, 1], self.iterations)
        return without_dustbin(plan)


class SameCellAttention(nn.Module):
    """Cross-attention of which only the same cell of the other image is left: its value and output projections."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.v_proj = nn.Linear(hidden_size, hidden_size)
        self.o_proj = nn.Linear(hidden_size, hidden_size)

    def forward(self, hidden_states: Tensor, context: Tensor) -> Tensor:
        """Project `context` (batch, tokens, width), the other image's states in the same cells."""
        return self.o_proj(self.v_proj(context))


class SameCellFusionLayer(ChangeFusionAdapterLayer):
    """An adapter layer that mixes every cell with the same cell of the other image."""

    def __init__(self, config: SSGPAConfig) -> None:
        super().__init__(config)
        self.cross_attn = SameCellAttention(config.fusion_hidden_size)


class SSGPAVariant(SSGPAForConditionalGeneration):
    """SSGPA with another alignment or other adapter layers; the base of the variants below."""

    alignment_class: ClassVar[type[nn.Module]] = GlobalPartTransportAlignment
    fusion_layer_class: ClassVar[type[ChangeFusionAdapterLayer]] = ChangeFusionAdapterLayer

    def __init__(self, config: SSGPAConfig) -> None:
        super().__init__(config)
        # The loss goes by the class's name where nothing else is said.
        self.loss_type = "ForConditionalGeneration"
        self.model.alignment = self.alignment_class(config)
        layers = [self.fusion_layer_class(config) for _ in range(config.fusion_layers)]
        self.model.change_fusion_adapter.layers = nn.ModuleList(layers)
        self.post_init()


class SSGPAWithoutAlignment(SSGPAVariant):
    """SSGPA with its adapter but without alignment and the losses that read it."""

    alignment_class = NoAlignment

    def __init__(self, config: SSGPAConfig) -> None:
        config = copy.deepcopy(config)
        config.contrast_weight = config.warp_weight = config.cycle_weight = config.global_weight = 0.0
        super().__init__(config)


class SSGPAWithoutMechanism(SSGPAWithoutAlignment):
    """SSGPA without adapter, alignment and their losses: tower, connector and language model.

    The baseline of the throughput ratio, and the control of everything that the mechanism is said to bring.
    """

    def __init__(self, config: SSGPAConfig) -> None:
        config = copy.deepcopy(config)
        config.fusion_layers = 0
        super().__init__(config)


class SSGPAWithoutDustbin(SSGPAVariant):
    """The base of the variants that match every patch, and have no place for what a warp loss calls new."""

    def __init__(self, config: SSGPAConfig) -> None:
        config = copy.deepcopy(config)
        config.warp_weight = 0.0
        super().__init__(config)


class SSGPAWithSoftmaxAlignment(SSGPAWithoutDustbin):
    """SSGPA that matches patches by softmax attention instead of transport."""

    alignment_class = SoftmaxAlignment


class SSGPAWithBalancedTransport(SSGPAWithoutDustbin):
    """SSGPA whose transport has no dustbin."""

    alignment_class = BalancedTransportAlignment


class SSGPAWithSameCellFusion(SSGPAVariant):
    """SSGPA whose adapter mixes each cell with the same cell of the other image."""

    fusion_layer_class = SameCellFusionLayer


class SSGPAWithSameCellFusionAndNoAlignment(SSGPAWithoutAlignment):
    """Same-cell fusion, no alignment."""

    fusion_layer_class = SameCellFusionLayer


class SSGPAWithSameCellFusionAndSoftmaxAlignment(SSGPAWithSoftmaxAlignment):
    """Same-cell fusion, softmax attention in place of transport."""

    fusion_layer_class = SameCellFusionLayer


__all__ = [
    "SSGPAWithBalancedTransport",
    "SSGPAWithSameCellFusion",
    "SSGPAWithSameCellFusionAndNoAlignment",
    "SSGPAWithSameCellFusionAndSoftmaxAlignment",
    "SSGPAWithSoftmaxAlignment",
    "SSGPAWithoutAlignment",
    "SSGPAWithoutMechanism",
]
