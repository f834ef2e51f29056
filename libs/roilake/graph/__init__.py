"""Events -> ids, windows, edges and adjacency as of each window's start, requests, interest vectors."""

from roilake.graph.edges import EdgeRules
from roilake.graph.ids import assign_ids, first_seen, indexed
from roilake.graph.moments import EDGE_TYPES, interaction_moments, similarity_moments
from roilake.graph.similarity import similar_pairs
from roilake.graph.windows import LastModel, Split, Window, last_model, night_windows, plan_windows

__all__ = [
    "EDGE_TYPES",
    "EdgeRules",
    "LastModel",
    "Split",
    "Window",
    "assign_ids",
    "first_seen",
    "indexed",
    "interaction_moments",
    "last_model",
    "night_windows",
    "plan_windows",
    "similar_pairs",
    "similarity_moments",
]
