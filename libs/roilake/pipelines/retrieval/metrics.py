"""The metric that only this pipeline's evaluation computes."""

from roilake.metrics.registry import Metric, register

POPULARITY_NEGATIVES = register(
    Metric(
        name="auc_popularity_negatives",
        label="AUC popular",
        group="separation",
        direction=1,
        function="roilake.metrics.observed:observe_auc",
        leading=2,
    ),
    after="auc",
).name
"""AUC against negatives drawn in proportion to their events, not uniformly."""
OWN = (POPULARITY_NEGATIVES,)
