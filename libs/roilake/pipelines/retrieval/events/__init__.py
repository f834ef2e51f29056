"""Raw files of any source -> the events table, and the attributes of nodes."""

from roilake.ingest.sources import read_source, resolve_path
from roilake.pipelines.retrieval.events.attributes import NODE_TYPES, node_attributes, words
from roilake.pipelines.retrieval.events.ingest import finished, night_rows

__all__ = ["NODE_TYPES", "finished", "night_rows", "node_attributes", "read_source", "resolve_path", "words"]
