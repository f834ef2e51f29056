"""LightGCN (He et al., SIGIR 2020), trained with a sampled softmax of cosines (after Wu et al., TOIS 2024, "On the
Effectiveness of Sampled Softmax Loss for Item Recommendation") instead of the published BPR."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from roilake.pipelines.retrieval.models.matrix import Factors, Fitted, MatrixModel, MatrixOptions, Progress, torch_csr
from roilake.pipelines.retrieval.models.sparse import Floats, degrees, normalised, power


class Options(MatrixOptions):
    """An epoch is one step of Adam, of the gradient of all pairs; ``negatives`` items are drawn for it. ``score``: how
    vectors are compared in the end."""

    dim: int = Field(64, ge=1)
    layers: int = Field(3, ge=1)
    epochs: int = Field(150, ge=1)
    learning_rate: float = Field(0.05, gt=0)
    temperature: float = Field(0.1, gt=0)
    negatives: int = Field(1024, ge=1)
    score: Literal["cosine", "product"] = "cosine"


class Model(MatrixModel):
    """With A~ [N, N] the symmetric-normalised adjacency of users and items (N = U + I) and embeddings X [N, D],

        E = (X + A~ X + ... + A~^L X) / (L + 1),   score(u, i) = <e_u, e_i>, over |e_i| by ``score: cosine``
        loss = mean over pairs of -log(e^c(u, i) / (e^c(u, i) + sum over drawn j of e^c(u, j))),
        c(u, i) = cos(e_u, e_i) / temperature

    A request's user is folded in as a node without an embedding of its own whose edges lead to the history's items:

        score(h, i) = <sum over items j of h of n_j^-1/2 (X + A~ X + ... + A~^(L-1) X)_j / (L + 1), e_i>

    over |e_i| as above. The history's own degree^-1/2 and length change no order and are left out. (Training without
    the users' own X, as the fold-in sees them, was worse: NDCG@20 .056 against .068 on MovieLens by time.)

    It is trained on cosines. The lengths, which the loss does not see, hold popularity (Wu et al.): products are better
    where the pairs to find are drawn as those learnt from were, cosines where they are later ones.

    As A~ is symmetric, the gradient of X is the same propagation of E's: two of them a step, each L sparse products of
    2 nnz D multiplications. So a step is of all pairs (ours; published: 2048), and the items drawn are the same for all
    users, which makes the sum over j one of a user and not of a pair."""

    def fit(self, seen_UI: sp.csr_matrix, seed: int, progress: Progress) -> Fitted:
        for epoch, fitted in enumerate(self.epochs(seen_UI, seed), start=1):
            if epoch % 10 == 0 or epoch == self.options.epochs:
                progress(f"lightgcn: epoch {epoch} of {self.options.epochs}")
            last = fitted
        return last()

    def epochs(self, seen_UI: sp.csr_matrix, seed: int) -> Iterator[Callable[[], Factors]]:
        """After each epoch, what gives the model as it then is."""
        users, items = seen_UI.shape
        adjacency_NN, pairs = _adjacency(seen_UI), Pairs(seen_UI)
        random = torch.Generator().manual_seed(seed)
        embedding_ND = 0.1 * torch.randn(users + items, self.options.dim, generator=random)
        optimizer = torch.optim.Adam([embedding_ND], lr=self.options.learning_rate)
        for _ in range(self.options.epochs):
            drawn_S = torch.randint(items, (self.options.negatives,), generator=random)
            final_ND = self.propagate(adjacency_NN, embedding_ND).requires_grad_()
            slope_ND = torch.autograd.grad(self.loss(final_ND, pairs, drawn_S), final_ND)[0]
            embedding_ND.grad = self.propagate(adjacency_NN, slope_ND)
            optimizer.step()
            yield lambda: self.factors(adjacency_NN, embedding_ND, degrees(seen_UI)[1])

    def propagate(self, adjacency_NN: Tensor, embedding_ND: Tensor) -> Tensor:
        """E [N, D]."""
        return _sum_of_layers(adjacency_NN, embedding_ND, self.options.layers) / (self.options.layers + 1)

    def loss(self, final_ND: Tensor, pairs: Pairs, drawn_S: Tensor) -> Tensor:
        unit_ND = F.normalize(final_ND, dim=1)
        user_UD, item_ID = unit_ND.split([pairs.users, len(final_ND) - pairs.users])
        user_UD = user_UD / self.options.temperature
        positive_E = Products.apply(user_UD, item_ID, pairs)  # type: ignore[no-untyped-call]
        drawn_U = torch.logsumexp(user_UD @ item_ID[drawn_S].T, dim=1)
        return F.softplus(drawn_U[pairs.user_E] - positive_E).mean()

    def factors(self, adjacency_NN: Tensor, embedding_ND: Tensor, users_I: Floats) -> Factors:
        """What scores histories: the fold-in's vectors of items, and the items' own."""
        final_ND = self.propagate(adjacency_NN, embedding_ND)
        below_ND = _sum_of_layers(adjacency_NN, embedding_ND, self.options.layers - 1) / (self.options.layers + 1)
        had_ID, item_ID = (part_ND[-len(users_I) :] for part_ND in (below_ND, final_ND))
        if self.options.score == "cosine":
            item_ID = F.normalize(item_ID, dim=1)
        return Factors(power(users_I, -0.5)[:, None] * had_ID.numpy(), item_ID.numpy())


class Pairs:
    """The pairs of a 0/1 matrix [U, I] in the order of its rows, and a matrix or its transpose with other values."""

    def __init__(self, seen_UI: sp.csr_matrix) -> None:
        self.shape, self.users = seen_UI.shape, seen_UI.shape[0]
        self._place = torch.from_numpy(seen_UI.indptr), torch.from_numpy(seen_UI.indices)
        self.user_E = torch.from_numpy(np.repeat(np.arange(self.users), np.diff(seen_UI.indptr)))
        order = sp.csr_matrix((np.arange(seen_UI.nnz), seen_UI.indices, seen_UI.indptr), seen_UI.shape).T.tocsr()
        self._place_t = torch.from_numpy(order.indptr), torch.from_numpy(order.indices)
        self._order_t = torch.from_numpy(order.data)

    def matrix(self, value_E: Tensor) -> Tensor:
        return torch.sparse_csr_tensor(*self._place, value_E, size=self.shape)

    def transpose(self, value_E: Tensor) -> Tensor:
        return torch.sparse_csr_tensor(*self._place_t, value_E[self._order_t], size=self.shape[::-1])


class Products(torch.autograd.Function):
    """<u, i> of each pair [E]: a product of dense matrices of which only the pairs' entries are made."""

    @staticmethod
    def forward(ctx: Any, user_UD: Tensor, item_ID: Tensor, pairs: Pairs) -> Tensor:
        ctx.save_for_backward(user_UD, item_ID)
        ctx.pairs = pairs
        nothing = pairs.matrix(torch.zeros(len(pairs.user_E)))
        return torch.sparse.sampled_addmm(nothing, user_UD, item_ID.T.contiguous()).values()

    @staticmethod
    def backward(ctx: Any, slope_E: Tensor) -> tuple[Tensor, Tensor, None]:  # type: ignore[override]
        user_UD, item_ID = ctx.saved_tensors
        slope_E = slope_E.contiguous()
        return ctx.pairs.matrix(slope_E) @ item_ID, ctx.pairs.transpose(slope_E) @ user_UD, None


def _sum_of_layers(adjacency_NN: Tensor, embedding_ND: Tensor, layers: int) -> Tensor:
    """X + A~ X + ... + A~^layers X, by Horner's rule."""
    total_ND = embedding_ND
    for _ in range(layers):
        total_ND = embedding_ND + adjacency_NN @ total_ND
    return total_ND


def _adjacency(seen_UI: sp.csr_matrix) -> Tensor:
    """A~ [N, N] of torch, users before items."""
    normed_UI = normalised(seen_UI)
    return torch_csr(sp.bmat([[None, normed_UI], [normed_UI.T, None]], format="csr"))
