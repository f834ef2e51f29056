"""The table that ``build_node_distribution`` writes."""

from __future__ import annotations

from roilake.lake.tables import DS, table

NODE_DISTRIBUTIONS = table(
    "node_distributions",
    "What surrounds each node of the graph, without labels (a reconstruction of MWGNN's local distributions, MWGNN-R).",
    key="ds node",
    encodings="topology PLAIN",
    columns=f"""{DS}
    node int number of the node, from 0
    degree int distinct neighbours other than itself
    topology float[] exp(-D / median) of the distance D of its degree sequences to each landmark's; 0 without neighbours
    position float[] 1 / (1 + hops) to each anchor, 0 when it is not reached
    similarity float[] shares of its neighbours by cosine of their features to its own, in eight bins of [0, 1]""",
)
