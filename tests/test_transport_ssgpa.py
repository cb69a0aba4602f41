# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Sinkhorn against a plain float64 iteration, and what a transport plan must satisfy."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ssgpa.transport_ssgpa import dustbin_transport, log_sinkhorn


def reference(scores: Tensor, log_rows: Tensor, log_columns: Tensor, iterations: int) -> Tensor:
    """The definition as written, in float64, through autograd."""
    scores, log_rows, log_columns = scores.double(), log_rows.double(), log_columns.double()
    u, v = torch.zeros_like(log_rows), torch.zeros_like(log_columns)
    older_u, older_v = u, v
    for _ in range(iterations):
        full_u = log_rows - torch.logsumexp(scores + v.unsqueeze(1), 2)
        full_v = log_columns - torch.logsumexp(scores + u.unsqueeze(2), 1)
        u, older_u = -0.2 * u + 1.2 * full_u + 0.36 * (u - older_u), u
        v, older_v = -0.2 * v + 1.2 * full_v + 0.36 * (v - older_v), v
    return scores + u.unsqueeze(2) + v.unsqueeze(1)


def random_problem(batch: int, rows: int, columns: int, spread: float, seed: int = 0) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    scores = spread * torch.randn(batch, rows, columns, generator=generator)
    marginals = [torch.randn(batch, size, generator=generator).log_softmax(-1) for size in (rows, columns)]
    return scores, *marginals


def unit(*shape: int, seed: int) -> Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def cosine_case(name: str, patches: int = 64, width: int = 256) -> Tensor:
    """Cosines between the patches of an identical, a mostly equal, an all-changed, ... pair."""
    before = unit(2, patches, width, seed=0)
    after = before.clone()
    if name == "mostly equal":
        after[:, : patches // 8] = unit(2, patches // 8, width, seed=1)
    elif name == "all changed":
        after = unit(2, patches, width, seed=1)
    elif name == "all equal":
        before = after = before[:, :1].expand(-1, patches, -1)
    elif name == "opposite":
        after = -before
    elif name == "orthogonal":
        return torch.zeros(2, patches, patches)
    return before @ after.transpose(1, 2)


def uniform(cosine: Tensor) -> Tensor:
    return torch.full(cosine.shape[:2], 1 / cosine.shape[1], dtype=cosine.dtype)


@pytest.mark.parametrize("iterations", [1, 10, 50])
@pytest.mark.parametrize("spread", [1.0, 10.0])
def test_plan_is_that_of_the_plain_iteration(iterations, spread):
    problem = random_problem(3, 17, 23, spread)
    plan = log_sinkhorn(*problem, iterations)
    assert plan.dtype == torch.float32
    torch.testing.assert_close(plan.double(), reference(*problem, iterations), atol=2e-4, rtol=1e-5)


@pytest.mark.parametrize("spread", [1.0, 6.0])
def test_gradient_is_that_of_the_plain_iteration(spread):
    problem = [tensor.requires_grad_() for tensor in random_problem(2, 19, 21, spread)]
    weights = torch.randn(2, 19, 21, generator=torch.Generator().manual_seed(1))
    found = torch.autograd.grad((log_sinkhorn(*problem, 50).exp() * weights).sum(), problem)
    expected = torch.autograd.grad((reference(*problem, 50).exp() * weights).sum(), problem)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-3)
        assert theirs.abs().max() > 1e-3


def test_gradient_passes_gradcheck_in_double_precision():
    problem = [tensor.double().requires_grad_() for tensor in random_problem(1, 4, 5, 2.0)]
    assert torch.autograd.gradcheck(lambda *inputs: log_sinkhorn(*inputs, 12), problem, atol=1e-7, rtol=1e-5)


def test_gradient_with_dustbin_passes_gradcheck_in_double_precision():
    """With respect to cosines, both marginals and the dustbin's score."""
    cosine, rows, columns = random_problem(2, 4, 5, 0.3)
    problem = [tensor.double() for tensor in (cosine, rows.exp(), columns.exp(), torch.tensor(0.3))]
    problem = [tensor.requires_grad_() for tensor in problem]

    def plan(*inputs):
        return dustbin_transport(*inputs, 0.2, 12)

    assert plan(*problem).dtype == torch.float64
    assert torch.autograd.gradcheck(plan, problem, atol=1e-7, rtol=1e-5)


def test_second_derivatives_are_refused():
    problem = [tensor.requires_grad_() for tensor in random_problem(1, 4, 5, 1.0)]
    (gradient,) = torch.autograd.grad(log_sinkhorn(*problem, 5).exp()[0, 0, 0], problem[:1], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_nothing_of_the_plans_size_is_kept_per_iteration():
    scores, log_rows, log_columns = random_problem(1, 40, 40, 1.0)
    kept = {}
    for iterations in (10, 50):
        total = []
        scores = scores.detach().requires_grad_()
        with torch.autograd.graph.saved_tensors_hooks(lambda saved, out=total: out.append(saved.numel()) or saved, id):
            log_sinkhorn(scores, log_rows, log_columns, iterations)
        kept[iterations] = sum(total)
    assert kept[50] - kept[10] == 40 * (40 + 40)  # forty iterations more, two potentials each
    assert kept[10] < 3 * 40 * 40


@pytest.mark.parametrize(("iterations", "off"), [(50, 2e-3), (20, 1e-2)])
@pytest.mark.parametrize("marginals", ["equal", "unequal"])
@pytest.mark.parametrize("case", ["identical", "mostly equal", "all changed"])
def test_sums_of_the_plan_are_the_masses(case, marginals, iterations, off):
    """At the default's fifty iterations, and at the twenty of the embedded checkpoint."""
    cosine = cosine_case(case, patches=256)
    shares = uniform(cosine) if marginals == "equal" else random_problem(2, 256, 256, 1.0)[1].exp()
    plan = dustbin_transport(cosine, shares, shares, torch.tensor(0.3), 0.05, iterations).exp()
    target = torch.cat([shares, torch.ones(2, 1)], 1) / 2
    for sums in (plan.sum(2), plan.sum(1)):
        assert (sums / target - 1)[:, :-1].abs().max() < off  # the patches' own sums
        torch.testing.assert_close(sums[:, -1], target[:, -1], atol=2e-3, rtol=0)


@pytest.mark.parametrize("epsilon", [0.02, 0.05, 0.1])
@pytest.mark.parametrize("case", ["identical", "all changed", "all equal", "orthogonal", "opposite"])
def test_plan_and_gradient_stay_finite_and_true(case, epsilon):
    cosine = cosine_case(case).requires_grad_()
    dustbin = torch.tensor(0.3, requires_grad=True)
    marginals = uniform(cosine)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        log_plan = dustbin_transport(cosine, marginals, marginals, dustbin, epsilon, 50)
    assert log_plan.dtype == torch.float32
    assert log_plan.isfinite().all()
    (log_plan.exp()[:, :-1, :-1] * cosine).sum().backward()
    assert cosine.grad.isfinite().all()
    assert dustbin.grad.isfinite()
    padded = F.pad(cosine.detach(), (0, 1, 0, 1), value=0.3) / epsilon
    log_marginals = (torch.cat([marginals, torch.ones(2, 1)], 1) / 2).log()
    torch.testing.assert_close(
        log_plan.double(), reference(padded, log_marginals, log_marginals, 50), atol=1e-3, rtol=1e-4
    )


@pytest.mark.parametrize(("epsilon", "dustbin"), [(0.05, -2.9), (0.05, 2.0), (0.02, -0.6)])
@pytest.mark.parametrize("case", ["identical", "mostly equal", "all changed", "all equal", "orthogonal", "opposite"])
@pytest.mark.parametrize("iterations", [20, 50])
def test_plan_is_true_as_far_as_the_configuration_allows(case, epsilon, dustbin, iterations):
    cosine = cosine_case(case)
    cosine = cosine - 0.6 * (torch.rand(cosine.shape, generator=torch.Generator().manual_seed(2)) > 0.5).float()
    marginals = random_problem(2, 64, 64, 1.0)[1].exp()
    plan = dustbin_transport(cosine, marginals, marginals, torch.tensor(dustbin), epsilon, iterations).exp()
    padded = F.pad(cosine, (0, 1, 0, 1), value=dustbin).double() / epsilon
    log_marginals = (torch.cat([marginals, torch.ones(2, 1)], 1) / 2).log()
    expected = reference(padded, log_marginals, log_marginals, iterations).exp()
    assert (64 * (plan - expected)).abs().max() < 1e-3  # of a patch's mass


def test_more_iterations_reach_the_masses():
    scores, log_rows, log_columns = random_problem(2, 30, 30, 4.0)
    errors = [
        (log_sinkhorn(scores, log_rows, log_columns, iterations).exp().sum(2) - log_rows.exp()).abs().max()
        for iterations in (5, 20, 400)
    ]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-5


def test_dustbin_takes_what_has_no_counterpart():
    cosine = cosine_case("mostly equal")
    plan = dustbin_transport(cosine, uniform(cosine), uniform(cosine), torch.tensor(0.3), 0.05, 50).exp()
    lost = plan[:, :-1, -1] * 2 * 64
    assert lost[:, :8].min() > 0.5
    assert lost[:, 8:].max() < 0.1
    far = dustbin_transport(cosine, uniform(cosine), uniform(cosine), torch.tensor(-2.0), 0.05, 50).exp()
    assert far[:, :-1, -1].sum() < plan[:, :-1, -1].sum()


def test_exchanging_the_sides_transposes_the_plan():
    scores, log_rows, log_columns = random_problem(2, 31, 31, 4.0)
    plan = log_sinkhorn(scores, log_rows, log_columns, 50)
    other = log_sinkhorn(scores.transpose(1, 2).contiguous(), log_columns, log_rows, 50)
    torch.testing.assert_close(other, plan.transpose(1, 2), atol=1e-5, rtol=0)


def test_permuting_parts_permutes_the_plan():
    cosine = cosine_case("mostly equal")
    marginals = random_problem(2, 64, 64, 1.0)[1].exp()
    order = torch.randperm(64, generator=torch.Generator().manual_seed(3))
    settings = (torch.tensor(0.3), 0.05, 50)
    plan = dustbin_transport(cosine, marginals, marginals, *settings)[:, :-1, :-1]
    permuted = dustbin_transport(cosine[:, order], marginals[:, order], marginals, *settings)[:, :-1, :-1]
    torch.testing.assert_close(permuted, plan[:, order], atol=1e-4, rtol=0)
