"""The temperature that makes probabilities mean what they say."""

from __future__ import annotations

import pytest
import torch

from roilake.training.temperature import fit_temperature


@pytest.mark.parametrize("scale", [0.25, 1.0, 6.0])
def test_what_was_scaled_is_scaled_back(scale: float) -> None:
    torch.manual_seed(5)
    true_VC = torch.randn(20_000, 4, dtype=torch.float64) * 1.5
    label_V = torch.distributions.Categorical(logits=true_VC).sample()
    assert fit_temperature((true_VC * scale).log_softmax(1), label_V) == pytest.approx(scale, rel=0.06)


def test_without_a_node_it_is_one() -> None:
    assert fit_temperature(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long)) == 1.0
