# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""SCORER's matching and losses, against computations written out."""

import math

import pytest
import torch
from torch.nn import functional as F

from ssgpa.baselines.scorer.configuration_scorer import SCORERConfig
from ssgpa.baselines.scorer.losses_scorer import (
    MatchingContrast,
    caption_tokens,
    pool_sentences,
    scene_halves,
    token_matching,
)


def written_out(queries, keys, per_head):
    """The paper's equation, one pair of images after the other."""
    result = torch.zeros(len(queries), len(keys))
    for row, query in enumerate(queries):
        for column, key in enumerate(keys):
            products = torch.einsum("ihd,jhd->hij", query, key)
            products = products if per_head else products.sum(0, keepdim=True)
            both = products.amax(2).mean(1) + products.amax(1).mean(1)
            result[row, column] = both.sum() / 2
    return result


@pytest.fixture
def tokens():
    torch.manual_seed(0)
    return torch.randn(5, 7, 4, 3), torch.randn(5, 6, 4, 3)


@pytest.mark.parametrize("per_head", [False, True])
@pytest.mark.parametrize("chunk_size", [1, 2, 5, 8])
def test_matching_is_the_papers_equation(tokens, per_head, chunk_size):
    torch.testing.assert_close(
        token_matching(*tokens, per_head=per_head, chunk_size=chunk_size), written_out(*tokens, per_head)
    )


def test_joint_matching_knows_no_heads(tokens):
    one_head = [side.flatten(2).unsqueeze(2) for side in tokens]
    torch.testing.assert_close(token_matching(*tokens), token_matching(*one_head, per_head=True))
    assert not torch.allclose(token_matching(*tokens), token_matching(*tokens, per_head=True))


def test_chunks_change_no_gradient(tokens):
    found = []
    for chunk_size in (2, 8):
        sides = [side.clone().requires_grad_() for side in tokens]
        token_matching(*sides, chunk_size=chunk_size).square().sum().backward()
        found.append([side.grad for side in sides])
    torch.testing.assert_close(found[0], found[1])


def test_the_scale_is_an_exponent_with_a_ceiling(tokens):
    contrast = MatchingContrast(SCORERConfig())
    for stored, used in ((1.0, 1.0), (9.0, math.log(100))):
        contrast.logit_scale.data.fill_(stored)
        wanted = written_out(*tokens, False) * math.exp(used)
        torch.testing.assert_close(contrast.similarity(*tokens), wanted, rtol=1e-5, atol=1e-3)


def test_the_contrast_is_a_cross_entropy_of_the_diagonal():
    torch.manual_seed(0)
    scores = torch.randn(4, 4)
    wanted = -scores.log_softmax(1).diagonal().mean()
    torch.testing.assert_close(MatchingContrast.contrast(scores), wanted)
    assert MatchingContrast.contrast(scores[:1, :1]) == 0


def test_pairs_of_one_scene_are_no_negatives():
    torch.manual_seed(0)
    scores = torch.randn(4, 4)
    found = MatchingContrast.contrast(scores, torch.tensor([3, 8, 3, 5]))
    rows = [[0, 1, 3], [0, 1, 2, 3], [1, 2, 3], [0, 1, 2, 3]]
    parts = [
        F.cross_entropy(scores[row, kept].unsqueeze(0), torch.tensor([kept.index(row)]))
        for row, kept in enumerate(rows)
    ]
    torch.testing.assert_close(found, torch.stack(parts).mean())


def test_halves_are_the_first_and_the_second_pairs_of_scenes():
    halves = scene_halves(torch.tensor([4, 7, 7, 4, 9]))
    assert [half.tolist() for half in halves] == [[0, 1, 4], [2, 3]]


# Two captions in one row, then one with padding on the left; start tokens are no labels.
LABELS = torch.tensor([[-100, 5, 3, -100, 6, 7, 3], [-100, -100, -100, -100, -100, 8, 3]])


def test_a_caption_is_its_tokens_with_both_ends():
    assert caption_tokens(LABELS).tolist() == [[True] * 7, [False] * 4 + [True] * 3]


def test_sentences_are_means_over_their_tokens():
    states = torch.randn(2, 7, 5)
    found = pool_sentences(states, LABELS)
    torch.testing.assert_close(found, torch.stack([states[0].mean(0), states[1, 4:].mean(0)]))
    padded = pool_sentences(states, LABELS, length=24)
    torch.testing.assert_close(padded, torch.stack([states[0].sum(0) / 48, states[1, 4:].sum(0) / 24]))


def test_no_gradient_comes_from_padding():
    states = torch.randn(2, 7, 5, requires_grad=True)
    pool_sentences(states, LABELS).sum().backward()
    assert (states.grad.abs().sum(-1) > 0).tolist() == caption_tokens(LABELS).tolist()
