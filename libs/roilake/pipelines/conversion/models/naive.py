"""Naive: conversion learnt from clicks alone."""

from __future__ import annotations

from roilake.pipelines.conversion.models.batch import ImpressionBatch
from roilake.pipelines.conversion.models.losses import cross_entropy, mean
from roilake.pipelines.conversion.models.towers import ConversionModel, ConversionOptions, clicked_rows, select
from roilake.training.task import Term

Options = ConversionOptions


class Model(ConversionModel):
    """L = sum_i w_i o_i l(y_i, pCVR_i) / sum_i w_i o_i

    The unclicked half of a batch is not looked at. What every method here must beat; not a published one."""

    tasks = ("cvr",)

    def terms(self, batch: ImpressionBatch) -> dict[str, Term]:
        clicked = select(batch, clicked_rows(batch))
        logit_B = self.towers["cvr"](self.embeddings(clicked.row_BF))
        return {"cvr": mean(cross_entropy(logit_B, clicked.conversion_B), clicked.weight_B)}
