# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The definition of the alignment, property by property."""

import math
from functools import partial

import pytest
import torch
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ssgpa.alignment_ssgpa import inverse_of_3x3, weighted_median

from .ssgpa_cases import alignment_module, area_under_curve, plain_scene, tiny_model, wake, with_global


GRID = (16, 16)
PATCHES = GRID[0] * GRID[1]
WIDTH = 64


@pytest.fixture(scope="module")
def alignment():
    return alignment_module(GRID, WIDTH).requires_grad_(False)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def evidence_of(module, before, after):
    return module(with_global(before, after))[1]


def textured(generator, patches=PATCHES):
    return torch.randn(patches, WIDTH, generator=generator)


@pytest.mark.parametrize(("iterations", "parts_off", "dustbin_off"), [(50, 2e-2, 1e-3), (20, 6e-2, 1e-2)])
@pytest.mark.parametrize("case", ["identical", "mostly equal", "all changed"])
def test_plan_carries_the_masses(generator, case, iterations, parts_off, dustbin_off):
    """At the default's iterations, and at those of the embedded checkpoint."""
    alignment = alignment_module(GRID, WIDTH, sinkhorn_iterations=iterations).requires_grad_(False)
    before = plain_scene(PATCHES, WIDTH, generator)
    after = before.clone()
    changed = {"identical": 0, "mostly equal": 25, "all changed": PATCHES}[case]
    after[:changed] = torch.randn(changed, WIDTH, generator=generator)
    states = with_global(before, after)
    raw = F.normalize(alignment.match_proj(alignment.match_norm(states[:, :, 1:])), dim=-1)
    marginals = alignment.marginals(raw)
    plan = alignment(states)[1].transport
    torch.testing.assert_close(marginals.sum(-1), torch.ones(1, 2))
    for sums, side in ((plan.sum(2), marginals[:, 0]), (plan.sum(1), marginals[:, 1])):
        torch.testing.assert_close(sums[:, :-1], side / 2, atol=0, rtol=parts_off)
        torch.testing.assert_close(sums[:, -1], torch.full((1,), 0.5), atol=dustbin_off, rtol=0)


def test_masses_follow_the_other_images_global_feature(generator):
    unit = F.normalize(torch.randn(1, 2, 6, 5, generator=generator), dim=-1)
    marginals = alignment_module((2, 3), 32, marginal_eta=0.5).marginals(unit)
    for side in range(2):
        other = F.normalize(unit[0, 1 - side].mean(0), dim=0)
        agreement = torch.stack([torch.dot(patch, other).clamp_min(0) + 1e-3 for patch in unit[0, side]])
        torch.testing.assert_close(marginals[0, side], 0.5 / 6 + 0.5 * agreement / agreement.sum())
    uniform = alignment_module((2, 3), 32, marginal_eta=0.0).marginals(unit)
    torch.testing.assert_close(uniform, torch.full((1, 2, 6), 1 / 6))


@pytest.mark.parametrize("features", ["equal", "orthogonal", "large", "zero"])
@pytest.mark.parametrize("autocast", [False, True])
def test_odd_features_stay_finite(features, autocast):
    module = wake(alignment_module((4, 8), 64))
    states = {
        "equal": torch.randn(64).expand(1, 2, 33, 64),
        "orthogonal": torch.eye(66, 64).view(1, 2, 33, 64),
        "large": 1e4 * F.normalize(torch.randn(1, 2, 33, 64), dim=-1),
        "zero": torch.zeros(1, 2, 33, 64),
    }[features].clone()
    states.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        output, evidence, _ = module(states)
    assert output.isfinite().all()
    assert all(value.isfinite().all() for value in evidence.values())
    output.float().square().mean().backward()
    assert states.grad.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in module.parameters())


def test_matching_is_float32_under_autocast(alignment, generator):
    states = with_global(textured(generator), textured(generator))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, evidence, matching = alignment(states)
    assert {value.dtype for value in evidence.values()} | {value.dtype for value in matching.values()} == {
        torch.float32
    }
    full = alignment(states)[1]
    torch.testing.assert_close(evidence.unmatched_mass, full.unmatched_mass, atol=0.05, rtol=0)


@pytest.mark.parametrize(("grid", "iterations"), [(GRID, 50), ((8, 12), 20)])
@pytest.mark.parametrize("objects", [0.05, 0.25, 1.0])
def test_identical_images_show_no_change(generator, objects, grid, iterations):
    """On the default's grid and iterations, and on those of the embedded checkpoint."""
    module = alignment_module(grid, WIDTH, sinkhorn_iterations=iterations).requires_grad_(False)
    scene = plain_scene(grid[0] * grid[1], WIDTH, generator, objects)
    evidence = evidence_of(module, scene, scene)
    assert evidence.object_motion.abs().max() < 0.05
    assert evidence.unmatched_mass.max() < 0.05
    assert evidence.camera_shift.abs().max() < 0.05
    assert evidence.change_map.max() < 0.05


@pytest.mark.parametrize("noise", [0.1, 0.3])
@pytest.mark.parametrize("centering", [0.0, 0.5])
def test_changed_cells_stand_out_from_a_plain_background(generator, noise, centering):
    module = alignment_module(GRID, WIDTH, centering=centering)
    scene = plain_scene(PATCHES, WIDTH, generator)
    before, after = (scene + noise * textured(generator) for _ in range(2))
    cells = torch.randperm(PATCHES, generator=generator)[:3]
    after[cells] = torch.randn(3, WIDTH, generator=generator)
    mask = torch.zeros(PATCHES, dtype=torch.bool).index_fill(0, cells, True)
    evidence = evidence_of(module, before, after)
    assert area_under_curve(evidence.unmatched_mass[0, 1], mask) >= 0.9
    assert area_under_curve(evidence.residual[0, 1].norm(dim=-1), mask) >= 0.9
    assert area_under_curve(evidence.change_map[0, 1].flatten(), mask) >= 0.9
    assert evidence.object_motion[0, 1][~mask].norm(dim=-1).quantile(0.95) < 0.25


def test_noise_does_not_read_as_motion(generator):
    """Each patch is most like itself; that must not lend a plain background a place that noise then moves."""
    module = alignment_module((10, 8), WIDTH)
    scene = plain_scene(80, WIDTH, generator, objects=0.1)
    before, after = (scene + 0.5 * textured(generator, 80) for _ in range(2))
    assert evidence_of(module, before, after).object_motion.norm(dim=-1).quantile(0.95) < 0.25


@pytest.mark.parametrize("shift", [(0, 0), (1, 2), (-3, 1), (2, -2)])
def test_camera_shift_of_a_rolled_map(alignment, generator, shift):
    scene = textured(generator).view(*GRID, WIDTH)
    evidence = evidence_of(alignment, scene.flatten(0, 1), scene.roll(shift, (0, 1)).flatten(0, 1))
    torch.testing.assert_close(evidence.camera_shift, torch.tensor([shift]).float(), atol=0.5, rtol=0)
    inside = evidence.object_motion.view(2, *GRID, 2)[:, 4:-4, 4:-4]
    assert inside.norm(dim=-1).max() < 0.25


def test_camera_shift_of_a_mostly_plain_scene(alignment, generator):
    """Only the objects can tell: nine tenths of the image look the same wherever the camera points."""
    scene = torch.randn(1, WIDTH, generator=generator).repeat(PATCHES, 1).view(*GRID, WIDTH)
    for row, column in ((3, 4), (8, 11), (12, 3), (5, 9)):
        scene[row : row + 2, column : column + 2] = torch.randn(2, 2, WIDTH, generator=generator)
    before, after = (view + 0.1 * torch.randn(view.shape, generator=generator) for view in (scene, scene.roll(1, 1)))
    evidence = evidence_of(alignment, before.flatten(0, 1), after.flatten(0, 1))
    torch.testing.assert_close(evidence.camera_shift, torch.tensor([[0.0, 1.0]]), atol=0.5, rtol=0)
    assert evidence.object_motion.norm(dim=-1).max() < 0.5


def test_pasted_patch_ranks_first(alignment, generator):
    before = textured(generator)
    after = before + 0.2 * textured(generator)
    after[100] = 2 * torch.randn(WIDTH, generator=generator)
    evidence = evidence_of(alignment, before, after)
    assert evidence.unmatched_mass[0, 1].argmax() == 100
    assert evidence.residual[0, 1].norm(dim=-1).argmax() == 100
    assert evidence.change_map[0, 1].argmax() == 100


@pytest.mark.parametrize("size", [1, 2])
def test_moved_patch_ranks_first_in_object_motion(alignment, generator, size):
    surface, thing = torch.randn(2, WIDTH, generator=generator)
    scene = surface.repeat(*GRID, 1)
    for row, column in ((2, 2), (12, 4), (4, 12)):
        scene[row : row + 2, column : column + 2] = torch.randn(2, 2, WIDTH, generator=generator)
    before, after = scene.clone(), scene.clone()
    before[7 : 7 + size, 6 : 6 + size] = thing
    after[10 : 10 + size, 9 : 9 + size] = thing
    before, after = (view + 0.1 * torch.randn(view.shape, generator=generator) for view in (before, after))
    motion = evidence_of(alignment, before.flatten(0, 1), after.flatten(0, 1)).object_motion.view(2, *GRID, 2)
    moved = torch.zeros(2, *GRID, dtype=torch.bool)
    moved[0, 7 : 7 + size, 6 : 6 + size] = True
    moved[1, 10 : 10 + size, 9 : 9 + size] = True
    length = motion.norm(dim=-1)
    assert length[moved].min() > length[~moved].max()
    assert motion[0][moved[0]].min() > 1  # down and to the right, seen from before
    assert motion[1][moved[1]].max() < -1  # up and to the left, seen from after


def zoomed(scene, factor, turn):
    """A map (rows, columns, width) seen by a camera that came nearer by `factor` and rolled by `turn` radians."""
    rows, columns = GRID
    grid = torch.stack(torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij"), -1).float()
    middle = torch.tensor([(rows - 1) / 2, (columns - 1) / 2])
    cosine, sine = math.cos(turn), math.sin(turn)
    turned = (grid - middle) @ torch.tensor([[cosine, -sine], [sine, cosine]]) / factor
    source = (2 * turned / torch.tensor([rows - 1, columns - 1])).flip(-1).unsqueeze(0)
    maps = scene.permute(2, 0, 1).unsqueeze(0)
    return F.grid_sample(maps, source, padding_mode="reflection", align_corners=True)[0].permute(1, 2, 0)


@pytest.mark.parametrize(("factor", "turn"), [(1.25, 0.0), (1.1, 0.2), (1.0, 0.25), (1.15, -0.2)])
def test_a_camera_that_turns_or_comes_nearer_is_no_motion_of_the_parts(generator, factor, turn):
    """Up to more than a cell at the borders, which no shift describes; a moved patch stands out."""
    # Neighbors are alike, as in images: half a cell further shows half of the next cell.
    coarse = torch.randn(1, WIDTH, 9, 9, generator=generator)
    scene = F.interpolate(coarse, GRID, mode="bicubic", align_corners=True)[0].permute(1, 2, 0)
    thing = 2 * torch.randn(WIDTH, generator=generator)
    before, after = scene.clone(), zoomed(scene, factor, turn)
    before[4, 10], after[11, 5] = thing, thing
    module = alignment_module(GRID, WIDTH)

    def object_motion():
        evidence = evidence_of(module, before.flatten(0, 1), after.flatten(0, 1))
        return evidence.object_motion.view(2, *GRID, 2).norm(dim=-1)

    own = object_motion()
    moved = torch.zeros(2, *GRID, dtype=torch.bool)
    moved[0, 4, 10] = moved[1, 11, 5] = True
    inside = F.pad(torch.ones(2, *[side - 4 for side in GRID], dtype=torch.bool), (2, 2, 2, 2)) & ~moved
    assert own[inside].quantile(0.9) < 0.4
    assert own[moved].min() > 2
    module.camera_motion = lambda motion, certain, shift: torch.stack([shift, -shift], 1).unsqueeze(2)
    assert object_motion()[inside].quantile(0.9) > 1.8 * own[inside].quantile(0.9)


def test_inverse_by_cross_products_is_the_inverse(generator):
    matrices = torch.randn(5, 2, 3, 3, generator=generator)
    torch.testing.assert_close(inverse_of_3x3(matrices), torch.linalg.inv(matrices), atol=1e-4, rtol=1e-4)


def test_camera_motion_of_few_known_parts_is_the_shift(alignment):
    """Where nothing is certain, no slope is made up from noise."""
    motion = torch.randn(1, 2, PATCHES, 2, generator=torch.Generator().manual_seed(0))
    shift = torch.tensor([[0.5, -1.0]])
    found = alignment.camera_motion(motion, torch.zeros(1, 2, PATCHES), shift)
    spread = found - found.mean(2, keepdim=True)
    assert spread.abs().max() < 1e-2


def test_matched_parts_bring_their_counterpart(alignment, generator):
    before = textured(generator)
    order = torch.randperm(PATCHES, generator=generator)
    evidence = evidence_of(alignment_module(GRID, WIDTH, position_weight=0.0), before, before[order])
    assert evidence.residual.abs().max() < 0.05
    assert evidence.unmatched_mass.max() < 0.1
    assert torch.equal(evidence.transport[0, :-1, :-1].argmax(0), order)


def test_swapping_the_images_swaps_everything(generator):
    module = wake(alignment_module(GRID, WIDTH))
    states = with_global(textured(generator), textured(generator))
    states[0, 1, 1:200] = states[0, 0, 1:200]
    output, evidence, matching = module(states)
    other, mirrored, other_matching = module(states.flip(1))
    close = {"atol": 1e-5, "rtol": 1e-5}
    torch.testing.assert_close(other, output.flip(1), **close)
    assert set(matching) == {"features", "projected", "marginals", "round_trip"}
    for name, value in matching.items():
        torch.testing.assert_close(other_matching[name], value.flip(1), **close)
    torch.testing.assert_close(mirrored.transport, evidence.transport.transpose(1, 2), **close)
    torch.testing.assert_close(mirrored.camera_shift, -evidence.camera_shift, **close)
    for name in ("unmatched_mass", "residual", "object_motion", "change_map"):
        torch.testing.assert_close(mirrored[name], evidence[name].flip(1), atol=1e-4, rtol=1e-4)


def test_permuting_parts_permutes_the_plan(generator):
    module = alignment_module(GRID, WIDTH, position_weight=0.0)
    before, after = textured(generator), textured(generator)
    order = torch.randperm(PATCHES, generator=generator)
    plan = evidence_of(module, before, after).transport[:, :-1]
    permuted = evidence_of(module, before[order], after).transport[:, :-1]
    torch.testing.assert_close(permuted, plan[:, order], atol=1e-6, rtol=1e-3)


def test_position_breaks_ties_between_look_alikes(generator):
    """Two of a kind: without positions each matches both, with them each matches its own place."""
    scene = textured(generator)
    scene[240] = scene[20]
    plans = [
        evidence_of(alignment_module(GRID, WIDTH, position_weight=weight), scene, scene).transport[0]
        for weight in (0.0, 0.1)
    ]
    assert plans[0][20, 20] / plans[0][20, 240] < 1.5
    assert plans[1][20, 20] / plans[1][20, 240] > 100


def test_position_cost_is_capped_and_follows_the_shift(alignment):
    cost = alignment.position_cost(torch.tensor([[2.0, 1.0]]))[0]
    index = 5 * GRID[1] + 5
    assert cost[index, 7 * GRID[1] + 6] == 0
    assert cost[index, 7 * GRID[1] + 9] == pytest.approx(9 / 18)
    assert cost.max() == 6


@pytest.mark.parametrize("seed", range(5))
def test_weighted_median_minimizes_the_weighted_distance(seed):
    generator = torch.Generator().manual_seed(seed)
    values, weights = torch.randn(1, 9, 2, generator=generator), torch.rand(1, 9, generator=generator)
    median = weighted_median(values, weights)[0]

    def distance(dimension, place):
        return (weights[0] * (values[0, :, dimension] - place).abs()).sum()

    for dimension in range(2):
        best = min(distance(dimension, place) for place in values[0, :, dimension])
        assert distance(dimension, median[dimension]) == pytest.approx(best.item())


def test_evidence_has_the_promised_shapes_and_ranges(alignment, generator):
    states = torch.cat([with_global(textured(generator), textured(generator)) for _ in range(3)])
    evidence = alignment(states)[1]
    shapes = {name: tuple(value.shape) for name, value in evidence.items()}
    assert shapes == {
        "transport": (3, PATCHES + 1, PATCHES + 1),
        "unmatched_mass": (3, 2, PATCHES),
        "residual": (3, 2, PATCHES, WIDTH),
        "object_motion": (3, 2, PATCHES, 2),
        "camera_shift": (3, 2),
        "change_map": (3, 2, *GRID),
    }
    for name in ("unmatched_mass", "change_map", "transport"):
        assert evidence[name].min() >= 0
        assert evidence[name].max() <= 1


def test_unequal_masses_do_not_read_as_change():
    """What a patch can send is limited by what its counterpart can take."""
    module = alignment_module((1, 3), 32)
    marginals = torch.tensor([[[0.1, 0.4, 0.5], [0.3, 0.3, 0.4]]])
    most = torch.full((1, 4, 4), 1e-12)
    most[0, :3, :3] += torch.diag(marginals[0].amin(0)) / 2
    for share in (1.0, 0.25):
        matched, weights = module.matches((share * most).log(), share * most, marginals)
        torch.testing.assert_close(matched, torch.full((1, 2, 3), share), atol=1e-4, rtol=0)
        torch.testing.assert_close(weights, torch.eye(3).expand(1, 2, 3, 3), atol=1e-4, rtol=0)


def test_write_back_is_nothing_at_the_start(alignment, generator):
    states = with_global(textured(generator), textured(generator))
    assert torch.equal(alignment(states)[0], states)


def test_write_back_pulls_matched_parts_together(generator):
    module = alignment_module(GRID, WIDTH)
    module.patch_scale.data.fill_(1.0)
    before = textured(generator)
    states = with_global(before, before + 0.3 * textured(generator))
    patches = module(states)[0][0, :, 1:]
    evidence = module(states)[1]
    expected = states[0, 0, 1:] - (1 - evidence.unmatched_mass[0, 0]).unsqueeze(1) * evidence.residual[0, 0]
    torch.testing.assert_close(patches[0], expected)
    assert (patches[0] - states[0, 1, 1:]).norm() < 0.2 * (states[0, 0, 1:] - states[0, 1, 1:]).norm()


def test_global_token_hears_changed_parts_only(generator):
    """The residual of an unchanged patch, however small, must not be blown up to the size of a change."""
    module = wake(alignment_module(GRID, WIDTH))
    captured = {}
    module.global_attn.register_forward_pre_hook(lambda _, inputs: captured.update(context=inputs[1]))
    before = textured(generator)
    after = before + 1e-3 * textured(generator)
    after[7] = 3 * torch.randn(WIDTH, generator=generator)
    module(with_global(before, after))
    residuals = captured["context"][1, PATCHES : 2 * PATCHES].norm(dim=-1)
    assert residuals.argmax() == 7
    assert residuals[torch.arange(PATCHES) != 7].max() < 0.1 * residuals[7]


def plan_sized_copies(module, states):
    """How many tensors of the plan's size the alignment keeps for its gradient, in plans."""
    patches, kept = states.shape[2] - 1, {}

    def count(tensor):
        if tensor.ndim > 1 and {patches, patches + 1} >= set(tensor.shape[-2:]):
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = (tensor, storage.nbytes() / tensor.element_size() / patches**2)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        outputs = module(states)
    return sum(size for _, size in kept.values()), outputs


@pytest.mark.parametrize("reentrant", [None, False, True])
def test_checkpointing_keeps_nothing_of_the_plans_size(generator, reentrant):
    module = wake(alignment_module((8, 8), 48)).train()
    if reentrant is not None:
        module.gradient_checkpointing = True
        module._gradient_checkpointing_func = partial(checkpoint, use_reentrant=reentrant)
    states = torch.randn(1, 2, 65, 48, generator=generator).requires_grad_()
    copies, (output, evidence, matching) = plan_sized_copies(module, states)
    assert (copies == 0) if reentrant is not None else (1 < copies < 8)
    assert evidence.transport.requires_grad
    assert matching.log_plan.requires_grad
    loss = output.square().mean() - matching.log_plan.mean() - matching.round_trip.mean() + matching.projected.mean()
    loss.backward()
    plain = wake(alignment_module((8, 8), 48)).train()
    others = states.detach().requires_grad_()
    output, _, matching = plain(others)
    loss = output.square().mean() - matching.log_plan.mean() - matching.round_trip.mean() + matching.projected.mean()
    loss.backward()
    torch.testing.assert_close(states.grad, others.grad, atol=1e-6, rtol=1e-5)
    for name, parameter in plain.named_parameters():
        torch.testing.assert_close(module.get_parameter(name).grad, parameter.grad, atol=1e-6, rtol=1e-5)


def test_models_checkpointing_reaches_the_alignment():
    model, _ = tiny_model("resnet", alignment_hidden_size=24)
    model.activation_checkpointing_enable({"use_reentrant": False})
    assert model.model.alignment.gradient_checkpointing
    copies, _ = plan_sized_copies(model.model.alignment.train(), torch.randn(1, 2, 17, 32, requires_grad=True))
    assert copies == 0


def test_plan_is_handed_out_where_a_loss_reads_it():
    states = torch.randn(1, 2, 17, 32)
    for options, training, expected in (
        ({}, True, {"log_plan", "round_trip"}),
        ({}, False, {"round_trip"}),
        ({"warp_weight": 0.0}, True, {"round_trip"}),
        ({"cycle_weight": 0.0}, True, {"log_plan"}),
    ):
        module = alignment_module((4, 4), 32, **options).train(training)
        assert set(module(states)[2]) == {"features", "projected", "marginals"} | expected


def test_the_weight_of_motion_scales_its_cue_in_the_change_map_alone():
    generator = torch.Generator().manual_seed(0)
    before, after = torch.randn(2, GRID[0] * GRID[1], WIDTH, generator=generator)
    found = {
        weight: evidence_of(alignment_module(GRID, WIDTH, motion_cue_weight=weight), before, after)
        for weight in (0.0, 0.2, 1.0)
    }
    content = found[0.0].change_map
    one = found[1.0]
    motion = (1 - one.unmatched_mass) * (1 - torch.exp(-one.object_motion.square().sum(-1) / 2))
    double = evidence_of(alignment_module(GRID, WIDTH, content_cue_weight=2.0, motion_cue_weight=0.0), before, after)
    torch.testing.assert_close(double.change_map, (2 * content).clamp(max=1))
    for weight, evidence in found.items():
        wanted = torch.maximum(content.flatten(2), weight * motion).unflatten(-1, GRID)
        torch.testing.assert_close(evidence.change_map, wanted)
        assert torch.equal(evidence.transport, one.transport)
