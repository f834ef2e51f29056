"""Negatives by keyed hash: of no positive, in proportion to the weights, the same whatever stands beside
them."""

from __future__ import annotations

import numpy as np

from roilake.hashing import uniform
from roilake.metrics.ranking import draw_negatives


def test_negatives_follow_weights_and_avoid_positives() -> None:
    requests, positives = np.arange(2000), np.tile([[3, -1]], (2000, 1))
    drawn = draw_negatives(0, requests, positives, np.array([1.0, 0.0, 2.0, 5.0, 1.0]), 20)
    shares = np.bincount(drawn.ravel(), minlength=5) / drawn.size
    assert np.allclose(shares, [0.25, 0, 0.5, 0, 0.25], atol=0.01)


def test_a_draw_depends_on_its_request_alone() -> None:
    requests, weights = np.arange(50), np.ones(30)
    positives = np.arange(100).reshape(50, 2) % 30
    whole = draw_negatives(4, requests, positives, weights, 7)
    part = draw_negatives(4, requests[10:20][::-1], positives[10:20][::-1], weights, 7)
    assert (whole[10:20] == part[::-1]).all()
    assert (whole != draw_negatives(5, requests, positives, weights, 7)).any()


def test_nothing_but_positives_leaves_places_empty() -> None:
    assert (draw_negatives(0, np.arange(2), np.array([[0], [0]]), np.array([1.0]), 3) == -1).all()
    assert (draw_negatives(0, np.arange(2), np.array([[0], [0]]), np.zeros(4), 3) == -1).all()
    assert (draw_negatives(0, np.arange(2), np.array([[0], [0]]), np.zeros(0), 3) == -1).all()


def test_uniform_is_uniform() -> None:
    chance = uniform(1, np.arange(100_000))
    assert np.allclose(np.histogram(chance, 10, (0, 1))[0] / 1e5, 0.1, atol=0.005)
