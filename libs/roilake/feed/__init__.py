"""A pinned version of the lake's tables as equal, seeded shards of tensors. The only room that knows petastorm."""

from roilake.feed.categories import CategoryIndex, Survey
from roilake.feed.features import FeatureStore, files_of, read_nodes
from roilake.feed.impression_rows import ImpressionRows
from roilake.feed.impressions import ImpressionFeed
from roilake.feed.prefetch import Prefetch
from roilake.feed.requests import RequestFeed
from roilake.feed.rows import RequestRows, read_items, read_requests
from roilake.feed.vocabulary import Vocabulary

__all__ = [
    "CategoryIndex",
    "FeatureStore",
    "ImpressionFeed",
    "ImpressionRows",
    "Prefetch",
    "RequestFeed",
    "RequestRows",
    "Survey",
    "Vocabulary",
    "files_of",
    "read_items",
    "read_nodes",
    "read_requests",
]
