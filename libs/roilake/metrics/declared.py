"""Every metric that tables and arrays have, declared once."""

from __future__ import annotations

from typing import Literal

from roilake.metrics.metric import Metric

_OBSERVE, _SUMS, _RANKS, _LISTS = (
    f"roilake.metrics.{module}" for module in ("observed:observe_", "classification:", "ranking:", "lists:")
)


def _of_scores(name: str, label: str, definition: str, leading: int | None = None) -> Metric:
    return Metric(name, label, "separation", 1, _OBSERVE + name, "scores", leading=leading, definition=definition)


def _of_probabilities(name: str, label: str, direction: Literal[-1, 0, 1], definition: str) -> Metric:
    return Metric(name, label, "probability", direction, _SUMS + name, "probabilities", definition=definition)


def _of_ranks(
    name: str,
    label: str,
    function: str,
    definition: str,
    leading: int | None = None,
    at_k: Literal["may", "must"] = "must",
) -> Metric:
    return Metric(name, label, "ranking", 1, _RANKS + function, "ranks", at_k, leading, definition)


def _of_lists(
    name: str, label: str, function: str, needs: Literal["items", "events", "vectors"], definition: str
) -> Metric:
    return Metric(name, label, "lists", 0, function, "lists", "must", definition=definition, needs=needs)


STANDARD: tuple[Metric, ...] = (
    _of_scores(
        "auc", "AUC", "share of pairs of a positive and a negative where the positive scores higher, ties a half", 0
    ),
    _of_scores("gauc", "GAUC", "AUC within each user, mean weighted by his rows; users of one class are left out"),
    _of_scores("gauc_positives", "GAUC by positives", "the same, weighted by the user's positives"),
    _of_scores("gauc_none", "GAUC unweighted", "the same, each user counting once"),
    _of_scores("gauc_half", "GAUC, one class a half", "`gauc` in which a user of one class has AUC 0.5"),
    _of_scores(
        "pr_auc",
        "PR-AUC",
        "average precision: mean over positives of the precision at their score (steps, not trapezia)",
    ),
    _of_scores("ks", "KS", "largest distance between the positives' and the negatives' distributions of scores"),
    _of_ranks(
        "hit_rate",
        "Hit rate",
        "Ranks.hit_rate",
        "1 where a relevant item is among the first K; in a retrieval night each relevant item is asked for alone, the "
        "request's others left out of the list",
        3,
    ),
    _of_ranks(
        "success",
        "Success",
        "Ranks.hit_rate",
        "1 where any relevant item is among the first K, of whole lists everywhere (trec_eval's success)",
    ),
    _of_ranks("recall", "Recall", "Ranks.recall", "relevant items among the first K over all relevant", 5),
    _of_ranks(
        "recall_capped",
        "Recall, capped",
        "Ranks.recall_capped",
        "relevant items among the first K over min(K, relevant)",
    ),
    _of_ranks(
        "precision",
        "Precision",
        "Ranks.precision",
        "relevant items among the first K over K, also where fewer are shown",
    ),
    _of_ranks(
        "ndcg",
        "NDCG",
        "Ranks.ndcg",
        "sum of 1 / log2(1 + rank) over relevant items among the first K, over that of the best order",
        4,
    ),
    _of_ranks("mrr", "MRR", "Ranks.reciprocal_rank", "1 / rank of the first relevant item, 0 beyond K", at_k="may"),
    _of_ranks(
        "map",
        "MAP",
        "Ranks.average_precision",
        "sum of the precisions at relevant items among the first K over min(K, relevant)",
        at_k="may",
    ),
    _of_ranks(
        "map_all",
        "MAP over all",
        "Ranks.average_precision_all",
        "the same sum over all relevant (trec_eval's map_cut)",
        at_k="may",
    ),
    _of_ranks(
        "map_hits",
        "MAP over hits",
        "Ranks.average_precision_hits",
        "the same sum over the relevant items among the first K (torchmetrics)",
        at_k="may",
    ),
    *(
        _of_ranks(
            f"{_name}_or_0",
            f"{_label} or 0",
            f"{_function}_or_0",
            f"`{_name}` in which a request without a relevant item counts 0",
            at_k="may" if _name in ("mrr", "map") else "must",
        )
        for _name, _label, _function in (
            ("success", "Success", "success"),
            ("recall", "Recall", "recall"),
            ("precision", "Precision", "precision"),
            ("ndcg", "NDCG", "ndcg"),
            ("mrr", "MRR", "reciprocal_rank"),
            ("map", "MAP", "average_precision"),
        )
    ),
    _of_probabilities("log_loss", "Log-loss", -1, "mean of -(y ln p + (1 - y) ln(1 - p)), p clipped by 2.2e-16"),
    _of_probabilities("normalised_entropy", "Normalised entropy", -1, "log-loss over that of the base rate"),
    _of_probabilities("brier", "Brier", -1, "mean of (p - y)^2"),
    _of_probabilities(
        "calibration_error",
        "Calibration error",
        -1,
        "mean over 15 bins of equal width of |mean p - mean y|, weighted by their rows",
    ),
    _of_probabilities("calibration_ratio", "Calibration ratio", 0, "sum of p over sum of y"),
    _of_lists(
        "coverage",
        "Coverage",
        _OBSERVE + "coverage",
        "items",
        "share of the catalogue that is in any request's first K",
    ),
    _of_lists(
        "novelty",
        "Novelty",
        _LISTS + "novelty",
        "events",
        "mean over the first K of -log2((events + 1) / sum over items of (events + 1))",
    ),
    _of_lists(
        "novelty_unsmoothed",
        "Novelty, unsmoothed",
        _LISTS + "novelty_unsmoothed",
        "events",
        "mean over those of the first K with events of -log2(events / all events)",
    ),
    _of_lists(
        "diversity",
        "Diversity",
        _LISTS + "diversity",
        "vectors",
        "1 - mean cosine of the vectors over pairs of the first K",
    ),
    _of_lists(
        "popularity_bias",
        "Popularity bias",
        _LISTS + "popularity",
        "events",
        "mean events of the first K over those of the relevant items",
    ),
)
"""In the order of the page."""
