# Copyright 2026 The ssgpa authors. All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""What models with a Change Fusion Adapter and a Global-Part Transport Alignment share (ours)."""

from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import initialization as init
from transformers.utils import ModelOutput

from .alignment_ssgpa import ChangeFusionAdapterLayer, GlobalPartTransportAlignment
from .change_config_ssgpa import ChangeModulesConfig
from .losses_ssgpa import ContrastLoss, cycle_loss, global_loss, smoothed_caption_loss, warp_loss
from .system_ssgpa import ChangeCaptioningModelMixin


def check_pairs(pixel_values: Tensor) -> None:
    """Raise a `ValueError` for images that are no pairs, or not normalized."""
    if not pixel_values.is_floating_point():
        raise ValueError(f"SSGPA reads normalized pixel_values, got {pixel_values.dtype}.")
    if pixel_values.ndim != 5 or pixel_values.shape[1] != 2:
        raise ValueError(
            "SSGPA reads pixel_values of shape (batch, 2, channels, height, width), got "
            f'{tuple(pixel_values.shape)}: set `pair_layout="pair"` in the processor.'
        )


class ChangeModulesMixin(ChangeCaptioningModelMixin):
    """How adapter and alignment begin, and their losses beside the caption's, in front of `PreTrainedModel`.

    The model that has the losses calls `add_losses` when it is built, and says by `get_alignment` where the alignment
    is.
    """

    _no_split_modules: ClassVar[list[str]] = ["ChangeFusionAdapterLayer", "GlobalPartTransportAlignment"]

    def get_alignment(self) -> GlobalPartTransportAlignment:
        """The alignment, whose plan the losses read."""
        raise NotImplementedError

    def add_losses(self, config: ChangeModulesConfig) -> None:
        """Make the parts of the losses that have parameters, and note the weights.

        Args:
            config (`ChangeModulesConfig`): Says both.
        """
        self.contrast = ContrastLoss(config)
        self.loss_weights = {name: getattr(config, f"{name}_weight") for name in ("warp", "cycle", "global")}
        self.label_smoothing = config.label_smoothing

    @torch.no_grad()
    def init_change_modules(self, module: nn.Module) -> None:
        """Let adapter and alignment begin as the identity.

        Args:
            module (`nn.Module`): Any; others than theirs are left alone.
        """
        if isinstance(module, ChangeFusionAdapterLayer):
            init.constant_(module.gate_threshold, self.config.gate_threshold)
            init.zeros_(module.up_proj.weight)
            init.zeros_(module.up_proj.bias)
        elif isinstance(module, GlobalPartTransportAlignment):
            init.constant_(module.dustbin_score, self.config.dustbin_score)
            init.zeros_(module.patch_scale)
            init.zeros_(module.global_scale)
            init.zeros_(module.evidence_mlp.fc2.weight)
            init.zeros_(module.evidence_mlp.fc2.bias)
        elif isinstance(module, ContrastLoss):
            init.constant_(module.logit_scale, -torch.tensor(self.config.contrast_temperature).log().item())

    def training_notes(self, outputs: ModelOutput) -> dict[str, Tensor]:
        """Mean of the adapter's gates; near 0 or 1 it gates nothing."""
        gate = outputs.get("fusion_gate")
        return {} if gate is None else {"fusion_gate": gate}

    def losses(
        self,
        logits: Tensor,
        labels: Tensor,
        features: ModelOutput | None,
        scene_ids: Tensor | None,
        warp_targets: Tensor | None = None,
        **kwargs: Any,
    ) -> dict[str, Tensor]:
        """Weighted losses by name. Auxiliary ones count in training only."""
        kept = labels[:, -logits.shape[1] :]  # all, or the last ones under `logits_to_keep`
        loss_function = self.loss_function
        if self.training and self.label_smoothing:
            loss_function = partial(smoothed_caption_loss, label_smoothing=self.label_smoothing)
        caption = loss_function(logits=logits, labels=kept, vocab_size=logits.shape[-1], **kwargs)
        weight = self.config.caption_weight
        # A loss that does not count needs no backward pass through the language model.
        parts = {"caption": weight * caption if weight else 0.0 * caption.detach()}
        if features is not None and self.training:
            share = 1.0
            total = kwargs.get("num_items_in_batch")
            if total is not None:
                # The caption loss divides by the items of the accumulated batch; means must shrink alike, or
                # accumulation would multiply them. With a device map, labels and patches lie on several devices.
                share = (labels[:, 1:] != -100).sum().to(caption.device) / torch.as_tensor(
                    total, device=caption.device
                )
            for name, value in self._auxiliary_losses(features, scene_ids, warp_targets).items():
                parts[name] = share * value.to(caption.device)
        return parts

    def _auxiliary_losses(
        self, features: ModelOutput, scene_ids: Tensor | None, warp_targets: Tensor | None
    ) -> dict[str, Tensor]:
        matching, parts = features.get("matching"), {}
        weights = self.loss_weights | {"contrast": self.contrast.weight}
        if matching is None and any(weights.values()):
            raise ValueError(
                "`mm_encoder_outputs` hold no evidence, which the losses read: give what `get_image_features` returns."
            )
        if self.contrast.weight:
            parts["contrast"] = self.contrast(matching.features, self.get_alignment().plan, scene_ids)
        if warp_targets is not None:
            warped = features.warped_matching
            parts["warp"] = warp_loss(warped.log_plan, warped.marginals, warp_targets.to(warped.log_plan.device))
        if self.loss_weights["cycle"]:
            parts["cycle"] = cycle_loss(matching.round_trip, 1 - features.evidence.unmatched_mass)
        if self.loss_weights["global"]:
            parts["global"] = global_loss(matching.projected, 1 - features.evidence.unmatched_mass)
        return {name: weights[name] * value for name, value in parts.items()}


__all__ = ["ChangeModulesMixin", "check_pairs"]
