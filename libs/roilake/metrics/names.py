"""Names of metrics and slices, as configs and calls write them: ``auc``, ``recall@20``; ``all``, ``gender=F``."""

from __future__ import annotations

import re

from roilake.errors import MetricError

SCORED = ("auc", "gauc", "pr_auc", "ks")
"""Metrics of labels and scores of any scale."""
PROBABLE = ("log_loss", "normalised_entropy", "brier", "calibration_ratio", "calibration_error")
"""Metrics of labels and probabilities."""
RANKED = ("hit_rate", "recall", "precision", "ndcg", "mrr", "map")
"""Metrics of the places of relevant items, within the first K (``mrr`` and ``map`` also without K)."""
LISTED = ("coverage", "novelty", "diversity", "popularity_bias")
"""Metrics of the first K items shown, whether relevant or not."""
WHOLE = ("mrr", "map")
AUC_POPULARITY_NEGATIVES = "auc_popularity_negatives"
"""Only in a night: AUC against negatives drawn by popularity."""
IMPRESSION = ("ctr_auc", "ctcvr_auc")
"""Only in a night of conversions: AUC of clicks, and of clicks with a conversion, among all impressions."""
CONVERSION = ("auc", "log_loss", "calibration_ratio", "calibration_error")
"""What a night of conversions measures of predicted conversions."""
SLICES = ("all", "cold_users", "warm_users", "head_items", "tail_items")
"""Slices of every night; a config's own are named NAME=VALUE."""
_UP = (*SCORED, AUC_POPULARITY_NEGATIVES, *RANKED)
_DOWN = ("log_loss", "normalised_entropy", "brier", "calibration_error")


def parse(name: str) -> tuple[str, int | None]:
    """``recall@20`` -> ("recall", 20), ``auc`` -> ("auc", None). MetricError for what is no metric."""
    found = re.fullmatch(r"([a-z_]+)(?:@([1-9]\d*))?", name)
    kind, k = (found[1], int(found[2]) if found[2] else None) if found else (name, None)
    plain = k is None and kind in (*SCORED, *PROBABLE, *WHOLE, AUC_POPULARITY_NEGATIVES)
    if not plain and not (k is not None and kind in (*RANKED, *LISTED)):
        with_k = ", ".join(f"{each}@K" for each in (*RANKED, *LISTED))
        known = ", ".join((*SCORED, AUC_POPULARITY_NEGATIVES, *PROBABLE, *WHOLE, with_k))
        raise MetricError(f"unknown metric {name!r}; there are {known} (K a whole number from 1)")
    return kind, k


def direction(name: str) -> int:
    """1 where more of the metric is better, -1 where less is, 0 where neither (``calibration_ratio``, whose best is 1,
    and those of whole lists)."""
    if name in IMPRESSION:
        return 1
    kind = parse(name)[0]
    return int(kind in _UP) - int(kind in _DOWN)
