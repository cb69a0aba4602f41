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
"""What ProCap's first stage hides of clips and captions, drawn with a generator, so that it can be repeated."""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from .configuration_procap import ProCapConfig


# Strategies of masking, in the order of `mask_strategy_weights`.
PATCHES, EVERYTHING, INSIDE, OUTSIDE = range(4)
# Kinds of corruption, in the order of `corruption_weights`.
OTHER_CLIP, OTHER_ORDER, OTHER_COLOR, WARPED = range(4)
# Rectangles that do not fit into the image are drawn anew, that often at most.
TRIES = 10
# Of a changed frame, in the values of pixels, whose range is 2, and as shares of half the image.
COLOR_SHIFT = 1.0
ROTATION = math.radians(30)
TRANSLATION = 0.1
SCALING = 0.1


class ClipCorruption(NamedTuple):
    """How every clip of a batch was corrupted, so that what is known of the frames need not be computed anew.

    Args:
        sources (`torch.Tensor` of shape `(batch, frames)`): Which frame of the batch, counted through, stands where.
        changed (`torch.Tensor` of shape `(changed,)`): Places, counted through, whose frames are none of the batch.
        frames (`torch.Tensor` of shape `(changed, channels, height, width)`): These frames.
    """

    sources: Tensor
    changed: Tensor
    frames: Tensor

    def apply(self, values: Tensor, changed: Tensor) -> Tensor:
        """The corrupted clips.

        Args:
            values (`torch.Tensor` of shape `(batch, frames, ...)`): Pixels, or what was made of each frame.
            changed (`torch.Tensor` of shape `(changed, ...)`): The same of `frames`.

        Returns:
            `torch.Tensor`: Of the shape of `values`.
        """
        corrupted = values.flatten(0, 1)[self.sources.flatten()]
        return corrupted.index_copy(0, self.changed, changed).unflatten(0, values.shape[:2])


def draw(generator: torch.Generator, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Numbers that are uniform between two bounds."""
    return low + (high - low) * torch.rand(shape, generator=generator)


def draw_masks(config: ProCapConfig, batch: int, generator: torch.Generator) -> Tensor:
    """Which patches of every clip are hidden, one strategy a clip.

    Args:
        config (`ProCapConfig`): `num_frames`, `patch_grid` and the fields of masking.
        batch (`int`): Clips.
        generator (`torch.Generator`): Of the CPU.

    Returns:
        `torch.Tensor`: (batch, frames x patches) of booleans, True where a patch is hidden.
    """
    strategies = torch.multinomial(
        torch.tensor(config.mask_strategy_weights), batch, replacement=True, generator=generator
    )
    patches = draw(generator, batch, config.num_frames * config.num_patches) < config.patch_mask_rate
    inside = draw_blocks(config, batch, generator).flatten(1).repeat(1, config.num_frames)
    choices = torch.stack([patches, torch.ones_like(patches), inside, ~inside])
    return choices[strategies, torch.arange(batch)]


def draw_blocks(config: ProCapConfig, batch: int, generator: torch.Generator) -> Tensor:
    """A rectangle in the grid of patches for every clip, smaller than the grid in both directions.

    Args:
        config (`ProCapConfig`): `patch_grid`, `block_area` and `block_aspect`.
        batch (`int`): Clips.
        generator (`torch.Generator`): Of the CPU.

    Returns:
        `torch.Tensor`: (batch, rows, columns) of booleans, True inside.
    """
    grid = torch.tensor(config.patch_grid)
    area = draw(generator, batch, TRIES, low=config.block_area[0], high=config.block_area[1]) * grid.prod()
    low, high = (math.log(bound) for bound in config.block_aspect)
    aspect = draw(generator, batch, TRIES, low=low, high=high).exp()
    sides = torch.stack([(area * aspect).sqrt(), (area / aspect).sqrt()], -1).round().long().clamp_min(1)
    fits = (sides < grid).all(-1)
    # The first that fits; where none does, the first one is cut.
    sides = sides[torch.arange(batch), fits.int().argmax(1)].minimum((grid - 1).clamp_min(1))
    starts = (draw(generator, batch, 2) * (grid - sides + 1)).long()
    inside = []
    for axis in (0, 1):
        places = torch.arange(config.patch_grid[axis])
        start = starts[:, axis, None]
        inside.append((places >= start) & (places < start + sides[:, axis, None]))
    return inside[0].unsqueeze(2) & inside[1].unsqueeze(1)


def draw_corruptions(config: ProCapConfig, pixel_values: Tensor, generator: torch.Generator) -> ClipCorruption:
    """Corrupt every clip in one of four ways.

    It gets a frame of another clip, or has its frames in another order, one in another color, or one warped.

    Args:
        config (`ProCapConfig`): `corruption_weights`.
        pixel_values (`torch.Tensor` of shape `(batch, frames, channels, height, width)`): Clips, in [-1, 1].
        generator (`torch.Generator`): Of the CPU.

    Returns:
        `ClipCorruption`: Of the clips. Where there is one clip alone, no frame comes from another one.
    """
    batch, frames = pixel_values.shape[:2]
    weights = torch.tensor(config.corruption_weights)
    if batch == 1:
        weights = weights + F.one_hot(torch.tensor(OTHER_ORDER), 4) * weights[OTHER_CLIP]
        weights[OTHER_CLIP] = 0
    kinds = torch.multinomial(weights, batch, replacement=True, generator=generator).tolist()
    places = torch.randint(frames, (batch,), generator=generator)
    sources = torch.arange(batch * frames).view(batch, frames)
    corrupted, changed, images = sources.clone(), [], []
    for row, kind in enumerate(kinds):
        place = int(places[row])
        if kind == OTHER_CLIP:
            other = (row + int(torch.randint(1, batch, (), generator=generator))) % batch
            corrupted[row, place] = sources[other, int(torch.randint(frames, (), generator=generator))]
        elif kind == OTHER_ORDER:
            corrupted[row] = sources[row, draw_order(frames, generator)]
        else:
            change = shift_color if kind == OTHER_COLOR else warp
            changed.append(int(sources[row, place]))
            images.append(change(pixel_values[row, place], generator))
    device = pixel_values.device
    return ClipCorruption(
        sources=corrupted.to(device),
        changed=torch.tensor(changed, dtype=torch.long, device=device),
        frames=torch.stack(images) if images else pixel_values.new_empty(0, *pixel_values.shape[2:]),
    )


def draw_order(length: int, generator: torch.Generator) -> Tensor:
    """An order of at least two things that is not the one they have."""
    order = torch.arange(length)
    while torch.equal(order, torch.arange(length)):
        order = torch.randperm(length, generator=generator)
    return order


def shift_color(image: Tensor, generator: torch.Generator) -> Tensor:
    """Add one number to all colors of an image, or to one of them.

    Args:
        image (`torch.Tensor` of shape `(channels, height, width)`): In [-1, 1].
        generator (`torch.Generator`): Of the CPU.

    Returns:
        `torch.Tensor`: The image, still in [-1, 1].
    """
    shift = draw(generator, low=-COLOR_SHIFT, high=COLOR_SHIFT).item()
    channel = int(torch.randint(1 + len(image), (), generator=generator)) - 1
    shifted = image.clone()
    shifted[slice(None) if channel < 0 else channel] += shift
    return shifted.clamp(-1, 1)


def warp(image: Tensor, generator: torch.Generator) -> Tensor:
    """Rotate, move and scale an image; its edges are reflected.

    Args:
        image (`torch.Tensor` of shape `(channels, height, width)`): The image.
        generator (`torch.Generator`): Of the CPU.

    Returns:
        `torch.Tensor`: Of the same shape.
    """
    angle = draw(generator, low=-ROTATION, high=ROTATION).item()
    scale = draw(generator, low=1 - SCALING, high=1 + SCALING).item()
    right, down = draw(generator, 2, low=-TRANSLATION, high=TRANSLATION).tolist()
    cosine, sine = scale * math.cos(angle), scale * math.sin(angle)
    matrix = torch.tensor([[[cosine, -sine, right], [sine, cosine, down]]], dtype=torch.float32, device=image.device)
    grid = F.affine_grid(matrix, [1, *image.shape], align_corners=False)
    warped = F.grid_sample(image.unsqueeze(0).float(), grid, padding_mode="reflection", align_corners=False)
    return warped.squeeze(0).to(image.dtype)


__all__ = ["ClipCorruption", "draw_blocks", "draw_corruptions", "draw_masks"]
