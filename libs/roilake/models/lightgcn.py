"""LightGCN (He et al., SIGIR 2020), trained with BPR as published or with a sampled softmax (after Wu et al., TOIS
2024, "On the Effectiveness of Sampled Softmax Loss for Item Recommendation")."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from roilake.models.matrix import Factors, Fitted, MatrixModel, Progress, torch_csr
from roilake.models.sparse import Floats, normalised, singular_vectors
from roilake.models.tower import Options as BaseOptions


class Options(BaseOptions):
    """BPR draws an item uniformly for each positive, the softmax ``negatives`` items for each batch; ``penalty`` is
    BPR's, on the embeddings of layer 0. ``start``: the singular vectors of the normalised matrix, or random as
    published."""

    dim: int = Field(64, ge=1)
    layers: int = Field(3, ge=0)
    epochs: int = Field(20, ge=1)
    batch_size: int = Field(8192, ge=1)
    learning_rate: float = Field(0.002, gt=0)
    start: Literal["spectral", "random"] = "spectral"
    loss: Literal["bpr", "softmax"] = "bpr"
    negatives: int = Field(256, ge=1)
    penalty: float = Field(1e-4, ge=0)


class Model(MatrixModel):
    """With A~ [N, N] the symmetric-normalised adjacency of users and items (N = U + I) and embeddings X [N, D],

        E = (X + A~ X + ... + A~^L X) / (L + 1),   score(u, i) = <e_u, e_i>
        softmax:  -log(e^score(u, i) / (e^score(u, i) + sum over drawn j of e^score(u, j)))
        bpr:      -ln sigmoid(<e_u, e_i> - <e_u, e_j>) + penalty (|x_u|^2 + |x_i|^2 + |x_j|^2) / 2

    As A~ is symmetric, the gradient of X is the same propagation of E's: two of them a step, each L sparse products of
    2 nnz D multiplications, bound by memory. So batches are large. The softmax is of
    products, not of Wu's cosines.
    """

    def fit(self, seen_UI: sp.csr_matrix, seed: int, progress: Progress) -> Fitted:
        for epoch, fitted in enumerate(self.epochs(seen_UI, seed), start=1):
            progress(f"lightgcn: epoch {epoch} of {self.options.epochs}")
            last = fitted
        return last

    def epochs(self, seen_UI: sp.csr_matrix, seed: int) -> Iterator[Factors]:
        """The model after each epoch."""
        users = seen_UI.shape[0]
        adjacency_NN = _adjacency(seen_UI)
        random = np.random.Generator(np.random.Philox(seed))
        embedding_ND = torch.from_numpy(self._start(seen_UI, random, seed)).requires_grad_()
        optimizer = torch.optim.Adam([embedding_ND], lr=self.options.learning_rate)
        user_E = np.repeat(np.arange(users), np.diff(seen_UI.indptr))
        for _ in range(self.options.epochs):
            order_E = random.permutation(len(user_E))
            for start in range(0, len(order_E), self.options.batch_size):
                batch = order_E[start : start + self.options.batch_size]
                positive_B = users + seen_UI.indices[batch].astype(np.int64)
                embedding_ND.grad = self._gradient(
                    adjacency_NN, embedding_ND, user_E[batch], positive_B, users, random
                )
                optimizer.step()
            yield self._factors(self.propagate(adjacency_NN, embedding_ND.detach()), users)

    def _start(self, seen_UI: sp.csr_matrix, random: np.random.Generator, seed: int) -> Floats:
        """X [N, D] before training, with a mean square of 0.01."""
        dim = min(self.options.dim, min(seen_UI.shape) - 1)
        if self.options.start == "random" or dim < 1:
            start_ND = random.standard_normal((sum(seen_UI.shape), self.options.dim), np.float32)
        else:
            normed_UI = normalised(seen_UI)
            item_ID = singular_vectors(normed_UI, dim, seed)
            start_ND = np.concatenate([normed_UI @ item_ID, item_ID]).astype(np.float32)
        return np.asarray(0.1 * start_ND / np.sqrt(np.mean(start_ND**2)), np.float32)

    def propagate(self, adjacency_NN: Tensor, embedding_ND: Tensor) -> Tensor:
        """E [N, D], by Horner's rule."""
        total_ND = embedding_ND
        for _ in range(self.options.layers):
            total_ND = embedding_ND + adjacency_NN @ total_ND
        return total_ND / (self.options.layers + 1)

    def _gradient(
        self,
        adjacency_NN: Tensor,
        embedding_ND: Tensor,
        user_B: NDArray[np.int64],
        positive_B: NDArray[np.int64],
        users: int,
        random: np.random.Generator,
    ) -> Tensor:
        """Gradient [N, D] of a batch's mean loss."""
        layer_0_ND = embedding_ND.detach()
        final_ND = self.propagate(adjacency_NN, layer_0_ND).requires_grad_()
        drawn = len(user_B) if self.options.loss == "bpr" else self.options.negatives
        negative = torch.from_numpy(random.integers(users, len(final_ND), drawn))
        user, positive = torch.from_numpy(user_B), torch.from_numpy(positive_B)
        if self.options.loss == "softmax":
            loss = self._softmax(final_ND, user, positive, negative)
            return self.propagate(adjacency_NN, torch.autograd.grad(loss, final_ND)[0])
        loss = -F.logsigmoid(((final_ND[positive] - final_ND[negative]) * final_ND[user]).sum(1)).mean()
        gradient_ND = self.propagate(adjacency_NN, torch.autograd.grad(loss, final_ND)[0])
        for rows in (user, positive, negative):
            gradient_ND.index_add_(0, rows, layer_0_ND[rows], alpha=self.options.penalty / len(user))
        return gradient_ND

    def _softmax(self, final_ND: Tensor, user: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        user_BD = final_ND[user]
        positive_B1 = (user_BD * final_ND[positive]).sum(1, keepdim=True)
        negative_BS = user_BD @ final_ND[negative].T
        return (torch.logsumexp(torch.cat([positive_B1, negative_BS], 1), 1) - positive_B1[:, 0]).mean()

    def _factors(self, final_ND: Tensor, users: int) -> Factors:
        return Factors(final_ND[:users].numpy(), final_ND[users:].numpy())


def _adjacency(seen_UI: sp.csr_matrix) -> Tensor:
    """A~ [N, N] of torch, users before items."""
    normed_UI = normalised(seen_UI)
    return torch_csr(sp.bmat([[None, normed_UI], [normed_UI.T, None]], format="csr"))
