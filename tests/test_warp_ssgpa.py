# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Warps and their targets against images whose colors say where they come from."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ssgpa.warp_ssgpa import Warps, draw_warps, warp_images, warp_targets, warped_pairs


GRID = (4, 6)
CELL = 8
SIZE = (GRID[0] * CELL, GRID[1] * CELL)
PATCHES = GRID[0] * GRID[1]
STRANGER = -5.0


def warp(rows: float = 0.0, columns: float = 0.0, scale: float = 1.0, patch=(0, 0, 0, 0)) -> Warps:
    """One warp that leaves the colors; its shift in cells."""
    shift = torch.tensor([[2 * rows / GRID[0], 2 * columns / GRID[1]]])
    return Warps(torch.tensor([scale]), shift, torch.tensor([patch]), torch.ones(1, 3), torch.zeros(1, 3))


def cell_image() -> Tensor:
    """An image (1, 3, height, width) whose cells each have a color of their own: their number."""
    numbers = torch.arange(PATCHES).view(1, 1, *GRID).repeat_interleave(CELL, 2).repeat_interleave(CELL, 3)
    return numbers.float().expand(-1, 3, -1, -1)


def coordinate_image() -> Tensor:
    """An image (1, 3, height, width) that shows its own coordinates, in cells: row, column, 0."""
    rows, columns = ((torch.arange(side) + 0.5) / CELL - 0.5 for side in SIZE)
    rows, columns = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([rows, columns, torch.zeros(SIZE)]).unsqueeze(0)


def apply(image: Tensor, warps: Warps) -> Tensor:
    return warp_images(image, torch.full_like(image, STRANGER), warps, GRID)


def cell_centers(image: Tensor) -> Tensor:
    """Values at the centers of the cells (channels, patches): the mean of the four pixels around them."""
    half = CELL // 2
    around = [image[0, :, half - a :: CELL, half - b :: CELL] for a in (0, 1) for b in (0, 1)]
    return torch.stack(around).mean(0).flatten(1)


SHIFTS = [(0, 0), (1, 0), (0, -2), (-1, 3), (2, 1)]


@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize("patch", [(0, 0, 0, 0), (1, 2, 3, 4), (0, 0, 1, 6)])
def test_shift_by_whole_cells_rolls_the_cells(shift, patch):
    """Worked out cell by cell, and read off the colors of the warped image."""
    warps = warp(*shift, patch=patch)
    targets = warp_targets(warps, GRID)[0]
    expected = torch.zeros(2, PATCHES, PATCHES + 1)
    expected[:, :, -1] = 1
    for row in range(GRID[0]):
        for column in range(GRID[1]):
            there = (row + shift[0], column + shift[1])
            inside = 0 <= there[0] < GRID[0] and 0 <= there[1] < GRID[1]
            pasted = patch[0] <= there[0] < patch[2] and patch[1] <= there[1] < patch[3]
            if inside and not pasted:
                here, target = row * GRID[1] + column, there[0] * GRID[1] + there[1]
                expected[0, here] = F.one_hot(torch.tensor(target), PATCHES + 1)
                expected[1, target] = F.one_hot(torch.tensor(here), PATCHES + 1)
    torch.testing.assert_close(targets, expected)
    colors = cell_centers(apply(cell_image(), warps))[0]
    for cell in range(PATCHES):
        source = targets[1, cell].argmax().item()
        assert colors[cell].item() == pytest.approx(STRANGER if source == PATCHES else source, abs=1e-3)


@pytest.mark.parametrize("seed", range(8))
def test_targets_are_where_the_warped_coordinates_say(seed):
    """Where a patch of the warp comes from is read off a warped map of coordinates."""
    torch.manual_seed(seed)
    warps = draw_warps(1, GRID, 3)
    warps.gain[:], warps.offset[:] = 1.0, 0.0
    forth, back = warp_targets(warps, GRID)[0]
    shown = cell_centers(apply(coordinate_image(), warps))
    places = cell_centers(coordinate_image())[:2]
    top, left, bottom, right = warps.patch[0].tolist()
    covered = torch.zeros(GRID, dtype=torch.bool)
    covered[top:bottom, left:right] = True
    limits = torch.tensor(GRID).unsqueeze(1) - 1
    origins = (places - limits / 2 - warps.shift.T * (limits + 1) / 2) / warps.scale + limits / 2  # by hand, in cells
    kept = ((origins >= -0.5) & (origins <= limits + 0.5)).all(0) & ~covered.flatten()
    assert torch.equal(back[:, -1] == 0, kept)
    assert torch.equal(back[:, -1] == 1, ~kept)
    clear = kept & (shown[2] == 0)  # no stranger's pixel among the four, and none reflected
    clear &= ((origins > -0.3) & (origins < limits + 0.3)).all(0)
    assert clear.sum() > 4
    torch.testing.assert_close(shown[:2, clear], origins[:, clear], atol=0.07, rtol=0)
    expected = torch.minimum(origins.clamp_min(0), limits.float())
    torch.testing.assert_close((back[:, :-1] @ places.T).T[:, kept], expected[:, kept])
    # Forth: the place that a patch's center goes to, and who lies there.
    landed = (places - limits / 2) * warps.scale + limits / 2 + warps.shift.T * (limits + 1) / 2
    nearest = landed.round().long()
    inside = ((landed >= -0.5) & (landed <= limits + 0.5)).all(0)
    nearest = torch.minimum(nearest.clamp_min(0), limits)
    found = inside & ~covered[nearest[0], nearest[1]]
    assert torch.equal(forth[:, -1] == 0, found)
    assert torch.equal(forth[:, -1] == 1, ~found)
    for patch in found.nonzero().flatten():
        row, column = torch.minimum(landed[:, patch].clamp_min(0), limits[:, 0].float())
        shares = torch.zeros(GRID)
        for i in range(GRID[0]):
            for j in range(GRID[1]):
                shares[i, j] = max(0, 1 - abs(row - i)) * max(0, 1 - abs(column - j)) * (~covered[i, j])
        torch.testing.assert_close(forth[patch, :-1], shares.flatten() / shares.sum(), atol=1e-5, rtol=1e-4)


def test_shares_sum_to_one_and_the_patch_takes_nothing():
    torch.manual_seed(0)
    warps = draw_warps(200, (8, 12), 3)
    targets = warp_targets(warps, (8, 12))
    assert targets.shape == (200, 2, 96, 97)
    torch.testing.assert_close(targets.sum(-1), torch.ones(200, 2, 96))
    for patch, (forth, back) in zip(warps.patch.tolist(), targets, strict=True):
        covered = torch.zeros(8, 12, dtype=torch.bool)
        covered[patch[0] : patch[2], patch[1] : patch[3]] = True
        assert 1 <= covered.sum() <= 3 * 4
        assert not forth[:, :-1][:, covered.flatten()].any()
        assert (back[covered.flatten(), -1] == 1).all()


def test_half_a_cell_is_shared_by_two():
    forth, back = warp_targets(warp(rows=0.5), GRID)[0]
    row = torch.zeros(PATCHES + 1)
    row[[1, 1 + GRID[1]]] = 0.5
    torch.testing.assert_close(forth[1], row)
    torch.testing.assert_close(back[1 + GRID[1]], row)


def test_drawn_warps_stay_in_their_ranges():
    torch.manual_seed(0)
    warps = draw_warps(2000, (16, 16), 3)
    assert 0.9 <= warps.scale.min() < 0.91
    assert 1.09 < warps.scale.max() <= 1.1
    assert 0.24 < warps.shift.abs().max() <= 0.25  # of 2: an eighth of the image
    sides = warps.patch[:, 2:] - warps.patch[:, :2]
    assert set(sides.flatten().tolist()) == {2, 3, 4, 5, 6}
    assert warps.patch.min() == 0
    assert warps.patch.max() == 16
    for jitter in (warps.gain - 1, warps.offset):
        assert 0.14 < jitter.abs().max() <= 0.15


def test_nothing_but_color_changes_where_nothing_moves():
    torch.manual_seed(0)
    images, warps = torch.randn(2, 3, *SIZE), warp()
    warps = Warps(*(torch.cat([value, value]) for value in vars(warps).values()))
    torch.testing.assert_close(apply(images, warps), images, atol=1e-5, rtol=1e-5)
    warps.gain[0, 1], warps.offset[1, 2] = 1.5, 0.25
    changed = images.clone()
    changed[0, 1] *= 1.5
    changed[1, 2] += 0.25
    torch.testing.assert_close(apply(images, warps), changed, atol=1e-5, rtol=1e-5)
    assert apply(images.bfloat16(), warps).dtype == torch.bfloat16


def identified(count: int) -> Tensor:
    """Pairs (count, 2, 3, height, width) of plain images, each of its own color: 10 * pair + side."""
    colors = 10.0 * torch.arange(count).view(-1, 1) + torch.arange(2)
    return colors[..., None, None, None].expand(-1, -1, 3, *SIZE)


def test_patch_and_border_show_another_pair():
    sides = set()
    for seed in range(30):
        torch.manual_seed(seed)
        made = warped_pairs(identified(4), GRID, 0.5)
        assert made.pixel_values.shape == (2, 2, 3, *SIZE)
        chosen = made.pixel_values[:, 0, 0, 0, 0]
        assert len({int(color) // 10 for color in chosen}) == 2
        sides |= {int(color) % 10 for color in chosen}
        # Undo the jitter: the image's own color and the stranger's are all that there is.
        torch.manual_seed(seed)
        torch.randperm(4)
        torch.rand(2)
        torch.rand(2, 2)
        warps = draw_warps(2, GRID, 3)
        for index, color in enumerate(chosen):
            gain, offset = warps.gain[index, 0], warps.offset[index, 0]
            shown = ((made.pixel_values[index, 1, 0] - offset) / gain).round()
            others = set(shown.unique().tolist()) - {color.item()}
            assert len(others) == 1
            assert others.pop() // 10 != color // 10
    assert sides == {0, 1}


def test_a_lone_pair_lends_its_patch_from_another_place():
    torch.manual_seed(0)
    pixels = coordinate_image().expand(2, -1, -1, -1).unsqueeze(0)
    made = warped_pairs(pixels, GRID, 0.25)
    assert made.pixel_values.shape == (1, 2, 3, *SIZE)
    assert torch.equal(made.pixel_values[0, 0], pixels[0, 0])
    torch.manual_seed(0)
    torch.randperm(1), torch.rand(1), torch.rand(2, 1)
    warps = draw_warps(1, GRID, 3)
    warped = (made.pixel_values[0, 1] - warps.offset[0, :, None, None]) / warps.gain[0, :, None, None]
    top, left, bottom, right = (CELL * warps.patch[0]).tolist()
    uncovered = Warps(warps.scale, warps.shift, 0 * warps.patch, torch.ones(1, 3), torch.zeros(1, 3))
    whole = apply(pixels[0, :1], uncovered)
    distance = (warped - whole[0])[:2, top:bottom, left:right].norm(dim=0)
    assert distance.min() > 1.5  # cells


@pytest.mark.parametrize(("batch", "fraction", "count"), [(1, 0.25, 1), (4, 0.25, 1), (5, 0.25, 2), (3, 1.0, 3)])
def test_share_of_the_pairs_is_rounded_up(batch, fraction, count):
    assert len(warped_pairs(identified(batch), GRID, fraction).targets) == count


def test_seed_decides_and_gradients_stop():
    pixels = torch.randn(4, 2, 3, *SIZE, requires_grad=True)
    made = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        made.append(warped_pairs(pixels, GRID, 0.5))
    assert torch.equal(made[0].pixel_values, made[1].pixel_values)
    assert torch.equal(made[0].targets, made[1].targets)
    assert not torch.equal(made[0].targets, made[2].targets)
    assert not made[0].pixel_values.requires_grad


def test_warps_may_be_counted_without_numbers():
    with torch.device("meta"):
        made = warped_pairs(torch.zeros(4, 2, 3, *SIZE), GRID, 0.5)
    assert made.pixel_values.is_meta
    assert made.targets.shape == (2, 2, PATCHES, PATCHES + 1)
