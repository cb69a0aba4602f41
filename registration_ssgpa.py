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
"""Two images of one scene laid over each other: view and exposure fitted together, by torch alone (ours).

As in the registration of Evangelidis and Psarakis (ECC, 2008) and of Baker and Matthews ("Lucas-Kanade 20 years on",
2004), small steps of least squares from coarse to fine; here gain and offset of the exposure are among the unknowns,
and what differs is weighted down, so that it does not pull the rest along.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


# Sides of the pyramid, as shares of the working size, with the steps that each gets.
LEVELS = ((0.25, 12), (0.5, 8), (1.0, 6))
# A projective view has two parameters more, which only the fine levels can tell.
PROJECTIVE_FROM = 0.5
AFFINE = 6
# Residuals beyond so many robust deviations count for nothing (Tukey's constant for 95 % efficiency).
TUKEY = 4.685
# Deviations of a normal distribution per median of its absolute values.
MAD = 1.4826
# One gray level of 8 bits: below this a deviation is rounding.
LEAST_SCALE = 1 / 255
# An overlap below this tells nothing.
LEAST_OVERLAP = 0.3
# So close to black or white, an exposure may have cut off what was beyond.
CLIPPED = 0.03
# Medians are of every so many values: the others would add time alone.
STRIDE = 7
# A step that moves no corner by more than this share of the sides is the last.
STILL = 1e-4


@dataclass(frozen=True)
class Registration:
    """How the image after lies over the image before.

    Args:
        view (`torch.Tensor` of shape `(3, 3)`): Maps places of the image before to those of the image after; both run
            from -1 to 1 along each side.
        after (`torch.Tensor` of shape `(3, height, width)`): The image after as the image before would show it, with
            its exposure.
        clipped (`torch.Tensor` of shape `(3, height, width)`): 1 where the image after is as bright, -1 where it is as
            dark as it can be, so that the truth may lie beyond; 0 elsewhere.
        valid (`torch.Tensor` of shape `(height, width)`): Where the image after shows what the image before does.
        gain (`float`): How much brighter the image after is, as a factor.
        residual (`float`): Robust deviation between both, in gray levels from 0 to 1.
    """

    view: Tensor
    after: Tensor
    clipped: Tensor
    valid: Tensor
    gain: float
    residual: float


def register(before: Tensor, after: Tensor) -> Registration:
    """Lay the image after over the image before.

    Args:
        before (`torch.Tensor` of shape `(3, height, width)`): In [0, 1].
        after (`torch.Tensor` of shape `(3, height, width)`): In [0, 1].

    Returns:
        `Registration`: The best of several starts: no motion, and the shift with the largest phase correlation.
    """
    pair = torch.stack([before, after]).mean(1, keepdim=True)
    coarse = _shrink(pair, LEVELS[0][0])
    starts = [torch.eye(3), _shifted(*coarse[:, 0])]
    found = [_refine(_smooth(coarse), view, LEVELS[0][1], False) for view in starts]
    view = min(found, key=lambda start: start[1])[0]
    for scale, steps in LEVELS[1:]:
        view, _ = _refine(_smooth(_shrink(pair, scale)), view, steps, scale >= PROJECTIVE_FROM)
    warped, valid = warp(after, view)
    if valid.float().mean() < LEAST_OVERLAP:
        view = torch.eye(3)
        warped, valid = after, torch.ones_like(valid)
    return _with_exposure(before, warped, valid, view)


def warp(image: Tensor, view: Tensor) -> tuple[Tensor, Tensor]:
    """Show an image as from another view.

    Args:
        image (`torch.Tensor` of shape `(channels, height, width)`): The image.
        view (`torch.Tensor` of shape `(3, 3)`): Where each place of the result lies in the image.

    Returns:
        `tuple[torch.Tensor, torch.Tensor]`: The result, and (height, width) where it is of the image.
    """
    places, _ = _places(view, image.shape[-2:])
    shown = F.grid_sample(image[None], places[None], padding_mode="border", align_corners=False)[0]
    return shown, (places.abs() <= 1).all(-1)


def clipping(image: Tensor) -> Tensor:
    """Where an image is as bright or as dark as it can be.

    Args:
        image (`torch.Tensor` of any shape): In [0, 1].

    Returns:
        `torch.Tensor` of the same shape: 1, -1 or 0.
    """
    return (image >= 1 - CLIPPED).float() - (image <= CLIPPED).float()


def corners_moved(view: Tensor) -> float:
    """How far the view moved: the farthest corner's way, as a share of the image's sides.

    Args:
        view (`torch.Tensor` of shape `(3, 3)`): The view.
    """
    corners = torch.tensor([[x, y, 1.0] for x in (-1, 1) for y in (-1, 1)])
    moved = corners @ view.T
    return ((moved[:, :2] / moved[:, 2:] - corners[:, :2]).norm(dim=1).max() / 2).item()


def _places(view: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Where each pixel lies behind the view, (height, width, 2), and before it, (height, width, 3)."""
    height, width = size
    rows = (torch.arange(height) + 0.5) * 2 / height - 1
    columns = (torch.arange(width) + 0.5) * 2 / width - 1
    down, across = torch.meshgrid(rows, columns, indexing="ij")
    grid = torch.stack([across, down, torch.ones_like(down)], -1)
    moved = grid @ view.T
    # Behind the camera there is nothing to see.
    return moved[..., :2] / moved[..., 2:].clamp(min=0.1), grid


def _shrink(images: Tensor, scale: float) -> Tensor:
    size = [max(8, round(side * scale)) for side in images.shape[-2:]]
    return images if scale == 1 else F.interpolate(images, size=size, mode="bilinear", antialias=True)


def _smooth(images: Tensor) -> Tensor:
    """Blur by 1-4-6-4-1 along both sides: gradients of single pixels mislead."""
    kernel = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    images = F.pad(images, (2, 2, 2, 2), mode="replicate")
    images = F.conv2d(images, kernel.view(1, 1, 1, 5))
    return F.conv2d(images, kernel.view(1, 1, 5, 1))


def _shifted(before: Tensor, after: Tensor) -> Tensor:
    """The view whose shift has the largest phase correlation."""
    height, width = before.shape
    window = torch.hann_window(height)[:, None] * torch.hann_window(width)
    first, second = (torch.fft.rfft2((image - image.mean()) * window) for image in (before, after))
    cross = second * first.conj()
    peak = torch.fft.irfft2(cross / cross.abs().clamp(min=1e-9), s=(height, width)).argmax().item()
    rows, columns = divmod(peak, width)
    rows = rows - height if rows > height // 2 else rows
    columns = columns - width if columns > width // 2 else columns
    view = torch.eye(3)
    view[0, 2], view[1, 2] = 2 * columns / width, 2 * rows / height
    return view


def _refine(pair: Tensor, view: Tensor, steps: int, projective: bool) -> tuple[Tensor, float]:
    """Steps of robust least squares over view, gain and offset; the view, and the robust deviation that is left."""
    before, after = pair[0, 0], pair[1, 0]
    count = AFFINE + 2 * projective
    slope_x, slope_y = _slopes(after)
    fitted, scale, still = None, float("inf"), False
    for step in range(steps + 1):
        places, grid = _places(view, before.shape)
        stack = torch.stack([after, slope_x, slope_y])
        shown, dx, dy = F.grid_sample(stack[None], places[None], padding_mode="border", align_corners=False)[0]
        valid = (places.abs() < 1).all(-1)
        if valid.float().mean() < LEAST_OVERLAP:
            return torch.eye(3), float("inf")
        shown, dx, dy, target = (values[valid] for values in (shown, dx, dy, before))
        exposure = torch.stack([shown, torch.ones_like(shown)], 1)
        weights, fitted = _robust_fit(exposure, target, fitted)
        residual = target - exposure @ fitted
        scale = _deviation(residual)
        if step == steps or still:
            break
        behind, here = places[valid], grid[valid]
        columns = [(fitted[0] * slope)[:, None] * here for slope in (dx, dy)]
        if projective:
            along = -(fitted[0] * (dx * behind[:, 0] + dy * behind[:, 1]))[:, None] * here[:, :2]
            columns.append(along)
        moves = torch.cat([*columns, exposure], 1)
        weighted = moves * weights[:, None]
        normal = weighted.T @ moves
        normal += 1e-6 * normal.diagonal().mean() * torch.eye(len(normal))
        change = torch.linalg.solve(normal, weighted.T @ residual)[:count]
        delta = torch.cat([change, torch.zeros(9 - count)]).view(3, 3)
        view, still = view + delta, delta.abs().max() < STILL
    return view, scale


def _slopes(image: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients for a move by 1 of what runs from -1 to 1 along a side."""
    height, width = image.shape
    padded = F.pad(image[None, None], (1, 1, 1, 1), mode="replicate")[0, 0]
    across = (padded[1:-1, 2:] - padded[1:-1, :-2]) / 2 * (width / 2)
    down = (padded[2:, 1:-1] - padded[:-2, 1:-1]) / 2 * (height / 2)
    return across, down


def _deviation(residual: Tensor) -> float:
    return max(MAD * residual[::STRIDE].abs().median().item(), LEAST_SCALE)


def _first_exposure(inputs: Tensor, target: Tensor) -> Tensor:
    """Gain and offset from the medians of brightness and contrast, on which outliers have no influence."""
    some, theirs = target[::STRIDE], inputs[::STRIDE, 0]
    middle, center = some.median(), theirs.median()
    gain = (some - middle).abs().median() / (theirs - center).abs().median().clamp(min=LEAST_SCALE)
    gain = gain.clamp(0.25, 4.0)
    return torch.stack([gain, middle - gain * center])


def _robust_fit(inputs: Tensor, target: Tensor, known: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Weights and coefficients of an exposure, of which outliers have no part; in one round from a known one."""
    weights = torch.ones_like(target)
    fitted = _first_exposure(inputs, target) if known is None else known
    for _ in range(3 if known is None else 1):
        residual = target - inputs @ fitted
        ratio = residual / (TUKEY * _deviation(residual))
        weights = (1 - ratio.square()).clamp(min=0).square()
        weighted = inputs * weights[:, None]
        normal = weighted.T @ inputs + 1e-6 * torch.eye(2)
        solved = torch.linalg.solve(normal, weighted.T @ target)
        # Nearly one color: any slope would do.
        fitted = solved if 0.25 <= solved[0] <= 4 else fitted
    return weights, fitted


def _with_exposure(before: Tensor, warped: Tensor, valid: Tensor, view: Tensor) -> Registration:
    """Give the image after the exposure of the image before, channel by channel."""
    shown, gains, residuals = [], [], []
    for target, channel in zip(before, warped, strict=True):
        inputs = torch.stack([channel, torch.ones_like(channel)], -1)
        _, fitted = _robust_fit(inputs[valid], target[valid])
        shown.append(inputs @ fitted)
        residuals.append(_deviation(target[valid] - shown[-1][valid]))
        middle = channel[valid].median().item()
        gains.append(middle / max(fitted[0].item() * middle + fitted[1].item(), LEAST_SCALE))
    gain = sorted(gains)[1]
    return Registration(view, torch.stack(shown), clipping(warped), valid, gain, sum(residuals) / len(residuals))


__all__ = ["Registration", "clipping", "corners_moved", "register", "warp"]
