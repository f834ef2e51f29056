"""Requests with their regions of interest as batches, and the features of nodes that join at read."""

from roilake.pipelines.retrieval.feed.features import FeatureStore
from roilake.pipelines.retrieval.feed.rows import read_nodes
from roilake.pipelines.retrieval.feed.vocabulary import Vocabulary

__all__ = ["FeatureStore", "Vocabulary", "read_nodes"]
