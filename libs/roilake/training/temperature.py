"""Probabilities that mean what they say: one number that makes a model less sure, or more, fitted to rows that it has
not learnt from."""

from __future__ import annotations

from bisect import bisect_left
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

_STEPS = 301
_LARGEST = 20.0


def fit_temperature(log_VC: Tensor, label_V: Tensor) -> float:
    """The T from 1/20 to 20 with the least mean of -log softmax(log p / T)_y over rows V, to 1 %; 1 where there is no
    row. log p [V, C] serves as logits, which differ from it by a number that is the same for all classes. The mean is
    convex in 1 / T, so that it is searched by halves.

    Source: Guo et al., "On calibration of modern neural networks" (2017, arXiv 1706.04599)."""
    if not len(label_V):
        return 1.0
    bound = torch.tensor(_LARGEST, dtype=torch.float64).log()
    temperatures = torch.linspace(-float(bound), float(bound), _STEPS, dtype=torch.float64).exp()

    @cache
    def loss(step: int) -> float:
        return float(F.cross_entropy(log_VC.double() / temperatures[step], label_V))

    return float(temperatures[bisect_left(range(_STEPS - 1), True, key=lambda step: loss(step) <= loss(step + 1))])
