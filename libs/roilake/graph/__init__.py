"""Events -> ids, windows, edges and adjacency as of each window's start, requests, interest vectors."""

from roilake.graph.edges import SimilarityRules
from roilake.graph.ids import assign_ids, indexed
from roilake.graph.moments import EDGE_TYPES, similarity_moments
from roilake.graph.scan import plan_slices
from roilake.graph.similarity import similar_pairs
from roilake.graph.windows import LastModel, Split, Window, last_model, night_windows, plan_windows

__all__ = [
    "EDGE_TYPES",
    "LastModel",
    "SimilarityRules",
    "Split",
    "Window",
    "assign_ids",
    "indexed",
    "last_model",
    "night_windows",
    "plan_slices",
    "plan_windows",
    "similar_pairs",
    "similarity_moments",
]
