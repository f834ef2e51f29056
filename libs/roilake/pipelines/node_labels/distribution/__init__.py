"""Degrees, distances to landmarks and anchors, and likeness of features around each node: label-free, in Spark.

``build`` holds ``distribute`` and ``distribute_in_memory``; what is named here is light enough for a config to import.
"""

from roilake.pipelines.node_labels.distribution.rules import DistributionRules

__all__ = ["DistributionRules"]
