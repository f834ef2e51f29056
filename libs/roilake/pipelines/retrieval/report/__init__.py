"""What the page of a retrieval night shows beside what every page does: lists, the graph, and regions cut from it."""

from roilake.pipelines.retrieval.report.graph import Graph, graph_section, read_graph, volume
from roilake.pipelines.retrieval.report.lists import lists_section
from roilake.pipelines.retrieval.report.regions import regions_section
from roilake.pipelines.retrieval.report.texts import TEXTS

__all__ = ["TEXTS", "Graph", "graph_section", "lists_section", "read_graph", "regions_section", "volume"]
