"""ESCM2-IPW: conversion from clicks, each weighted by the inverse of its propensity."""

from __future__ import annotations

from roilake.pipelines.conversion.models.batch import ImpressionBatch
from roilake.pipelines.conversion.models.losses import PropensityOptions, click_terms, cross_entropy, mean, propensity
from roilake.pipelines.conversion.models.towers import ConversionModel
from roilake.training.task import Term

Options = PropensityOptions


class Model(ConversionModel):
    """L = mean_D l(o, pCTR) + R_IPW + ctcvr / click rate * mean_D l(o y, pCTR pCVR)

    R_IPW = sum_i w_i o_i l(y_i, pCVR_i) / e_i / sum_i w_i o_i / e_i

    e is the logged propensity, else pCTR, without gradient, clipped. With true e, numerator and denominator are
    unbiased for sum_i w_i l_i and sum_i w_i (self-normalised: less variance than dividing by the latter).

    Source: Wang et al. 2022 (arXiv 2204.05125), as told by public notes; it divides by |D|. Public code that sums
    before it weighs, or lets a gradient through 1 / pCTR, is not followed.
    """

    options: Options

    def terms(self, batch: ImpressionBatch) -> dict[str, Term]:
        shared = self.embeddings(batch.row_BF)
        ctr_B, cvr_B = self.towers["ctr"](shared), self.towers["cvr"](shared)
        propensity_B, clipped = propensity(batch, ctr_B, self.options.clip)
        weight_B = batch.weight_B * batch.click_B / propensity_B
        return click_terms(self, batch, ctr_B, cvr_B, self.options.ctcvr) | {
            "cvr": mean(cross_entropy(cvr_B, batch.conversion_B), weight_B),
            "clipped": clipped,
        }
