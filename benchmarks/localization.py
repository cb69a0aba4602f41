# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Maps of change, as the model makes them and as controls would, and how well a map points at the changed object."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..data.clevr_renderer.dataset.truth import Box
from ..metrics.bootstrap import DRAWS, LEVEL, draw_weights
from ..modeling_ssgpa import SSGPAForConditionalGeneration


# Of which images' maps a change is read off: where the changed object shows.
VISIBLE = {"drop": (0,), "add": (1,)}


def visible_sides(change_type: str) -> tuple[int, ...]:
    """0 for the image before, 1 for the image after: those that show the changed object."""
    return VISIBLE.get(change_type, (0, 1))


@torch.no_grad()
def raw_maps(
    model: SSGPAForConditionalGeneration, pixel_values: Tensor
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Encode pairs; return every map, and the alignment's motion.

    `change_map` and its two cues `content` (one less the cosine of a patch and what transport brings to it) and
    `motion_cue` are those of the alignment; `residual` is the length of a patch less what transport brings to it.
    Controls: `same_cell`, the distance of the tower's features in the same cell; `softmax_attention`, the length of a
    patch less what attention brings to it that weighs the other image's patches by the softmax of the same cosines, at
    the same temperature. Other readings: `unmatched_mass`, the unmatched mass; `counterpart`, the change of direction
    in the matching space; `largest_of_three`, of these and `motion_cue`, which was the change map's definition once.

    Args:
        model (`SSGPAForConditionalGeneration`): A system with an alignment.
        pixel_values (`Tensor`): (batch, 2, 3, height, width).

    Returns:
        `tuple[dict[str, Tensor], dict[str, Tensor]]`: Maps (batch, 2, patches) by name, not scaled, and
        `object_motion` (batch, 2, patches, 2), `camera_shift` (batch, 2).
    """
    core = model.model
    encoded = core.vision_tower(pixel_values).last_hidden_state
    fused, _ = core.change_fusion_adapter(encoded)
    _, evidence, matching = core.alignment(fused)
    tower, patches, other = encoded[:, :, 1:].float(), fused[:, :, 1:].float(), fused[:, :, 1:].float().flip(1)
    transported = transport_weights(evidence.transport) @ other
    features = matching.features
    cosine = features[:, 0] @ features[:, 1].transpose(1, 2)
    attention = torch.stack([cosine, cosine.transpose(1, 2)], 1).div(core.alignment.epsilon).softmax(-1)
    counterpart = F.cosine_similarity(features, transport_weights(evidence.transport) @ features.flip(1), dim=-1)
    motion_cue = (1 - evidence.unmatched_mass) * (1 - torch.exp(-evidence.object_motion.square().sum(-1) / 2))
    matched_direction = (1 - counterpart) / 2
    maps = {
        "change_map": evidence.change_map.flatten(2),
        "content": (1 - F.cosine_similarity(patches, transported, dim=-1)).clamp(0, 1),
        "motion_cue": motion_cue,
        "residual": evidence.residual.norm(dim=-1),
        "softmax_attention": (patches - attention @ other).norm(dim=-1),
        "same_cell": (tower - tower.flip(1)).norm(dim=-1),
        "unmatched_mass": evidence.unmatched_mass,
        "counterpart": matched_direction,
        "largest_of_three": torch.stack([evidence.unmatched_mass, matched_direction, motion_cue]).amax(0),
    }
    return maps, {"object_motion": evidence.object_motion, "camera_shift": evidence.camera_shift}


def transport_weights(transport: Tensor) -> Tensor:
    """Where each patch goes (batch, 2, patches, patches), rows summing to 1, from a plan with dustbin."""
    inner = transport[:, :-1, :-1]
    plans = torch.stack([inner, inner.transpose(1, 2)], 1)
    return plans / plans.sum(-1, keepdim=True).clamp_min(torch.finfo(plans.dtype).tiny)


def cells_in_box(box: Box, size: tuple[int, int], grid: tuple[int, int], margin: float = 0.0) -> np.ndarray:
    """Cells whose center lies in a box.

    Args:
        box (`Box`): [x, y, width, height] in pixels.
        size (`tuple[int, int]`): Width and height of the image, in pixels.
        grid (`tuple[int, int]`): Rows and columns.
        margin (`float`, *optional*, defaults to `0.0`): What the box grows by on every side, in cells; with 0.5, a
            cell counts where it touches the box.

    Returns:
        `np.ndarray`: Bool (rows * columns,).
    """
    x, y, width, height = box
    tall, wide = size[1] / grid[0], size[0] / grid[1]
    rows, columns = (np.arange(grid[0]) + 0.5) * tall, (np.arange(grid[1]) + 0.5) * wide
    in_rows = (rows >= y - margin * tall) & (rows < y + height + margin * tall)
    in_columns = (columns >= x - margin * wide) & (columns < x + width + margin * wide)
    return (in_rows[:, None] & in_columns).ravel()


def area_under_curve(scores: np.ndarray, positives: np.ndarray) -> float:
    """Share of (positive, negative) couples that the scores order right, ties by half; `positives` is bool."""
    difference = scores[positives][:, None] - scores[~positives]
    return float(((difference > 0) + 0.5 * (difference == 0)).mean())


def mean_with_interval(values: Sequence[float], seed: int) -> dict[str, float | int | list[float]]:
    """Mean over pairs, with the bootstrap interval of metrics.bootstrap.

    Args:
        values (`Sequence[float]`): One a pair.
        seed (`int`): Of the draws; equal seeds draw the same pairs.

    Returns:
        `mean`, `interval` [low, high] at 95 %, and `pairs`.
    """
    array = np.asarray(values, dtype=np.float64)
    means = np.concatenate([weights @ array / len(array) for weights in draw_weights(len(array), DRAWS, seed)])
    interval = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
    return {"mean": float(array.mean()), "interval": interval, "pairs": len(array)}


__all__ = [
    "area_under_curve",
    "cells_in_box",
    "mean_with_interval",
    "raw_maps",
    "transport_weights",
    "visible_sides",
]
