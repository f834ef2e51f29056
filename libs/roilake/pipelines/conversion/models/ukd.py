"""UKD's student: learns from clicks and from a teacher's pseudo-labels, and discounts what its two heads differ on."""

from __future__ import annotations

from typing import Annotated, cast

import torch
from pydantic import Field as Bounded
from torch import Tensor

from roilake.pipelines.conversion.models.batch import ImpressionBatch, ImpressionSchema, Prediction
from roilake.pipelines.conversion.models.losses import cross_entropy, disagreement, mean, product_cross_entropy
from roilake.pipelines.conversion.models.towers import ConversionModel, ConversionOptions, Dropout, Shared, Tower
from roilake.training.task import Term

Weight = Annotated[float, Bounded(ge=0)]


class Options(ConversionOptions):
    """Each part switches off: ``alpha`` 0 leaves the pseudo-labels out, ``uncertainty: false`` the second head and all
    that it does, ``discount`` (lambda) 0 only the weight exp(-lambda u). ``detach_weight: false`` lets a gradient
    through that weight: the student then learns to be unsure. ``ctcvr`` adds ESMM's term, over the click rate."""

    alpha: Weight = 1.0
    uncertainty: bool = True
    discount: Weight = 100.0
    detach_weight: bool = True
    head_dropout: Annotated[float, Bounded(ge=0, lt=1)] = 0.2
    ctcvr: Weight = 0.0

    @property
    def needs_teacher(self) -> bool:
        """Whether pseudo-labels are learnt from at all."""
        return self.alpha > 0


class Model(ConversionModel):
    """L = mean_D_click l(y, p) + alpha mean_D_unclick [exp(-lambda u) l(p_T, p) + u] + mean_D l(o, pCTR)

    p and p' come from two heads on the CVR tower's output z [B, Z], each behind its own dropout mask;
    u = KL(p || p'), p_T is the teacher's pseudo-label. Without uncertainty there is one head and u = 0. Served is
    (p + p') / 2, and as uncertainty the u to be expected over the masks.

    Source: UKD (arXiv 2201.08024) as read in public notes. Not known from there: lambda, alpha, weights, sizes, the
    part of D_unclick that is used. Ours: l(., p) is the mean over both heads in both sums (only the first is known to
    be taught), the weight carries no gradient, and u has weight 1. The public third-party code averages CVR with CTCVR
    by a slip and scales the CVR loss by the CTR's weight: not so here.
    """

    options: Options

    def __init__(self, options: Options, schema: ImpressionSchema) -> None:
        super().__init__(options, schema, cvr_heads=2 if options.uncertainty else 1)
        self.head_dropout = Dropout(options.head_dropout)

    def terms(self, batch: ImpressionBatch) -> dict[str, Term]:
        """The terms of L that the options leave in, and ESMM's with ``ctcvr``."""
        options = self.options
        shared = self.embeddings(batch.row_BF)
        ctr_B = self.towers["ctr"](shared)
        heads = self.heads(shared)
        clicks_B, others_B = batch.weight_B * batch.click_B, batch.weight_B * (1 - batch.click_B)
        terms = {
            "ctr": mean(cross_entropy(ctr_B, batch.click_B), batch.weight_B),
            "cvr": mean(_taught(heads, batch.conversion_B), clicks_B),
        }
        if options.alpha:
            terms |= self._distilled(batch, heads, others_B)
        if options.ctcvr:
            loss_B = product_cross_entropy(ctr_B, heads[0], batch.click_B * batch.conversion_B)
            terms["ctcvr"] = mean(loss_B, batch.weight_B, options.ctcvr / self.schema.click_rate)
        return terms

    def _distilled(self, batch: ImpressionBatch, heads: tuple[Tensor, ...], others_B: Tensor) -> dict[str, Term]:
        """The loss on unclicked rows [B]: cross-entropy with the teacher's label, discounted where the two heads
        disagree."""
        options = self.options
        others_B = others_B * ~batch.pseudo_B.isnan()
        loss_B = _taught(heads, batch.pseudo_B.nan_to_num(0.0))
        if not options.uncertainty:
            return {"pseudo": mean(loss_B, others_B, options.alpha)}
        unsure_B = disagreement(heads[0], heads[1])
        weight_B = torch.exp(-options.discount * unsure_B)
        weight_B = weight_B.detach() if options.detach_weight else weight_B
        return {
            "pseudo": mean(weight_B * loss_B, others_B, options.alpha),
            "unsure": mean(unsure_B, others_B, options.alpha),
            "trust": mean(weight_B.detach(), others_B, 0.0),
        }

    def heads(self, shared: Shared) -> tuple[Tensor, ...]:
        """Logits [B] of each head."""
        return self._logits(self._head_input(shared))

    def predict(self, batch: ImpressionBatch) -> Prediction:
        shared = self.embeddings(batch.row_BF)
        z_BZ = self._head_input(shared)
        heads = self._logits(z_BZ)
        cvr_B = torch.stack([torch.sigmoid(head_B) for head_B in heads]).mean(dim=0)
        unsure_B = self._expected_disagreement(z_BZ, heads) if self.options.uncertainty else None
        return Prediction(cvr_B, torch.sigmoid(self.towers["ctr"](shared)), unsure_B)

    def _head_input(self, shared: Shared) -> Tensor:
        return self._tower.head_input(self._tower.hidden(shared), shared)

    def _logits(self, z_BZ: Tensor) -> tuple[Tensor, ...]:
        if not self.options.uncertainty:
            return (self._tower.heads[0](z_BZ).squeeze(1).float(),)
        return tuple(head(self.head_dropout(z_BZ)).squeeze(1).float() for head in self._tower.heads)

    def _expected_disagreement(self, z_BZ: Tensor, heads: tuple[Tensor, ...]) -> Tensor:
        """E u over the masks, to second order: KL(p || p') + p (1 - p) (v + v') / 2, with v = q / (1 - q) sum_j w_j^2
        z_j^2 the variance of a head's logit under dropout of rate q. Without masks the heads are almost one: they are
        taught the same."""
        rate, square_BZ = self.options.head_dropout, z_BZ.square()
        weights = [cast(Tensor, head.weight)[0] for head in self._tower.heads]
        variance_B = torch.stack([square_BZ @ weight.square() for weight in weights]).sum(dim=0)
        p_B = torch.sigmoid(torch.stack(heads).mean(dim=0))
        spread_B = p_B * (1 - p_B) * variance_B * (rate / (1 - rate) / 2)
        return disagreement(*heads).clamp(min=0) + spread_B

    @property
    def _tower(self) -> Tower:
        return cast(Tower, self.towers["cvr"])


def _taught(heads: tuple[Tensor, ...], target_B: Tensor) -> Tensor:
    return torch.stack([cross_entropy(head_B, target_B) for head_B in heads]).mean(dim=0)
