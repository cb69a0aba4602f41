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
"""ProCap's losses."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def smoothed_divergence(
    logits: Tensor,
    labels: Tensor,
    label_smoothing: float,
    reduction: str = "mean",
    num_items_in_batch: Tensor | int | None = None,
    shift_labels: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """Kullback-Leibler divergence of predictions from smoothed words.

    The word itself has `1 - label_smoothing` of the weight, all others share the rest evenly.

    Args:
        logits (`torch.Tensor` of shape `(batch, sequence, vocabulary)`): Predictions.
        labels (`torch.Tensor` of shape `(batch, sequence)`): Words; position i is predicted at i - 1.
        label_smoothing (`float`): Share of the other words.
        reduction (`str`, *optional*, defaults to `"mean"`): Over the words, or their `"sum"`.
        num_items_in_batch (`torch.Tensor` or `int`, *optional*): Divisor of the mean, by default the number of words.
        shift_labels (`torch.Tensor`, *optional*): What is predicted at every position, in place of `labels`.
        ignore_index (`int`, *optional*, defaults to -100): Label that does not count.

    Returns:
        `torch.Tensor`: A scalar.
    """
    if shift_labels is None:
        shift_labels = F.pad(labels, (0, 1), value=ignore_index)[:, 1:]
    targets = shift_labels.reshape(-1).to(logits.device)
    vocabulary = logits.shape[-1]
    # torch gives the target a share of what is spread, too.
    spread = label_smoothing * vocabulary / (vocabulary - 1)
    total = F.cross_entropy(
        logits.float().view(-1, vocabulary),
        targets,
        ignore_index=ignore_index,
        label_smoothing=spread,
        reduction="sum",
    )
    words = (targets != ignore_index).sum()
    total = total - words * smoothed_entropy(label_smoothing, vocabulary)
    # CODEPATH: "sum" is what the released code adds up.
    if reduction == "sum":
        return total
    return total / (words.clamp_min(1) if num_items_in_batch is None else num_items_in_batch)


def smoothed_entropy(label_smoothing: float, vocabulary: int) -> float:
    """Entropy of one smoothed word, the least cross-entropy that a prediction can have."""
    rest = label_smoothing / (vocabulary - 1)
    return -sum(
        share * count * math.log(share) for share, count in ((1 - label_smoothing, 1), (rest, vocabulary - 1)) if share
    )


def masked_cross_entropy(logits: Tensor, codes: Tensor, patch_mask: Tensor) -> Tensor:
    """Mean cross-entropy of the codes of masked patches.

    Args:
        logits (`torch.Tensor` of shape `(batch, patches, codes)`): Predictions.
        codes (`torch.Tensor` of shape `(batch, patches)`): The truth.
        patch_mask (`torch.Tensor` of shape `(batch, patches)`): True where a patch was hidden.

    Returns:
        `torch.Tensor`: A scalar; 0 where nothing was hidden.
    """
    targets = codes.masked_fill(~patch_mask, -100)
    total = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="sum")
    return total / patch_mask.sum().clamp_min(1)


def true_or_false(
    true: Tensor, false: Tensor, true_counts: Tensor, false_counts: Tensor, divisor: Tensor | None = None
) -> Tensor:
    """Binary cross-entropy of scores of what is true and of what is not, each a mean over those that count.

    Args:
        true (`torch.Tensor` of shape `(batch,)`): Scores of what is true.
        false (`torch.Tensor` of shape `(batch,)`): Scores of what is not.
        true_counts (`torch.Tensor` of shape `(batch,)`): 1 for those that count, 0 for the others.
        false_counts (`torch.Tensor` of shape `(batch,)`): Likewise.
        divisor (`torch.Tensor`, *optional*): Of both sums, by default how many count.

    Returns:
        `torch.Tensor`: A scalar.
    """
    loss = true.new_zeros((), dtype=torch.float32)
    for surprise, counts in ((F.softplus(-true.float()), true_counts), (F.softplus(false.float()), false_counts)):
        loss = loss + (surprise * counts).sum() / (counts.sum() if divisor is None else divisor).clamp_min(1)
    return loss


__all__ = ["masked_cross_entropy", "smoothed_divergence", "smoothed_entropy", "true_or_false"]
