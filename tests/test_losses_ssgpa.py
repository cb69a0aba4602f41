# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The losses against sums worked out one by one, and what they teach."""

import math

import pytest
import torch
from torch.nn import functional as F
from transformers.loss.loss_utils import ForCausalLMLoss

from ssgpa.losses_ssgpa import cycle_loss, global_loss, smoothed_caption_loss, warp_loss
from ssgpa.transport_ssgpa import dustbin_transport
from ssgpa.warp_ssgpa import draw_warps, warp_targets, warped_pairs

from .ssgpa_cases import NO_LOSSES, alignment_module, inputs_for, tiny_model


BATCH = 5


@pytest.fixture(scope="module")
def model():
    return tiny_model("instructblip", contrast_negatives=BATCH - 1)[0]


def matching_features(seed: int = 0) -> torch.Tensor:
    """Two noisy views of each scene, unit length."""
    generator = torch.Generator().manual_seed(seed)
    scenes = torch.randn(BATCH, 1, 16, 16, generator=generator)
    return F.normalize(scenes + 0.8 * torch.randn(BATCH, 2, 16, 16, generator=generator), dim=-1)


def similarity_matrix(model, matching):
    """Every image before against every image after, one transport problem at a time."""
    alignment = model.model.alignment
    matrix = torch.empty(len(matching), len(matching))
    uniform = torch.full((1, 16), 1 / 16)
    for row in range(len(matching)):
        for column in range(len(matching)):
            cosine = matching[row : row + 1, 0] @ matching[column : column + 1, 1].transpose(1, 2)
            plan = dustbin_transport(cosine, uniform, uniform, alignment.dustbin_score.detach(), 0.05, 50)
            matrix[row, column] = 2 * (plan[:, :-1, :-1].exp() * cosine).sum()
    return matrix


@pytest.mark.parametrize("scenes", [None, [0, 1, 2, 3, 4], [0, 1, 0, 2, 1], [3, 3, 3, 3, 3]])
def test_contrast_is_the_symmetric_cross_entropy_of_all_pairs(model, scenes):
    matching = matching_features()
    scene_ids = None if scenes is None else torch.tensor(scenes)
    found = model.contrast(matching, model.model.alignment.plan, scene_ids)
    logits = similarity_matrix(model, matching) / 0.07
    ids = torch.arange(BATCH) if scenes is None else scene_ids
    same = (ids.unsqueeze(0) == ids.unsqueeze(1)) & ~torch.eye(BATCH, dtype=torch.bool)
    logits = logits.masked_fill(same, -torch.inf)
    target = torch.arange(BATCH)
    expected = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_scenes_of_one_kind_are_no_negatives(model):
    matching = matching_features()
    assert model.contrast(matching, model.model.alignment.plan, torch.zeros(BATCH, dtype=torch.long)) == 0
    assert model.contrast(matching[:1], model.model.alignment.plan, None) == 0
    assert model.contrast(matching, model.model.alignment.plan, None) > 0


def test_negatives_are_sampled():
    sampled = tiny_model("instructblip", contrast_negatives=2)[0]
    matching = matching_features()
    torch.manual_seed(0)
    values = {sampled.contrast(matching, sampled.model.alignment.plan, None).item() for _ in range(20)}
    assert len(values) > 1
    everything = tiny_model("instructblip", contrast_negatives=50)[0]
    assert max(values) <= everything.contrast(matching, everything.model.alignment.plan, None).item() + 1e-5


def test_gradient_pulls_a_scene_together_and_leaves_the_plan(model):
    model.zero_grad()
    matching = matching_features().requires_grad_()
    loss = model.contrast(matching, model.model.alignment.plan, None)
    loss.backward()
    moved = F.normalize(matching.detach() - 0.1 * matching.grad / matching.grad.norm(), dim=-1)
    assert model.contrast(moved, model.model.alignment.plan, None) < loss
    assert model.model.alignment.dustbin_score.grad is None
    assert model.contrast.logit_scale.grad.abs() > 0


def test_contrast_is_full_precision_under_autocast(model):
    matching = matching_features()
    plain = model.contrast(matching, model.model.alignment.plan, None)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(model.contrast(matching, model.model.alignment.plan, None), plain)


def random_plan(seed=0, rows=6, pairs=2):
    """Logarithm of a plan with its marginals (pairs, 2, rows) met, and the dustbin's score as a leaf."""
    generator = torch.Generator().manual_seed(seed)
    cosine = torch.rand(pairs, rows, rows, generator=generator).requires_grad_()
    marginals = torch.rand(pairs, 2, rows, generator=generator).add(0.2)
    marginals = (marginals / marginals.sum(-1, keepdim=True)).requires_grad_()
    dustbin = torch.tensor(0.3, requires_grad=True)
    return dustbin_transport(cosine, marginals[:, 0], marginals[:, 1], dustbin, 0.1, 100), marginals, cosine, dustbin


def test_warp_loss_is_the_mean_cross_entropy_of_both_directions():
    log_plan, marginals, cosine, dustbin = random_plan()
    targets = torch.rand(2, 2, 6, 7, generator=torch.Generator().manual_seed(1)) ** 4
    targets = targets / targets.sum(-1, keepdim=True)
    found = warp_loss(log_plan, marginals, targets)
    total = 0.0
    for pair in range(2):
        plan = log_plan[pair].exp()
        for patch in range(6):
            forth = [plan[patch, to].item() / (marginals[pair, 0, patch].item() / 2) for to in range(7)]
            back = [plan[to, patch].item() / (marginals[pair, 1, patch].item() / 2) for to in range(7)]
            assert sum(forth) == pytest.approx(1, abs=1e-3)
            assert sum(back) == pytest.approx(1, abs=1e-3)
            for side, shares in enumerate((forth, back)):
                total -= sum(targets[pair, side, patch, to].item() * math.log(shares[to]) for to in range(7))
    assert found.item() == pytest.approx(total / (2 * 2 * 6), rel=1e-5)
    found.backward()
    assert min(leaf.grad.abs().max() for leaf in (cosine, dustbin, marginals)) > 0


def test_cycle_loss_is_the_weighted_mean_of_there_and_back():
    generator = torch.Generator().manual_seed(0)
    module = alignment_module((2, 4), 32)
    weights = torch.rand(3, 2, 8, 8, generator=generator).pow(3)
    weights = (weights / weights.sum(-1, keepdim=True)).requires_grad_()
    matched = torch.rand(3, 2, 8, generator=generator).requires_grad_()
    found = cycle_loss(module.round_trip(weights), matched)
    means = []
    for pair in range(3):
        forth, back = weights[pair].detach()
        for side, loop in enumerate((forth @ back, back @ forth)):
            lost = [-math.log(loop[patch, patch].item() + 1e-6) for patch in range(8)]
            m = matched[pair, side].tolist()
            means.append(sum(a * b for a, b in zip(m, lost, strict=True)) / sum(m))
    assert found.item() == pytest.approx(sum(means) / 6, rel=1e-5)
    found.backward()
    assert weights.grad.abs().max() > 0
    assert matched.grad is None


def test_alignment_says_what_comes_back():
    module = alignment_module((4, 4), 32, position_weight=0.0)
    states = torch.randn(2, 2, 17, 32, generator=torch.Generator().manual_seed(0))
    states[:, 1, :9] = states[:, 0, :9]
    _, evidence, matching = module(states)
    inner = evidence.transport[:, :-1, :-1]
    forth, back = inner / inner.sum(2, keepdim=True), (inner / inner.sum(1, keepdim=True)).transpose(1, 2)
    loops = torch.stack([forth @ back, back @ forth], 1)
    torch.testing.assert_close(matching.round_trip, loops.diagonal(dim1=2, dim2=3), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(matching.projected, module.match_proj(module.match_norm(states[:, :, 1:])))


def test_global_loss_is_one_less_the_cosine_of_the_weighted_means():
    generator = torch.Generator().manual_seed(0)
    projected = (torch.randn(3, 2, 8, 5, generator=generator) + 1).requires_grad_()
    matched = torch.rand(3, 2, 8, generator=generator).requires_grad_()
    found = global_loss(projected, matched)
    total = 0.0
    for pair in range(3):
        means = []
        for side in range(2):
            m = matched[pair, side].tolist()
            patches = projected[pair, side].tolist()
            means.append([sum(w * patch[d] for w, patch in zip(m, patches, strict=True)) / sum(m) for d in range(5)])
        dot = sum(a * b for a, b in zip(*means, strict=True))
        total += 1 - dot / math.prod(math.sqrt(sum(a * a for a in mean)) for mean in means)
    assert found.item() == pytest.approx(total / 3, rel=1e-5)
    found.backward()
    assert projected.grad.abs().max() > 0
    assert matched.grad is None


def test_nothing_matched_is_nothing_lost():
    nothing = torch.zeros(2, 2, 4)
    assert cycle_loss(torch.rand(2, 2, 4), nothing) == 0
    assert global_loss(torch.randn(2, 2, 4, 3), nothing).isfinite()


@pytest.mark.parametrize("name", ["cycle", "global"])
def test_weights_of_consistency_carry_no_gradient_through_the_model(name, monkeypatch):
    """With one, the dustbin would be the way out: its score then has another gradient, or one at all."""
    gradients = []
    for detached in (True, False):
        model, processor = tiny_model("instructblip", **(NO_LOSSES | {f"{name}_weight": 1.0, "caption_weight": 0.0}))
        if not detached:
            monkeypatch.setattr(torch.Tensor, "detach", lambda self: self)
        model.train()(**inputs_for(processor, captions=True)).loss.backward()
        score = model.model.alignment.dustbin_score
        gradients.append(torch.zeros_like(score) if score.grad is None else score.grad)
        monkeypatch.undo()
    assert gradients[1].abs() > 0
    # The plan between patches depends on the score a little; the mean of uncentered features not at all.
    assert gradients[0].abs() < 0.1 * gradients[1].abs()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_losses_are_full_precision_under_autocast(dtype):
    log_plan, marginals, _, _ = random_plan()
    targets = warp_targets(draw_warps(2, (2, 3), 3), (2, 3))
    generator = torch.Generator().manual_seed(0)
    round_trip, matched = torch.rand(2, 2, 2, 6, generator=generator)
    projected = torch.randn(2, 2, 6, 4, generator=generator).to(dtype)

    def losses():
        return (
            warp_loss(log_plan, marginals, targets),
            cycle_loss(round_trip, matched),
            global_loss(projected, matched),
        )

    plain = losses()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = losses()
    for one, other in zip(plain, cast, strict=True):
        assert other.dtype == torch.float32
        assert torch.equal(one, other)


@pytest.mark.parametrize("items", [None, 7, torch.tensor(7)])
@pytest.mark.parametrize("shifted", [False, True])
def test_caption_loss_without_smoothing_is_that_of_transformers(items, shifted):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 5, 11, generator=generator)
    labels = torch.randint(0, 11, (2, 5), generator=generator)
    labels[0, :3] = -100
    options = {"num_items_in_batch": items, "shift_labels": labels if shifted else None}
    found = smoothed_caption_loss(logits, labels, 11, label_smoothing=0.0, **options)
    torch.testing.assert_close(found, ForCausalLMLoss(logits, labels, 11, **options))
    smoothed = smoothed_caption_loss(logits, labels, 11, label_smoothing=0.1, **options)
    kept = labels.flatten() if shifted else F.pad(labels[:, 1:], (0, 1), value=-100).flatten()
    spread = -logits.log_softmax(-1).flatten(0, 1)[kept != -100].mean(-1).sum()
    spread = spread / (int((kept != -100).sum()) if items is None else 7)
    torch.testing.assert_close(smoothed, 0.9 * found + 0.1 * spread)


def textures(pairs: int, seed: int, size: int = 32, noise: float = 0.0) -> torch.Tensor:
    """Smooth random images (pairs, 2, 3, size, size), before and after the same but for noise of their own."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(pairs, 1, 3, 8, 8, generator=generator)
    coarse = coarse + noise * torch.randn(pairs, 2, 3, 8, 8, generator=generator)
    return F.interpolate(coarse.flatten(0, 1), size, mode="bicubic").unflatten(0, (-1, 2))


def warp_scores(model):
    """Of unseen warps: mass on the true cells, and in the dustbin of what is gone and of what is there."""
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(100)
        made = warped_pairs(textures(24, seed=99, size=64), (8, 8), 1.0)
        matching = model.get_image_features(made.pixel_values).matching
    sent = torch.stack([matching.log_plan[:, :-1], matching.log_plan.transpose(1, 2)[:, :-1]], 1).exp()
    shares = sent / (matching.marginals / 2).unsqueeze(-1)
    gone = made.targets[..., -1] == 1
    true = (made.targets * shares).sum(-1)[~gone].mean().item()
    return true, shares[..., -1][gone].mean().item(), shares[..., -1][~gone].mean().item()


def train(model, steps, learning_rate, loss_of):
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    for step in range(steps):
        optimizer.zero_grad()
        loss_of(step).backward()
        optimizer.step()


def learner(name, **options):
    options = NO_LOSSES | {f"{name}_weight": 1.0, "sinkhorn_iterations": 20} | options
    return tiny_model("resnet", **options)[0].model.train()


def test_warp_loss_teaches_to_find_parts_and_to_miss_what_is_gone():
    model = learner("warp", patch_grid=[8, 8], alignment_hidden_size=64)
    before = warp_scores(model)

    def loss_of(step):
        made = warped_pairs(textures(8, seed=step, size=64), (8, 8), 1.0)
        matching = model.get_image_features(made.pixel_values).matching
        return warp_loss(matching.log_plan, matching.marginals, made.targets)

    train(model, 25, 1e-2, loss_of)
    found, gone, there = warp_scores(model)
    assert found > 1.6 * before[0]
    assert gone > 10 * before[1]
    assert gone > 2 * there


def test_cycle_loss_teaches_to_come_back():
    model = learner("cycle")
    unseen = textures(32, seed=99, noise=0.2)

    def measure():
        with torch.no_grad():
            features = model.get_image_features(unseen)
        return features.matching.round_trip.mean().item(), 1 - features.evidence.unmatched_mass.mean().item()

    before = measure()

    def loss_of(step):
        features = model.get_image_features(textures(8, seed=step, noise=0.2))
        return cycle_loss(features.matching.round_trip, 1 - features.evidence.unmatched_mass)

    train(model, 20, 1e-2, loss_of)
    after = measure()
    assert after[0] > 3 * before[0]
    assert after[1] > 0.9  # and not by matching nothing


def test_global_loss_teaches_to_agree_on_the_whole():
    model = learner("global")
    unseen = textures(32, seed=99, noise=1.0)  # little in common

    def measure():
        with torch.no_grad():
            features = model.get_image_features(unseen)
        projected = features.matching.projected
        cosine = F.cosine_similarity(projected.mean(2)[:, 0], projected.mean(2)[:, 1], dim=-1)
        return 1 - cosine.mean().item(), 1 - features.evidence.unmatched_mass.mean().item()

    before = measure()

    def loss_of(step):
        features = model.get_image_features(textures(8, seed=step, noise=1.0))
        return global_loss(features.matching.projected, 1 - features.evidence.unmatched_mass)

    train(model, 20, 1e-2, loss_of)
    after = measure()
    assert after[0] < 0.5 * before[0]
    assert after[1] > 0.9
