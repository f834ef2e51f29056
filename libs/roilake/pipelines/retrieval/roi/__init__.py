"""Regions of interest: the few neighbours per hop and edge type that matter most to a request or an item."""

from __future__ import annotations

from roilake.pipelines.retrieval.roi.build import planned
from roilake.pipelines.retrieval.roi.layout import ITEM_ROOTS, REQUEST_ROOTS, RoiLayout, Slot, node_types
from roilake.pipelines.retrieval.roi.planner import Choice
from roilake.pipelines.retrieval.roi.reading import Position, explode_roi, positions
from roilake.pipelines.retrieval.roi.rows import Plan, item_events, request_events

__all__ = [
    "ITEM_ROOTS",
    "REQUEST_ROOTS",
    "Choice",
    "Plan",
    "Position",
    "RoiLayout",
    "Slot",
    "explode_roi",
    "item_events",
    "node_types",
    "planned",
    "positions",
    "request_events",
]
