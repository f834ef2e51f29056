"""Sparse matrices that the baselines share: degrees, normalisation, products of which only each row's best are kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import LinearOperator, svds

Floats = NDArray[np.float32]
BLOCK = 1024
_WHOLE = 2048
"""Users or items up to which the whole spectrum takes no longer than a part of it."""


def degrees(seen_UI: sp.csr_matrix) -> tuple[Floats, Floats]:
    """Number of items of each user [U], number of users of each item [I]."""
    users_I = np.bincount(seen_UI.indices, minlength=seen_UI.shape[1])
    return np.diff(seen_UI.indptr).astype(np.float32), users_I.astype(np.float32)


def power(degree_N: Floats, exponent: float) -> Floats:
    """degree^exponent, and 0 where the degree is 0: a node without edges takes and gives nothing."""
    known = degree_N > 0
    return np.where(known, np.where(known, degree_N, 1.0) ** exponent, 0.0).astype(np.float32)


def scaled(rows_M: Floats, matrix_MN: sp.csr_matrix, columns_N: Floats) -> sp.csr_matrix:
    """diag(rows) matrix diag(columns), float32."""
    return (sp.diags(rows_M) @ matrix_MN @ sp.diags(columns_N)).tocsr().astype(np.float32)


def normalised(seen_UI: sp.csr_matrix) -> sp.csr_matrix:
    """R~ = D_U^-1/2 R D_I^-1/2."""
    user_U, item_I = degrees(seen_UI)
    return scaled(power(user_U, -0.5), seen_UI, power(item_I, -0.5))


def singular_vectors(seen_UI: sp.csr_matrix, dim: int, seed: int) -> NDArray[np.float64]:
    """Right singular vectors [I, dim] of R~ of the largest singular values; 0 for a value of 0. Of a small matrix from
    the whole spectrum. Of a large one, those of value 1 are known (``component_vectors``), and the others come by
    Lanczos from a seeded start. (The spectrum is flat: subspace iteration, the usual randomised method, is still 1e-3
    of NDCG off after eight products.)

    ARPACK starts anew from a number that it keeps between calls where it finds too few different values, which only
    small matrices have: a second fit in a process would differ."""
    wide = normalised(seen_UI).astype(np.float64)
    if min(wide.shape) > _WHOLE:
        first_IC = component_vectors(seen_UI, dim)
        left = dim - first_IC.shape[1]
        return np.hstack([_lanczos(wide, first_IC, left, seed), first_IC.toarray()]) if left else first_IC.toarray()
    of_users = wide.shape[0] < wide.shape[1]
    gram_NN = (wide @ wide.T if of_users else wide.T @ wide).toarray()
    value_D, vectors_ND = (found[..., -dim:] for found in np.linalg.eigh(gram_NN))
    known_D = value_D > 1e-12
    if of_users:
        vectors_ND = (wide.T @ vectors_ND) / np.sqrt(np.where(known_D, value_D, 1.0))
    return np.ascontiguousarray(vectors_ND * known_D)


def component_vectors(seen_UI: sp.csr_matrix, most: int) -> sp.csr_matrix:
    """The right singular vectors [I, C] of R~ of value 1, the largest that there is: one for each connected component
    of users and items, sqrt(D_I) on its items, of length 1. Sparse data has hundreds of components, and Lanczos does
    not end where so many values are equal; the ``most`` that have most pairs are taken."""
    users, items = seen_UI.shape
    both_NN = sp.bmat([[None, seen_UI], [seen_UI.T, None]], format="csr")
    component_I = connected_components(both_NN, directed=False)[1][users:]
    _, users_I = degrees(seen_UI)
    pairs = np.bincount(component_I, users_I)
    chosen = np.argsort(-pairs, kind="stable")[: min(most, np.count_nonzero(pairs))]
    column = np.full(len(pairs), -1)
    column[chosen] = np.arange(len(chosen))
    item_K = np.flatnonzero((column[component_I] >= 0) & (users_I > 0))
    column_K = column[component_I[item_K]]
    value_K = np.sqrt(users_I[item_K] / pairs[chosen][column_K])
    return sp.csr_matrix((value_K, (item_K, column_K)), shape=(items, len(chosen)))


def _lanczos(wide_UI: sp.csr_matrix, first_IC: sp.csr_matrix, dim: int, seed: int) -> NDArray[np.float64]:
    """The next ``dim`` right singular vectors [I, dim], those of ``first_IC`` taken out."""

    def without(vector_I: NDArray[np.float64]) -> NDArray[np.float64]:
        return vector_I - first_IC @ (first_IC.T @ vector_I)

    rest = LinearOperator(
        wide_UI.shape,
        matvec=lambda vector_I: wide_UI @ without(vector_I.ravel()),
        rmatvec=lambda vector_U: without(wide_UI.T @ vector_U.ravel()),
        dtype=np.float64,
    )
    start = np.random.Generator(np.random.Philox(seed)).standard_normal(min(wide_UI.shape))
    return np.ascontiguousarray(svds(rest, k=dim, v0=start)[2].T)


def best_of_rows(matrix_MN: sp.csr_matrix, keep: int) -> sp.csr_matrix:
    """Each row's ``keep`` largest entries, of equal ones those of lower columns; columns ascend in a row."""
    matrix_MN.sort_indices()
    taken: list[NDArray[Any]] = []
    for first, last in zip(matrix_MN.indptr[:-1], matrix_MN.indptr[1:], strict=True):
        if last - first <= keep:
            taken.append(np.arange(first, last))
            continue
        values = matrix_MN.data[first:last]
        bound = np.partition(values, last - first - keep)[last - first - keep]
        above, equal = np.flatnonzero(values > bound), np.flatnonzero(values == bound)
        taken.append(first + np.sort(np.r_[above, equal[: keep - len(above)]]))
    chosen = np.concatenate(taken)
    indptr = np.r_[0, np.cumsum([len(part) for part in taken])]
    return sp.csr_matrix((matrix_MN.data[chosen], matrix_MN.indices[chosen], indptr), shape=matrix_MN.shape)
