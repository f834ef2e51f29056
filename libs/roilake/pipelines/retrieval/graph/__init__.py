"""Events -> ids, windows, edges and adjacency as of each window's start, requests, interest vectors."""

from roilake.pipelines.retrieval.graph.contributions import EDGE_TYPES, similarity_moments
from roilake.pipelines.retrieval.graph.edges import SimilarityRules
from roilake.pipelines.retrieval.graph.ids import assign_ids, indexed
from roilake.pipelines.retrieval.graph.scan import plan_slices
from roilake.pipelines.retrieval.graph.similarity import similar_pairs
from roilake.pipelines.retrieval.graph.windows import (
    LastModel,
    Split,
    Window,
    last_model,
    night_windows,
    plan_windows,
)

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
