"""Impressions as batches: two endless streams, clicked and unclicked."""

from roilake.pipelines.conversion.feed.categories import CategoryIndex, VocabularyStatistics
from roilake.pipelines.conversion.feed.impressions import ImpressionFeed
from roilake.pipelines.conversion.feed.rows import ImpressionRows

__all__ = ["CategoryIndex", "ImpressionFeed", "ImpressionRows", "VocabularyStatistics"]
