"""Degrees, distances to landmarks and anchors, and likeness of features around each node: label-free, in Spark."""

from roilake.pipelines.node_labels.distribution.rules import DistributionRules

__all__ = ["DistributionRules"]
