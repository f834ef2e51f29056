"""Events -> ids, windows, edges and adjacency as of each window's start, requests, interest vectors."""

from roilake.pipelines.retrieval.graph.requests import indexed
from roilake.pipelines.retrieval.graph.scan import plan_slices
from roilake.pipelines.retrieval.graph.similarity import SimilarityRules, similar_pairs, similarity_contributions
from roilake.pipelines.retrieval.graph.windows import LastModel, Window, last_model, night_windows, plan_windows

__all__ = [
    "LastModel", "SimilarityRules", "Window", "indexed", "last_model", "night_windows", "plan_slices", "plan_windows",
    "similar_pairs", "similarity_contributions",
]  # fmt: skip
