"""Exact metrics with n and a 95 % interval, and the measures of a night."""

from roilake.metrics.classification import auc, grouped_auc
from roilake.metrics.intervals import Estimate
from roilake.metrics.observed import auc_difference, auc_estimate, mean_difference, mean_estimate
from roilake.metrics.ranking import NEVER, Ranks, ranks_among_negatives
from roilake.metrics.rows import measure_arrays
from roilake.metrics.table import Columns, measure_table

__all__ = [
    "NEVER",
    "Columns",
    "Estimate",
    "Ranks",
    "auc",
    "auc_difference",
    "auc_estimate",
    "grouped_auc",
    "mean_difference",
    "mean_estimate",
    "measure_arrays",
    "measure_table",
    "ranks_among_negatives",
]
