# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""SSGPA with a mechanism taken out or replaced, so that the model itself has no switches.

A run takes one by its class path: `model_class: ssgpa.comparison.ablations.SSGPAWithoutAlignment`. What is a number in
the configuration is no class here.
"""

import copy

from torch import Tensor, nn

from ..configuration_ssgpa import SSGPAConfig
from ..modeling_ssgpa import SSGPAForConditionalGeneration


class NoAlignment(nn.Module):
    """Stands where the alignment stood; matches nothing and writes nothing back."""

    def forward(self, hidden_states: Tensor) -> tuple[Tensor, None, None]:
        """Return the states (batch, 2, 1 + parts, width) as they came, no evidence and no matching features."""
        return hidden_states, None, None


class SSGPAWithoutAlignment(SSGPAForConditionalGeneration):
    """SSGPA without adapter, alignment and their losses: tower, connector and language model.

    The baseline of the throughput ratio, and the control of everything that the mechanism is said to bring.
    """

    def __init__(self, config: SSGPAConfig) -> None:
        config = copy.deepcopy(config)
        config.fusion_layers, config.contrast_weight = 0, 0.0
        config.warp_weight = config.cycle_weight = config.global_weight = 0.0
        super().__init__(config)
        # The loss goes by the class's name where nothing else is said.
        self.loss_type = "ForConditionalGeneration"
        self.model.alignment = NoAlignment()


__all__ = ["SSGPAWithoutAlignment"]
