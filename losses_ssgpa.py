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
"""The auxiliary losses of SSGPA."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers.utils.generic import maybe_autocast

from .configuration_ssgpa import SSGPAConfig


class ContrastLoss(nn.Module):
    """Symmetric InfoNCE between the two images of a scene and those of sampled other scenes.

    The similarity is that of transport, `2 sum Pi (1 - C)`, with no gradient through the plan (ours).
    """

    def __init__(self, config: SSGPAConfig) -> None:
        super().__init__()
        self.weight = config.contrast_weight
        self.negatives = config.contrast_negatives
        self.logit_scale = nn.Parameter(torch.empty(()))

    def forward(self, matching: Tensor, plan: Callable[[Tensor, Tensor], Tensor], scene_ids: Tensor | None) -> Tensor:
        """Mean loss over the batch, a scalar; zero where no pair has a negative.

        Args:
            matching (`torch.Tensor` of shape `(batch, 2, parts, width)`): The alignment's unit features.
            plan (`Callable`): The alignment's `plan`; the module itself would be moved by a device map's hooks.
            scene_ids (`torch.Tensor` of shape `(batch,)`, *optional*): Scene of each pair; by default all differ.

        Returns:
            `torch.Tensor`: The loss.
        """
        batch = matching.shape[0]
        scene_ids = torch.arange(batch) if scene_ids is None else scene_ids
        scene_ids = scene_ids.to(matching.device)
        shifts = 1 + torch.randperm(max(batch - 1, 0), device=matching.device)[: self.negatives]
        shifts = torch.cat([shifts.new_zeros(1), shifts])  # (1 + S,), the pair itself first
        before = torch.arange(batch, device=matching.device).repeat(len(shifts))
        after = (before + shifts.repeat_interleave(batch)) % batch
        similarity = self.similarity(matching, plan, before, after).view(len(shifts), batch)
        logits = similarity * self.logit_scale.float().exp()
        same = (scene_ids[before] == scene_ids[after]).view_as(logits)
        same[0] = False
        logits = logits.masked_fill(same, float("-inf"))
        # Column i of row s is (before i, after i + s); rolled, it is (before i - s, after i).
        rolled = logits.gather(1, (torch.arange(batch, device=shifts.device) - shifts.unsqueeze(1)) % batch)
        return -(logits.log_softmax(0)[0] + rolled.log_softmax(0)[0]).mean() / 2

    @staticmethod
    def similarity(
        matching: Tensor, plan: Callable[[Tensor, Tensor], Tensor], before: Tensor, after: Tensor
    ) -> Tensor:
        """Transport similarity of the indexed images before and after, (pairs,)."""
        with maybe_autocast(matching.device.type, enabled=False):
            cosine = matching[before, 0] @ matching[after, 1].transpose(1, 2)
            with torch.no_grad():
                masses = matching.new_full((len(before), 2, matching.shape[2]), 1 / matching.shape[2])
                matched = plan(cosine, masses)[:, :-1, :-1].exp()
            return 2 * (matched * cosine).sum((1, 2))


__all__ = ["ContrastLoss"]
