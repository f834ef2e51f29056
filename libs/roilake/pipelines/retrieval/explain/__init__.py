"""Why these items? One request's region of interest, what a model attended to in it, what it shares with the items that
were recommended, and the user's events behind it; as tables and drawn. Reads published tables; no Spark."""

from roilake.pipelines.retrieval.explain.events import leading_events
from roilake.pipelines.retrieval.explain.neighbours import Names, kept_neighbours
from roilake.pipelines.retrieval.explain.picture import draw_request
from roilake.pipelines.retrieval.explain.recommended import first_lists, recommended, shared_nodes
from roilake.pipelines.retrieval.explain.request import Explanation, explain_request

__all__ = [
    "Explanation",
    "Names",
    "draw_request",
    "explain_request",
    "first_lists",
    "kept_neighbours",
    "leading_events",
    "recommended",
    "shared_nodes",
]
