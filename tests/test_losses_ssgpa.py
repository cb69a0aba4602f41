"""The contrast against a similarity matrix worked out pair by pair."""

import pytest
import torch
from torch.nn import functional as F

from ssgpa.transport_ssgpa import dustbin_transport

from .ssgpa_cases import tiny_model


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
