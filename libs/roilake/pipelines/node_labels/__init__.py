"""Node labels: what nobody said of a user or an item, from its place in the graph (MWGNN, arXiv 2203.10280)."""

from roilake.pipelines.node_labels import tables as t
from roilake.pipelines.node_labels.config import NodeLabelsConfig
from roilake.pipelines.node_labels.metrics import OWN, SLICES
from roilake.runtime.pipeline import EvaluationSet, Pipeline, Step, Upstream

_GRAPH = ("graph_nodes", "graph_features", "graph_edges")

PIPELINE = Pipeline(
    name="node_labels",
    title="Labels of nodes, from what each one's surroundings are like (MWGNN)",
    config=NodeLabelsConfig,
    tables=(t.GRAPH_NODES, t.GRAPH_FEATURES, t.GRAPH_EDGES, t.NODE_DISTRIBUTIONS, t.NODE_PREDICTIONS),
    steps=(
        Step(
            "build_label_graph",
            reads=("retrieval.nodes", "retrieval.adjacency"),
            writes=("graph_nodes", "graph_features", "graph_edges", "quarantine"),
        ),
        Step("build_node_distribution", reads=("graph_nodes", "graph_edges"), writes=("node_distributions",)),
        Step("train_node_labels", reads=(*_GRAPH, "node_distributions"), writes=("models",), trains=True),
        Step(
            "evaluate_node_labels",
            reads=(*_GRAPH, "node_distributions", "models", "champions"),
            writes=("champions", "metrics"),
        ),
        Step("score_nodes", reads=(*_GRAPH, "node_distributions", "models", "champions"), writes=("node_predictions",)),
    ),
    evaluated=(EvaluationSet("test", ("all",), "test nodes", "Nodes whose label no model has seen"),),
    metrics=OWN,
    slices=tuple(SLICES.items()),
    served="node_predictions",
    noun="label",
    source="graph_nodes",
    upstreams=(
        Upstream("retrieval", "nodes", "whose labels are sought, and what they have", optional=True),
        Upstream("retrieval", "adjacency", "who is whose neighbour", optional=True),
    ),
    filled="roilake.pipelines.node_labels.evaluation.checks:filled",
    checks="roilake.pipelines.node_labels.evaluation.checks:checks",
    figures="roilake.pipelines.node_labels.report.sections:read_examples",
    sections=("roilake.pipelines.node_labels.report.sections:labels_section",),
    volume="roilake.pipelines.node_labels.report.sections:volume",
    texts="roilake.pipelines.node_labels.report.sections:TEXTS",
)
