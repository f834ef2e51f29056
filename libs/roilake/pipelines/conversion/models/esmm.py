"""ESMM: conversion learnt through the product pCTCVR = pCTR pCVR on all impressions."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field as Bounded

from roilake.pipelines.conversion.models.batch import ImpressionBatch
from roilake.pipelines.conversion.models.losses import ProductOptions, click_terms
from roilake.pipelines.conversion.models.towers import ConversionModel
from roilake.training.task import Term


class Options(ProductOptions):
    """``ctcvr`` must be above 0: nothing else teaches pCVR."""

    ctcvr: Annotated[float, Bounded(gt=0)] = 0.3


class Model(ConversionModel):
    """L = mean_D l(o, pCTR) + ctcvr / click rate * mean_D l(o y, pCTR pCVR)

    pCVR has no loss of its own. An unclicked impression counts as one without a click-and-conversion, which lowers both
    factors. Source: Ma et al. 2018 (arXiv 1804.07931); there the second weight is 1."""

    options: Options

    def terms(self, batch: ImpressionBatch) -> dict[str, Term]:
        shared = self.embeddings(batch.row_BF)
        ctr_B, cvr_B = self.towers["ctr"](shared), self.towers["cvr"](shared)
        return click_terms(self, batch, ctr_B, cvr_B, self.options.ctcvr)
