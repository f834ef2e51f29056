"""Metrics of ranked tails, which only this pipeline's evaluation computes."""

from roilake.metrics.registry import Metric, register
from roilake.metrics.slices import ALL

_MEASURES = "roilake.pipelines.knowledge_graph.evaluation.measures"
FILTERED_MRR = register(
    Metric(
        "filtered_mrr", "Filtered MRR", "ranking", 1, f"{_MEASURES}:reciprocal", leading=0,
        definition="mean over both directions of 1 / rank of the right entity among all entities but the other right "
        "ones; where several score the same, the mean over all orders of these",
    ),
    after="mrr",
).name  # fmt: skip
HITS = register(
    Metric(
        "hits", "Hits", "ranking", 1, f"{_MEASURES}:hits", at_k="must", leading=1,
        definition="share of both directions' right entities whose filtered rank is at most K",
    ),
    after=FILTERED_MRR,
).name  # fmt: skip
KS = (1, 3, 10)
OWN = (FILTERED_MRR, *(f"{HITS}@{k}" for k in KS))
SLICES = {ALL: "both directions of all triples of the split"}
SOUGHT, ANSWER, RELATION = "sought", "answer", "relation"
VALUED = (SOUGHT, ANSWER, RELATION)
"""Slices by value: whether the tail of (head, relation) or the head of (relation, tail) is looked for; whether the
right entity is in some triple that was learnt from (seen), or only its text tells of it (unseen); and by relation, the
most frequent ones."""
