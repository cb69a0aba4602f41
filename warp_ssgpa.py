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
"""Pairs of an image and a known warp of it, and where each patch of the one lies in the other (ours).

Coordinates are (row, column) and, unless they are said to be cells, run from -1 to 1 over an image of any size. A
point p of the image lies at `scale * p + shift` of its warp.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


# Shift of up to an eighth of the image, in coordinates that run from -1 to 1.
_LARGEST_SHIFT = 0.25
_LARGEST_ZOOM = 0.1
# Sides of the patch, as shares of the grid's.
_PATCH_SIDES = (1 / 8, 3 / 8)
# Of normalized colors, whose deviation is about 1: a change of light, not another color.
_LARGEST_JITTER = 0.15


@dataclass
class Warps:
    """What happens to each of `count` images.

    Args:
        scale (`torch.Tensor` of shape `(count,)`): Zoom about the image's center.
        shift (`torch.Tensor` of shape `(count, 2)`): Move of the zoomed image.
        patch (`torch.Tensor` of shape `(count, 4)`): Top, left, bottom and right of the pasted cells, in whole cells
            of the warp; the last two are excluded.
        gain (`torch.Tensor` of shape `(count, channels)`): Factor of the colors.
        offset (`torch.Tensor` of shape `(count, channels)`): Summand of the colors.
    """

    scale: Tensor
    shift: Tensor
    patch: Tensor
    gain: Tensor
    offset: Tensor

    def to(self, device: torch.device) -> "Warps":
        """The same on another device."""
        return Warps(**{name: value.to(device) for name, value in vars(self).items()})


@dataclass
class WarpedPairs:
    """Images beside their warps, and the truth about them.

    Args:
        pixel_values (`torch.Tensor` of shape `(count, 2, channels, height, width)`): The image, then its warp.
        targets (`torch.Tensor` of shape `(count, 2, patches, patches + 1)`): Where each patch lies in the other image,
            as shares that sum to 1; the last entry is the dustbin.
    """

    pixel_values: Tensor
    targets: Tensor


def _uniform(*shape: int, low: float = -1.0, high: float = 1.0) -> Tensor:
    # On the CPU whatever the model's device: the trainer saves that generator's state, and all devices draw alike.
    return low + (high - low) * torch.rand(*shape, device="cpu")


def _whole(*shape: int, below: Tensor | int) -> Tensor:
    # Drawn in float32, a number close to 1 times `below` may round up to it.
    return torch.minimum((_uniform(*shape, low=0.0) * below).long(), torch.as_tensor(below, device="cpu") - 1)


def draw_warps(count: int, grid: tuple[int, int], channels: int) -> Warps:
    """Draw from torch's default generator of the CPU.

    Args:
        count (`int`): Images to be warped.
        grid (`tuple[int, int]`): Rows and columns of an image's patches.
        channels (`int`): Channels of the images.

    Returns:
        `Warps`: On the CPU.
    """
    sizes = torch.tensor(grid, device="cpu")
    smallest, largest = ((share * sizes).long().clamp_min(1) for share in _PATCH_SIDES)
    sides = smallest + _whole(count, 2, below=largest - smallest + 1)
    start = _whole(count, 2, below=sizes - sides + 1)
    return Warps(
        scale=1 + _LARGEST_ZOOM * _uniform(count),
        shift=_LARGEST_SHIFT * _uniform(count, 2),
        patch=torch.cat([start, start + sides], 1),
        gain=1 + _LARGEST_JITTER * _uniform(count, channels),
        offset=_LARGEST_JITTER * _uniform(count, channels),
    )


def _centers(size: tuple[int, int], device: torch.device) -> Tensor:
    """Centers of the cells of a grid (rows * columns, 2)."""
    sides = ((2 * torch.arange(side, device=device, dtype=torch.float32) + 1) / side - 1 for side in size)
    return torch.stack(torch.meshgrid(*sides, indexing="ij"), -1).view(-1, 2)


def _origins(points: Tensor, warps: Warps) -> Tensor:
    """Where points (n, 2) of the warps come from (count, n, 2)."""
    return (points - warps.shift.unsqueeze(1)) / warps.scale[:, None, None]


def _inside(points: Tensor) -> Tensor:
    return (points.abs() <= 1).all(-1)


def _pasted(points: Tensor, warps: Warps, grid: tuple[int, int]) -> Tensor:
    """Which points (n, 2) or (count, n, 2) of the warps lie under the patches (count, n)."""
    cells = (points + 1) / 2 * torch.tensor(grid, device=points.device)  # cell k reaches from k to k + 1
    patch = warps.patch.unsqueeze(1)
    return ((cells >= patch[..., :2]) & (cells < patch[..., 2:])).all(-1)


def warp_images(images: Tensor, strangers: Tensor, warps: Warps, grid: tuple[int, int]) -> Tensor:
    """Warp images; what comes into view, and the patch, shows a stranger.

    The stranger is resampled by the same warp, and colors change last of all: neither blur nor color tells the patch
    from the image.

    Args:
        images (`torch.Tensor` of shape `(count, channels, height, width)`): The images.
        strangers (`torch.Tensor` of shape `(count, channels, height, width)`): Images of something else.
        warps (`Warps`): What to do.
        grid (`tuple[int, int]`): Rows and columns of an image's patches.

    Returns:
        `torch.Tensor` of the images' shape and dtype.
    """
    size = tuple(images.shape[2:])
    points = _centers(size, images.device)
    origins = _origins(points, warps)
    # `grid_sample` reads (x, y).
    sampled = F.grid_sample(
        torch.cat([images, strangers], 1).float(),
        origins.flip(-1).unflatten(1, size),
        padding_mode="reflection",
        align_corners=False,
    )
    warped, stranger = sampled.chunk(2, 1)
    shown = (_inside(origins) & ~_pasted(points, warps, grid)).unflatten(1, size).unsqueeze(1)
    warped = torch.where(shown, warped, stranger)
    return (warps.gain[..., None, None] * warped + warps.offset[..., None, None]).to(images.dtype)


def _bilinear(points: Tensor, grid: tuple[int, int]) -> Tensor:
    """Shares of the cells around each point (count, n, 2), (count, n, patches); beyond the border the border's."""
    shares = []
    for axis, side in enumerate(grid):
        cell = (((points[..., axis] + 1) * side - 1) / 2).clamp(0, side - 1)
        distance = cell.unsqueeze(-1) - torch.arange(side, device=points.device)
        shares.append((1 - distance.abs()).clamp_min(0))
    return (shares[0].unsqueeze(-1) * shares[1].unsqueeze(-2)).flatten(-2)


def warp_targets(warps: Warps, grid: tuple[int, int]) -> Tensor:
    """Where each patch's center lies in the other image.

    Out of frame, under the patch, and in the patch itself that is the dustbin; elsewhere the cells around it that the
    patch leaves, by bilinear shares.

    Args:
        warps (`Warps`): What happened to the images.
        grid (`tuple[int, int]`): Rows and columns of an image's patches.

    Returns:
        `torch.Tensor` of shape `(count, 2, patches, patches + 1)`: Shares that sum to 1; first the images' patches
        among those of their warps, then the reverse. The last entry is the dustbin.
    """
    centers = _centers(grid, warps.shift.device)
    landed = warps.scale[:, None, None] * centers + warps.shift.unsqueeze(1)
    origins = _origins(centers, warps)
    covered = _pasted(centers, warps, grid)
    forth = _bilinear(landed, grid) * ~covered.unsqueeze(1)
    forth = forth / forth.sum(-1, keepdim=True).clamp_min(1e-6)
    found = torch.stack([_inside(landed) & ~_pasted(landed, warps, grid), _inside(origins) & ~covered], 1)
    shares = torch.stack([forth, _bilinear(origins, grid)], 1) * found.unsqueeze(-1)
    return torch.cat([shares, (~found).unsqueeze(-1).to(shares)], -1)


def warped_pairs(pixel_values: Tensor, grid: tuple[int, int], fraction: float) -> WarpedPairs:
    """Draw images of a batch, and a warp of each.

    Before or after is drawn for every pair. The stranger is an image of another pair of the batch with its halves
    exchanged, so that it shows another place even where both pairs are of one scene; in a batch of one pair it is the
    image itself.

    Args:
        pixel_values (`torch.Tensor` of shape `(batch, 2, channels, height, width)`): The batch.
        grid (`tuple[int, int]`): Rows and columns of an image's patches.
        fraction (`float`): Share of the pairs that take part, rounded up.

    Returns:
        `WarpedPairs`: On the batch's device.
    """
    batch, _, channels, height, width = pixel_values.shape
    count = math.ceil(fraction * batch)
    device = pixel_values.device
    with torch.no_grad():
        pairs = torch.randperm(batch, device="cpu")[:count]
        others = (pairs + 1 + _whole(count, below=max(batch - 1, 1))) % batch
        sides = _whole(2, count, below=2).to(device)
        warps = draw_warps(count, grid, channels).to(device)
        images = pixel_values[pairs.to(device), sides[0]]
        strangers = pixel_values[others.to(device), sides[1]].roll((height // 2, width // 2), (2, 3))
        warped = warp_images(images, strangers, warps, grid)
        return WarpedPairs(torch.stack([images, warped], 1), warp_targets(warps, grid))


__all__ = ["WarpedPairs", "Warps", "draw_warps", "warp_images", "warp_targets", "warped_pairs"]
