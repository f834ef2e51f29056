"""Tables of the pipeline of node labels: columns, types, key, partitions, and what each column means."""

from __future__ import annotations

from roilake.lake.tables import DS, table

GRAPH_NODES = table(
    "graph_nodes",
    "The nodes of the graph that labels are sought in.",
    key="ds node",
    columns=f"""{DS}
    node int number of the node, dense from 0, by (node_type, key)
    node_type string type of the node; node where the source knows one type only
    key string key of the node in its source
    label string? what is known of the node; null where nobody knows it, and for nodes of other types
    split string train, validation or test of the known labels; unlabelled; other for nodes of other types
    features int[] numbers of what the node has, ascending (see graph_features)""",
)

GRAPH_FEATURES = table(
    "graph_features",
    "What nodes have that models learn from. What fewer nodes have than graph.minimum_nodes is not here.",
    key="ds feature",
    columns=f"""{DS}
    feature int number of the feature, dense from 0, by name
    name string field=value, word:WORD, type=TYPE, or a text of the source
    nodes int how many nodes have it""",
)

GRAPH_EDGES = table(
    "graph_edges",
    "Pairs of neighbours, each once and no node its own neighbour.",
    key="ds src dst",
    columns=f"""{DS}
    src int number of the one node, the smaller one
    dst int number of the other""",
)

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

NODE_PREDICTIONS = table(
    "node_predictions",
    "The label of every node of the labelled type, as the model that serves the night has it.",
    key="ds node_type key",
    columns=f"""{DS}
    node_type string type of the node
    key string key of the node in its source
    label string the most probable label
    probability double its probability
    probabilities string->double probabilities of all labels, by label
    entropy double uncertainty, minus the sum of p ln p, in nats
    known string? the label that the source has; null where nobody knows it
    split string train, validation or test of the known labels; unlabelled
    model string name@ds of the model""",
)
