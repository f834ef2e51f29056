"""Knowledge graph: what nobody said of an item, from texts and from what is known (SimKGC, arXiv 2203.02167)."""

from roilake.pipelines.knowledge_graph import tables as t
from roilake.pipelines.knowledge_graph.config import KnowledgeGraphConfig
from roilake.pipelines.knowledge_graph.metrics import OWN, SLICES
from roilake.runtime.pipeline import EvaluationSet, Pipeline, Step

_GRAPH = ("entity_texts", "relations", "triples")
_SECTIONS = "roilake.pipelines.knowledge_graph.report.sections"

PIPELINE = Pipeline(
    name="knowledge_graph",
    title="What is not known of items yet, from texts and known facts (SimKGC)",
    config=KnowledgeGraphConfig,
    tables=(t.ENTITY_TEXTS, t.RELATIONS, t.TRIPLES, t.ENTITIES, t.COMPLETED_EDGES),
    steps=(
        Step("ingest_triples", writes=(*_GRAPH, "quarantine")),
        Step("train_knowledge_graph", reads=_GRAPH, writes=("models",), trains=True),
        Step("evaluate_knowledge_graph", reads=(*_GRAPH, "models", "champions"), writes=("champions", "metrics")),
        Step("embed_entities", reads=(*_GRAPH, "models", "champions"), writes=("entities",)),
        Step("complete_triples", reads=(*_GRAPH, "models", "champions", "entities"), writes=("completed_edges",)),
    ),
    evaluated=(EvaluationSet("test", ("all",), "test triples", "Triples that no model has seen, both directions"),),
    metrics=OWN,
    slices=tuple(SLICES.items()),
    served="completed_edges",
    noun="new fact",
    source="triples",
    filled="roilake.pipelines.knowledge_graph.evaluation.checks:filled",
    checks="roilake.pipelines.knowledge_graph.evaluation.checks:checks",
    figures=f"{_SECTIONS}:read_facts",
    sections=(f"{_SECTIONS}:knowledge_section",),
    volume=f"{_SECTIONS}:volume",
    texts=f"{_SECTIONS}:TEXTS",
)
