"""Events -> ids, windows, edges and adjacency as of each window's start, requests, interest vectors."""

from roilake.graph.edges import adjacency, interaction_edges
from roilake.graph.ids import assign_ids, indexed
from roilake.graph.similarity import similarity_edges
from roilake.graph.windows import LastModel, Split, Window, last_model, night_windows, plan_windows

__all__ = [
    "LastModel",
    "Split",
    "Window",
    "adjacency",
    "assign_ids",
    "indexed",
    "interaction_edges",
    "last_model",
    "night_windows",
    "plan_windows",
    "similarity_edges",
]
