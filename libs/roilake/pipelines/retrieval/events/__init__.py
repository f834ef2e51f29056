"""Raw files of any source -> the events table, and the attributes of nodes."""

from roilake.pipelines.retrieval.events.attributes import node_attributes, words
from roilake.pipelines.retrieval.events.ingest import KNOWN, finished, night_rows, source_events

__all__ = ["KNOWN", "finished", "night_rows", "node_attributes", "source_events", "words"]
