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
"""Entropic optimal transport for SSGPA: Sinkhorn in log space, and the dustbin around it."""

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable
from transformers.utils.generic import maybe_autocast


# Step and momentum of the iteration. A mode that the plan couples by sigma shrinks by about 1 - STEP (1 - sigma) /
# (1 - MOMENTUM) an iteration, the alternating mode (sigma -1) by sqrt(MOMENTUM).
_STEP, _MOMENTUM = 1.2, 0.36
# Below this a sum of exponentials counts as empty. It keeps the logarithm finite, and the iteration recovers.
_TINY = 1e-37


def _log_matvec(kernel: Tensor, shift: Tensor, potential: Tensor) -> Tensor:
    """`logsumexp_j(S_ij + v_j)` from `kernel = exp(S - shift)`: a product in place of a matrix of exponentials."""
    top = potential.amax(-1, keepdim=True)
    weights = (potential - top).exp().unsqueeze(-1)  # (B, N, 1)
    return (kernel @ weights).squeeze(-1).clamp_min(_TINY).log() + shift + top


def _kernels(scores: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Stabilised kernels for row sums (B, M, N) and column sums (B, N, M), each with its own shift."""
    row_top, column_top = scores.amax(2), scores.amax(1)
    rows = (scores - row_top.unsqueeze(2)).exp()
    columns = (scores - column_top.unsqueeze(1)).exp().transpose(1, 2).contiguous()
    return rows, row_top, columns, column_top


class _SimultaneousSinkhorn(torch.autograd.Function):
    """The iteration with an exact gradient that keeps potentials only.

    Every iterate's softmax is `diag(a) K diag(b)`, so the gradient with respect to the scores is `K` times one product
    of the stacked vectors, and nothing of size M x N is kept per iteration.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx, scores: Tensor, log_rows: Tensor, log_columns: Tensor, iterations: int
    ) -> tuple[Tensor, Tensor]:
        """Return the potentials u (B, M) and v (B, N) after `iterations` updates from zero."""
        rows, row_top, columns, column_top = _kernels(scores)
        u, v = torch.zeros_like(log_rows), torch.zeros_like(log_columns)
        us, vs = [u, u], [v, v]  # the first stands in for what was before the start
        for _ in range(iterations):
            row_sums = _log_matvec(rows, row_top, v)
            column_sums = _log_matvec(columns, column_top, u)
            u = u + _STEP * (log_rows - row_sums - u) + _MOMENTUM * (u - us[-2])
            v = v + _STEP * (log_columns - column_sums - v) + _MOMENTUM * (v - vs[-2])
            us.append(u)
            vs.append(v)
        ctx.save_for_backward(scores, log_rows, log_columns, torch.stack(us, 1), torch.stack(vs, 1))
        return u, v

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad_u: Tensor, grad_v: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """Walk the iterations back; `row` and `column` denote the softmaxes of the row and the column sums."""
        scores, log_rows, log_columns, us, vs = ctx.saved_tensors
        rows, row_top, columns, column_top = _kernels(scores)
        grad_rows, grad_columns = torch.zeros_like(grad_u), torch.zeros_like(grad_v)
        older_u, older_v = torch.zeros_like(grad_u), torch.zeros_like(grad_v)  # through the momentum
        left_rows, right_rows, left_columns, right_columns = [], [], [], []
        for t in reversed(range(1, us.shape[1] - 1)):
            u, v = us[:, t], vs[:, t]
            # The update solved for the logarithm of the row sums, which so comes back for free.
            row_sums = log_rows - u - (us[:, t + 1] - u - _MOMENTUM * (u - us[:, t - 1])) / _STEP
            column_sums = log_columns - v - (vs[:, t + 1] - v - _MOMENTUM * (v - vs[:, t - 1])) / _STEP
            step_u, step_v = _STEP * grad_u, _STEP * grad_v
            grad_rows, grad_columns = grad_rows + step_u, grad_columns + step_v
            # The softmax over j is exp(S - top) * exp(v - v_top) * exp(top + v_top - row_sum), and so for the columns.
            v_top, u_top = v.amax(-1, keepdim=True), u.amax(-1, keepdim=True)
            b, a = (v - v_top).exp(), (u - u_top).exp()
            left = -step_u * (row_top + v_top - row_sums).exp()
            right = -step_v * (column_top + u_top - column_sums).exp()
            left_rows.append(left)
            right_rows.append(b)
            left_columns.append(right)
            right_columns.append(a)
            through_u = a * (columns.transpose(1, 2) @ right.unsqueeze(-1)).squeeze(-1)
            through_v = b * (rows.transpose(1, 2) @ left.unsqueeze(-1)).squeeze(-1)
            moved_u, moved_v = _MOMENTUM * grad_u, _MOMENTUM * grad_v
            grad_u = grad_u - step_u + moved_u + through_u + older_u
            grad_v = grad_v - step_v + moved_v + through_v + older_v
            older_u, older_v = -moved_u, -moved_v
        grad_scores = rows * (torch.stack(left_rows, 2) @ torch.stack(right_rows, 1))
        column_part = columns * (torch.stack(left_columns, 2) @ torch.stack(right_columns, 1))
        return grad_scores + column_part.transpose(1, 2), grad_rows, grad_columns, None


def log_sinkhorn(scores: Tensor, log_rows: Tensor, log_columns: Tensor, iterations: int) -> Tensor:
    """Entropic transport plan between two sets of marginals, in log space and in float32.

    Updates from one state, `u <- u + 1.2 (log r - lse_j(S + v) - u) + 0.36 (u - u_before)` and its mirror, make the
    result exactly equivariant under exchange of the two sides. Sums run as products with a stabilised kernel. (Ours;
    the paper names optimal transport and no algorithm.) Exact while the scores of a row and of a column that carry
    mass lie within some 80 of each other: beyond, products of exponentials leave float32.

    Args:
        scores (`torch.Tensor` of shape `(batch, rows, columns)`): Scores divided by the regularization.
        log_rows (`torch.Tensor` of shape `(batch, rows)`): Logarithm of the rows' marginals.
        log_columns (`torch.Tensor` of shape `(batch, columns)`): Logarithm of the columns' marginals, of the same
            total.
        iterations (`int`): Updates of both potentials.

    Returns:
        `torch.Tensor` of shape `(batch, rows, columns)`: Logarithm of the plan, float32 (float64 for float64 scores).
    """
    dtype = torch.float64 if scores.dtype == torch.float64 else torch.float32
    with maybe_autocast(scores.device.type, enabled=False):
        scores, log_rows, log_columns = scores.to(dtype), log_rows.to(dtype), log_columns.to(dtype)
        u, v = _SimultaneousSinkhorn.apply(scores, log_rows, log_columns, iterations)
        return scores + u.unsqueeze(2) + v.unsqueeze(1)


def dustbin_transport(
    cosine: Tensor, rows: Tensor, columns: Tensor, dustbin: Tensor, epsilon: float, iterations: int
) -> Tensor:
    """Transport with one extra row and column that take the mass of what has no counterpart.

    What scores far below the dustbin carries no mass, so `log_sinkhorn` is exact here while `(1 - dustbin) / epsilon`
    is at most 80: at an epsilon of 0.05 down to a dustbin of -3, at 0.02 down to -0.6.

    Args:
        cosine (`torch.Tensor` of shape `(batch, rows, columns)`): Similarity, less any position cost.
        rows (`torch.Tensor` of shape `(batch, rows)`): Marginals of the rows, summing to 1.
        columns (`torch.Tensor` of shape `(batch, columns)`): Marginals of the columns, summing to 1.
        dustbin (`torch.Tensor`): The dustbin's score, a scalar in cosine units.
        epsilon (`float`): Entropic regularization, in cosine units.
        iterations (`int`): Sinkhorn updates.

    Returns:
        `torch.Tensor` of shape `(batch, rows + 1, columns + 1)`: Logarithm of the plan; total mass 1, half of each
        side's mass on its patches and half on its dustbin.
    """
    batch, height, width = cosine.shape
    dustbin = dustbin.to(cosine)  # the contrast may run on another device than the alignment
    right, bottom = dustbin.expand(batch, height, 1), dustbin.expand(batch, 1, width + 1)
    scores = torch.cat([torch.cat([cosine, right], 2), bottom], 1) / epsilon
    one = cosine.new_ones(batch, 1)
    log_rows = (torch.cat([rows, one], 1) / 2).log()
    log_columns = (torch.cat([columns, one], 1) / 2).log()
    return log_sinkhorn(scores, log_rows, log_columns, iterations)


__all__ = ["dustbin_transport", "log_sinkhorn"]
