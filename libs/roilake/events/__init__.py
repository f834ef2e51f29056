"""Raw files of any source -> the events table, and the attributes of nodes."""

from roilake.events.attributes import NODE_TYPES, node_attributes, words
from roilake.events.ingest import finished, night_rows
from roilake.events.sources import read_source, resolve_path

__all__ = ["NODE_TYPES", "finished", "night_rows", "node_attributes", "read_source", "resolve_path", "words"]
