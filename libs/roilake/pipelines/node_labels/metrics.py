"""Metrics of labels of more than two classes, which only this pipeline's evaluation computes."""

from roilake.metrics.registry import Metric, register
from roilake.metrics.slices import ALL

_MEASURES = "roilake.pipelines.node_labels.evaluation.measures"
ACCURACY = register(
    Metric(
        "accuracy", "Accuracy", "separation", 1, f"{_MEASURES}:observe_accuracy", leading=0,
        definition="share of the nodes whose most probable label is their own",
    )
).name  # fmt: skip
MACRO_F1 = register(
    Metric(
        "macro_f1", "Macro F1", "separation", 1, f"{_MEASURES}:observe_macro_f1", leading=1,
        definition="mean over labels of 2 hits / (nodes with it + nodes said to have it)",
    ),
    after=ACCURACY,
).name  # fmt: skip
CROSS_ENTROPY = register(
    Metric(
        "cross_entropy", "Cross-entropy", "probability", -1, f"{_MEASURES}:observe_cross_entropy", leading=2,
        definition="mean of -ln of the probability of a node's own label, in nats",
    ),
    after=MACRO_F1,
).name  # fmt: skip
OWN = (ACCURACY, MACRO_F1, CROSS_ENTROPY)
SLICES = {ALL: "all nodes of the split whose label is known"}
HOMOPHILY, DEGREE = "homophily", "degree"
"""Slices by the share of a node's labelled neighbours that have its own label, and by its number of neighbours."""
