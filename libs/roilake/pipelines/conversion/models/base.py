"""Base: clicks learnt from all impressions and conversion from clicks, over shared embeddings."""

from __future__ import annotations

from roilake.pipelines.conversion.models.batch import ImpressionBatch
from roilake.pipelines.conversion.models.losses import cross_entropy, mean
from roilake.pipelines.conversion.models.towers import ConversionModel, ConversionOptions, clicked_rows
from roilake.training.task import Term

Options = ConversionOptions


class Model(ConversionModel):
    """L = mean_D l(o, pCTR) + mean_D_click l(y, pCVR)

    with mean_D the weighted mean over the batch. Source: "Base" of UKD (arXiv 2201.08024), as read in public notes."""

    def terms(self, batch: ImpressionBatch) -> dict[str, Term]:
        shared = self.embeddings(batch.row_BF)
        clicked = clicked_rows(batch)
        cvr_C = self.towers["cvr"](shared.at(clicked))
        return {
            "ctr": mean(cross_entropy(self.towers["ctr"](shared), batch.click_B), batch.weight_B),
            "cvr": mean(cross_entropy(cvr_C, batch.conversion_B[clicked]), batch.weight_B[clicked]),
        }
