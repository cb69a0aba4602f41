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
"""The losses of SSGPA beside the caption's plain cross-entropy."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
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
        self.logit_scale = nn.Parameter(torch.empty(1))

    def forward(self, matching: Tensor, plan: Callable[[Tensor, Tensor], Tensor], scene_ids: Tensor | None) -> Tensor:
        """Mean loss over the batch, a scalar; zero where no pair has a negative.

        Args:
            matching (`torch.Tensor` of shape `(batch, 2, patches, width)`): The alignment's unit features.
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
                marginals = matching.new_full((len(before), 2, matching.shape[2]), 1 / matching.shape[2])
                matched = plan(cosine, marginals)[:, :-1, :-1].exp()
            return 2 * (matched * cosine).sum((1, 2))


def warp_loss(log_plan: Tensor, marginals: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy between where patches truly lie in the other image and the shares that transport sends there.

    Self-supervised by images and warps of them, so that the truth is exact (ours). Gradients flow through the plan,
    to the dustbin's score too.

    Args:
        log_plan (`torch.Tensor` of shape `(pairs, patches + 1, patches + 1)`): Logarithm of the transport plan.
        marginals (`torch.Tensor` of shape `(pairs, 2, patches)`): Marginals of the patches, summing to 1 in each
            image.
        targets (`torch.Tensor` of shape `(pairs, 2, patches, patches + 1)`): True shares; the last entry is the
            dustbin.

    Returns:
        `torch.Tensor`: Mean over the patches of both images, a scalar.
    """
    with maybe_autocast(log_plan.device.type, enabled=False):
        sent = torch.stack([log_plan[:, :-1], log_plan.transpose(1, 2)[:, :-1]], 1).float()
        shares = sent - (marginals.float() / 2).log().unsqueeze(-1)
        return -(targets * shares).sum(-1).mean()


def cycle_loss(round_trip: Tensor, matched: Tensor) -> Tensor:
    """What is matched should come back to itself by way of the other image (consistency; ours).

    The weights carry no gradient: with one, sending everything to the dustbin would be the cheapest way.

    Args:
        round_trip (`torch.Tensor` of shape `(batch, 2, patches)`): Share of each patch that comes back to the patch.
        matched (`torch.Tensor` of shape `(batch, 2, patches)`): Share of each patch's mass that is matched.

    Returns:
        `torch.Tensor`: Mean over the images of their matched patches' mean, a scalar.
    """
    with maybe_autocast(round_trip.device.type, enabled=False):
        weights = matched.detach().float()
        lost = -(round_trip.float() + 1e-6).log()
        return ((weights * lost).sum(-1) / weights.sum(-1).clamp_min(1e-6)).mean()


def global_loss(projected: Tensor, matched: Tensor) -> Tensor:
    """The matched patches of both images should agree on the whole (consistency; ours).

    The weights carry no gradient, as in `cycle_loss`. Features less the pair's mean would not do: their means point
    away from each other by construction.

    Args:
        projected (`torch.Tensor` of shape `(batch, 2, patches, width)`): Projected patches, their mean not removed.
        matched (`torch.Tensor` of shape `(batch, 2, patches)`): Share of each patch's mass that is matched.

    Returns:
        `torch.Tensor`: One less the cosine of the weighted means, mean over the batch, a scalar.
    """
    with maybe_autocast(projected.device.type, enabled=False):
        weights = matched.detach().float().unsqueeze(-1)
        means = (weights * projected.float()).sum(2)  # the cosine takes no notice of the divisor
        return (1 - F.cosine_similarity(means[:, 0], means[:, 1], dim=-1)).mean()


def smoothed_caption_loss(
    logits: Tensor,
    labels: Tensor,
    vocab_size: int,
    label_smoothing: float,
    num_items_in_batch: Tensor | int | None = None,
    ignore_index: int = -100,
    shift_labels: Tensor | None = None,
    **kwargs: object,
) -> Tensor:
    """Transformers' loss of a causal language model, with smoothed labels.

    Args:
        logits (`torch.Tensor` of shape `(batch, sequence, vocab_size)`): Predictions.
        labels (`torch.Tensor` of shape `(batch, sequence)`): Tokens; position i is predicted at i - 1.
        vocab_size (`int`): Size of the vocabulary.
        label_smoothing (`float`): Share of every target that is spread over the whole vocabulary.
        num_items_in_batch (`torch.Tensor` or `int`, *optional*): Divisor, by default the number of tokens.
        ignore_index (`int`, *optional*, defaults to -100): Label that does not count.
        shift_labels (`torch.Tensor`, *optional*): Labels shifted already, in place of `labels`.
        kwargs (`object`, *optional*): Not used.

    Returns:
        `torch.Tensor`: The loss, a scalar.
    """
    if shift_labels is None:
        shift_labels = F.pad(labels, (0, 1), value=ignore_index)[..., 1:]
    loss = F.cross_entropy(
        logits.float().view(-1, vocab_size),
        shift_labels.reshape(-1).to(logits.device),
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        reduction="mean" if num_items_in_batch is None else "sum",
    )
    return loss if num_items_in_batch is None else loss / torch.as_tensor(num_items_in_batch, device=loss.device)


__all__ = ["ContrastLoss", "cycle_loss", "global_loss", "smoothed_caption_loss", "warp_loss"]
