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
"""The Change Fusion Adapter and the Global-Part Transport Alignment of SSGPA."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.utils import ModelOutput, auto_docstring
from transformers.utils.generic import maybe_autocast

from .configuration_ssgpa import SSGPAConfig
from .transport_ssgpa import dustbin_transport


# Robust fits of the camera's motion settle within these.
_CAMERA_STEPS = 8


@auto_docstring(custom_intro="What the alignment found: the named evidence behind a caption (ours).")
@dataclass
class ChangeEvidence(ModelOutput):
    """What the alignment found.

    Args:
        transport (`torch.FloatTensor` of shape `(batch_size, patches + 1, patches + 1)`):
            Transport plan from the patches before to the patches after; the last row and column are the dustbin.
        unmatched_mass (`torch.FloatTensor` of shape `(batch_size, 2, patches)`):
            Share of each patch's mass that found no counterpart, in [0, 1].
        residual (`torch.FloatTensor` of shape `(batch_size, 2, patches, hidden_size)`):
            Each patch less what transport brings to its place from the other image.
        object_motion (`torch.FloatTensor` of shape `(batch_size, 2, patches, 2)`):
            Each patch's move into the other image beyond the camera's, in cells, (rows, columns). Near zero where a
            patch cannot tell its place from its look-alikes.
        camera_shift (`torch.FloatTensor` of shape `(batch_size, 2)`):
            Shift of the whole scene from before to after, in cells, (rows, columns).
        change_map (`torch.FloatTensor` of shape `(batch_size, 2, rows, columns)`):
            What changed in every cell, in [0, 1]: the larger of the change of a patch's direction from what transport
            brings to it, and of its own move.
    """

    transport: torch.FloatTensor | None = None
    unmatched_mass: torch.FloatTensor | None = None
    residual: torch.FloatTensor | None = None
    object_motion: torch.FloatTensor | None = None
    camera_shift: torch.FloatTensor | None = None
    change_map: torch.FloatTensor | None = None


@auto_docstring(custom_intro="What the losses read of the alignment (ours).")
@dataclass
class PartMatching(ModelOutput):
    """What the losses read of the alignment.

    Args:
        features (`torch.FloatTensor` of shape `(batch_size, 2, patches, alignment_hidden_size)`):
            Unit features in which patches are matched, less a share of the pair's mean.
        projected (`torch.FloatTensor` of shape `(batch_size, 2, patches, alignment_hidden_size)`):
            The same before the mean is removed and the length made 1.
        marginals (`torch.FloatTensor` of shape `(batch_size, 2, patches)`):
            Marginals of the patches, summing to 1 in each image.
        log_plan (`torch.FloatTensor` of shape `(batch_size, patches + 1, patches + 1)`, *optional*):
            Logarithm of the transport plan; in training, where a loss reads it.
        round_trip (`torch.FloatTensor` of shape `(batch_size, 2, patches)`, *optional*):
            Share of each patch that the plan brings to the other image and back to the patch, where a loss reads it.
    """

    features: torch.FloatTensor | None = None
    projected: torch.FloatTensor | None = None
    marginals: torch.FloatTensor | None = None
    log_plan: torch.FloatTensor | None = None
    round_trip: torch.FloatTensor | None = None


class Readout(NamedTuple):
    """What is read off the transport plan: the fields of `PartMatching` that need it, then those of `ChangeEvidence`.

    Args:
        log_plan (`torch.Tensor`, *optional*): As in `PartMatching`.
        round_trip (`torch.Tensor`, *optional*): As in `PartMatching`.
        transported (`torch.Tensor` of shape `(batch, 2, patches, width)`): What transport brings to each patch.
        transport (`torch.Tensor`): As in `ChangeEvidence`, like all that follow.
        unmatched_mass (`torch.Tensor`): As there.
        residual (`torch.Tensor`): As there.
        object_motion (`torch.Tensor`): As there.
        camera_shift (`torch.Tensor`): As there.
        change_map (`torch.Tensor`): As there.
    """

    log_plan: Tensor | None
    round_trip: Tensor | None
    transported: Tensor
    transport: Tensor
    unmatched_mass: Tensor
    residual: Tensor
    object_motion: Tensor
    camera_shift: Tensor
    change_map: Tensor


EVIDENCE = tuple(field.name for field in fields(ChangeEvidence))


def eager_attention_forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **kwargs: object,
) -> tuple[Tensor, Tensor]:
    """Plain attention, the reference for the other implementations. No masks: every token sees every other."""
    weights = torch.matmul(query, key.transpose(-1, -2)) * scaling
    weights = F.softmax(weights, dim=-1, dtype=torch.float32).to(query.dtype)
    return torch.matmul(weights, value).transpose(1, 2).contiguous(), weights


class SSGPAAttention(nn.Module):
    """Attention between two sequences of tokens without masks."""

    def __init__(self, config: SSGPAConfig, hidden_size: int, num_heads: int, context_size: int | None = None) -> None:
        super().__init__()
        self.config = config
        self.head_dim = hidden_size // num_heads
        self.scaling = self.head_dim**-0.5
        self.is_causal = False
        context_size = context_size or hidden_size
        self.q_proj = nn.Linear(context_size, hidden_size)
        self.k_proj = nn.Linear(context_size, hidden_size)
        self.v_proj = nn.Linear(context_size, hidden_size)
        self.o_proj = nn.Linear(hidden_size, context_size)

    def forward(self, hidden_states: Tensor, context: Tensor) -> Tensor:
        """Let `hidden_states` (batch, queries, width) attend to `context` (batch, keys, width)."""
        batch = hidden_states.shape[0]
        query, key, value = (
            layer(states).view(batch, -1, self.q_proj.out_features // self.head_dim, self.head_dim).transpose(1, 2)
            for layer, states in ((self.q_proj, hidden_states), (self.k_proj, context), (self.v_proj, context))
        )
        attend: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        output, _ = attend(self, query, key, value, None, scaling=self.scaling, dropout=0.0, is_causal=False)
        return self.o_proj(output.reshape(batch, hidden_states.shape[1], -1))


class SSGPAMLP(nn.Module):
    """Two linear layers; the last one's width may differ from the first one's."""

    def __init__(self, in_size: int, hidden_size: int, out_size: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(in_size, hidden_size)
        self.act = ACT2FN["gelu"]
        self.fc2 = nn.Linear(hidden_size, out_size)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Map (..., in_size) to (..., out_size)."""
        return self.fc2(self.act(self.fc1(hidden_states)))


def in_dtype_of(layer: nn.Module, states: Tensor) -> Tensor:
    """States in the dtype of a layer's weight, so that frozen parts may have another one than trained parts.

    Quantized weights tell no dtype to compute in; before them the states stay as they are.
    """
    dtype = layer.weight.dtype
    return states.to(dtype) if dtype.is_floating_point and dtype.itemsize > 1 else states


def centered_unit(features: Tensor, centering: float) -> Tensor:
    """Unit vectors after removing a share of the pair's mean.

    Args:
        features (`torch.Tensor` of shape `(batch, 2, patches, width)`): Features of both images.
        centering (`float`): Share of the mean over both images' patches that is removed.

    Returns:
        `torch.Tensor` of the same shape, float32.
    """
    features = features.float()
    return F.normalize(features - centering * features.mean((1, 2), keepdim=True), dim=-1)


def swap_images(states: Tensor) -> Tensor:
    """Exchange before and after along the second axis."""
    return states.flip(1)


class ChangeFusionAdapterLayer(GradientCheckpointingLayer):
    """One layer of the Change Fusion Adapter: similar patches of the two images help each other."""

    def __init__(self, config: SSGPAConfig) -> None:
        super().__init__()
        width, bottleneck = config.patch_hidden_size, config.fusion_hidden_size
        heads, eps = config.fusion_num_attention_heads, config.layer_norm_eps
        self.gate_sharpness = config.gate_sharpness
        self.centering = config.centering
        self.input_norm = nn.LayerNorm(width, eps=eps)
        self.down_proj = nn.Linear(width, bottleneck)
        self.self_norm = nn.LayerNorm(bottleneck, eps=eps)
        self.self_attn = SSGPAAttention(config, bottleneck, heads)
        self.cross_norm = nn.LayerNorm(bottleneck, eps=eps)
        self.cross_attn = SSGPAAttention(config, bottleneck, heads)
        self.mlp_norm = nn.LayerNorm(bottleneck, eps=eps)
        self.mlp = SSGPAMLP(bottleneck, 4 * bottleneck, bottleneck)
        self.gate_threshold = nn.Parameter(torch.empty(1))
        self.up_proj = nn.Linear(bottleneck, width)

    def forward(self, hidden_states: Tensor) -> tuple[Tensor, Tensor]:
        """Update both images from the same state; return them and the patches' gates (batch, 2, patches)."""
        hidden_states = in_dtype_of(self.input_norm, hidden_states)
        hidden = self.down_proj(self.input_norm(hidden_states))  # (B, 2, 1 + N, r)
        shape = hidden.shape
        normed = self.self_norm(hidden).flatten(0, 1)
        hidden = hidden + self.self_attn(normed, normed).view(shape)
        gate = self.similarity_gate(hidden)
        normed = self.cross_norm(hidden)
        crossed = self.cross_attn(normed.flatten(0, 1), swap_images(normed).flatten(0, 1)).view(shape)
        full_gate = F.pad(gate, (1, 0), value=1.0).unsqueeze(-1).to(crossed.dtype)
        hidden = hidden + full_gate * crossed
        hidden = hidden + self.mlp(self.mlp_norm(hidden))
        return hidden_states + self.up_proj(hidden), gate

    def similarity_gate(self, hidden: Tensor) -> Tensor:
        """How similar each patch's best counterpart is, as a gate in (0, 1) of shape (batch, 2, patches), float32."""
        unit = centered_unit(hidden[:, :, 1:], self.centering)
        similarity = unit[:, 0] @ unit[:, 1].transpose(1, 2)
        best = torch.stack([similarity.amax(2), similarity.amax(1)], 1)
        return torch.sigmoid(self.gate_sharpness * (best - self.gate_threshold.float()))


class ChangeFusionAdapter(nn.Module):
    """The stack of adapter layers behind the vision tower (paper, abstract; the layer is ours)."""

    def __init__(self, config: SSGPAConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList([ChangeFusionAdapterLayer(config) for _ in range(config.fusion_layers)])

    def forward(self, hidden_states: Tensor) -> tuple[Tensor, Tensor | None]:
        """Fuse (batch, 2, 1 + patches, width); return the same shape and each pair's mean gate (None: no layers)."""
        if self.training and any(layer.gradient_checkpointing for layer in self.layers):
            # Behind a frozen tower nothing else would ask for gradients, and a reentrant checkpoint would give none.
            # Detached, lest the caller's own tensor be changed.
            hidden_states = hidden_states if hidden_states.requires_grad else hidden_states.detach().requires_grad_()
        gates = []
        for layer in self.layers:
            hidden_states, gate = layer(hidden_states)
            gates.append(gate.detach().mean((1, 2)))
        # With a device map, layers lie on several devices.
        gates = [gate.to(hidden_states.device) for gate in gates]
        return hidden_states, torch.stack(gates).mean(0) if gates else None


def weighted_median(values: Tensor, weights: Tensor) -> Tensor:
    """Lower weighted median over the second axis.

    Args:
        values (`torch.Tensor` of shape `(batch, items, dims)`): Values.
        weights (`torch.Tensor` of shape `(batch, items)`): Weights, not all zero.

    Returns:
        `torch.Tensor` of shape `(batch, dims)`.
    """
    ordered, order = values.sort(1)
    mass = weights.unsqueeze(-1).expand_as(values).gather(1, order).cumsum(1)
    index = (mass < mass[:, -1:] / 2).sum(1, keepdim=True).clamp_max(values.shape[1] - 1)
    return ordered.gather(1, index).squeeze(1)


def inverse_of_3x3(matrices: Tensor) -> Tensor:
    """Inverse of matrices (..., 3, 3) by cross products: no wait for the device, and exporters know it."""
    rows = matrices.unbind(-2)
    crosses = [torch.linalg.cross(rows[(i + 1) % 3], rows[(i + 2) % 3]) for i in range(3)]
    determinant = (rows[0] * crosses[0]).sum(-1)
    return torch.stack(crosses, -1) / determinant[..., None, None]


class GlobalPartTransportAlignment(nn.Module):
    """Global-Part Transport Alignment: match the patches of two images, read out what changed, write it back.

    The paper names optimal transport between global and patch features; marginals, dustbin, read-outs and write-back
    are ours.
    """

    def __init__(self, config: SSGPAConfig) -> None:
        super().__init__()
        self.config = config
        width, inner, eps = config.patch_hidden_size, config.alignment_hidden_size, config.layer_norm_eps
        self.patch_grid = tuple(config.patch_grid)
        self.centering = config.centering
        self.marginal_eta = config.marginal_eta
        self.epsilon = config.transport_epsilon
        self.iterations = config.sinkhorn_iterations
        self.position_weight = config.position_weight
        self.cue_weights = (config.content_cue_weight, config.motion_cue_weight)
        self.gradient_checkpointing = False
        self.match_norm = nn.LayerNorm(width, eps=eps)
        self.match_proj = nn.Linear(width, inner)
        self.dustbin_score = nn.Parameter(torch.empty(1))
        self.evidence_mlp = SSGPAMLP(width + 3, inner, width)
        self.global_norm = nn.LayerNorm(width, eps=eps)
        self.context_norm = nn.LayerNorm(width, eps=eps)
        self.shift_embedding = SSGPAMLP(2, inner, width)
        self.global_attn = SSGPAAttention(config, inner, config.alignment_num_attention_heads, context_size=width)
        self.patch_scale = nn.Parameter(torch.empty(1))
        self.global_scale = nn.Parameter(torch.empty(1))

    def forward(self, hidden_states: Tensor) -> tuple[Tensor, ChangeEvidence, PartMatching]:
        """Align (batch, 2, 1 + patches, width); return the same shape, the evidence and what the losses read."""
        hidden_states = in_dtype_of(self.match_norm, hidden_states)
        patches = hidden_states[:, :, 1:]
        projected = self.match_proj(self.match_norm(patches))
        # Matching decides between cosines that differ in the third digit: float32 whatever the autocast.
        with maybe_autocast(projected.device.type, enabled=False):
            projected, patches = projected.float(), patches.float()
            matching = centered_unit(projected, self.centering)  # (B, 2, N, d)
            marginals = self.marginals(F.normalize(projected, dim=-1))
            # A reentrant checkpoint sees tensors of a flat tuple only, and detaches all others.
            read_out = self.read_out
            if self.training and self.gradient_checkpointing:
                read_out = partial(self._gradient_checkpointing_func, self.read_out)
            found = Readout(*read_out(patches, matching, marginals))
        evidence = ChangeEvidence(**{name: getattr(found, name) for name in EVIDENCE})
        matched = PartMatching(
            features=matching,
            projected=projected,
            marginals=marginals,
            log_plan=found.log_plan,
            round_trip=found.round_trip,
        )
        return self.write_back(hidden_states, evidence, found.transported), evidence, matched

    def marginals(self, unit: Tensor) -> Tensor:
        """Marginals (batch, 2, patches): a patch weighs by its agreement with the other image's global feature."""
        other = F.normalize(swap_images(unit).mean(2), dim=-1)
        agreement = F.relu((unit @ other.unsqueeze(-1)).squeeze(-1)) + 1e-3
        share = agreement / agreement.sum(-1, keepdim=True)
        return (1 - self.marginal_eta) / unit.shape[2] + self.marginal_eta * share

    def plan(self, cosine: Tensor, marginals: Tensor) -> Tensor:
        """Logarithm of the transport plan with dustbin (batch, patches + 1, patches + 1)."""
        dustbin = self.dustbin_score.float()
        return dustbin_transport(cosine, marginals[:, 0], marginals[:, 1], dustbin, self.epsilon, self.iterations)

    def read_out(self, patches: Tensor, matching: Tensor, marginals: Tensor) -> Readout:
        """Run both passes and read the plan out; no tensor of its size is needed outside.

        Args:
            patches (`torch.Tensor` of shape `(batch, 2, patches, width)`): The patches.
            matching (`torch.Tensor` of shape `(batch, 2, patches, alignment_hidden_size)`): Their unit features.
            marginals (`torch.Tensor` of shape `(batch, 2, patches)`): Their masses.

        Returns:
            `Readout`: What was found.
        """
        cosine = matching[:, 0] @ matching[:, 1].transpose(1, 2)
        own_center, located = self.own_place(matching, cosine)
        if self.position_weight:
            with torch.no_grad():
                log_plan = self.plan(cosine, marginals)
                matched, weights = self.matches(log_plan, log_plan.exp(), marginals)
                shift = self.camera_shift(self.motion(weights, own_center), matched * located)
            cosine = cosine - self.position_weight * self.position_cost(shift)
        log_plan = self.plan(cosine, marginals)
        transport = log_plan.exp()
        matched, weights = self.matches(log_plan, transport, marginals)
        motion = self.motion(weights, own_center)
        certain = (matched * located).unsqueeze(-1)
        known = motion.detach(), certain.detach().squeeze(-1)
        shift = self.camera_shift(*known)
        object_motion = certain * (motion - self.camera_motion(*known, shift))
        transported = weights @ swap_images(patches)
        return Readout(
            log_plan=log_plan if self.training and self.config.warp_weight else None,
            round_trip=self.round_trip(weights) if self.config.cycle_weight else None,
            transported=transported,
            transport=transport,
            unmatched_mass=1 - matched,
            residual=patches - transported,
            object_motion=object_motion,
            camera_shift=shift,
            change_map=self.change_map(patches, transported, matched, object_motion),
        )

    def matches(self, log_plan: Tensor, transport: Tensor, marginals: Tensor) -> tuple[Tensor, Tensor]:
        """Share of each patch's mass that is matched (batch, 2, patches), and where it goes (..., patches)."""
        inner, between = log_plan[:, :-1, :-1], transport[:, :-1, :-1]
        weights = torch.stack([inner, inner.transpose(1, 2)], 1).softmax(-1)
        sent = torch.stack([between.sum(2), between.sum(1)], 1)
        # With unequal marginals an unchanged patch can send only what its counterpart can take.
        counterpart = (weights @ swap_images(marginals).unsqueeze(-1)).squeeze(-1)
        capacity = torch.minimum(marginals, counterpart) / 2
        return (sent / capacity).clamp(0, 1), weights

    @staticmethod
    def round_trip(weights: Tensor) -> Tensor:
        """Share of each patch that comes back to itself (batch, 2, patches), from the `weights` of `matches`."""
        both = weights[:, 0] * weights[:, 1].transpose(1, 2)  # from i to j, and from j back to i
        return torch.stack([both.sum(2), both.sum(1)], 1)

    def change_map(self, patches: Tensor, transported: Tensor, matched: Tensor, object_motion: Tensor) -> Tensor:
        """Stronger of the two cues in every cell (batch, 2, rows, columns), each times its weight.

        What the dustbin takes is no third cue: its noise in unchanged cells covers weaker true changes, and what is
        new differs from all that is brought to it anyway.
        """
        content = 1 - F.cosine_similarity(patches, transported, dim=-1)
        motion_cue = matched * (1 - torch.exp(-object_motion.square().sum(-1) / 2))
        content_weight, motion_weight = self.cue_weights
        cues = torch.maximum(content_weight * content, motion_weight * motion_cue)
        return cues.clamp(0, 1).unflatten(-1, self.patch_grid)

    def positions(self, like: Tensor) -> Tensor:
        """Grid coordinates (patches, 2), (row, column), in cells."""
        rows, columns = (torch.arange(size, device=like.device, dtype=torch.float32) for size in self.patch_grid)
        return torch.stack(torch.meshgrid(rows, columns, indexing="ij"), -1).view(-1, 2)

    def own_place(self, matching: Tensor, cosine: Tensor) -> tuple[Tensor, Tensor]:
        """Where each patch finds itself in its own image, and how well that tells it from its like.

        Plain background finds its own centroid, not its cell, and a surface whose look-alikes lie a cell or more away
        cannot know its own move, however the plan spreads it. (Ours.)

        Args:
            matching (`torch.Tensor` of shape `(batch, 2, patches, width)`): Unit features.
            cosine (`torch.Tensor` of shape `(batch, patches, patches)`): Similarity of the patches before and after.

        Returns:
            `tuple` of `torch.Tensor`: Expected positions (batch, 2, patches, 2) in cells, and `exp(-variance / 2)` of
            the positions (batch, 2, patches), the variance in square cells.
        """
        similarity = matching @ matching.transpose(2, 3)
        # A patch equals itself to the last digit; across images noise keeps even the true counterpart from that.
        best = torch.stack([cosine.amax(2), cosine.amax(1)], 1)
        excess = F.relu(similarity.diagonal(dim1=2, dim2=3) - best)
        weights = ((similarity - torch.diag_embed(excess)) / self.epsilon).softmax(-1)
        positions = self.positions(matching)
        center = weights @ positions
        variance = (weights @ positions.square() - center.square()).sum(-1).clamp_min(0)
        return center, torch.exp(-variance / 2)

    def motion(self, weights: Tensor, own_center: Tensor) -> Tensor:
        """Move of every patch into the other image (batch, 2, patches, 2), in cells."""
        return weights @ self.positions(weights) - own_center

    def camera_shift(self, motion: Tensor, certain: Tensor) -> Tensor:
        """Shift of the scene from before to after (batch, 2), as seen from both sides alike."""
        forth, back = (weighted_median(motion[:, side], certain[:, side] + 1e-6) for side in (0, 1))
        return (forth - back) / 2

    def camera_motion(self, motion: Tensor, certain: Tensor, shift: Tensor) -> Tensor:
        """Move of every patch that the camera accounts for: an affine map of the image, or the shift alone.

        A camera that turns or comes nearer moves some patches more than others, which one shift would call their own
        motion. Objects that do move are outliers of the fit; where few patches know their move it stays with the
        shift. (Ours.)

        Args:
            motion (`torch.Tensor` of shape `(batch, 2, patches, 2)`): Moves, in cells, without gradient.
            certain (`torch.Tensor` of shape `(batch, 2, patches)`): How well each is known, in [0, 1], without
                gradient.
            shift (`torch.Tensor` of shape `(batch, 2)`): `camera_shift`.

        Returns:
            `torch.Tensor` of shape `(batch, 2, patches, 2)`: In cells.
        """
        positions = self.positions(motion)
        centered = positions - positions.mean(0)
        centered = centered / centered.abs().max().clamp_min(1)
        terms = torch.cat([torch.ones_like(centered[:, :1]), centered], 1)  # (patches, 3)
        # What pulls the slopes to zero: a third of a patch at the image's border.
        ridge = torch.diag(terms.new_tensor([0.0, 0.3, 0.3]))
        start = torch.stack([shift, -shift], 1).unsqueeze(2)
        # The slopes are fitted to what the shift leaves.
        left = motion - start
        fit = torch.zeros_like(left)
        for _ in range(_CAMERA_STEPS):
            # Geman and McClure's weights; a patch that is off by a cell counts a quarter.
            weights = (certain + 1e-6) / (1 + (left - fit).square().sum(-1)).square()
            weighted = weights.unsqueeze(-1) * terms
            normal = inverse_of_3x3(weighted.transpose(2, 3) @ terms + ridge)
            fit = terms @ (normal @ (weighted.transpose(2, 3) @ left))
        return start + fit

    def position_cost(self, shift: Tensor) -> Tensor:
        """Squared distance to the place that the camera's shift predicts, in units of three cells, capped."""
        positions = self.positions(shift)
        offsets = positions.unsqueeze(1) - positions.unsqueeze(0)  # before less after, (N, N, 2)
        return ((offsets + shift[:, None, None]).square().sum(-1) / (2 * 3**2)).clamp_max(6)

    def write_back(self, hidden_states: Tensor, evidence: ChangeEvidence, transported: Tensor) -> Tensor:
        """Add the evidence to patches and global tokens; nothing at the start of training."""
        dtype = hidden_states.dtype
        patches, global_token = hidden_states[:, :, 1:], hidden_states[:, :, :1]
        changed = evidence.unmatched_mass.unsqueeze(-1)
        cues = torch.cat([evidence.residual, changed, evidence.object_motion], -1).to(dtype)
        pulled = ((1 - changed) * -evidence.residual).to(dtype)
        new_patches = patches + self.patch_scale.to(dtype) * pulled + self.evidence_mlp(cues)
        shifts = torch.stack([evidence.camera_shift, -evidence.camera_shift], 1).to(dtype)
        # Weighted after the norm, which would undo the weights.
        context = self.context_norm(torch.cat([transported, evidence.residual], 2).to(dtype))
        context = context * torch.cat([1 - changed, changed], 2).to(dtype)
        context = torch.cat([context, self.shift_embedding(shifts).unsqueeze(2)], 2).flatten(0, 1)
        attended = self.global_attn(self.global_norm(global_token).flatten(0, 1), context).unflatten(0, (-1, 2))
        return torch.cat([global_token + self.global_scale.to(dtype) * attended, new_patches], 2)


__all__ = ["ChangeEvidence", "ChangeFusionAdapter", "GlobalPartTransportAlignment", "PartMatching"]
