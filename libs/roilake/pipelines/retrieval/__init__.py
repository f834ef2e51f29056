"""Retrieval: from events to recommendations by ZOOMER (arXiv 2203.12596) and the baselines it is held against."""

from roilake.pipelines.retrieval import tables as t
from roilake.pipelines.retrieval.config import RetrievalConfig
from roilake.pipelines.retrieval.metrics import OWN, SLICES
from roilake.runtime.pipeline import EvaluationSet, Pipeline, Step, Upstream

PIPELINE = Pipeline(
    name="retrieval",
    title="Recommendations from a user-query-item graph, by regions of interest (ZOOMER)",
    config=RetrievalConfig,
    tables=(
        t.EVENTS, t.NODES, t.HISTORIES, t.EDGES, t.ADJACENCY, t.INTEREST_VECTORS, t.REQUESTS, t.ROIS, t.RECOMMENDATIONS,
    ),
    steps=(
        Step("ingest_events", reads=("events", "quarantine"), writes=("events", "quarantine"), reconciles=True),
        Step(
            "build_graph",
            reads=(
                "events", "node_ids", "models", "champions", "node_labels.node_predictions", "knowledge_graph.triples",
                "knowledge_graph.completed_edges", "knowledge_graph.entities",
            ),
            writes=("node_ids", "nodes", "histories", "edges", "adjacency"),
        ),
        Step("build_requests", reads=("events", "nodes", "models", "champions"), writes=("requests",)),
        Step(
            "embed_interests",
            reads=("events", "node_ids", "nodes", "adjacency", "models", "champions"),
            writes=("interest_vectors",),
        ),
        Step(
            "build_rois",
            reads=("nodes", "adjacency", "interest_vectors", "requests", "histories", "models", "champions"),
            writes=("rois",),
        ),
        Step(
            "train_models",
            reads=("nodes", "interest_vectors", "rois", "histories", "models", "champions"),
            writes=("models",),
            trains=True,
        ),
        Step(
            "evaluate_models",
            reads=(
                "nodes", "histories", "edges", "adjacency", "interest_vectors", "requests", "rois", "models",
                "champions",
            ),
            writes=("champions", "metrics"),
        ),
        Step(
            "score_requests",
            reads=("nodes", "histories", "interest_vectors", "rois", "models", "champions", "conversion.pair_scores"),
            writes=("recommendations",),
        ),
    ),
    evaluated=(EvaluationSet("test", ("all",), "test windows", "Test windows, all requests"),),
    metrics=OWN,
    slices=tuple(SLICES.items()),
    served="recommendations",
    noun="recommendation",
    source="events",
    upstreams=(
        Upstream("conversion", "pair_scores", "expected conversions of recommended items", optional=True),
        Upstream("node_labels", "node_predictions", "labels of nodes, as one of their fields", optional=True),
        Upstream("knowledge_graph", "triples", "which items share an entity", optional=True),
        Upstream("knowledge_graph", "completed_edges", "which items likely share one", optional=True),
        Upstream("knowledge_graph", "entities", "what is known of items, as vectors", optional=True),
    ),
    filled="roilake.pipelines.retrieval.evaluation.checks:filled",
    checks="roilake.pipelines.retrieval.evaluation.checks:checks",
    figures="roilake.pipelines.retrieval.report:read_graph",
    sections=tuple(f"roilake.pipelines.retrieval.report:{name}_section" for name in ("lists", "graph", "regions")),
    volume="roilake.pipelines.retrieval.report:volume",
    texts="roilake.pipelines.retrieval.report:TEXTS",
    estimate="roilake.pipelines.retrieval.estimate:plan_night",
)  # fmt: skip
