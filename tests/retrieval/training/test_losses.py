from __future__ import annotations

import math

import numpy as np
import torch

from roilake.pipelines.retrieval.training.losses import NEVER, focal_cross_entropy, sampled_softmax

SCORES = torch.tensor(np.random.default_rng(0).standard_normal((3, 6)), dtype=torch.float64)
POSITIVES = torch.tensor([[1, 4], [2, -1], [-1, -1]])
CANDIDATE_OFFSET = torch.tensor([0.7, 0.4, NEVER, -0.6, 0.2, NEVER], dtype=torch.float64)


def naive_softmax() -> list[float]:
    losses = []
    for row in range(3):
        positives = [int(column) for column in POSITIVES[row] if column >= 0]
        rest = sum(
            math.exp(SCORES[row, column] + CANDIDATE_OFFSET[column])
            for column in (0, 1, 3, 4)
            if column not in positives
        )
        tops = [math.exp(SCORES[row, column]) for column in positives]
        losses.append(sum(-math.log(top / (top + rest)) for top in tops) / max(len(tops), 1))
    return losses


def naive_focal() -> list[float]:
    losses = []
    for row in range(3):
        positives = [int(column) for column in POSITIVES[row] if column >= 0]
        p = [1 / (1 + math.exp(-4 * float(score))) for score in SCORES[row]]
        gain = [(1 - p[column]) ** 2 * -math.log(p[column]) for column in positives]
        cost = [p[c] ** 2 * -math.log(1 - p[c]) for c in (0, 1, 3, 4) if c not in positives]
        losses.append((np.mean(gain) + 10 * np.mean(cost)) / 11 if positives else 0.0)
    return losses


def test_sampled_softmax_is_that_of_the_definition() -> None:
    loss_B = sampled_softmax(SCORES, POSITIVES, CANDIDATE_OFFSET)
    torch.testing.assert_close(loss_B, torch.tensor(naive_softmax(), dtype=torch.float64))


def test_focal_cross_entropy_is_that_of_the_definition() -> None:
    loss_B = focal_cross_entropy(SCORES, POSITIVES, CANDIDATE_OFFSET)
    torch.testing.assert_close(loss_B, torch.tensor(naive_focal(), dtype=torch.float64))


def test_gradients_are_finite_without_candidates_or_positives() -> None:
    for loss in (
        lambda score: sampled_softmax(score, POSITIVES, torch.full((6,), NEVER)),
        lambda score: focal_cross_entropy(score, POSITIVES, torch.full((6,), NEVER)),
    ):
        score = SCORES.clone().requires_grad_()
        loss(score).sum().backward()
        assert score.grad is not None and score.grad.isfinite().all()
        assert (score.grad[2] == 0).all()  # no positive, no pull
