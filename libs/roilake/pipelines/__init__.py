"""Published methods at work, a folder each. Pipelines never import one another: they meet in published tables.

This is the registry: a pipeline is a module with its declaration, ``PIPELINE``. Modules named in ``$ROILAKE_PIPELINES``
(parted by commas) join these."""

PIPELINES = (
    "roilake.pipelines.retrieval",
    "roilake.pipelines.conversion",
    "roilake.pipelines.node_labels",
    "roilake.pipelines.knowledge_graph",
)
