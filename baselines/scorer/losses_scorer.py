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
"""Token-wise matching, and the contrast between the pairs of a batch."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .configuration_scorer import SCORERConfig


def token_matching(queries: Tensor, keys: Tensor, per_head: bool = False, chunk_size: int = 8) -> Tensor:
    """Similarity of every image to every other: each token meets the one that fits it best, both ways.

    Args:
        queries (`torch.Tensor` of shape `(images, tokens, heads, width)`): Tokens of images on one side.
        keys (`torch.Tensor` of shape `(others, other_tokens, heads, width)`): Tokens of images on the other.
        per_head (`bool`, *optional*, defaults to `False`): Choose the best token in each head, and add up the heads;
            otherwise choose it by the sum over the heads.
        chunk_size (`int`, *optional*, defaults to 8): Images whose products are held at once.

    Returns:
        `torch.Tensor` of shape `(images, others)`: In float32.
    """
    if not per_head:
        queries, keys = queries.flatten(-2).unsqueeze(-2), keys.flatten(-2).unsqueeze(-2)
    others, _, heads, _ = keys.shape
    columns = keys.permute(2, 3, 0, 1).flatten(2)  # (heads, width, others x their tokens)
    rows = []
    for chunk in queries.split(chunk_size):
        products = (chunk.permute(2, 0, 1, 3).flatten(1, 2) @ columns).view(heads, *chunk.shape[:2], others, -1)
        # A maximum keeps where it was, and the products are not kept for the backward pass.
        found = products.max(4).values.float().mean(2) + products.max(2).values.float().mean(3)
        rows.append(found.sum(0) / 2)
    return torch.cat(rows)


class MatchingContrast(nn.Module):
    """Cross-entropy of each image's own partner among the partners of the batch, by scaled token-wise matching."""

    def __init__(self, config: SCORERConfig) -> None:
        super().__init__()
        self.per_head = config.matching == "per_head"
        self.chunk_size = config.matching_chunk_size
        self.max_logit_scale = config.max_logit_scale
        self.logit_scale = nn.Parameter(torch.empty(()))

    def similarity(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Scaled similarities (pairs, pairs) of `(pairs, tokens, heads, width)` on both sides."""
        matched = token_matching(queries, keys, self.per_head, self.chunk_size)
        return matched * self.logit_scale.float().clamp(max=self.max_logit_scale).exp()

    @staticmethod
    def contrast(similarity: Tensor, scene_ids: Tensor | None = None) -> Tensor:
        """Mean cross-entropy of the diagonal; pairs of one scene are not each other's negatives.

        Args:
            similarity (`torch.Tensor` of shape `(pairs, pairs)`): Of each row's image to each column's.
            scene_ids (`torch.Tensor` of shape `(pairs,)`, *optional*): Scene of each pair; by default all differ.

        Returns:
            `torch.Tensor`: A scalar, 0 for a single pair.
        """
        own = torch.arange(len(similarity), device=similarity.device)
        if scene_ids is not None:
            scene_ids = scene_ids.to(similarity.device)
            same = (scene_ids.unsqueeze(1) == scene_ids) & (own.unsqueeze(1) != own)
            similarity = similarity.masked_fill(same, float("-inf"))
        return F.cross_entropy(similarity, own)


def caption_tokens(labels: Tensor, ignore_index: int = -100) -> Tensor:
    """Where the tokens of captions are, start and end tokens among them, (batch, sequence)."""
    words = labels != ignore_index
    return words | F.pad(words[:, 1:], (0, 1))


def pool_sentences(states: Tensor, labels: Tensor, length: int | None = None, ignore_index: int = -100) -> Tensor:
    """One vector for what is said of a pair; several captions of a pair are pooled together.

    Args:
        states (`torch.Tensor` of shape `(batch, sequence, width)`): Last states of the decoder.
        labels (`torch.Tensor` of shape `(batch, sequence)`): Of the captions.
        length (`int`, *optional*): Divide the sum of a caption's states by it; by default by their number.
        ignore_index (`int`, *optional*, defaults to -100): Label that does not count.

    Returns:
        `torch.Tensor` of shape `(batch, width)`: The vectors.
    """
    tokens = caption_tokens(labels, ignore_index).to(states.device)
    count = tokens.sum(1)
    if length is not None:
        # Only the token that starts a caption is no label.
        count = length * (tokens & (labels.to(states.device) == ignore_index)).sum(1)
    summed = states.masked_fill(~tokens.unsqueeze(-1), 0).sum(1)
    return summed / count.clamp_min(1).unsqueeze(-1)


def scene_halves(scene_ids: Tensor) -> list[Tensor]:
    """Rows that come first of their scene, then those that come second, and so on.

    Args:
        scene_ids (`torch.Tensor` of shape `(batch,)`): Scene of each row.

    Returns:
        `list[torch.Tensor]`: Indices of rows.
    """
    earlier = (scene_ids.unsqueeze(1) == scene_ids).tril(-1).sum(1)
    return [(earlier == place).nonzero().squeeze(1) for place in range(int(earlier.max()) + 1)]


__all__ = ["MatchingContrast", "caption_tokens", "pool_sentences", "scene_halves", "token_matching"]
