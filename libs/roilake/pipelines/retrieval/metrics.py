"""The metrics that only this pipeline's evaluation computes, and the slices of every night."""

from roilake.metrics.registry import Metric, register
from roilake.metrics.slices import ALL

POPULARITY_NEGATIVES = register(
    Metric(
        name="auc_popularity_negatives",
        label="AUC popular",
        group="separation",
        direction=1,
        function="roilake.metrics.observed:observe_auc",
        leading=2,
        definition="AUC against negatives drawn in proportion to their events, not uniformly",
    ),
    after="auc",
).name
IN_QUERY = register(
    Metric(
        name="auc_in_query",
        label="AUC in query",
        group="separation",
        direction=1,
        function="roilake.metrics.observed:observe_mean",
        definition="for a positive whose request has a query: the share of items drawn from those linked to the query "
        "that score below it, ties a half",
    ),
    after=POPULARITY_NEGATIVES,
).name
OWN = (POPULARITY_NEGATIVES, IN_QUERY)
SLICES = {
    ALL: "all positives of the split",
    "cold_users": "positives of users without an event before the start of the request's window (`as_of`)",
    "warm_users": "positives of users with an event before it",
    "no_history": "positives of requests whose user has no event before the request's own time",
    "with_history": "positives of requests whose user has an event before it",
    "head_items": "positives whose item is in the fifth (rounded up) of the items with events before it that have most",
    "tail_items": "positives of all other items, also of those without an event before it",
}
"""Slices of every night and what they hold; a config's own are named NAME=VALUE."""
