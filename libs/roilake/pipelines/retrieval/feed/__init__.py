"""Requests with their regions of interest as batches, and the features of nodes that join at read."""

from roilake.pipelines.retrieval.feed.features import FeatureStore
from roilake.pipelines.retrieval.feed.files import read_nodes
from roilake.pipelines.retrieval.feed.requests import RequestFeed
from roilake.pipelines.retrieval.feed.rows import RequestRows, read_items, read_requests
from roilake.pipelines.retrieval.feed.vocabulary import Vocabulary

__all__ = ["FeatureStore", "RequestFeed", "RequestRows", "Vocabulary", "read_items", "read_nodes", "read_requests"]
