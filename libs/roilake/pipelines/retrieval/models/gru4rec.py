"""GRU4Rec: a gated recurrent unit over the newest items of a history (a baseline)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from roilake.pipelines.retrieval.models.batch import FeatureSchema
from roilake.pipelines.retrieval.models.sequence import SequenceOptions, SequenceTower
from roilake.pipelines.retrieval.roi.layout import RoiLayout


class Options(SequenceOptions):
    """GRU4Rec has no options of its own."""


class Model(SequenceTower):
    """h_l = GRU(h_{l-1}, item_l) from h_0 = 0, oldest item first; the state is the last one.

    Source: Hidasi, Karatzoglou, Baltrunas and Tikk, "Session-based recommendations with recurrent neural networks"
    (2016), one layer. Not as there: see ``SequenceTower``; its ranking losses gave way to the softmax in the authors'
    own later work."""

    def __init__(self, options: Options, schema: FeatureSchema, *layouts: RoiLayout) -> None:
        super().__init__(options, schema, *layouts)
        self.unit = nn.GRU(options.dim, options.dim, batch_first=True)

    def state(self, items_BLD: Tensor, known_BL: Tensor) -> Tensor:
        length_B1 = known_BL.sum(dim=1, keepdim=True)
        places_L = torch.arange(known_BL.shape[1], device=known_BL.device)
        # The padding goes behind the items, where it changes no state that is read.
        from_BL = (places_L - length_B1) % len(places_L)
        turned_BLD = items_BLD.gather(1, from_BL.unsqueeze(2).expand_as(items_BLD))
        states_BLD, _ = self.unit(turned_BLD)
        at_B11 = (length_B1 - 1).clamp(min=0).unsqueeze(2)
        return states_BLD.gather(1, at_B11.expand(-1, 1, items_BLD.shape[2])).squeeze(1)
