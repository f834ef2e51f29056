"""Interest vectors: what a node is about, as of an instant, from the graph of its past.

First night, per instant in time order: A = log1p of the weights of the interaction edges between users, queries and
items, an edge being there if either end lists the other among its strongest, S = D^-e A D^-e with D the row sums of A,
and a node's vector is its row of X L^1/2 for the d eigenpairs (X, L) of S with the largest L (not |L|: of the negative
ones, which a nearly bipartite graph has as many, the dot product would take the wrong sign), turned onto the vectors
of the instant before and scaled to unit length. The paper does not say what its interest vectors are at the start;
this choice is ours.

The eigenpairs come from subspace iteration with Chebyshev filters (Zhou, Saad, Tiago and Chelikowsky 2006): a filter is
a polynomial of S that damps [-L_1, L_k] and magnifies what lies above, so a few products of S with a tall matrix and
one Rayleigh-Ritz step replace hundreds of products with single vectors, each of which is a task per block of rows
(``retrieval.graph.blocks``). An instant starts from the subspace of the one before, which is nearly its own.

Later nights: the last published model's node vectors, carried over new events (``carry``; ours too).

Legend: N nodes, R rows of a block, K columns iterated on, D coordinates of a vector.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from roilake.pipelines.retrieval.graph.blocks import Blocks, Run

Array = NDArray[np.floating]

GUARD = 16
"""Columns iterated on beyond those wanted: the last wanted one converges by the gap to the last of these."""
FRESH = 4
"""Columns drawn anew for each instant."""
DEGREE = 8
TOLERANCE = 0.03
"""Where iteration ends: |S x - L x| / L of every wanted pair. Eigenvectors are then right to a few degrees, and the dot
product's AUC to .0005 (MovieLens, Last.fm)."""
ROUNDS = 12


@dataclass(frozen=True)
class Ritz:
    """Approximate eigenpairs within the span of ``basis`` [N, K]: pair j is values[j], basis @ turn[:, j]."""

    values: Array
    turn: Array
    residual: float


def normalise(blocks: Blocks, run: Run, exponent: float) -> None:
    """From the weights of ``blocks`` make the entries of S (file ``values``)."""
    run(partial(_degree, blocks), blocks.numbers)
    run(partial(_normalise, blocks, exponent), blocks.numbers)


def _degree(blocks: Blocks, block: int) -> None:
    weights, offsets = np.log1p(blocks.load("weights", block)), blocks.load("offsets", block)
    sums = np.add.reduceat(np.append(weights, np.float32(0)).astype(np.float64), offsets[:-1])
    blocks.save("degree", block, np.where(np.diff(offsets) > 0, sums, 0.0))


def _normalise(blocks: Blocks, exponent: float, block: int) -> None:
    offsets, places = blocks.load("offsets", block), blocks.load("places", block)
    own = np.repeat(scale_of(blocks.load("degree", block), exponent), np.diff(offsets))
    others = scale_of(blocks.gather("degree", blocks.load("columns", block)), exponent)[places]
    blocks.save("values", block, (np.log1p(blocks.load("weights", block)) * own * others).astype(np.float32))


def scale_of(degree: Array, exponent: float) -> Array:
    """degree^-exponent [N]; 0 for a node without an edge."""
    return np.where(degree > 0, np.maximum(degree, 1e-30) ** -exponent, 0.0)


def fit(
    blocks: Blocks, run: Run, dim: int, seed: int, before: str | None, name: str, tolerance: float = TOLERANCE
) -> None:
    """Write the vectors [N, dim] of the graph in ``blocks`` as dense matrix ``name`` (not yet of unit length).

    They start from the ``subspace`` that an earlier fit has left in ``blocks``, if any, and are turned onto the
    vectors ``before``, if any.
    Deterministic: a keyed start, fixed blocks, sums over blocks in order, one BLAS thread. Where there are fewer than
    ``dim`` positive eigenvalues the last coordinates are zero.
    """
    numbers = blocks.numbers
    known = all(blocks.path("subspace", block).exists() for block in numbers)
    run(partial(_draw, blocks, seed, FRESH if known else min(dim + GUARD, blocks.num_nodes)), numbers)
    run(partial(_multiply, blocks, "drawn", "once"), numbers)
    run(partial(_start, blocks, known), numbers)
    ritz = _rayleigh_ritz(blocks, run, dim)
    for _ in range(ROUNDS):
        if ritz.residual <= tolerance:
            break
        _filter(blocks, run, ritz)
        ritz = _rayleigh_ritz(blocks, run, dim)
    length = np.sqrt(np.maximum(ritz.values[:dim], 0.0))
    scaled = np.zeros((len(ritz.turn), dim))
    scaled[:, : len(length)] = ritz.turn[:, :dim] * length
    found = run(partial(_vectors, blocks, scaled, before), numbers)
    sums, products = np.sum(found, axis=0)
    turn = np.diag(np.where(sums[0] < 0, -1.0, 1.0)) if before is None else rotation(products)
    run(partial(_turned, blocks, turn, name), numbers)


def _draw(blocks: Blocks, seed: int, width: int, block: int) -> None:
    draw = np.random.Generator(np.random.Philox(key=seed, counter=block << 128))
    blocks.save("drawn", block, draw.standard_normal((blocks.rows(block), width), dtype=np.float32))


def _multiply(blocks: Blocks, source: str, target: str, block: int) -> None:
    blocks.save(target, block, blocks.product("values", source, block))


def _start(blocks: Blocks, known: bool, block: int) -> None:
    """S^2 times random columns; in a known subspace they take the place of the last ones, for nothing else would reach
    nodes that no known one is linked to."""
    fresh = blocks.product("values", "once", block)
    if known:
        kept = blocks.load("subspace", block)
        fresh = np.concatenate([kept[:, : max(kept.shape[1] - FRESH, 0)], fresh], axis=1)
    blocks.save("basis", block, fresh)


def _rayleigh_ritz(blocks: Blocks, run: Run, dim: int) -> Ritz:
    """Y = basis, W = S Y: of G = Y'Y, H = Y'W and K = W'W, summed over blocks, the pairs within the span of Y."""
    gram, mixed, image = np.sum(run(partial(_grams, blocks), blocks.numbers), axis=0)
    norms = np.sqrt(np.diag(gram))
    scale = np.where(norms > 0, 1.0 / np.maximum(norms, 1e-30), 0.0)
    with threadpool_limits(1):
        sizes, vectors = np.linalg.eigh(gram * np.outer(scale, scale))
        kept = sizes > 1e-9 * max(sizes[-1], 1e-30)
        white = scale[:, None] * vectors[:, kept] / np.sqrt(sizes[kept])
        values, within = np.linalg.eigh(white.T @ (mixed + mixed.T) @ white / 2)
        values, turn = values[::-1], white @ within[:, ::-1]
        squares = np.einsum("kj,kl,lj->j", turn, image, turn) - values**2
    wanted = values[:dim] > 1e-6 * max(values.max(initial=0.0), 1e-30)
    errors = np.sqrt(np.maximum(squares[:dim][wanted], 0.0)) / values[:dim][wanted]
    return Ritz(values, turn, float(errors.max(initial=0.0)))


def _grams(blocks: Blocks, block: int) -> Array:
    image = blocks.product("values", "basis", block)
    blocks.save("image", block, image)
    with threadpool_limits(1):
        y, w = blocks.load("basis", block).astype(np.float64), image.astype(np.float64)
        return np.stack([y.T @ y, y.T @ w, w.T @ w])


def _filter(blocks: Blocks, run: Run, ritz: Ritz) -> None:
    """basis <- p(S) basis, p the Chebyshev polynomial of ``DEGREE`` over [-1.05 L_1, max(L_k, 0)], scaled so that it
    stays near 1 at L_1."""
    top, low, high = ritz.values[0], -1.05 * ritz.values[0], max(ritz.values[-1], 0.0)
    half, middle = (high - low) / 2, (high + low) / 2
    first = ratio = half / (top - middle)
    run(partial(_first_step, blocks, ritz.turn, ratio / half, middle), blocks.numbers)
    previous, current, spare = "filter0", "filter1", "filter2"
    for step in range(2, DEGREE + 1):
        following = 1.0 / (2.0 / first - ratio)
        factors = 2 * following / half, middle, ratio * following
        target = "basis" if step == DEGREE else spare
        run(partial(_step, blocks, *factors, previous, current, target), blocks.numbers)
        previous, current, spare, ratio = current, target, previous, following


def _first_step(blocks: Blocks, turn: Array, factor: float, middle: float, block: int) -> None:
    with threadpool_limits(1):
        small = turn.astype(np.float32)
        basis, image = blocks.load("basis", block) @ small, blocks.load("image", block) @ small
    blocks.save("filter0", block, basis)
    blocks.save("filter1", block, (image - np.float32(middle) * basis) * np.float32(factor))


def _step(
    blocks: Blocks, factor: float, middle: float, back: float, previous: str, current: str, target: str, block: int
) -> None:
    """target = factor (S - middle) current - back previous."""
    found = blocks.product("values", current, block)
    found -= np.float32(middle) * blocks.load(current, block)
    found *= np.float32(factor)
    found -= np.float32(back) * blocks.load(previous, block)
    blocks.save(target, block, found)


def _vectors(blocks: Blocks, turn: Array, before: str | None, block: int) -> Array:
    """Sums of the new vectors' coordinates (each row of [D, D]), and their products with the vectors before."""
    with threadpool_limits(1):
        vectors = blocks.load("basis", block).astype(np.float64) @ turn
        blocks.save("vectors", block, vectors)
        sums = np.broadcast_to(vectors.sum(axis=0), (turn.shape[1],) * 2)
        return np.stack([sums, vectors.T @ blocks.load(before, block) if before else np.zeros_like(sums)])


def _turned(blocks: Blocks, turn: Array, name: str, block: int) -> None:
    blocks.save("subspace", block, blocks.load("basis", block))
    with threadpool_limits(1):
        blocks.save(name, block, (blocks.load("vectors", block) @ turn).astype(np.float32))


def rotation(products_DD: Array) -> Array:
    """The orthogonal matrix R that makes |V R - W| least, from V'W (Schoenemann 1966)."""
    with threadpool_limits(1):
        left, _, right = np.linalg.svd(products_DD)
    return left @ right


def carry(blocks: Blocks, run: Run, known: str, name: str) -> None:
    """Write v_n = h_n + sum_j w_nj h_j / sum_j w_nj as dense matrix ``name``, j over the neighbours of n that have a
    vector h_j in ``known`` (rows of zeros have none). So a new node gets a vector from its neighbours, and a known one
    moves with fresh events. Ours. The last column of ``known`` is 1 for the nodes that have a vector."""
    run(partial(_carry, blocks, known, name), blocks.numbers)


def _carry(blocks: Blocks, known: str, name: str, block: int) -> None:
    sums = blocks.product("weights", known, block)
    mean = sums[:, :-1] / np.where(sums[:, -1:] > 0, sums[:, -1:], 1.0)
    blocks.save(name, block, blocks.load(known, block)[:, :-1] + mean)


def unit_rows(vectors_ND: Array) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Rows scaled to unit length, and their lengths before; rows of zeros stay."""
    norms = np.linalg.norm(vectors_ND, axis=1)
    units = vectors_ND / np.where(norms > 0, norms, 1.0)[:, None]
    return units.astype(np.float32), norms.astype(np.float32)
