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
"""The two constraints on where the queries look, over the scores of the Q-Former's last cross-attention."""

from torch import Tensor
from torch.nn.functional import kl_div, log_softmax, normalize, softmax


def consistency_loss(scores: Tensor, temperature: float, target_temperature: float, released: bool = False) -> Tensor:
    """Whether a query looks at the same place in both images: each image's attention against the other's.

    Args:
        scores (`torch.Tensor` of shape `(batch, 2, heads, queries, 1 + patches)`): Before the softmax; the class
            token, which has no place, comes first.
        temperature (`float`): Of the attention that is compared.
        target_temperature (`float`): Of what it is compared with; below `temperature` it is the sharper one.
        released (`bool`, *optional*, defaults to `False`): Take probabilities for scores, and the mean over patches,
            where the divergence is their sum (FINER-MLLM's code).

    Returns:
        `torch.Tensor`: KL(softmax(b / target_temperature) || softmax(a / temperature)), mean over both directions,
        images, heads and queries; a float32 scalar.
    """
    maps = patch_maps(scores, released)
    found = log_softmax(maps / temperature, -1)
    wanted = softmax(maps / target_temperature, -1).flip(1)
    divergence = kl_div(found, wanted, reduction="none")
    return divergence.mean() if released else divergence.sum(-1).mean()


def orthogonality_loss(scores: Tensor, temperature: float, released: bool = False) -> Tensor:
    """Whether each query's attention is most like itself, and not like another query's.

    Args:
        scores (`torch.Tensor` of shape `(batch, 2, heads, queries, 1 + patches)`): As of `consistency_loss`.
        temperature (`float`): Of the similarities.
        released (`bool`, *optional*, defaults to `False`): Put probabilities through a softmax again, and compare by
            the inner product (FINER-MLLM's code); by default attention is compared by its cosine.

    Returns:
        `torch.Tensor`: Cross-entropy of each query's own attention among those of its image and head; a float32
        scalar.
    """
    maps = softmax(patch_maps(scores, released), -1)
    maps = maps if released else normalize(maps, dim=-1)
    similarities = log_softmax(maps @ maps.transpose(-1, -2) / temperature, -1)
    return -similarities.diagonal(dim1=-2, dim2=-1).mean()


def patch_maps(scores: Tensor, probabilities: bool) -> Tensor:
    """Scores of the patches in float32; or their probabilities, of which the class token has a share."""
    scores = scores.float()
    return (softmax(scores, -1) if probabilities else scores)[..., 1:]


__all__ = ["consistency_loss", "orthogonality_loss"]
