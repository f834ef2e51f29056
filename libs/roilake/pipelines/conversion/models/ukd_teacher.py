"""UKD's teacher: conversion from clicks, in features that do not tell clicked from unclicked impressions."""

from __future__ import annotations

from typing import Annotated, Any, cast

import torch
from pydantic import Field as Bounded
from torch import Tensor, nn

from roilake.pipelines.conversion.models.batch import ImpressionBatch, ImpressionSchema
from roilake.pipelines.conversion.models.losses import cross_entropy, mean
from roilake.pipelines.conversion.models.towers import LAST, ConversionModel, ConversionOptions, Tower
from roilake.training.task import Term

DISCRIMINATOR = 24


class Options(ConversionOptions):
    """``mu``: strength of the adversary, 0 for none; it grows linearly to that over ``ramp`` steps. A strong one takes
    away what predicts conversion (0.3 and above did, in our trial); 0 was never worse there."""

    mu: Annotated[float, Bounded(ge=0)] = 0.1
    ramp: Annotated[int, Bounded(gt=0)] = 200


class Model(ConversionModel):
    """L = mean_D l(o, pCTR) + mean_D_click l(y, pCVR) + L_d,  L_d = (mean_D_click l(1, d) + mean_D_unclick l(0, d)) / 2

    d = T_d(reverse(h)), with h [B, H] the last layer of the CVR tower and reverse the identity whose gradient is
    multiplied by -mu_t, mu_t = mu min(1, t / ramp): the discriminator learns to tell the domains apart, the tower (and
    the embeddings below it) to hide them. ``mu`` 0 is the base model, with a discriminator that only watches.

    Source: UKD's click-adaptive teacher (arXiv 2201.08024) as read in public notes: domain-adversarial training
    (Ganin et al. 2016) on L_CVR. Ours: the click task, equal weight for both domains (the paper's mean over D lets the
    unclicked rule), the ramp, and the adversary on h alone, not on what goes past the tower. mu and the sizes of the
    paper are not known.
    """

    options: Options
    discriminates = True
    step: Tensor

    def __init__(self, options: Options, schema: ImpressionSchema) -> None:
        super().__init__(options, schema)
        self.discriminator = nn.Sequential(nn.Linear(LAST, DISCRIMINATOR), nn.ReLU(), nn.Linear(DISCRIMINATOR, 1))
        self.register_buffer("step", torch.zeros(()))

    def terms(self, batch: ImpressionBatch) -> dict[str, Term]:
        """The terms of L; in training, each call is a step t of the ramp."""
        mu = self.options.mu * min(1.0, float(self.step) / self.options.ramp)
        if self.training:
            self.step += 1
        shared = self.embeddings(batch.row_BF)
        tower = cast(Tower, self.towers["cvr"])
        hidden_BH = tower.hidden(shared)
        cvr_B = tower.logit(hidden_BH, shared)
        domain_B = self.discriminator(reverse(hidden_BH, mu)).squeeze(1)
        loss_B = cross_entropy(domain_B, batch.click_B)
        return {
            "ctr": mean(cross_entropy(self.towers["ctr"](shared), batch.click_B), batch.weight_B),
            "cvr": mean(cross_entropy(cvr_B, batch.conversion_B), batch.weight_B * batch.click_B),
            "domain_clicked": mean(loss_B, batch.weight_B * batch.click_B, 0.5),
            "domain_unclicked": mean(loss_B, batch.weight_B * (1 - batch.click_B), 0.5),
        }

    def domain_logit(self, batch: ImpressionBatch) -> Tensor:
        tower = cast(Tower, self.towers["cvr"])
        return self.discriminator(tower.hidden(self.embeddings(batch.row_BF))).squeeze(1)


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return gradient * -ctx.scale, None


def reverse(values: Tensor, scale: float) -> Tensor:
    """The values themselves; their gradient comes back times -``scale`` (none at all for 0)."""
    return _Reverse.apply(values, scale) if scale else values.detach()
