"""95 % intervals that repeat exactly: DeLong for AUC (by clusters), Poisson bootstrap by keyed hash for all that
is made of sums.

A cluster is what is drawn independently, here a user: their requests hang together, so rows are not independent. What a
metric is computed from is either ``Summed`` or ``Linear``; both hold one row per user (legend: U users, C columns, D
draws), so that differences of two models on the same users are paired."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from roilake.hashing import uniform
from roilake.metrics.classification import Floats

Z95 = 1.959963984540054
BLOCK = 1 << 16
Kind = Literal["area", "share", "difference"]
"""Areas and shares lie in [0, 1], differences of two in [-1, 1]."""


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval and the number n of rows it rests on. NaN marks what is undefined: the
    value when there is nothing to measure, the bounds when there are fewer than two clusters."""

    value: float
    low: float
    high: float
    n: int

    @property
    def columns(self) -> dict[str, float | int | None]:
        """value, low, high and n as tables hold them: null for what is undefined."""
        return {name: None if np.isnan(each) else each for name, each in asdict(self).items()}


NAN = float("nan")


@dataclass(frozen=True)
class Draws:
    """Poisson bootstrap (Hanley and MacGibbon 2006): each user enters a draw Poisson(1) times, by a hash of
    (seed, user, draw). So intervals repeat, and two models see the same draws. ``users`` are integers."""

    users: NDArray[np.int64]
    draws: int
    seed: int

    def totals(self, sums_UC: Floats) -> Floats:
        """The users' sums added up in each draw [D, C]."""
        if len(self.users) <= BLOCK:
            return self._weights_DU @ sums_UC
        total = np.zeros((self.draws, sums_UC.shape[1]))
        for start in range(0, len(self.users), BLOCK):  # bounds memory to draws x BLOCK weights
            part = slice(start, start + BLOCK)
            total += poisson_weights(self.users[part], self.draws, self.seed) @ sums_UC[part]
        return total

    @cached_property
    def _weights_DU(self) -> Floats:
        return poisson_weights(self.users, self.draws, self.seed)


@dataclass(frozen=True)
class Summed:
    """A metric that is a function of sums over users: ``value`` gives it from sums [..., C]; or that minus the same of
    ``less``. Its interval has the 2.5 % and 97.5 % quantiles of the draws in which it is defined."""

    sums_UC: Floats
    value: Callable[[Floats], Any]
    n: int
    less: Summed | None = None

    def estimate(self, draws: Draws) -> Estimate:
        """The metric with its interval."""
        value = float(self._of(lambda sums_UC: sums_UC.sum(0)))
        if np.isnan(value) or draws.draws < 2 or self.holders < 2:
            return Estimate(value, NAN, NAN, self.n)
        return Estimate(value, *quantiles(self._of(draws.totals)), self.n)

    @property
    def holders(self) -> int:
        """Users that add anything, to the one and to the other."""
        own = int(np.count_nonzero(self.sums_UC.any(1)))
        return own if self.less is None else min(own, self.less.holders)

    def _of(self, totals: Callable[[Floats], Floats]) -> Any:
        """The metric of what ``totals`` makes of the users' sums."""
        value = self.value(totals(self.sums_UC))
        return value if self.less is None else value - self.less._of(totals)

    def minus(self, other: Summed) -> Summed:
        """The difference to another model on the same users."""
        return replace(self, less=other, n=min(self.n, other.n))


def quantiles(values_D: Floats) -> tuple[float, float]:
    """The interval's bounds from the draws; NaN when no draw is defined."""
    found = values_D[~np.isnan(values_D)]
    low, high = np.quantile(found, (0.025, 0.975)) if len(found) else (NAN, NAN)
    return float(low), float(high)


@dataclass(frozen=True)
class Linear:
    """A metric with what each user's positive and negative rows add to its error, to first order. ``holders`` are the
    numbers of users with positives, with negatives, and of all; ``kind`` says what there can be."""

    value: float
    positive_U: Floats
    negative_U: Floats
    holders: tuple[int, int, int]
    n: int
    kind: Kind = "area"

    def estimate(self, draws: Draws) -> Estimate:
        """The metric with its interval, for which nothing is drawn."""
        p, q = self.positive_U, self.negative_U
        products = float(p @ p), float(q @ q), float(p @ q)
        return normal_estimate(self.value, products, self.holders, self.n, self.kind)

    def minus(self, other: Linear) -> Linear:
        """The difference to another model on the same rows."""
        parts = self.positive_U - other.positive_U, self.negative_U - other.negative_U
        return Linear(self.value - other.value, *parts, self.holders, min(self.n, other.n), "difference")


Observed = Summed | Linear


def normal_estimate(
    value: float, products: Sequence[float], holders: tuple[int, int, int], n: int, kind: Kind
) -> Estimate:
    """A ``Linear`` metric with its normal interval, from ``products``: sum p^2, sum q^2 and sum p q over users, with p
    and q their parts of positives and negatives. The variance is that of Obuchowski (1997, Biometrics 53:567): h+/(h+ -
    1) sum p^2 + h-/(h- - 1) sum q^2 + 2 h/(h - 1) sum p q. No bounds with fewer than two holders of either class."""
    if np.isnan(value) or min(holders) < 2:
        return Estimate(value, NAN, NAN, n)
    pp, qq, pq = (h / (h - 1) * product for h, product in zip(holders, products, strict=True))
    variance, rounding = pp + qq + 2 * pq, 1e-12 * (pp + qq + 2 * abs(pq))
    half = Z95 * float(np.sqrt(variance)) if variance > rounding else 0.0
    return Estimate(value, *_bounds(value, half, kind), n)


def _bounds(value: float, half: float, kind: Kind) -> tuple[float, float]:
    """The interval about an area on the logit scale, ln(v / (1 - v)) +- half / (v (1 - v)): it lies in (0, 1), and of
    few rows it covers the truth more often than value +- half, which may leave [0, 1] (Qin and Hotilovac 2008,
    Statistical Methods in Medical Research 17:207). Of all else, and of areas of 0 and 1, it is value +- half as far as
    there are such values: what is cut off holds no truth. (A share's error does not vanish towards 1 as an area's does,
    so that on the logit scale its interval would be nearly all of [0, 1].)"""
    if kind == "area" and 0 < value < 1:
        centre, reach = np.log(value / (1 - value)), half / (value * (1 - value))
        low, high = np.exp(-np.logaddexp(0.0, [reach - centre, -reach - centre]))
        return float(low), float(high)
    return max(value - half, -1.0 if kind == "difference" else 0.0), min(value + half, 1.0)


def poisson_weights(clusters: NDArray[np.int64], draws: int, seed: int) -> Floats:
    """Poisson(1) counts [draws, clusters], each a function of (seed, cluster, draw) alone."""
    chance = uniform(seed, clusters[None, :], np.arange(draws)[:, None])
    terms = 1 / np.cumprod(np.r_[1.0, np.arange(1.0, 18.0)])
    return np.searchsorted(np.exp(-1) * np.cumsum(terms), chance, "right").astype(np.float64)
