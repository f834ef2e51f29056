"""A log of impressions, clicks and conversions whose probabilities are known, made from real ratings.

Rules. A factor model r_ui ~ m + b_u + b_i + p_u.q_i is fitted to the ratings, and every pair gets a score

    z_ui = .75 s(b_u + b_i) + .66 s(p_u . q_i),  s(x) = (x - mean) / std over all pairs, z standardised again
    P(conversion | click) = sigmoid(1.5 z + hidden_cause H_ui + c),        mean over all pairs = conversion_rate
    P(click)              = sigmoid(click_affinity z + click_popularity s(log n_i) + click_noise e
                                    + hidden_cause H_ui + d),              mean over the impressions = click_rate

with H_ui (one per pair, in no feature) and e (one per impression) standard normal. Impressions: a user in proportion to
n_u^``SHOWN_POPULARITY``, and of ``CANDIDATES`` items drawn likewise by n_i the one of the largest ``SHOWN_AFFINITY`` z
+ Gumbel noise, with n the number of ratings. So impressions and clicks are biased in ways that conversions depend on,
and what the log hides is known. k = 6, the slope and the weights of z's parts are those of our trial.

Every draw is a keyed hash of (seed, what for, number of the impression): the same rows however they are cut."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, ndtri

from roilake.errors import SourceError
from roilake.hashing import uniform
from roilake.pipelines.conversion.config import TruthConfig

Floats = NDArray[np.float64]
Longs = NDArray[np.int64]

FACTORS, SWEEPS, PENALTY, DAMPING = 6, 12, 10.0, 10.0
BIAS_WEIGHT, INTERACTION_WEIGHT, SLOPE = 0.75, 0.66, 1.5
CANDIDATES, SHOWN_AFFINITY, SHOWN_POPULARITY = 2, 0.25, 0.25
SAMPLE = 1 << 18  # pairs, and impressions, that means are taken over
IMPRESSION, PAIR, USER, ITEM, PICK, NOISE, HIDDEN, CLICK, CONVERSION, TIME, DELAY = range(11)


@dataclass(frozen=True)
class Factors:
    """r_ui ~ mean + user_U[u] + item_I[i] + user_UK[u] . item_IK[i], and the number of ratings of each."""

    user_U: Floats
    item_I: Floats
    user_UK: Floats
    item_IK: Floats
    ratings_U: Longs
    ratings_I: Longs


def fit_factors(user_N: Longs, item_N: Longs, rating_N: Floats, seed: int) -> Factors:
    """Damped biases, then ``SWEEPS`` of alternating ridge least squares on what they leave."""
    users, items = int(user_N.max()) + 1, int(item_N.max()) + 1
    rest_N, user_U, item_I = rating_N - rating_N.mean(), np.zeros(users), np.zeros(items)
    for _ in range(SWEEPS):
        item_I = _damped_mean(rest_N - user_U[user_N], item_N, items)
        user_U = _damped_mean(rest_N - item_I[item_N], user_N, users)
    rest_N = rest_N - user_U[user_N] - item_I[item_N]
    draws = uniform(seed, np.arange(items)[:, None], np.arange(FACTORS))
    item_IK = ndtri(np.clip(draws, 1e-9, 1 - 1e-9)) / FACTORS
    for _ in range(SWEEPS):
        user_UK = _ridge(item_IK, item_N, user_N, rest_N, users)
        item_IK = _ridge(user_UK, user_N, item_N, rest_N, items)
    counts = np.bincount(user_N, minlength=users), np.bincount(item_N, minlength=items)
    return Factors(user_U, item_I, user_UK, item_IK, *counts)


def _damped_mean(values_N: Floats, group_N: Longs, groups: int) -> Floats:
    sums = np.bincount(group_N, values_N, groups)
    return sums / (np.bincount(group_N, minlength=groups) + DAMPING)


def _ridge(known_MK: Floats, known_N: Longs, group_N: Longs, target_N: Floats, groups: int) -> Floats:
    """For each group g: argmin_x sum_n (t_n - x . k_n)^2 + PENALTY |x|^2."""
    found_GK = np.zeros((groups, FACTORS))
    order = np.argsort(group_N, kind="stable")
    bounds = np.searchsorted(group_N[order], np.arange(groups + 1))
    for group in range(groups):
        rows = order[bounds[group] : bounds[group + 1]]
        k_RK = known_MK[known_N[rows]]
        found_GK[group] = np.linalg.solve(k_RK.T @ k_RK + PENALTY * np.eye(FACTORS), k_RK.T @ target_N[rows])
    return found_GK


@dataclass(frozen=True)
class Impressions:
    """Impressions by number. ``conversion_N`` is 0 without a click; ``delay_N`` (seconds) NaN without a conversion."""

    user_N: Longs
    item_N: Longs
    seconds_N: Floats  # since the start
    click_N: Longs
    conversion_N: Longs
    delay_N: Floats
    click_probability_N: Floats
    conversion_probability_N: Floats


@dataclass(frozen=True)
class World:
    """What the log is drawn from. ``config`` sets the knobs, ``seed`` the draws; the factors stay the same."""

    factors: Factors
    config: TruthConfig
    seed: int

    def pairs(self, number_N: ArrayLike) -> tuple[Longs, Longs]:
        """Users and items of uniformly random pairs, by number."""
        number_N = np.asarray(number_N)
        users, items = len(self.factors.user_U), len(self.factors.item_I)
        user_N = (uniform(self.seed, PAIR, USER, number_N) * users).astype(np.int64)
        return user_N, (uniform(self.seed, PAIR, ITEM, number_N) * items).astype(np.int64)

    def affinity(self, user_N: Longs, item_N: Longs) -> Floats:
        """z of pairs."""
        (bias, bias_std), (product, product_std), (mean, std) = self._means_and_stds
        bias_N, product_N = self._parts(user_N, item_N)
        z_N = BIAS_WEIGHT * (bias_N - bias) / bias_std + INTERACTION_WEIGHT * (product_N - product) / product_std
        return (z_N - mean) / std

    def conversion_probability(self, user_N: Longs, item_N: Longs) -> Floats:
        """P(conversion | click) of pairs."""
        return expit(self._conversion_logit(user_N, item_N) + self._conversion_offset)

    def pair_click_probability(self, user_N: Longs, item_N: Longs) -> Floats:
        """P(click) of pairs, if they were shown, without the noise of an impression."""
        return expit(self._pair_logit(user_N, item_N) + self._click_offset)

    def impressions(self, number_N: ArrayLike) -> Impressions:
        """The impressions of these numbers, from 0."""
        number_N = np.asarray(number_N, np.int64)
        user_N, item_N = self._shown(number_N)
        logit_N = self._click_logit(number_N, user_N, item_N) + self._click_offset
        click_probability_N = expit(logit_N)
        conversion_probability_N = self.conversion_probability(user_N, item_N)
        click_N = self._uniform(CLICK, number_N) < click_probability_N
        conversion_N = click_N & (self._uniform(CONVERSION, number_N) < conversion_probability_N)
        delay_N = -np.log1p(-self._uniform(DELAY, number_N)) * self.config.mean_delay_hours * 3600
        return Impressions(
            user_N,
            item_N,
            self._uniform(TIME, number_N) * self.config.days * 86400,
            click_N.astype(np.int64),
            conversion_N.astype(np.int64),
            np.where(conversion_N, delay_N, np.nan),
            click_probability_N,
            conversion_probability_N,
        )

    def _uniform(self, purpose: int, number_N: Longs) -> Floats:
        return uniform(self.seed, IMPRESSION, purpose, number_N)

    def _shown(self, number_N: Longs) -> tuple[Longs, Longs]:
        """User and item of impressions."""
        user_N = _drawn(self.factors.ratings_U**SHOWN_POPULARITY, self._uniform(USER, number_N))
        candidate = np.arange(CANDIDATES)
        item_NC = _drawn(
            self.factors.ratings_I**SHOWN_POPULARITY, uniform(self.seed, IMPRESSION, ITEM, number_N[:, None], candidate)
        )
        noise_NC = uniform(self.seed, IMPRESSION, PICK, number_N[:, None], candidate)
        gumbel_NC = -np.log(-np.log(np.clip(noise_NC, 1e-12, 1 - 1e-12)))
        user_NC = np.repeat(user_N, CANDIDATES)
        z_NC = self.affinity(user_NC, item_NC.ravel()).reshape(item_NC.shape)
        best_N = (SHOWN_AFFINITY * z_NC + gumbel_NC).argmax(axis=1)
        return user_N, item_NC[np.arange(len(number_N)), best_N]

    def _click_logit(self, number_N: Longs, user_N: Longs, item_N: Longs) -> Floats:
        noise_N: Floats = self.config.click_noise * _normal(self._uniform(NOISE, number_N))
        return self._pair_logit(user_N, item_N) + noise_N

    def _pair_logit(self, user_N: Longs, item_N: Longs) -> Floats:
        config, (mean, std) = self.config, self._popularity
        logit_N = config.click_affinity * self.affinity(user_N, item_N)
        logit_N += config.click_popularity * (np.log1p(self.factors.ratings_I[item_N]) - mean) / std
        return logit_N + config.hidden_cause * self._hidden(user_N, item_N)

    def _conversion_logit(self, user_N: Longs, item_N: Longs) -> Floats:
        hidden_N = self.config.hidden_cause * self._hidden(user_N, item_N)
        return SLOPE * self.affinity(user_N, item_N) + hidden_N

    def _hidden(self, user_N: Longs, item_N: Longs) -> Floats:
        return _normal(uniform(self.seed, HIDDEN, user_N, item_N))

    def _parts(self, user_N: Longs, item_N: Longs) -> tuple[Floats, Floats]:
        f = self.factors
        return f.user_U[user_N] + f.item_I[item_N], np.einsum("nk,nk->n", f.user_UK[user_N], f.item_IK[item_N])

    @cached_property
    def _means_and_stds(self) -> tuple[tuple[float, float], ...]:
        """Mean and standard deviation over pairs of the bias part, of the interaction and of z before it is scaled."""
        parts = self._parts(*self.pairs(np.arange(SAMPLE)))
        scales = [(float(part.mean()), float(part.std())) for part in parts]
        weighted = zip((BIAS_WEIGHT, INTERACTION_WEIGHT), parts, scales, strict=True)
        z_N = np.sum([weight * (part - mean) / std for weight, part, (mean, std) in weighted], axis=0)
        return (*scales, (float(z_N.mean()), float(z_N.std())))

    @cached_property
    def _popularity(self) -> tuple[float, float]:
        _, item_N = self._shown(np.arange(SAMPLE))
        log_N = np.log1p(self.factors.ratings_I[item_N])
        return float(log_N.mean()), float(log_N.std())

    @cached_property
    def _conversion_offset(self) -> float:
        return offset(self._conversion_logit(*self.pairs(np.arange(SAMPLE))), self.config.conversion_rate)

    @cached_property
    def _click_offset(self) -> float:
        number_N = np.arange(SAMPLE)
        return offset(self._click_logit(number_N, *self._shown(number_N)), self.config.click_rate)


def offset(logit_N: Floats, rate: float) -> float:
    """c with mean sigmoid(logit + c) = rate, by bisection."""
    low, high = -40.0, 40.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if expit(logit_N + middle).mean() < rate else (low, middle)
    return (low + high) / 2


def _drawn(weights: Floats, uniform_N: Floats) -> Longs:
    """Places drawn in proportion to ``weights``."""
    shares = np.cumsum(weights) / weights.sum()
    return np.minimum(np.searchsorted(shares, uniform_N, side="right"), len(weights) - 1)


def _normal(uniform_N: Floats) -> Floats:
    return ndtri(np.clip(uniform_N, 1e-12, 1 - 1e-12))


def read_ratings(rows: pa.Table, path: str) -> tuple[Longs, Longs, Floats, list[str], list[str]]:
    """Numbered users, items and ratings of a table (user, item, rating), and the keys behind the numbers, sorted.
    Raises SourceError for a table without rows or with nulls."""
    if not len(rows) or any(rows[name].null_count for name in ("user", "item", "rating")):
        raise SourceError(f"{path}: a truth needs ratings, each with user, item and rating; check impressions.truth")
    numbered = []
    for name in ("user", "item"):
        keys, number_N = np.unique(np.array(rows[name].to_pylist(), dtype=object), return_inverse=True)
        numbered.append((number_N.astype(np.int64), keys.tolist()))
    (user_N, users), (item_N, items) = numbered
    order = np.lexsort((item_N, user_N))  # sums come out the same in whatever order Spark read
    rating_N = rows["rating"].to_numpy().astype(np.float64)
    return user_N[order], item_N[order], rating_N[order], users, items
