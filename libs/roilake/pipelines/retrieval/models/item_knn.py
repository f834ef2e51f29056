"""ItemKNN: items whose users are the same (Deshpande & Karypis, TOIS 2004, "Item-based top-N recommendation")."""

from __future__ import annotations

from typing import Literal

import numpy as np
import scipy.sparse as sp
from pydantic import Field

from roilake.pipelines.retrieval.models.matrix import Fitted, ItemMap, MatrixModel, MatrixOptions, Progress
from roilake.pipelines.retrieval.models.sparse import BLOCK, Floats, best_of_rows, degrees, power, scaled


class Options(MatrixOptions):
    """``k`` neighbours of an item are kept: ``keep`` says whether the items that a history's item speaks for, or the
    items that speak for a candidate (a rare candidate's neighbours then count too, though it is no one's own
    neighbour). ``shrink`` pulls the similarity of rare pairs to 0; ``similarity`` is cosine, jaccard, or symmetric: the
    cosine in which a user with d items counts 1 / d."""

    k: int = Field(500, ge=1)
    keep: Literal["history", "candidate"] = "history"
    similarity: Literal["cosine", "jaccard", "symmetric"] = "symmetric"
    shrink: float = Field(0.0, ge=0)


class Model(MatrixModel):
    """With C = R^T W R [I, I], W = 1 (symmetric: D_U^-1), and n the number of users of an item,

        s_ij = C_ij / (sqrt(n_i n_j) + shrink)               cosine, symmetric
        s_ij = C_ij / (n_i + n_j - C_ij + shrink)            jaccard
        score(h, j) = sum over items i of h, j one of the k most similar to i (keep: history) or i one of the k most
                      similar to j (keep: candidate), i not j, of s_ij

    s is symmetric, so one way is the other's transpose. With k of at least I - 1 all neighbours count, either way. Not
    `implicit`'s: that one knows no shrink and no jaccard."""

    def fit(self, seen_UI: sp.csr_matrix, seed: int, progress: Progress) -> Fitted:
        user_U, item_I = degrees(seen_UI)
        vote_U = power(user_U, -1.0) if self.options.similarity == "symmetric" else np.ones_like(user_U)
        back_IU, blocks = seen_UI.T.tocsr(), []
        forth_UI = scaled(vote_U, seen_UI, np.ones_like(item_I))
        for start in range(0, len(item_I), BLOCK):
            together_BI = (back_IU[start : start + BLOCK] @ forth_UI).tocsr()
            blocks.append(best_of_rows(self._similarity(together_BI, start, item_I), self.options.k))
        progress(f"item_knn: {sum(block.nnz for block in blocks):,} neighbours of {len(item_I):,} items")
        near_II = sp.vstack(blocks, format="csr")
        return ItemMap(near_II if self.options.keep == "history" else near_II.T.tocsr())

    def _similarity(self, together_BI: sp.csr_matrix, start: int, item_I: Floats) -> sp.csr_matrix:
        """s [B, I] of the items from ``start`` on, without the items themselves."""
        pairs = together_BI.tocoo()
        other = pairs.row + start != pairs.col
        row, column, count = pairs.row[other], pairs.col[other], pairs.data[other]
        one, two = item_I[row + start], item_I[column]
        below = one + two - count if self.options.similarity == "jaccard" else np.sqrt(one * two)
        value = (count / (below + self.options.shrink)).astype(np.float32)
        return sp.csr_matrix((value, (row, column)), shape=together_BI.shape)
