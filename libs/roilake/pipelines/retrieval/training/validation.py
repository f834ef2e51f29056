"""Which epoch to keep: how well a model ranks the validation windows' positives among all items."""

from __future__ import annotations

from datetime import date

import numpy as np
import torch
from torch import Tensor

from roilake.pipelines.retrieval.models import TwinTower
from roilake.pipelines.retrieval.models.batch import RequestBatch, split
from roilake.pipelines.retrieval.seen import Seen
from roilake.pipelines.retrieval.training.inputs import Inputs
from roilake.training.context import to_device

ITEM_CHUNK = 8192
SCORE_CELLS = 1 << 23
HITS_AT = 50


@torch.no_grad()
def validate(model: TwinTower, inputs: Inputs) -> dict[str, float]:
    """AUC of each positive against all items that are not positives of its request (ties a half), and HitRate@50 in the
    same ranking, both averaged over the positives of all ranks. Where the night drops seen items, those that the user
    had before the request are neither positives nor others. Empty when there is nothing to validate on.

    This only selects; the night's metrics are those of ``roilake.metrics``."""
    model.eval()
    sums = torch.zeros(3)
    vectors: dict[date, Tensor] = {}
    for as_of, batch in inputs.validation.batches(0):
        if as_of not in vectors:
            vectors = {as_of: embed_all_items(model, inputs, as_of)}
        rows = max(1, SCORE_CELLS // max(len(vectors[as_of]), 1))  # a part's scores fit in a few MB
        for part in split(batch, rows):
            sums += _ranking(model, inputs, as_of, part, vectors[as_of])
    inputs.context.allreduce(sums)
    model.train()
    auc, hits, count = sums.tolist()
    return {"auc": auc / count, f"hit_rate@{HITS_AT}": hits / count} if count else {}


@torch.no_grad()
def embed_all_items(model: TwinTower, inputs: Inputs, as_of: date) -> Tensor:
    """[I, d] vectors of all items as of a window, in the order of ``inputs.items``."""
    chunks, features = split(inputs.items(as_of), ITEM_CHUNK), inputs.store.features(as_of)
    return torch.cat([model.embed_items(to_device(chunk, inputs.context.device), features) for chunk in chunks])


def _ranking(model: TwinTower, inputs: Inputs, as_of: date, batch: RequestBatch, items_ID: Tensor) -> Tensor:
    """Sums of AUC and of hits, and their number, over the positives of a batch."""
    positive_BP = inputs.rows_of(as_of, batch.positives_BP).to(items_ID.device)
    moved = to_device(batch, inputs.context.device)
    score_BI = model.embed_requests(moved, inputs.store.features(as_of)) @ items_ID.T
    seen = inputs.had.before(batch.user_B.numpy(), batch.time_B.numpy())
    mask_BP = (positive_BP >= 0) & ~_held(seen, batch.positives_BP).to(items_ID.device)
    score_BP = score_BI.gather(1, positive_BP.clamp(min=0))
    spare_BI = torch.cat([score_BI, score_BI[:, :1]], dim=1)
    spare_BI.scatter_(1, positive_BP.where(positive_BP >= 0, score_BI.shape[1]), torch.nan)
    spare_BI[_hidden(seen, inputs, as_of)] = torch.nan  # NaN is neither above nor equal
    negative_BI = spare_BI[:, :-1]
    above_BP = torch.stack([(negative_BI > score_B1).sum(1) for score_B1 in score_BP.split(1, dim=1)], dim=1)
    equal_BP = torch.stack([(negative_BI == score_B1).sum(1) for score_B1 in score_BP.split(1, dim=1)], dim=1)
    rank_BP = above_BP + 0.5 * equal_BP
    count_B1 = (~negative_BI.isnan()).sum(1, keepdim=True).clamp(min=1)
    auc_BP, hit_BP = 1.0 - rank_BP / count_B1, (rank_BP < HITS_AT).float()
    return torch.stack([(auc_BP * mask_BP).sum(), (hit_BP * mask_BP).sum(), mask_BP.sum().float()]).cpu()


def _held(seen: Seen, positives_BP: Tensor) -> Tensor:
    """Which positives are seen ones [B, P]."""
    row_P = np.arange(len(positives_BP)).repeat(positives_BP.shape[1])
    return torch.from_numpy(seen.holds(row_P, positives_BP.flatten().numpy())).view(positives_BP.shape)


def _hidden(seen: Seen, inputs: Inputs, as_of: date) -> tuple[Tensor, Tensor]:
    """Rows and columns of the seen items in a batch's scores."""
    first_B1, item_E = seen.hidden(slice(0, len(seen.user_R)))
    row_E = np.arange(len(seen.user_R)).repeat(np.diff(first_B1))
    return torch.from_numpy(row_E), inputs.rows_of(as_of, torch.from_numpy(item_E.astype(np.int64)))
